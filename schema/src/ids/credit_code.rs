//! Unified social credit code (统一社会信用代码), GB 32100: authority, kind, 6 digits of division,
//! 9 characters of organisation code, one check character.

use std::fmt;
use std::str::FromStr;

use super::text::{fixed_ascii, text_identifier};
use super::{Division, IdError, OrganisationCode};

/// Length of a code in characters (all ASCII).
pub const LEN: usize = 18;

/// The 31 characters of the standard: no I, O, S, V, Z.
const ALPHABET: [u8; 31] = *b"0123456789ABCDEFGHJKLMNPQRTUWXY";

/// 3^(i-1) mod 31 for the 17 positions before the check character.
const WEIGHTS: [u32; 17] = weights();

/// Value of each byte in the alphabet; `NO_VALUE` outside of it.
const VALUES: [u8; 256] = values();
const NO_VALUE: u8 = 255;

/// Codes of registering authorities: 1 establishment, 2 foreign affairs, 3 justice, 4 culture,
/// 5 civil affairs, 6 tourism, 7 religion, 8 trade unions, 9 market regulation, A military,
/// N agriculture, Y others. From memory of the standard's table: used for warnings only.
const KNOWN_AUTHORITIES: &[u8] = b"123456789ANY";

/// A unified social credit code with the right alphabet and check character.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CreditCode([u8; LEN]);

impl CreditCode {
    /// Builds the code and computes its check character. `authority` and `kind` are the first two
    /// characters (such as `'9'`, `'1'`). An organisation code that holds a letter outside the
    /// code's alphabet (I, O, S, V, Z) is refused.
    pub fn from_parts(
        authority: char,
        kind: char,
        division: Division,
        organisation: OrganisationCode,
    ) -> Result<Self, IdError> {
        let mut code = [0; LEN];
        code[0] = u8::try_from(authority).map_err(|_| IdError::Character)?;
        code[1] = u8::try_from(kind).map_err(|_| IdError::Character)?;
        code[2..8].copy_from_slice(division.as_bytes());
        code[8..17].copy_from_slice(organisation.as_bytes());
        code[17] = check_character(&code).ok_or(IdError::Character)?;
        Ok(Self(code))
    }

    /// First character: the registering authority.
    #[must_use]
    pub fn authority(&self) -> char {
        char::from(self.0[0])
    }

    /// Second character: the kind of body within the authority's register.
    #[must_use]
    pub fn kind(&self) -> char {
        char::from(self.0[1])
    }

    /// Positions 3–8: where the body was registered. `None` for a code of an installation that
    /// does not put digits there.
    #[must_use]
    pub fn division(&self) -> Option<Division> {
        let digits = self.0[2..8].try_into().ok()?;
        Division::from_digits(digits)
    }

    /// Positions 9–17 as an organisation code. Not every issued credit code holds one with a right
    /// check digit, so this is a finding and not a reason to refuse the credit code.
    pub fn organisation_code(&self) -> Result<OrganisationCode, IdError> {
        self.as_str()[8..17].parse()
    }

    /// Whether the authority is one that the standard lists; worth a warning if not.
    #[must_use]
    pub fn has_known_authority(&self) -> bool {
        KNOWN_AUTHORITIES.contains(&self.0[0])
    }
}

fixed_ascii!(CreditCode, 18);
text_identifier!(CreditCode, "a unified social credit code (GB 32100)");

impl FromStr for CreditCode {
    type Err = IdError;

    /// Lower-case letters are normalised.
    fn from_str(text: &str) -> Result<Self, IdError> {
        let mut code: [u8; LEN] = text.as_bytes().try_into().map_err(|_| IdError::Length)?;
        code.make_ascii_uppercase();
        is_valid(&code)?;
        Ok(Self(code))
    }
}

impl fmt::Debug for CreditCode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "CreditCode({self})")
    }
}

/// Checks canonical bytes (upper case): length, alphabet, check character.
pub fn is_valid(code: &[u8]) -> Result<(), IdError> {
    let code: &[u8; LEN] = code.try_into().map_err(|_| IdError::Length)?;
    let expected = check_character(code).ok_or(IdError::Character)?;
    if code[17] == expected {
        Ok(())
    } else if VALUES[usize::from(code[17])] == NO_VALUE {
        Err(IdError::Character)
    } else {
        Err(IdError::CheckDigit)
    }
}

