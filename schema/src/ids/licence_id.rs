//! Electronic licence identifier (电子证照标识), GB/T 36904:
//! `1.2.156.3005.2.` type (21) `.` issuer (18) `.` serial `.` version (3) `.` check character.

use std::fmt;
use std::str::FromStr;

use super::IdError;
use super::text::{base36, text_identifier};

/// The registered root of all electronic licences, with its closing dot.
pub const ROOT: &str = "1.2.156.3005.2.";

/// Longest identifier taken, in bytes. The standard leaves the serial open; the longest one seen is
/// far below.
pub const MAX_LEN: usize = 128;

const TYPE_LEN: usize = 21;
const ISSUER_LEN: usize = 18;
const VERSION_LEN: usize = 3;

/// An electronic licence identifier with a right check character.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LicenceId(Box<str>);

impl LicenceId {
    /// Builds an identifier and computes its check character. Lower-case letters are normalised.
    pub fn from_parts(
        licence_type: &str,
        issuer: &str,
        serial: &str,
        version: &str,
    ) -> Result<Self, IdError> {
        let body = format!("{licence_type}.{issuer}.{serial}.{version}").to_ascii_uppercase();
        let check = check_character(body.bytes().filter(|b| *b != b'.'))?;
        format!("{ROOT}{body}.{}", char::from(check)).parse()
    }

    /// The canonical text, with the root.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The licence type, 21 characters: the code of the body that defined it and 3 digits.
    #[must_use]
    pub fn licence_type(&self) -> &str {
        self.part(0)
    }

    /// The issuing body, normally its unified social credit code.
    #[must_use]
    pub fn issuer(&self) -> &str {
        self.part(1)
    }

    /// The serial within type and issuer.
    #[must_use]
    pub fn serial(&self) -> &str {
        self.part(2)
    }

    /// The version, 3 characters.
    #[must_use]
    pub fn version(&self) -> &str {
        self.part(3)
    }

    /// Whether the issuer is shorter than the standard's 18 characters, as some installations have
    /// it: worth a warning, not a refusal.
    #[must_use]
    pub fn has_short_issuer(&self) -> bool {
        self.issuer().len() < ISSUER_LEN
    }

    fn part(&self, index: usize) -> &str {
        self.0[ROOT.len()..].split('.').nth(index).unwrap_or_default()
    }
}

text_identifier!(LicenceId, "an electronic licence identifier (GB/T 36904)");

impl FromStr for LicenceId {
    type Err = IdError;

    /// Lower-case letters are normalised.
    fn from_str(text: &str) -> Result<Self, IdError> {
        if text.len() > MAX_LEN {
            return Err(IdError::Length);
        }
        let text = text.to_ascii_uppercase();
        is_valid(text.as_bytes())?;
        Ok(Self(text.into_boxed_str()))
    }
}

impl fmt::Debug for LicenceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LicenceId({self})")
    }
}

/// Checks canonical bytes (upper case): root, number and length of the parts, check character.
pub fn is_valid(id: &[u8]) -> Result<(), IdError> {
    if id.len() > MAX_LEN {
        return Err(IdError::Length);
    }
    let rest = id.strip_prefix(ROOT.as_bytes()).ok_or(IdError::Structure)?;
    let mut parts = rest.split(|b| *b == b'.');
    let mut part = || parts.next().ok_or(IdError::Structure);
    let (licence_type, issuer, serial, version, check) =
        (part()?, part()?, part()?, part()?, part()?);
    if parts.next().is_some() {
        return Err(IdError::Structure);
    }
    if licence_type.len() != TYPE_LEN
        || issuer.is_empty()
        || issuer.len() > ISSUER_LEN
        || serial.is_empty()
        || version.len() != VERSION_LEN
        || check.len() != 1
    {
        return Err(IdError::Length);
    }
    let body = licence_type.iter().chain(issuer).chain(serial).chain(version);
    let expected = check_character(body.copied())?;
    if check[0] == expected {
        Ok(())
    } else if base36(check[0]).is_none() {
        Err(IdError::Character)
    } else {
        Err(IdError::CheckDigit)
    }
}

/// ISO 7064 MOD 37,36 (hybrid system over `0`–`9`, `A`–`Z`).
fn check_character(body: impl Iterator<Item = u8>) -> Result<u8, IdError> {
    let mut product = 36;
    for byte in body {
        let sum = (product + base36(byte).ok_or(IdError::Character)?) % 36;
        product = (if sum == 0 { 36 } else { sum }) * 2 % 37;
    }
    let value = ((37 - product) % 36) as u8;
    Ok(if value < 10 { b'0' + value } else { b'A' + value - 10 })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "1.2.156.3005.2.11100000000013338W011.11430000006122244L.20230000403.001.U";

    #[test]
    fn published_example_is_accepted_and_its_parts_read() {
        let id: LicenceId = GOOD.parse().expect("good");
        assert_eq!(id.licence_type(), "11100000000013338W011");
        assert_eq!(id.issuer(), "11430000006122244L");
        assert_eq!(id.serial(), "20230000403");
        assert_eq!(id.version(), "001");
        assert!(!id.has_short_issuer());
        let again =
            LicenceId::from_parts(id.licence_type(), id.issuer(), id.serial(), id.version());
        assert_eq!(again, Ok(id));
    }

    #[test]
    fn published_bad_example_is_refused() {
        let bad = format!("{}V", &GOOD[..GOOD.len() - 1]);
        assert_eq!(bad.parse::<LicenceId>(), Err(IdError::CheckDigit));
        assert_eq!("1.2.156.3005.3.X".parse::<LicenceId>(), Err(IdError::Structure));
        assert_eq!("1.2.156.3005.2.X".parse::<LicenceId>(), Err(IdError::Structure));
    }

    #[test]
    fn a_short_issuer_is_kept_and_noticed() {
        let id =
            LicenceId::from_parts("11100000000013338W011", "006122244", "1", "001").expect("kept");
        assert!(id.has_short_issuer());
    }

    proptest! {
        #[test]
        fn every_substitution_of_one_character_is_caught(
            licence_type in "[0-9A-Z]{21}", issuer in "[0-9A-Z]{9,18}", serial in "[0-9A-Z]{1,20}", version in "[0-9]{3}",
        ) {
            let id = LicenceId::from_parts(&licence_type, &issuer, &serial, &version).expect("good");
            prop_assert_eq!(is_valid(id.as_str().as_bytes()), Ok(()));
            let good = id.as_str().as_bytes();
            for at in 0..good.len() {
                for byte in (0..=u8::MAX).filter(|byte| *byte != good[at]) {
                    let mut changed = good.to_vec();
                    changed[at] = byte;
                    prop_assert!(is_valid(&changed).is_err(), "{} at {}", byte, at);
                }
            }
        }

        #[test]
        fn arbitrary_input_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..140), text in ".{0,140}") {
            let _ = is_valid(&bytes);
            let _ = text.parse::<LicenceId>();
            let mut rooted = ROOT.as_bytes().to_vec();
            rooted.extend(bytes);
            let _ = is_valid(&rooted);
        }
    }
}
