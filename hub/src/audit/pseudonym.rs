//! Pseudonyms of keys: an HMAC under a key of the month. Destroying a month's key file makes its
//! access records say that something was asked, but no longer about whom.

use std::{
    collections::HashMap,
    io::{self, Write},
    path::{Path, PathBuf},
};

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The pseudonym of a key: period and the first 16 bytes of its HMAC-SHA-256, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pseudonym(String);

impl std::fmt::Display for Pseudonym {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0)
    }
}

/// Why there is no key for pseudonyms.
#[derive(Debug, thiserror::Error)]
pub enum KeyFolderError {
    /// A file cannot be read or written.
    #[error("the pseudonym key {path} cannot be used")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The file does not hold a key and its check.
    #[error(
        "the pseudonym key {path} is damaged; restore it from a backup, or remove it to start a new one"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
    },
}

/// The folder with one key file per month (UTC), `2026-11.key`, readable by its owner only.
#[derive(Debug)]
pub struct KeyFolder {
    folder: PathBuf,
    known: Mutex<HashMap<String, [u8; 32]>>,
}

impl KeyFolder {
    /// Keys live in this folder, which is made when it is first needed.
    pub fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), known: Mutex::default() }
    }

    /// The pseudonym of a key at a time (Unix milliseconds).
    ///
    /// # Errors
    /// When the period's key can neither be read nor made.
    pub fn pseudonym(&self, key: &[u8], now_ms: i64) -> Result<Pseudonym, KeyFolderError> {
        let date = Timestamp::from_millisecond(now_ms).unwrap_or_default().to_string();
        let period = date.get(..7).unwrap_or("0000-00").to_owned();
        let mut known = self.known.lock();
        let secret = match known.get(&period) {
            Some(secret) => *secret,
            None => {
                let secret = self.load(&period)?;
                known.insert(period.clone(), secret);
                secret
            }
        };
        drop(known);
        // Any length is a key for HMAC; 32 bytes always are.
        let mac = Hmac::<Sha256>::new_from_slice(&secret).map_err(|_| KeyFolderError::Damaged {
            path: self.folder.join(format!("{period}.key")),
        })?;
        let mac = mac.chain_update(key).finalize().into_bytes();
        let hex = data_encoding::HEXLOWER.encode(&mac[..16]);
        Ok(Pseudonym(format!("{period}:{hex}")))
    }

    fn load(&self, period: &str) -> Result<[u8; 32], KeyFolderError> {
        let path = self.folder.join(format!("{period}.key"));
        let failed = |source| KeyFolderError::File { path: path.clone(), source };
        match std::fs::read(&path) {
            Ok(bytes) => open(&bytes).ok_or(KeyFolderError::Damaged { path }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let secret: [u8; 32] = rand::random();
                self.create(&path, &secret).map_err(failed)?;
                Ok(secret)
            }
            Err(error) => Err(failed(error)),
        }
    }

    fn create(&self, path: &Path, secret: &[u8; 32]) -> io::Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        std::fs::create_dir_all(&self.folder)?;
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.write(true).create_new(true).mode(0o600).open(path)?;
        file.write_all(secret)?;
        file.write_all(&check(secret))?;
        file.sync_all()?;
        std::fs::File::open(&self.folder)?.sync_all()
    }
}

/// Length of the check behind a key, bytes.
const CHECK: usize = 8;

/// What stands behind a key in its file: a key of which one bit is another would give other
/// pseudonyms, and nobody would know.
fn check(secret: &[u8; 32]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    let hash = Sha256::digest(secret);
    check.iter_mut().zip(hash).for_each(|(to, from)| *to = from);
    check
}

/// The key in a file: 32 bytes and their check. Files of earlier versions have no check.
fn open(bytes: &[u8]) -> Option<[u8; 32]> {
    let (secret, rest) = bytes.split_first_chunk()?;
    (rest.is_empty() || rest == check(secret)).then_some(*secret)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOVEMBER: i64 = 1_795_000_000_000;
    const MONTH: i64 = 31 * 24 * 3_600_000;

    #[test]
    fn a_pseudonym_is_stable_within_its_month_and_dies_with_its_key() {
        let folder = tempfile::tempdir().unwrap();
        let first = KeyFolder::new(folder.path()).pseudonym(b"k", NOVEMBER).unwrap();
        let again = KeyFolder::new(folder.path()).pseudonym(b"k", NOVEMBER).unwrap();
        assert_eq!(first, again);
        assert!(first.to_string().starts_with("2026-11:"), "{first}");
        let keys = KeyFolder::new(folder.path());
        assert_ne!(first, keys.pseudonym(b"other", NOVEMBER).unwrap());
        assert_ne!(first, keys.pseudonym(b"k", NOVEMBER + MONTH).unwrap());
        std::fs::remove_file(folder.path().join("2026-11.key")).unwrap();
        assert_ne!(first, KeyFolder::new(folder.path()).pseudonym(b"k", NOVEMBER).unwrap());
    }

    #[test]
    fn a_damaged_key_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("2026-11.key");
        let pseudonym = || KeyFolder::new(folder.path()).pseudonym(b"k", NOVEMBER);
        let damaged = || matches!(pseudonym(), Err(KeyFolderError::Damaged { .. }));
        std::fs::write(&path, b"short").unwrap();
        assert!(damaged());
        std::fs::remove_file(&path).unwrap();
        let whole = pseudonym().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        for at in 0..bytes.len() {
            let mut flipped = bytes.clone();
            flipped[at] ^= 1;
            std::fs::write(&path, flipped).unwrap();
            assert!(damaged(), "byte {at}");
        }
        std::fs::write(&path, &bytes[..32]).unwrap();
        assert_eq!(pseudonym().unwrap(), whole, "the key of an earlier version");
    }
}
