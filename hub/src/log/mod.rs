//! The ordered, durable log: everything that happens in the exchange is an entry here, all else is
//! a view computed from it.
//!
//! The log is cut into partitions; within one, offsets are dense from 1 and entries are chained by
//! hash. [`Log`] is what the rest of the hub sees; [`rocks`] is the embedded engine. Every engine
//! passes the suite in `conformance`.

mod chain;
#[cfg(test)]
mod conformance;
mod entry;
mod envelope;
mod error;
pub mod event;
mod incarnation;
pub mod rocks;
mod verify;

use std::sync::Arc;

use serde::{Deserialize, Serialize};
use tokio::sync::{oneshot, watch};

pub use chain::{Hash, payload_hash};
pub use entry::{NewEntry, StoredEntry};
pub use envelope::{BatchHeader, BatchKind, EntryKind, Envelope, Redaction, RejectedRow};
pub use error::LogError;
pub use incarnation::{Cause, Incarnation, IncarnationRecord, MissingRange};
pub use rocks::{LogOptions, OpenReport, RocksLog};
pub use verify::{Broken, BrokenReason, VerifyProgress, VerifyReport, verify};

/// A partition of the log: 0 governance, 1 access records, from 2 on record batches.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// Governance events. Holds no row values.
    pub const META: Self = Self(0);
    /// Who asked what. Holds no row values.
    pub const ACCESS: Self = Self(1);
    /// Partitions that exist whatever the number of data partitions.
    pub const FIXED: u16 = 2;

    /// The `n`-th data partition, counted from 0.
    #[must_use]
    pub const fn data(n: u16) -> Self {
        Self(Self::FIXED + n)
    }

    /// Place in arrays that hold one element per partition.
    #[must_use]
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl std::fmt::Display for PartitionId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            0 => f.write_str("meta"),
            1 => f.write_str("access"),
            n => write!(f, "data-{}", n - Self::FIXED),
        }
    }
}

/// Place of an entry in its partition: dense, from 1; 0 means "before the first".
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Offset(pub u64);

impl Offset {
    /// Before the first entry; the head of an empty partition.
    pub const NONE: Self = Self(0);
    /// The first entry.
    pub const FIRST: Self = Self(1);

    /// The offset behind this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The offset before this one; 0 stays 0.
    #[must_use]
    pub const fn previous(self) -> Self {
        Self(self.0.saturating_sub(1))
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// Where an entry is: this is what the exchange means by "the event at …".
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Position {
    /// The partition.
    pub partition: PartitionId,
    /// The offset in it.
    pub offset: Offset,
}

impl std::fmt::Display for Position {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.partition, self.offset)
    }
}

/// The last durable entry of a partition and the chain hash it carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HighWater {
    /// The partition.
    pub partition: PartitionId,
    /// Its last durable offset; 0 when it never had an entry.
    pub offset: Offset,
    /// Chain hash at that offset; 32 zero bytes when it never had an entry.
    pub chain: Hash,
}

/// Where a partition begins after trimming.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Floor {
    /// The first offset that can be read (head + 1 when everything was trimmed).
    pub first: Offset,
    /// Chain hash of the entry before it; 32 zero bytes when nothing was trimmed.
    pub chain: Hash,
}

/// Entries that were queued and are not yet durable.
///
/// Dropping it does not take the entries back: they are written all the same.
#[derive(Debug)]
pub struct Submitted {
    outcome: oneshot::Receiver<Result<Vec<Position>, LogError>>,
}

impl Submitted {
    /// For engines: resolves when the sender answers; a sender that is dropped means that what became
    /// of the entries is unknown.
    #[must_use]
    pub fn new(outcome: oneshot::Receiver<Result<Vec<Position>, LogError>>) -> Self {
        Self { outcome }
    }

    /// Waits until the entries are durable and tells where they are, in the order given.
    ///
    /// # Errors
    /// [`LogError::Poisoned`] when the write failed: whether the entries are stored is unknown, and
    /// the process must end.
    pub async fn durable(self) -> Result<Vec<Position>, LogError> {
        match self.outcome.await {
            Ok(outcome) => outcome,
            // The writer ended without an answer: what became of the entries is unknown.
            Err(_) => Err(LogError::Poisoned { reason: Arc::from("the log's writer ended") }),
        }
    }
}

/// The log as the hub sees it.
///
/// Reading and trimming block on the disk: call them from a thread that may block.
pub trait Log: Send + Sync + 'static {
    /// Queues entries; resolves when they have their place in the order, before they are durable.
    /// One caller's submissions stand in the log in the order in which they resolved here.
    ///
    /// The queue is bounded in bytes and requests; when it is full, this waits. All entries of one
    /// call become durable together or not at all.
    fn submit(
        &self,
        entries: Vec<(PartitionId, NewEntry)>,
    ) -> impl Future<Output = Result<Submitted, LogError>> + Send;

    /// Appends entries; resolves only when they are durable. See [`Log::submit`].
    fn append(
        &self,
        entries: Vec<(PartitionId, NewEntry)>,
    ) -> impl Future<Output = Result<Vec<Position>, LogError>> + Send {
        async move { self.submit(entries).await?.durable().await }
    }

    /// Durable entries from `from` on, in order: at most `max_entries`, and no further ones once
    /// they hold `max_bytes` (at least one entry if there is one). Empty when `from` is behind the
    /// head.
    ///
    /// # Errors
    /// [`LogError::Trimmed`] when `from` lies before the floor; [`LogError::Damaged`] when the
    /// entry at `from` itself cannot be read (damage further on is reported when it is reached).
    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEntry>, LogError>;

    /// The entry at a position; `None` when it lies behind the head.
    ///
    /// # Errors
    /// As [`Log::read`].
    fn read_one(&self, position: Position) -> Result<Option<StoredEntry>, LogError> {
        Ok(self.read(position.partition, position.offset, 1, usize::MAX)?.pop())
    }

    /// Drops the entries before `before` (at most up to the head) and returns the new floor.
    ///
    /// # Errors
    /// When the engine fails.
    fn trim(&self, partition: PartitionId, before: Offset) -> Result<Floor, LogError>;

    /// Number of partitions; their ids are `0..partitions()`.
    fn partitions(&self) -> u16;

    /// Last durable offset; [`Offset::NONE`] when the partition is empty or unknown.
    fn head(&self, partition: PartitionId) -> Offset;

    /// Chain hash of the entry at the head; zeros when the partition is empty or unknown.
    fn chain_at_head(&self, partition: PartitionId) -> Hash;

    /// Where the partition begins.
    fn floor(&self, partition: PartitionId) -> Floor;

    /// Follows the head. For an unknown partition: a receiver that is closed already.
    fn watch(&self, partition: PartitionId) -> watch::Receiver<Offset>;

    /// Head and chain of every partition, at one moment.
    fn high_water(&self) -> Vec<HighWater>;

    /// The current incarnation: part of every cursor.
    fn incarnation(&self) -> Incarnation;

    /// All incarnations, oldest first, with what was lost when each began.
    fn incarnations(&self) -> Vec<IncarnationRecord>;

    /// Becomes `Some(reason)` when a write failed: the process must exit without any further
    /// acknowledgement. A failed sync is never retried, for a second one can falsely succeed.
    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>>;
}
