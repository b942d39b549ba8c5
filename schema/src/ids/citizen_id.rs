//! Citizen identification number (公民身份号码), GB 11643: 6 digits of division, 8 of birth date,
//! 3 of sequence, one check character.

use std::fmt;
use std::str::FromStr;

use jiff::civil::Date;

use super::text::{fixed_ascii, text_identifier};
use super::{Division, IdError, Sex};
use crate::calendar::date_exists;

/// Length of an identifier in characters (all ASCII).
pub const LEN: usize = 18;

const WEIGHTS: [u32; 17] = [7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2];
const CHECKS: [u8; 11] = *b"10X98765432";

/// A citizen identification number whose date exists and whose check character is right.
///
/// `Debug` hides birth date and sequence, so that a log line cannot give a person away.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CitizenId([u8; LEN]);

impl CitizenId {
    /// Builds the identifier and computes its check character. `sequence` is 0..=999; odd is male,
    /// even is female. Refuses a birth date outside the years 1..=9999.
    pub fn from_parts(division: Division, birth: Date, sequence: u16) -> Result<Self, IdError> {
        if sequence > 999 {
            return Err(IdError::Length);
        }
        let (year, month, day) = (birth.year(), birth.month(), birth.day());
        if year < 1 {
            return Err(IdError::Date);
        }
        let mut id = [0; LEN];
        id[..6].copy_from_slice(division.as_bytes());
        put_digits(&mut id[6..10], year.unsigned_abs());
        put_digits(&mut id[10..12], u16::from(month.unsigned_abs()));
        put_digits(&mut id[12..14], u16::from(day.unsigned_abs()));
        put_digits(&mut id[14..17], sequence);
        id[17] = check_character(&id).ok_or(IdError::Character)?;
        Ok(Self(id))
    }

    /// The person's date of birth.
    #[must_use]
    pub fn birth_date(&self) -> Date {
        let (year, month, day) = birth_parts(&self.0);
        // At most 9999, 12 and 31: the parser saw that the date exists.
        Date::new(year as i16, month as i8, day as i8)
            .expect("the parser refuses a date that does not exist")
    }

    /// Male or female, from the 17th digit.
    #[must_use]
    pub fn sex(&self) -> Sex {
        if self.0[16] % 2 == 1 { Sex::Male } else { Sex::Female }
    }

    /// The division where the number was issued; it may have been retired since.
    #[must_use]
    pub fn division(&self) -> Division {
        Division::from_digits([self.0[0], self.0[1], self.0[2], self.0[3], self.0[4], self.0[5]])
            .expect("the first six characters are digits")
    }
}

fixed_ascii!(CitizenId, 18);
text_identifier!(CitizenId, "a citizen identification number (GB 11643)");

impl FromStr for CitizenId {
    type Err = IdError;

    /// Accepts a lower-case `x` as check character and normalises it.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut id: [u8; LEN] = text.as_bytes().try_into().map_err(|_| IdError::Length)?;
        if id[17] == b'x' {
            id[17] = b'X';
        }
        is_valid(&id)?;
        Ok(Self(id))
    }
}

impl fmt::Debug for CitizenId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CitizenId({}************)", self.division())
    }
}

/// Checks canonical bytes (upper-case `X`): length, digits, check character, then the date.
pub fn is_valid(id: &[u8]) -> Result<(), IdError> {
    let id: &[u8; LEN] = id.try_into().map_err(|_| IdError::Length)?;
    let expected = check_character(id).ok_or(IdError::Character)?;
    if id[17] != expected {
        let possible = id[17].is_ascii_digit() || id[17] == b'X';
        return Err(if possible { IdError::CheckDigit } else { IdError::Character });
    }
    let (year, month, day) = birth_parts(id);
    if date_exists(year, month, day) { Ok(()) } else { Err(IdError::Date) }
}

/// The check character of the first 17 digits; `None` if one of them is no digit.
fn check_character(id: &[u8; LEN]) -> Option<u8> {
    let mut sum = 0;
    let mut all_digits = true;
    for (byte, weight) in id.iter().zip(WEIGHTS) {
        let value = byte.wrapping_sub(b'0');
        all_digits &= value <= 9;
        sum += u32::from(value) * weight;
    }
    all_digits.then(|| CHECKS[(sum % 11) as usize])
}

