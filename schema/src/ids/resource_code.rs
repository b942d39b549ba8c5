//! Code of a catalogue entry (政务信息资源代码): class digits, "/", sequence.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use super::IdError;
use super::text::text_identifier;

/// Longest code taken, in bytes.
const MAX_LEN: usize = 64;

/// A resource code such as `303084122704/000001`. Cheap to clone.
///
/// The national shape is `^[123]\d{5}\d*/\d+$`; older local shapes such as `BA6006/000218` exist
/// and are kept ([`ResourceCode::is_national_shape`] tells). What is asked of every code: letters,
/// digits or hyphens, one slash, digits; at most 64 bytes.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceCode(Arc<str>);

impl ResourceCode {
    /// Builds a code with the usual 6-digit sequence. `class` is the part before the slash.
    pub fn from_parts(class: &str, sequence: u32) -> Result<Self, IdError> {
        format!("{class}/{sequence:06}").parse()
    }

    /// The canonical text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The part before the slash.
    #[must_use]
    pub fn class(&self) -> &str {
        self.0.split_once('/').map_or("", |(class, _)| class)
    }

    /// Whether the code has the shape of the national guide; worth a warning if not.
    #[must_use]
    pub fn is_national_shape(&self) -> bool {
        let class = self.class().as_bytes();
        class.len() >= 6 && matches!(class[0], b'1'..=b'3') && class.iter().all(u8::is_ascii_digit)
    }
}

text_identifier!(ResourceCode, "a resource code (class, slash, sequence)");

impl FromStr for ResourceCode {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > MAX_LEN {
            return Err(IdError::Length);
        }
        let (class, sequence) = text.split_once('/').ok_or(IdError::Structure)?;
        if class.is_empty() || sequence.is_empty() {
            return Err(IdError::Structure);
        }
        let class_ok = class.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
        if class_ok && sequence.bytes().all(|b| b.is_ascii_digit()) {
            Ok(Self(text.into()))
        } else {
            Err(IdError::Character)
        }
    }
}

impl fmt::Debug for ResourceCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ResourceCode({self})")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_codes_are_of_national_shape() {
        for good in ["303084122704/000001", "3070010370/000066"] {
            let code: ResourceCode = good.parse().expect(good);
            assert!(code.is_national_shape());
            assert_eq!(code.to_string(), good);
        }
        let built = ResourceCode::from_parts("303084122704", 1).expect("good");
        assert_eq!(built.as_str(), "303084122704/000001");
    }

    #[test]
    fn an_older_local_code_is_kept_and_noticed() {
        let code: ResourceCode = "BA6006/000218".parse().expect("kept");
        assert!(!code.is_national_shape());
    }

    #[test]
    fn what_is_no_code_is_refused() {
        for bad in
            ["", "/", "303084", "303084/", "/1", "303 084/1", "303084/1/2", "303084/a", "../1"]
        {
            assert!(bad.parse::<ResourceCode>().is_err(), "{bad}");
        }
        assert_eq!(format!("3{}/1", "0".repeat(64)).parse::<ResourceCode>(), Err(IdError::Length));
    }

    proptest! {
        #[test]
        fn arbitrary_text_never_panics_and_codes_round_trip(text in ".{0,70}", class in "[123][0-9]{5,12}", n in any::<u32>()) {
            let _ = text.parse::<ResourceCode>();
            let code = ResourceCode::from_parts(&class, n).expect("good");
            let json = serde_json::to_string(&code).expect("a string");
            prop_assert_eq!(serde_json::from_str::<ResourceCode>(&json).expect("valid"), code);
        }
    }
}
