//! Organisation code (组织机构代码), GB 11714: 8 characters and a check character, written with a
//! hyphen between them on paper and without it inside a unified social credit code.

use std::fmt;
use std::str::FromStr;

use super::IdError;
use super::text::{base36, fixed_ascii, text_identifier};

/// Length of a code in characters without the hyphen (all ASCII).
pub const LEN: usize = 9;

const WEIGHTS: [u32; 8] = [3, 7, 9, 10, 5, 8, 4, 2];

/// An organisation code with a right check character. The canonical text has no hyphen.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrganisationCode([u8; LEN]);

impl OrganisationCode {
    /// Computes the check character of an 8-character body (`0`–`9`, `A`–`Z`).
    pub fn from_body(body: &[u8; 8]) -> Result<Self, IdError> {
        let mut code = [0; LEN];
        code[..8].copy_from_slice(body);
        code[8] = check_character(&code).ok_or(IdError::Character)?;
        Ok(Self(code))
    }

    /// The form that stands on certificates: `D2143569-X`.
    #[must_use]
    pub fn hyphenated(&self) -> String {
        let text = self.as_str();
        format!("{}-{}", &text[..8], &text[8..])
    }
}

fixed_ascii!(OrganisationCode, 9);
text_identifier!(OrganisationCode, "an organisation code (GB 11714)");

impl FromStr for OrganisationCode {
    type Err = IdError;

    /// With or without the hyphen; lower-case letters are normalised.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut code = [0; LEN];
        match text.as_bytes() {
            [body @ .., b'-', check] if body.len() == 8 => {
                code[..8].copy_from_slice(body);
                code[8] = *check;
            }
            plain if plain.len() == LEN => code.copy_from_slice(plain),
            _ => return Err(IdError::Length),
        }
        code.make_ascii_uppercase();
        is_valid(&code)?;
        Ok(Self(code))
    }
}

impl fmt::Debug for OrganisationCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "OrganisationCode({self})")
    }
}

/// Checks canonical bytes (upper case, no hyphen): length, alphabet, check character.
///
/// The standard's modulus is 11 over 36 characters: a substitution by a character whose value
/// differs by a multiple of 11 (`0` and `B`, for example) is not detected by it.
pub fn is_valid(code: &[u8]) -> Result<(), IdError> {
    let code: &[u8; LEN] = code.try_into().map_err(|_| IdError::Length)?;
    let expected = check_character(code).ok_or(IdError::Character)?;
    if code[8] == expected {
        Ok(())
    } else if code[8].is_ascii_digit() || code[8] == b'X' {
        Err(IdError::CheckDigit)
    } else {
        Err(IdError::Character)
    }
}

fn check_character(code: &[u8; LEN]) -> Option<u8> {
    let mut sum = 0;
    for (byte, weight) in code.iter().zip(WEIGHTS) {
        sum += base36(*byte)? * weight;
    }
    Some(match 11 - sum % 11 {
        10 => b'X',
        11 => b'0',
        digit => b'0' + digit as u8,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples_are_accepted_with_and_without_hyphen() {
        for good in ["D2143569-X", "00001333-8", "M000100Y-4"] {
            let code: OrganisationCode = good.parse().expect(good);
            assert_eq!(code.hyphenated(), good);
            assert_eq!(code.as_str().parse(), Ok(code));
        }
    }

    #[test]
    fn published_bad_example_is_refused() {
        assert_eq!("D2143569-1".parse::<OrganisationCode>(), Err(IdError::CheckDigit));
        assert_eq!("D214356-9X".parse::<OrganisationCode>(), Err(IdError::Length));
        assert_eq!("D214-569X".parse::<OrganisationCode>(), Err(IdError::Character));
    }

    proptest! {
        #[test]
        fn built_codes_are_valid_and_round_trip(body in "[0-9A-Z]{8}") {
            let body: [u8; 8] = body.as_bytes().try_into().expect("eight");
            let code = OrganisationCode::from_body(&body).expect("in the alphabet");
            prop_assert_eq!(is_valid(code.as_bytes()), Ok(()));
            prop_assert_eq!(code.hyphenated().to_lowercase().parse(), Ok(code));
        }

        #[test]
        fn substitutions_are_caught_where_the_modulus_can_see_them(body in "[0-9A-Z]{8}") {
            let body: [u8; 8] = body.as_bytes().try_into().expect("eight");
            let code = OrganisationCode::from_body(&body).expect("in the alphabet");
            for at in 0..LEN {
                let old = code.as_bytes()[at];
                for byte in (0..=u8::MAX).filter(|byte| *byte != old) {
                    let same_remainder = match (base36(old), base36(byte)) {
                        (Some(old), Some(new)) => old % 11 == new % 11,
                        _ => false,
                    };
                    let mut changed = *code.as_bytes();
                    changed[at] = byte;
                    prop_assert_eq!(is_valid(&changed).is_ok(), at < 8 && same_remainder);
                }
            }
        }

        #[test]
        fn arbitrary_input_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..12), text in ".{0,12}") {
            let _ = is_valid(&bytes);
            let _ = text.parse::<OrganisationCode>();
        }
    }
}
