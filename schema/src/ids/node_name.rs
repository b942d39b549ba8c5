//! Name of a front-end node within its department.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::IdError;
use super::text::text_identifier;

/// Longest name, in bytes.
const MAX_LEN: usize = 64;

/// 1 to 64 of `a`–`z`, `0`–`9`, `-`, `_`, `.`, beginning with a letter or digit: it is one segment
/// of the node's SPIFFE identity and the name of its folder, so `.` and `..` must not be names.
/// Cheap to clone.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeName(Arc<str>);

impl NodeName {
    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

text_identifier!(NodeName, "a node name (1 to 64 of a-z, 0-9, '-', '_', '.')");

impl FromStr for NodeName {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > MAX_LEN {
            return Err(IdError::Length);
        }
        let allowed = |b: u8| matches!(b, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_' | b'.');
        let begins_well = matches!(text.as_bytes()[0], b'a'..=b'z' | b'0'..=b'9');
        if begins_well && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Character)
        }
    }
}

impl fmt::Debug for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_names_are_taken() {
        for good in ["n0001", "a", "health-1.north_2"] {
            assert_eq!(good.parse::<NodeName>().map(|n| n.to_string()), Ok(good.to_owned()));
        }
        assert!("a".repeat(64).parse::<NodeName>().is_ok());
    }

    #[test]
    fn names_that_could_leave_a_folder_are_refused() {
        for bad in ["", ".", "..", "a/b", "A", "-a", "节点", "a b", "a\0"] {
            assert!(bad.parse::<NodeName>().is_err(), "{bad}");
        }
        assert_eq!("a".repeat(65).parse::<NodeName>(), Err(IdError::Length));
    }
}
