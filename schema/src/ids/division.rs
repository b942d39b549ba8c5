//! Administrative division code (行政区划代码), GB/T 2260: 2 digits of province, 2 of prefecture,
//! 2 of county.

use std::fmt;
use std::str::FromStr;

use super::IdError;
use super::text::{digit, fixed_ascii, text_identifier};

/// The reference city and its counties and districts, with their names.
pub const TIELING: [(&str, &str); 8] = [
    ("211200", "铁岭市"),
    ("211202", "银州区"),
    ("211204", "清河区"),
    ("211221", "铁岭县"),
    ("211223", "西丰县"),
    ("211224", "昌图县"),
    ("211281", "调兵山市"),
    ("211282", "开原市"),
];

/// First two digits that the standard uses for provinces. From memory: used for warnings only.
const PROVINCES: [u32; 34] = [
    11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52,
    53, 54, 61, 62, 63, 64, 65, 71, 81, 82,
];

/// Six digits. Retired divisions stay in old identifiers, so that no list of existing ones is
/// asked: an unknown division is worth a warning, never a refusal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Division([u8; 6]);

impl Division {
    /// From six ASCII digits.
    #[must_use]
    pub fn from_digits(digits: [u8; 6]) -> Option<Self> {
        digits.iter().all(u8::is_ascii_digit).then_some(Self(digits))
    }

    /// Whether the first two digits are those of a province.
    #[must_use]
    pub fn has_known_province(&self) -> bool {
        match (digit(self.0[0]), digit(self.0[1])) {
            (Some(tens), Some(ones)) => PROVINCES.contains(&(tens * 10 + ones)),
            _ => false,
        }
    }

    /// The prefecture of a county or district: the same code ending in `00`.
    #[must_use]
    pub fn prefecture(&self) -> Self {
        let [a, b, c, d, ..] = self.0;
        Self([a, b, c, d, b'0', b'0'])
    }

    /// The province: the same code ending in `0000`.
    #[must_use]
    pub fn province(&self) -> Self {
        let [a, b, ..] = self.0;
        Self([a, b, b'0', b'0', b'0', b'0'])
    }

    /// Whether `other` is this division or lies within it.
    #[must_use]
    pub fn contains(&self, other: &Self) -> bool {
        *self == *other || *self == other.prefecture() || *self == other.province()
    }

    /// The name, for divisions of the reference city.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        TIELING.iter().find(|(code, _)| *code == self.as_str()).map(|(_, name)| *name)
    }
}

fixed_ascii!(Division, 6);
text_identifier!(Division, "a division code of six digits (GB/T 2260)");

impl FromStr for Division {
    type Err = IdError;

    fn from_str(text: &str) -> Result<Self, IdError> {
        is_valid(text.as_bytes())?;
        let digits = text.as_bytes().try_into().map_err(|_| IdError::Length)?;
        Ok(Self(digits))
    }
}

impl fmt::Debug for Division {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Division({self})")
    }
}

/// Checks the form: six digits.
pub fn is_valid(code: &[u8]) -> Result<(), IdError> {
    if code.len() != 6 {
        return Err(IdError::Length);
    }
    if code.iter().all(u8::is_ascii_digit) { Ok(()) } else { Err(IdError::Character) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_reference_city_contains_its_counties() {
        let city: Division = "211200".parse().expect("good");
        for (code, name) in TIELING {
            let county: Division = code.parse().expect("good");
            assert_eq!(county.name(), Some(name));
            assert!(county.has_known_province() && city.contains(&county));
            assert_eq!(county.prefecture(), city);
        }
        let capital: Division = "110105".parse().expect("good");
        assert!(!city.contains(&capital));
        assert_eq!(capital.province().as_str(), "110000");
    }

    #[test]
    fn only_six_digits_are_taken() {
        assert_eq!("21120".parse::<Division>(), Err(IdError::Length));
        assert_eq!("21120x".parse::<Division>(), Err(IdError::Character));
        assert_eq!("２１".parse::<Division>(), Err(IdError::Character));
    }

    #[test]
    fn an_unknown_province_is_kept_and_noticed() {
        let odd: Division = "991234".parse().expect("kept");
        assert!(!odd.has_known_province());
    }
}
