//! The token that a request must show: in a file or a service credential, never in the configuration.

use std::{
    fs, io,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use parking_lot::Mutex;

use crate::config::TokenPlace;

/// Shorter ones are guessed.
const SHORTEST: usize = 16;
/// Where the service manager puts credentials (systemd.exec(5)).
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// The token cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TokenError {
    /// It cannot be read.
    #[error("cannot read the push token {path}; make one with: openssl rand -hex 32 > {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// Every user of the machine can read it.
    #[error("every user of this machine can read the push token {0}; run: chmod 600 {0}")]
    Open(PathBuf),
    /// It is too short.
    #[error("the push token in {0} is shorter than {SHORTEST} characters, or not one line of text")]
    Short(PathBuf),
    /// The service manager handed over no credentials.
    #[error(
        "the push token is a credential, but {CREDENTIALS} is not set: LoadCredential= in the service"
    )]
    NoCredentials,
}

/// A token, as its hash.
#[derive(Debug)]
pub struct Token {
    path: PathBuf,
    held: Mutex<blake3::Hash>,
}

impl Token {
    /// Reads it.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn load(place: &TokenPlace) -> Result<Self, TokenError> {
        let path = match place {
            TokenPlace::File(path) => path.clone(),
            TokenPlace::Credential(name) => {
                let folder = std::env::var_os(CREDENTIALS).ok_or(TokenError::NoCredentials)?;
                Path::new(&folder).join(name)
            }
        };
        let held = Mutex::new(read(&path)?);
        Ok(Self { path, held })
    }

    /// Whether this is the token. A file that was changed since counts.
    pub fn admits(&self, shown: &[u8]) -> bool {
        let shown = blake3::hash(shown);
        // Hashes are compared in constant time.
        if *self.held.lock() == shown {
            return true;
        }
        match read(&self.path) {
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

fn read(path: &Path) -> Result<blake3::Hash, TokenError> {
    let failed = |source| TokenError::Read { path: path.to_owned(), source };
    let mode = fs::metadata(path).map_err(failed)?.permissions().mode();
    if mode & 0o004 != 0 {
        return Err(TokenError::Open(path.to_owned()));
    }
    let bytes = fs::read(path).map_err(failed)?;
    let token = bytes.trim_ascii();
    if token.len() < SHORTEST || !token.iter().all(u8::is_ascii_graphic) {
        return Err(TokenError::Short(path.to_owned()));
    }
    Ok(blake3::hash(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn token(content: &str, mode: u32) -> (tempfile::TempDir, Result<Token, TokenError>) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("token");
        fs::write(&path, content).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let token = Token::load(&TokenPlace::File(path));
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
            token.unwrap_err().to_string()
        };
        assert!(said(token("0123456789abcdef", 0o644)).contains("chmod 600"));
        assert!(said(token("short", 0o600)).contains("16 characters"));
        assert!(said(token("two words are no token", 0o600)).contains("one line"));
        let missing = Token::load(&TokenPlace::File("/does/not/exist".into())).unwrap_err();
        assert!(missing.to_string().contains("openssl rand"));
    }
}
