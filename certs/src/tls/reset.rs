//! Telling the peers of a former life that it is over (stateless reset, RFC 9000 §10.3).
//!
//! A hub that was killed knows none of its connections any more. If it remembers one key, it can
//! still answer their packets with a proof that the connection is gone, and agents dial again at
//! once instead of waiting until the silence is long enough.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use aws_lc_rs::{hmac, rand};
use data_encoding::HEXLOWER;
use quinn::EndpointConfig;
use quinn_proto::HashedConnectionIdGenerator;
use sha2::{Digest, Sha256};

use crate::files::{Access, FileError, read_text, write_atomic};

/// Least time between two resets. Hundreds of agents may have to be told, and a reset is smaller
/// than the packet that it answers, so it cannot be used to amplify.
const RESET_EVERY: Duration = Duration::from_micros(200);

/// The key that survives a restart.
#[derive(Clone)]
pub struct ResetKey([u8; 32]);

/// The key could not be had.
#[derive(Debug, thiserror::Error)]
pub enum ResetKeyError {
    /// Its file.
    #[error(transparent)]
    File(#[from] FileError),
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Randomness,
}

impl ResetKey {
    /// The key in a file; a new one if there is none, or none that can be used: agents then notice
    /// one restart later than they could.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn load_or_create(path: &Path) -> Result<Self, ResetKeyError> {
        let known = read_text(path).ok().and_then(|text| {
            let bytes = HEXLOWER.decode(text.trim().as_bytes()).ok()?;
            <[u8; 32]>::try_from(bytes).ok()
        });
        if let Some(key) = known {
            return Ok(Self(key));
        }
        let mut key = [0; 32];
        rand::fill(&mut key).map_err(|_| ResetKeyError::Randomness)?;
        write_atomic(path, HEXLOWER.encode(&key).as_bytes(), Access::Private)?;
        Ok(Self(key))
    }

    /// An endpoint that recognises packets of the hub's former connections, and answers them.
    pub fn endpoint(&self) -> EndpointConfig {
        let mut config = EndpointConfig::new(Arc::new(hmac::Key::new(hmac::HMAC_SHA256, &self.0)));
        // Identifiers of former connections must be told from noise too, so their check has a key
        // that lasts as well. It is a short hash against mistakes, not against attackers.
        let ids = Sha256::digest([b"connection ids", &self.0[..]].concat());
        let ids = ids.iter().take(8).fold(0, |key, byte| key << 8 | u64::from(*byte));
        config
            .cid_generator(move || Box::new(HashedConnectionIdGenerator::from_key(ids)))
            .min_reset_interval(RESET_EVERY);
        config
    }
}

impl std::fmt::Debug for ResetKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ResetKey")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_stays_and_a_damaged_one_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("reset.key");
        let first = ResetKey::load_or_create(&path).unwrap();
        assert_eq!(ResetKey::load_or_create(&path).unwrap().0, first.0);
        std::fs::write(&path, "damaged").unwrap();
        let second = ResetKey::load_or_create(&path).unwrap();
        assert_ne!(second.0, first.0);
        assert_eq!(ResetKey::load_or_create(&path).unwrap().0, second.0);
        assert!(ResetKey::load_or_create(&folder.path().join("none/reset.key")).is_err());
    }
}
