//! Why the log refuses or fails.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hutong_schema::wire::codec::CodecError;

use super::{Offset, PartitionId, Position};

/// Why a call to the log did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// A write or sync failed earlier or now. Whether the entries are stored is unknown; nothing is
    /// written any more and the process must exit.
    #[error("the log cannot be written any more: {reason}")]
    Poisoned {
        /// What failed.
        reason: Arc<str>,
    },
    /// The log is shutting down; the entries were not written.
    #[error("the log is closed")]
    Closed,
    /// Nothing was written.
    #[error("there is no partition {0}")]
    NoSuchPartition(PartitionId),
    /// Nothing was written.
    #[error("an entry of {bytes} bytes is larger than the log takes ({limit})")]
    TooLarge {
        /// Bytes of the payload.
        bytes: usize,
        /// Most bytes of a payload.
        limit: usize,
    },
    /// The entries asked for were dropped by retention.
    #[error("partition {partition} begins at offset {first}")]
    Trimmed {
        /// The partition asked for.
        partition: PartitionId,
        /// Its first offset.
        first: Offset,
    },
    /// An entry is missing or unreadable.
    #[error("the entry at {position} is damaged: {reason}")]
    Damaged {
        /// Where.
        position: Position,
        /// What is wrong with it.
        reason: String,
    },
    /// Another process has this log open.
    #[error("{} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The directory is gone, but the marks beside it say that it had entries.
    #[error("there is no log in {}, but its marks name entries: bring the directory back, or move the marks away to start empty", .0.display())]
    Gone(PathBuf),
    /// The directory was written by another version of the hub.
    #[error("the log has format {found}, this hub knows {known}")]
    Format {
        /// Format number in the directory.
        found: u16,
        /// Format number of this program.
        known: u16,
    },
    /// The log's own records do not decode.
    #[error("the log's {0} is unreadable")]
    Record(&'static str, #[source] CodecError),
    /// The log's own records are not there.
    #[error("the log has no {0}")]
    NoRecord(&'static str),
    /// The strict open was refused and a copy could not be recovered either.
    #[error("the log cannot be opened ({refusal}), nor recovered; bring it back from a backup")]
    Unrecoverable {
        /// Why the strict open was refused.
        refusal: String,
        /// Why the copy could not be recovered.
        #[source]
        source: Box<LogError>,
    },
    /// The storage engine failed.
    #[error("the log's store failed to {action}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// The engine's words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file operation beside the store failed.
    #[error("cannot {action} {}", .path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
}

impl LogError {
    /// Stable code of this error, named in the operations pages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Poisoned { .. } => "HT-LOG-POISONED",
            Self::Closed => "HT-LOG-CLOSED",
            Self::NoSuchPartition(_) => "HT-LOG-PARTITION",
            Self::TooLarge { .. } => "HT-LOG-TOO-LARGE",
            Self::Trimmed { .. } => "HT-LOG-TRIMMED",
            Self::Damaged { .. } => "HT-LOG-DAMAGED",
            Self::InUse(_) => "HT-LOG-IN-USE",
            Self::Gone(_) => "HT-LOG-GONE",
            Self::Format { .. } => "HT-LOG-FORMAT",
            Self::Record(..) | Self::NoRecord(_) => "HT-LOG-RECORD",
            Self::Unrecoverable { .. } => "HT-LOG-UNRECOVERABLE",
            Self::Engine { .. } => "HT-LOG-ENGINE",
            Self::Io { .. } => "HT-LOG-IO",
        }
    }

    pub(super) fn engine(action: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |source| Self::Engine { action, source: Box::new(source) }
    }

    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> Self {
        move |source| Self::Io { action, path: path.to_owned(), source }
    }
}