/// Year, month and day of bytes that are known to be digits.
fn birth_parts(id: &[u8; LEN]) -> (u32, u32, u32) {
    let number = |range: &[u8]| range.iter().fold(0, |n, b| n * 10 + u32::from(b - b'0'));
    (number(&id[6..10]), number(&id[10..12]), number(&id[12..14]))
}

fn put_digits(out: &mut [u8], mut value: u16) {
    for slot in out.iter_mut().rev() {
        *slot = b'0' + (value % 10) as u8;
        value /= 10;
    }
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples_are_accepted() {
        for good in ["11010519491231002X", "440524188001010014", "34052419800101001X"] {
            assert_eq!(is_valid(good.as_bytes()), Ok(()), "{good}");
            assert_eq!(good.parse::<CitizenId>().map(|id| id.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn published_bad_examples_are_refused_with_the_right_reason() {
        assert_eq!(is_valid(b"110105194912310021"), Err(IdError::CheckDigit));
        assert_eq!(is_valid(b"110105194902310026"), Err(IdError::Date));
        assert_eq!(is_valid(b"11010519491231002"), Err(IdError::Length));
        assert_eq!(is_valid(b"1101051949123100AX"), Err(IdError::Character));
    }

    #[test]
    fn lower_case_x_is_normalised_by_the_parser_and_not_canonical() {
        let id: CitizenId = "11010519491231002x".parse().expect("good");
        assert_eq!(id.as_str(), "11010519491231002X");
        assert_eq!(is_valid(b"11010519491231002x"), Err(IdError::Character));
    }

    #[test]
    fn parts_can_be_read_back() {
        let id: CitizenId = "11010519491231002X".parse().expect("good");
        assert_eq!(id.birth_date(), date(1949, 12, 31));
        assert_eq!(id.sex(), Sex::Female);
        assert_eq!(id.division().as_str(), "110105");
    }

    #[test]
    fn debug_output_hides_the_person() {
        let id: CitizenId = "11010519491231002X".parse().expect("good");
        assert_eq!(format!("{id:?}"), "CitizenId(110105************)");
    }

    #[test]
    fn parts_out_of_range_are_refused() {
        let division: Division = "211202".parse().expect("good");
        assert!(CitizenId::from_parts(division, date(1990, 1, 1), 1000).is_err());
        assert!(CitizenId::from_parts(division, date(-1, 1, 1), 1).is_err());
    }

    prop_compose! {
        fn any_id()(division in "[1-8][0-9]{5}", year in 1800i16..2100, day in 0i16..365, sequence in 0u16..1000) -> CitizenId {
            let division: Division = division.parse().expect("six digits");
            let birth = date(year, 1, 1) + jiff::Span::new().days(day);
            CitizenId::from_parts(division, birth, sequence).expect("parts in range")
        }
    }

    proptest! {
        #[test]
        fn built_identifiers_are_valid_and_round_trip(id in any_id()) {
            prop_assert_eq!(is_valid(id.as_bytes()), Ok(()));
            prop_assert_eq!(id.to_string().parse::<CitizenId>(), Ok(id));
            let json = serde_json::to_string(&id).expect("a string");
            prop_assert_eq!(serde_json::from_str::<CitizenId>(&json).expect("valid"), id);
            prop_assert_eq!(CitizenId::from_parts(id.division(), id.birth_date(), id.as_str()[14..17].parse().expect("digits")), Ok(id));
        }

        #[test]
        fn every_substitution_of_one_character_is_caught(id in any_id()) {
            for at in 0..LEN {
                for byte in (0..=u8::MAX).filter(|byte| *byte != id.as_bytes()[at]) {
                    let mut changed = *id.as_bytes();
                    changed[at] = byte;
                    prop_assert!(is_valid(&changed).is_err(), "{} at {}", byte, at);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24), text in ".{0,24}") {
            let _ = is_valid(&bytes);
            let _ = text.parse::<CitizenId>();
        }
    }
}
