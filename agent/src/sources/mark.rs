//! Recognising a file again: has it changed, grown, or been replaced?

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::time::UNIX_EPOCH;

use serde::{Deserialize, Serialize};

/// Bytes hashed at each end of what was read.
const PROBE: u64 = 64 * 1024;

/// Size and time of a file: cheap to ask, enough to see that it changes while it is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    /// Size, bytes.
    pub size: u64,
    /// Time of the last change, nanoseconds since 1970 UTC; 0 if the system does not tell.
    pub modified_ns: i64,
}

impl Identity {
    pub(super) fn of(file: &File) -> io::Result<Self> {
        let facts = file.metadata()?;
        let modified = facts.modified().ok().and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        let modified_ns =
            modified.and_then(|since| i64::try_from(since.as_nanos()).ok()).unwrap_or(0);
        Ok(Self { size: facts.len(), modified_ns })
    }
}

/// What was read: enough to recognise it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Mark {
    /// A file.
    File(FileMark),
    /// A query, which can give other rows each time.
    Query(QueryMark),
}

/// What a person was shown of a query whose deletes wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct QueryMark {
    /// Deletes that wait.
    pub deletes: u64,
}

impl Mark {
    /// Whether two marks are of the same whole content. Of two readings of a query nobody knows.
    pub fn same_content(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::File(one), Self::File(other)) => one.same_content(other),
            (Self::File(_) | Self::Query(_), Self::File(_) | Self::Query(_)) => false,
        }
    }
}

/// A file up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileMark {
    /// Size and time when the mark was taken.
    pub identity: Identity,
    /// The mark covers the bytes before this offset.
    pub through: u64,
    /// Hash of the first 64 KiB and the last 64 KiB of them.
    pub ends: [u8; 16],
}

impl FileMark {
    /// Marks a whole file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn whole(path: &Path) -> io::Result<Self> {
        let file = File::open(path)?;
        let through = file.metadata()?.len();
        Self::take(file, through)
    }

    /// Marks the bytes before an offset.
    ///
    /// # Errors
    /// When the file is shorter or cannot be read.
    pub fn before(path: &Path, through: u64) -> io::Result<Self> {
        Self::take(File::open(path)?, through)
    }

    /// Whether the file still begins with the marked bytes, as far as their ends tell.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn still_begins(&self, path: &Path) -> io::Result<bool> {
        let file = File::open(path)?;
        if file.metadata()?.len() < self.through {
            return Ok(false);
        }
        Ok(Self::take(file, self.through)?.ends == self.ends)
    }

    /// Whether two marks are of the same whole content.
    pub fn same_content(&self, other: &Self) -> bool {
        self.identity.size == other.identity.size
            && self.through == other.through
            && self.ends == other.ends
            && self.identity.modified_ns == other.identity.modified_ns
    }

    fn take(mut file: File, through: u64) -> io::Result<Self> {
        let identity = Identity::of(&file)?;
        let mut hasher = blake3::Hasher::new();
        let mut probe = |from: u64, length: u64| -> io::Result<()> {
            let mut bytes = vec![0; length as usize];
            file.seek(SeekFrom::Start(from))?;
            file.read_exact(&mut bytes)?;
            hasher.update(&bytes);
            Ok(())
        };
        let length = through.min(PROBE);
        probe(0, length)?;
        probe(through - length, length)?;
        let mut ends = [0; 16];
        ends.copy_from_slice(&hasher.finalize().as_bytes()[..16]);
        Ok(Self { identity, through, ends })
    }
}
