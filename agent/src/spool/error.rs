//! What can go wrong with the store.

use std::path::PathBuf;

use super::StreamId;

/// The store failed or refused.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// Another process has the state folder.
    #[error("{path} is in use by another process; one state folder serves one agent")]
    InUse {
        /// The store's file.
        path: PathBuf,
    },
    /// The file's content is not what was written.
    #[error("the store {path} is damaged: {detail}")]
    Damaged {
        /// The store's file.
        path: PathBuf,
        /// What was found.
        detail: String,
    },
    /// The storage engine failed while the store was in use. Nothing is known of the write.
    #[error("the store failed while it {doing}")]
    Engine {
        /// What was being done.
        doing: &'static str,
        /// The engine's error.
        #[source]
        source: Box<redb::Error>,
    },
    /// A file operation around the store failed.
    #[error("cannot {doing} {path}")]
    File {
        /// What was being done.
        doing: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// A stored record cannot be read.
    #[error("damaged record in the store: {0}")]
    Record(&'static str),
    /// An earlier commit failed: after a failed fsync nothing is accepted, the process must end.
    #[error("an earlier write of the store failed; the agent must be restarted")]
    Closed,
    /// The write does not fit the state of its stream any more; nothing of it was done.
    #[error("stream {}: {conflict}", stream.0)]
    Conflict {
        /// The stream.
        stream: StreamId,
        /// Why.
        conflict: Conflict,
    },
    /// The payload could not be compressed or opened.
    #[error("a batch payload could not be handled")]
    Payload(#[from] hutong_schema::batch::PayloadError),
    /// Waiting for space in the outbox was cancelled.
    #[error("cancelled")]
    Cancelled,
}

/// Why a write does not fit the state of its stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Conflict {
    /// The stream does not exist.
    #[error("no such stream")]
    Unknown,
    /// No epoch is open, batches cannot be numbered.
    #[error("no epoch is open")]
    NoEpoch,
    /// Another write came in between.
    #[error("the stream moved on to {found} instead of {expected}")]
    Moved {
        /// Sequence number the caller saw.
        expected: u64,
        /// Sequence number found.
        found: u64,
    },
    /// The acknowledgement is of a batch that was never sent.
    #[error("batch {acknowledged} is acknowledged, but only {appended} exist")]
    NeverSent {
        /// Number in the acknowledgement.
        acknowledged: u64,
        /// Last number of the outbox.
        appended: u64,
    },
}

impl StoreError {
    pub(super) fn engine(doing: &'static str, error: impl Into<redb::Error>) -> Self {
        Self::Engine { doing, source: Box::new(error.into()) }
    }
}
