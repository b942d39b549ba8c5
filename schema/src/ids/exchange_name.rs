//! Name of an exchange: the trust domain of its nodes' identities.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::IdError;
use super::text::text_identifier;

/// Longest name, in bytes (that of a DNS name).
const MAX_LEN: usize = 253;

/// Longest part between two dots, in bytes (that of a DNS label).
const MAX_LABEL_LEN: usize = 63;

/// One or several DNS labels in lower case joined by dots, such as `tieling` or
/// `exchange.tieling.example`: it is the authority part of `spiffe://` identities. Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExchangeName(Arc<str>);

impl ExchangeName {
    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_identifier!(ExchangeName, "an exchange name (DNS labels in lower case)");

impl FromStr for ExchangeName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(IdError::Length);
        }
        for label in text.split('.') {
            check_label(label.as_bytes())?;
        }
        Ok(Self(text.into()))
    }
}

impl fmt::Debug for ExchangeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ExchangeName({self})")
    }
}

fn check_label(label: &[u8]) -> Result<(), IdError> {
    if label.is_empty() || label.len() > MAX_LABEL_LEN {
        return Err(IdError::Length);
    }
    let plain = |b: &u8| matches!(b, b'a'..=b'z' | b'0'..=b'9');
    let ends_plain = label.first().is_some_and(plain) && label.last().is_some_and(plain);
    if ends_plain && label.iter().all(|b| plain(b) || *b == b'-') {
        Ok(())
    } else {
        Err(IdError::Character)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dns_names_are_taken() {
        for good in ["tieling", "exchange.tieling.example", "a-1"] {
            assert_eq!(good.parse::<ExchangeName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn what_is_no_dns_name_is_refused() {
        for bad in ["", ".", "a.", ".a", "a..b", "-a", "a-", "A", "a_b", "a/b", "铁岭"] {
            assert!(bad.parse::<ExchangeName>().is_err(), "{bad}");
        }
        assert!("a".repeat(64).parse::<ExchangeName>().is_err());
        assert!(vec!["a"; 128].join(".").parse::<ExchangeName>().is_err());
    }
}
