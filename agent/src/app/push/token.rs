//! The token that a request must show: in a file or a service credential, never in the configuration.

use parking_lot::Mutex;
use secrecy::ExposeSecret;

use crate::config::{Secret, SecretError, SecretSource};

/// Shorter ones are guessed.
const SHORTEST: usize = 16;

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error(
        "the push token cannot be read; make one with: (umask 077; openssl rand -hex 32 > {place})"
    )]
    Read {
        /// Where it should be.
        place: SecretSource,
        /// Why.
        #[source]
        source: SecretError,
    },
    /// It is too short.
    #[error("the push token in {0} is shorter than {SHORTEST} characters, or has blanks")]
    Short(SecretSource),
}

/// A token, as its hash.
#[derive(Debug)]
pub struct Token {
    place: SecretSource,
    held: Mutex<blake3::Hash>,
}

impl Token {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn load(place: &SecretSource) -> Result<Self, TokenError> {
        Ok(Self { held: Mutex::new(read(place)?), place: place.clone() })
    }

    /// Whether this is the token. A file that was changed since counts.
    pub fn admits(&self, shown: &[u8]) -> bool {
        let shown = blake3::hash(shown);
        // Hashes are compared in constant time.
        if *self.held.lock() == shown {
            return true;
        }
        match read(&self.place) {
            Ok(now) => {
                *self.held.lock() = now;
                now == shown
            }
            Err(error) => {
                tracing::warn!(%error, "the push token cannot be read again; the one before counts");
                false
            }
        }
    }
}

fn read(place: &SecretSource) -> Result<blake3::Hash, TokenError> {
    let secret = Secret::read(place);
    let secret = secret.map_err(|source| TokenError::Read { place: place.clone(), source })?;
    let token = secret.expose_secret().trim_ascii();
    if token.len() < SHORTEST || !token.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(TokenError::Short(place.clone()));
    }
    Ok(blake3::hash(token.as_bytes()))
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use hutong_schema::words::in_full;

    use super::*;

    fn token(content: &str, mode: u32) -> (tempfile::TempDir, Result<Token, TokenError>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let token = Token::load(&SecretSource::File(path));
        (dir, token)
    }

    #[test]
    fn only_the_token_is_admitted_and_a_new_one_counts_at_once() {
        let (dir, token) = token("0123456789abcdef\n", 0o640);
        let token = token.unwrap();
        assert!(token.admits(b"0123456789abcdef"));
        for wrong in [&b""[..], b"0123456789abcde", b"0123456789abcdef\n", b"fedcba9876543210"] {
            assert!(!token.admits(wrong));
        }
        fs::write(dir.path().join("token"), "fedcba9876543210").unwrap();
        assert!(token.admits(b"fedcba9876543210"));
        assert!(!token.admits(b"0123456789abcdef"));
    }

    #[test]
    fn a_token_that_is_open_short_or_missing_is_refused_with_what_to_do() {
        let said = |(_dir, token): (tempfile::TempDir, Result<Token, TokenError>)| {
            in_full(&token.unwrap_err())
        };
        assert!(said(token("0123456789abcdef", 0o644)).contains("chmod 600"));
        assert!(said(token("short", 0o600)).contains("16 characters"));
        assert!(said(token("two words are no token", 0o600)).contains("blanks"));
        let missing = Token::load(&SecretSource::File("/does/not/exist".into())).unwrap_err();
        assert!(missing.to_string().contains("openssl rand"));
    }
}
