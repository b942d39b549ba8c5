//! Payload files: where the payloads of batches are, once and as they came.
//!
//! ```text
//! 0000000007.payloads   payload · payload · payload · … · room reserved for the next ones
//! entry in the store    chain · envelope · (file, place, length)
//! ```
//!
//! A payload is appended and synced before the entry that refers to it is written: an entry that is
//! there had its payload on the disk. A file that is begun is never changed but at its end, and never
//! written again once the log was closed; it goes when no entry refers to it any more. Payloads are
//! compared with their hash whenever they are read.

mod append;
mod check;

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

pub(super) use append::Appender;
pub(super) use check::{Checked, check, first_file};

use crate::log::{Hash, LogError, payload_hash};

/// Suffix of a payload file.
pub(super) const SUFFIX: &str = "payloads";

/// Payloads of batches from here on go to payload files, bytes; smaller ones stand in the store.
pub(super) const PAYLOAD_BYTES_MIN: usize = 4 * 1024;

/// Files kept open for reading.
const OPEN_FILES: usize = 64;

/// Bytes of a reference as stored: file (u32 LE) ‖ place (u64 LE) ‖ length (u32 LE).
const REFERENCE_BYTES: usize = 16;

/// Where a payload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reference {
    /// Number of the file.
    pub(super) file: u32,
    /// First byte.
    pub(super) at: u64,
    /// Bytes.
    pub(super) length: u32,
}

impl Reference {
    pub(super) fn to_bytes(self) -> [u8; REFERENCE_BYTES] {
        let mut bytes = [0; REFERENCE_BYTES];
        bytes[..4].copy_from_slice(&self.file.to_le_bytes());
        bytes[4..12].copy_from_slice(&self.at.to_le_bytes());
        bytes[12..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, String> {
        let bytes: &[u8; REFERENCE_BYTES] =
            bytes.try_into().map_err(|_| "where its payload is cannot be read".to_owned())?;
        let [a, b, c, d, at @ .., w, x, y, z] = *bytes;
        Ok(Self {
            file: u32::from_le_bytes([a, b, c, d]),
            at: u64::from_le_bytes(at),
            length: u32::from_le_bytes([w, x, y, z]),
        })
    }

    /// The byte behind the payload.
    pub(super) fn end(&self) -> u64 {
        self.at.saturating_add(u64::from(self.length))
    }
}

/// The files of one log.
#[derive(Debug)]
pub(super) struct PayloadFiles {
    dir: PathBuf,
    open: Mutex<HashMap<u32, Arc<File>>>,
    /// Files from this one on may get references that the store does not show yet.
    in_use_from: AtomicU32,
}

impl PayloadFiles {
    /// The files in `dir`; none is opened.
    pub(super) fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            open: Mutex::new(HashMap::new()),
            in_use_from: AtomicU32::new(0),
        }
    }

    pub(super) fn path(&self, number: u32) -> PathBuf {
        self.dir.join(format!("{number:010}.{SUFFIX}"))
    }

    /// Numbers of all files, ascending.
    pub(super) fn numbers(&self) -> Result<Vec<u32>, LogError> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(LogError::io("list", &self.dir))? {
            let entry = entry.map_err(LogError::io("list", &self.dir))?;
            let path = PathBuf::from(entry.file_name());
            if path.extension().is_some_and(|suffix| suffix == SUFFIX) {
                let stem = path.file_stem().and_then(|stem| stem.to_str());
                numbers.extend(stem.and_then(|stem| stem.parse::<u32>().ok()));
            }
        }
        numbers.sort_unstable();
        Ok(numbers)
    }

    /// The payload at a place; the error says in words why it cannot be had.
    pub(super) fn read(&self, reference: Reference, hash: &Hash) -> Result<Bytes, String> {
        let failed =
            |error| format!("its payload in {}: {error}", self.path(reference.file).display());
        if reference.length as usize > super::PAYLOAD_BYTES_MAX {
            return Err(format!("its payload has {} bytes", reference.length));
        }
        let file = self.file(reference.file).map_err(failed)?;
        let mut payload = vec![0; reference.length as usize];
        file.read_exact_at(&mut payload, reference.at).map_err(failed)?;
        if payload_hash(&payload) != *hash {
            return Err(format!(
                "its payload, {} bytes from byte {} of {} on, is not what was written",
                reference.length,
                reference.at,
                self.path(reference.file).display()
            ));
        }
        Ok(payload.into())
    }

    fn file(&self, number: u32) -> std::io::Result<Arc<File>> {
        if let Some(file) = self.open.lock().get(&number) {
            return Ok(Arc::clone(file));
        }
        let file = Arc::new(File::open(self.path(number))?);
        let mut open = self.open.lock();
        if open.len() >= OPEN_FILES {
            open.clear();
        }
        open.insert(number, Arc::clone(&file));
        Ok(file)
    }

    /// Removes the files before `keep` to which no entry refers any more.
    pub(super) fn remove_before(&self, keep: u32) {
        let keep = keep.min(self.in_use_from.load(Ordering::Acquire));
        let numbers = self.numbers().unwrap_or_else(|error| {
            tracing::warn!(%error, "old payload files could not be listed; trimming retries");
            Vec::new()
        });
        for number in numbers.into_iter().filter(|number| *number < keep) {
            self.open.lock().remove(&number);
            let path = self.path(number);
            if let Err(error) = fs::remove_file(&path) {
                tracing::warn!(%error, path = %path.display(),
                    "an old payload file could not be removed; trimming retries");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn references_round_trip(file in any::<u32>(), at in any::<u64>(), length in any::<u32>()) {
            let reference = Reference { file, at, length };
            prop_assert_eq!(Reference::from_bytes(&reference.to_bytes()), Ok(reference));
        }

        #[test]
        fn no_other_length_is_a_reference(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            prop_assert_eq!(Reference::from_bytes(&bytes).is_ok(), bytes.len() == REFERENCE_BYTES);
        }
    }
}
