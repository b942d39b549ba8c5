//! The token itself and its one text form.
//!
//! `htj1-` and base32 (RFC 4648, lower case, no padding) of: root fingerprint (32 bytes) · secret
//! (32) · expiry (seconds since 1970, 5 bytes, big endian) · department (18) · node (1 to 64) ·
//! checksum (first 5 bytes of SHA-256 over `htj1-` and all before it). One token, one text: a
//! mistyped character is told as such and never reaches the hub.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE32_NOPAD_NOCASE as BASE32;
use hutong_schema::ids::{CreditCode, IdError, NodeName};
use jiff::Timestamp;
use sha2::{Digest, Sha256};

use crate::clock::from_seconds;
use crate::roots::CaFingerprint;

const PREFIX: &str = "htj1-";
const SECRET: usize = 32;
const FINGERPRINT: usize = 32;
const EXPIRY: usize = 5;
const DEPARTMENT: usize = 18;
const CHECKSUM: usize = 5;
const FIXED: usize = FINGERPRINT + SECRET + EXPIRY + DEPARTMENT;

/// Longest text that is looked at, bytes; the longest token has 255.
const TEXT_MAX: usize = 512;

/// The secret part of a token. Its `Debug` shows nothing of it.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(pub(crate) [u8; SECRET]);

/// A one-time right to become a certain node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinToken {
    /// The root that the hub must prove to belong to.
    pub authority: CaFingerprint,
    /// What the hub recognises the token by.
    pub secret: Secret,
    /// The department that the node will belong to.
    pub department: CreditCode,
    /// The node's name in it.
    pub node: NodeName,
    /// From this time on it is worth nothing. Whole seconds.
    pub expires: Timestamp,
}

/// Why a text is not a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It begins with something else than `htj1-`.
    #[error("not a join token: it begins with \"htj1-\"")]
    NotAToken,
    /// It was made by newer software.
    #[error("a join token of a newer kind: update this agent")]
    Newer,
    /// A character that no token has.
    #[error("character {0} cannot stand in a join token: copy it again")]
    Character(usize),
    /// It is cut off or too long.
    #[error("the join token is incomplete or too long: copy it again")]
    Length,
    /// A character is wrong.
    #[error("the join token has a typing error: copy it again")]
    Checksum,
    /// The department's code in it is none.
    #[error("the department in the join token: {0}")]
    Department(IdError),
    /// The node's name in it is none.
    #[error("the node in the join token: {0}")]
    Node(IdError),
}

impl Secret {
    /// A secret of these random bytes.
    #[must_use]
    pub fn new(random: [u8; SECRET]) -> Self {
        Self(random)
    }

    /// What the hub keeps of it.
    pub(crate) fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(…)")
    }
}

impl JoinToken {
    /// The token's text: whoever has it can become the node. There is no `Display`, so that it does
    /// not get into a log line by accident.
    #[must_use]
    pub fn to_text(&self) -> String {
        let mut bytes = Vec::with_capacity(FIXED + self.node.as_str().len() + CHECKSUM);
        bytes.extend_from_slice(&self.authority.0);
        bytes.extend_from_slice(&self.secret.0);
        // 40 bits of seconds last for 34,000 years; earlier than 1970 is as expired as 1970.
        let seconds = u64::try_from(self.expires.as_second()).unwrap_or(0);
        bytes.extend_from_slice(&seconds.to_be_bytes()[8 - EXPIRY..]);
        bytes.extend_from_slice(self.department.as_str().as_bytes());
        bytes.extend_from_slice(self.node.as_str().as_bytes());
        bytes.extend_from_slice(&checksum(&bytes));
        format!("{PREFIX}{}", BASE32.encode(&bytes).to_ascii_lowercase())
    }
}

impl FromStr for JoinToken {
    type Err = TokenError;

