//! Why the views fail.

use hutong_schema::{batch::PayloadError, block::BlockError, wire::codec::CodecError};

use crate::{
    log::{LogError, Position},
    numbers::{FeedNo, ResourceNo},
};

/// Why a call to the views did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum ViewError {
    /// The storage engine failed.
    #[error("the views' store failed to {action}")]
    Engine {
        /// What was tried.
        action: &'static str,
        /// The engine's words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The storage engine met bytes that are not what it wrote.
    #[error(
        "the views' store failed to {action}, for a file of it is damaged: stop the hub and make the views anew with `hutong-hub rebuild`"
    )]
    Corrupt {
        /// What was tried.
        action: &'static str,
        /// The engine's words.
        #[source]
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// A file operation beside the store failed.
    #[error("cannot {action} {path}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// On which path.
        path: String,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The log could not be read.
    #[error("the log cannot be read for the views")]
    Log(#[from] LogError),
    /// Something stored does not decode: the views must be rebuilt.
    #[error(
        "the views hold an unreadable {what}; stop the hub and make them anew with `hutong-hub rebuild`"
    )]
    Damaged {
        /// What it should be.
        what: &'static str,
    },
    /// A record of the views does not encode or decode.
    #[error(
        "the views' {what} is unreadable; stop the hub and make them anew with `hutong-hub rebuild`"
    )]
    Record {
        /// What it should be.
        what: &'static str,
        /// Why not.
        #[source]
        source: CodecError,
    },
    /// A stored JSON record does not decode.
    #[error(
        "the views' {what} is unreadable; stop the hub and make them anew with `hutong-hub rebuild`"
    )]
    Json {
        /// What it should be.
        what: &'static str,
        /// Why not.
        #[source]
        source: serde_json::Error,
    },
    /// The log's batch that a feed entry refers to cannot be opened.
    #[error("the batch at {position} cannot be opened")]
    Payload {
        /// Where.
        position: Position,
        /// Why not.
        #[source]
        source: PayloadError,
    },
    /// The log's batch that a feed entry refers to is no column block.
    #[error("the batch at {position} is no column block")]
    Block {
        /// Where.
        position: Position,
        /// Why not.
        #[source]
        source: BlockError,
    },
    /// The feed's position is older than what is kept, or was never reached.
    #[error("feed {feed:?} has no entry {seq}")]
    NoSuchPosition {
        /// The feed.
        feed: FeedNo,
        /// The entry asked for.
        seq: u64,
    },
    /// No barrier made this resource known.
    #[error("resource {0:?} is not known to the views")]
    UnknownResource(ResourceNo),
    /// The target is not known to the views.
    #[error("{0} is not known to the views")]
    UnknownTarget(String),
    /// The library has no such index.
    #[error("there is no such index")]
    NoSuchIndex,
    /// The views were written for another number of data partitions.
    #[error("the views have {found} data partitions, the log has {expected}; rebuild the views")]
    Partitions {
        /// Partitions in the store.
        found: u16,
        /// Partitions of the log.
        expected: u16,
    },
    /// Not all of it is in memory, and only there was it to be looked for.
    #[error("it is not in memory")]
    NotInMemory,
    /// The views are shutting down.
    #[error("the views are closed")]
    Closed,
}

impl ViewError {
    /// Stable code of this error, named in the operations pages.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Engine { .. } | Self::NotInMemory => "HT-VIEW-ENGINE",
            Self::Io { .. } => "HT-VIEW-IO",
            Self::Log(_) => "HT-VIEW-LOG",
            Self::Corrupt { .. }
            | Self::Damaged { .. }
            | Self::Record { .. }
            | Self::Json { .. } => "HT-VIEW-DAMAGED",
            Self::Payload { .. } | Self::Block { .. } => "HT-VIEW-BATCH",
            Self::NoSuchPosition { .. } => "HT-VIEW-POSITION",
            Self::UnknownResource(_) | Self::UnknownTarget(_) => "HT-VIEW-TARGET",
            Self::NoSuchIndex => "HT-VIEW-INDEX",
            Self::Partitions { .. } => "HT-VIEW-PARTITIONS",
            Self::Closed => "HT-VIEW-CLOSED",
        }
    }

    pub(super) fn engine(action: &'static str) -> impl FnOnce(rocksdb::Error) -> Self {
        move |source| {
            let kind = source.kind();
            // Said of reads alone that may not reach for the disk.
            if kind == rocksdb::ErrorKind::Incomplete {
                return Self::NotInMemory;
            }
            let source = Box::new(source);
            if kind == rocksdb::ErrorKind::Corruption {
                Self::Corrupt { action, source }
            } else {
                Self::Engine { action, source }
            }
        }
    }

    pub(super) fn io(
        action: &'static str,
        path: &std::path::Path,
    ) -> impl FnOnce(std::io::Error) -> Self {
        let path = path.display().to_string();
        move |source| Self::Io { action, path, source }
    }

    pub(super) fn record(what: &'static str) -> impl FnOnce(CodecError) -> Self {
        move |source| Self::Record { what, source }
    }
}

/// Result of the views.
pub type Result<T, E = ViewError> = std::result::Result<T, E>;