/// The check character of the first 17; `None` if one of them is outside the alphabet.
fn check_character(code: &[u8; LEN]) -> Option<u8> {
    let mut sum = 0;
    let mut in_alphabet = true;
    for (byte, weight) in code.iter().zip(WEIGHTS) {
        let value = VALUES[usize::from(*byte)];
        in_alphabet &= value != NO_VALUE;
        sum += u32::from(value) * weight;
    }
    in_alphabet.then(|| ALPHABET[((31 - sum % 31) % 31) as usize])
}

const fn weights() -> [u32; 17] {
    let mut weights = [1; 17];
    let mut i = 1;
    while i < 17 {
        weights[i] = weights[i - 1] * 3 % 31;
        i += 1;
    }
    weights
}

const fn values() -> [u8; 256] {
    let mut values = [NO_VALUE; 256];
    let mut i = 0;
    while i < ALPHABET.len() {
        values[ALPHABET[i] as usize] = i as u8;
        i += 1;
    }
    values
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn published_examples_are_accepted() {
        for good in ["91350100M000100Y43", "11100000000013338W", "113700000045030270"] {
            assert_eq!(is_valid(good.as_bytes()), Ok(()), "{good}");
            assert_eq!(good.parse::<CreditCode>().map(|c| c.to_string()), Ok(good.to_owned()));
        }
    }

    #[test]
    fn published_bad_examples_are_refused() {
        // Z is outside the alphabet, the other one has a wrong check character.
        assert_eq!(is_valid(b"91350100M000100Y4Z"), Err(IdError::Character));
        assert_eq!(is_valid(b"91310115MA1H8R7C6D"), Err(IdError::CheckDigit));
        assert_eq!(is_valid(b"91350100M000100Y4"), Err(IdError::Length));
    }

    #[test]
    fn parts_can_be_read_back() {
        let code: CreditCode = "91350100m000100y43".parse().expect("good");
        assert_eq!((code.authority(), code.kind()), ('9', '1'));
        assert_eq!(code.division().expect("digits").as_str(), "350100");
        assert_eq!(code.organisation_code().expect("good").hyphenated(), "M000100Y-4");
        assert!(code.has_known_authority());
        let again = CreditCode::from_parts(
            code.authority(),
            code.kind(),
            code.division().expect("digits"),
            code.organisation_code().expect("good"),
        );
        assert_eq!(again, Ok(code));
    }

    #[test]
    fn an_organisation_code_outside_the_alphabet_is_refused() {
        let division: Division = "211202".parse().expect("good");
        let organisation = OrganisationCode::from_body(b"IOSVZ000").expect("allowed by GB 11714");
        assert_eq!(
            CreditCode::from_parts('9', '1', division, organisation),
            Err(IdError::Character)
        );
    }

    prop_compose! {
        fn any_code()(body in "[0-9A-HJ-NPQRTUWXY]{17}") -> CreditCode {
            let mut code = [b'0'; LEN];
            code[..17].copy_from_slice(body.as_bytes());
            code[17] = check_character(&code).expect("in the alphabet");
            CreditCode(code)
        }
    }

    proptest! {
        #[test]
        fn valid_codes_round_trip(code in any_code()) {
            prop_assert_eq!(is_valid(code.as_bytes()), Ok(()));
            prop_assert_eq!(code.to_string().to_lowercase().parse::<CreditCode>(), Ok(code));
            let json = serde_json::to_string(&code).expect("a string");
            prop_assert_eq!(serde_json::from_str::<CreditCode>(&json).expect("valid"), code);
        }

        #[test]
        fn every_substitution_of_one_character_is_caught(code in any_code()) {
            for at in 0..LEN {
                for byte in (0..=u8::MAX).filter(|byte| *byte != code.as_bytes()[at]) {
                    let mut changed = *code.as_bytes();
                    changed[at] = byte;
                    prop_assert!(is_valid(&changed).is_err(), "{} at {}", byte, at);
                }
            }
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in proptest::collection::vec(any::<u8>(), 0..24), text in ".{0,24}") {
            let _ = is_valid(&bytes);
            if let Ok(code) = text.parse::<CreditCode>() {
                let _ = (code.division(), code.organisation_code());
            }
        }
    }
}