    /// Reads a token; white space around it and capital letters do not matter.
    fn from_str(text: &str) -> Result<Self, TokenError> {
        let text = text.trim();
        let body = body_of(text)?;
        if text.len() > TEXT_MAX {
            return Err(TokenError::Length);
        }
        let bytes = BASE32.decode(body.as_bytes()).map_err(|error| match error.kind {
            data_encoding::DecodeKind::Symbol => {
                TokenError::Character(PREFIX.len() + error.position + 1)
            }
            data_encoding::DecodeKind::Length
            | data_encoding::DecodeKind::Trailing
            | data_encoding::DecodeKind::Padding => TokenError::Length,
        })?;
        let (content, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(TokenError::Length)?;
        if content.len() <= FIXED {
            return Err(TokenError::Length);
        }
        if checksum(content) != *sum {
            return Err(TokenError::Checksum);
        }
        parse_content(content)
    }
}

fn body_of(text: &str) -> Result<&str, TokenError> {
    match text.get(..PREFIX.len()) {
        Some(prefix) if prefix.eq_ignore_ascii_case(PREFIX) => Ok(&text[PREFIX.len()..]),
        Some(prefix) if prefix.get(..3).is_some_and(|p| p.eq_ignore_ascii_case("htj")) => {
            Err(TokenError::Newer)
        }
        _ => Err(TokenError::NotAToken),
    }
}

fn parse_content(content: &[u8]) -> Result<JoinToken, TokenError> {
    let (authority, rest) = content.split_first_chunk::<FINGERPRINT>().ok_or(TokenError::Length)?;
    let (secret, rest) = rest.split_first_chunk::<SECRET>().ok_or(TokenError::Length)?;
    let (expiry, rest) = rest.split_first_chunk::<EXPIRY>().ok_or(TokenError::Length)?;
    let (department, node) = rest.split_first_chunk::<DEPARTMENT>().ok_or(TokenError::Length)?;
    let seconds = expiry.iter().fold(0, |sum, byte| sum << 8 | i64::from(*byte));
    let text = |bytes| std::str::from_utf8(bytes).map_err(|_| IdError::Character);
    Ok(JoinToken {
        authority: CaFingerprint(*authority),
        secret: Secret(*secret),
        department: text(department).and_then(str::parse).map_err(TokenError::Department)?,
        node: text(node).and_then(str::parse).map_err(TokenError::Node)?,
        expires: from_seconds(seconds),
    })
}

fn checksum(content: &[u8]) -> [u8; CHECKSUM] {
    let digest = Sha256::new().chain_update(PREFIX).chain_update(content).finalize();
    std::array::from_fn(|i| digest[i])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(authority: [u8; 32], secret: [u8; 32], node: &str, seconds: i64) -> JoinToken {
        JoinToken {
            authority: CaFingerprint(authority),
            secret: Secret(secret),
            department: "11100000000013338W".parse().unwrap(),
            node: node.parse().unwrap(),
            expires: from_seconds(seconds),
        }
    }

    proptest! {
        #[test]
        fn a_token_survives_its_text(authority: [u8; 32], secret: [u8; 32], node in "[a-z0-9][a-z0-9._-]{0,63}", seconds in 0..1_i64 << 37) {
            let token = token(authority, secret, &node, seconds);
            let text = token.to_text();
            prop_assert_eq!(text.parse::<JoinToken>().unwrap(), token.clone());
            prop_assert_eq!(format!(" {}\r\n", text.to_uppercase()).parse::<JoinToken>().unwrap(), token);
            prop_assert!(text.len() <= TEXT_MAX);
        }

        #[test]
        fn a_mutated_text_is_refused_or_means_the_same(secret: [u8; 32], at: prop::sample::Index, with in any::<char>(), how in 0..3) {
            let token = token([7; 32], secret, "n0001", 1_800_000_000);
            let mut characters: Vec<char> = token.to_text().chars().collect();
            let at = at.index(characters.len());
            match how {
                0 => characters[at] = with,
                1 => characters.insert(at, with),
                _ => drop(characters.remove(at)),
            }
            let text: String = characters.into_iter().collect();
            if let Ok(read) = text.parse::<JoinToken>() {
                prop_assert_eq!(read, token);
            }
        }

        #[test]
        fn two_swapped_characters_are_noticed(secret: [u8; 32], at: prop::sample::Index) {
            let token = token([7; 32], secret, "n0001", 1_800_000_000);
            let mut characters: Vec<char> = token.to_text().chars().collect();
            let at = PREFIX.len() + at.index(characters.len() - PREFIX.len() - 1);
            characters.swap(at, at + 1);
            let text: String = characters.into_iter().collect();
            prop_assert!(text.parse::<JoinToken>().is_ok_and(|read| read == token) || text != token.to_text());
        }

        #[test]
        fn any_text_is_survived(text in ".{0,300}") {
            let _ = text.parse::<JoinToken>();
            let _ = format!("htj1-{text}").parse::<JoinToken>();
        }
    }

    #[test]
    fn every_mistake_is_told_as_what_it_is() {
        let text = token([1; 32], [2; 32], "n0001", 1_800_000_000).to_text();
        let read = |text: &str| text.parse::<JoinToken>().unwrap_err();
        assert_eq!(read(""), TokenError::NotAToken);
        assert_eq!(read("hello-world"), TokenError::NotAToken);
        assert_eq!(read(&text.replace("htj1", "htj2")), TokenError::Newer);
        let cut = read(&text[..text.len() - 8]);
        assert!(matches!(cut, TokenError::Checksum | TokenError::Length), "{cut}");
        assert_eq!(read(&text[..40]), TokenError::Length);
        let mut typo = text.clone().into_bytes();
        typo[20] = if typo[20] == b'a' { b'b' } else { b'a' };
        assert_eq!(read(std::str::from_utf8(&typo).unwrap()), TokenError::Checksum);
        typo[20] = b'1';
        assert_eq!(read(std::str::from_utf8(&typo).unwrap()), TokenError::Character(21));
    }

    #[test]
    fn a_right_checksum_over_wrong_parts_is_refused_too() {
        let mut content = vec![0; FINGERPRINT + SECRET + EXPIRY];
        content.extend_from_slice(b"11100000000013338Wn/1");
        content.extend_from_slice(&checksum(&content));
        let text = format!("{PREFIX}{}", BASE32.encode(&content));
        assert_eq!(text.parse::<JoinToken>(), Err(TokenError::Node(IdError::Character)));
    }

    #[test]
    fn debug_output_holds_no_secret() {
        let shown = format!("{:?}", token([1; 32], [0xab; 32], "n0001", 1));
        assert!(!shown.contains("171") && !shown.contains("ab, ab"), "{shown}");
    }
}
