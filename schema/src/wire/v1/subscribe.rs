//! The subscribe stream: one bidirectional stream per running subscription.
//!
//! Delivery is a snapshot in resumable chunks in key order, then the tail. The receiver's durable
//! cursor is the authoritative one; what was sent beyond it is sent again.

use serde::{Deserialize, Serialize};

use crate::{
    batch::Codec,
    digest::Digest,
    grant::GrantId,
    wire::v1::{Json, control::Key},
};

/// A position in a feed. It fits only the log incarnation, the subscription generation and the feed
/// content it was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Cursor {
    /// Incarnation of the hub's log.
    pub incarnation: u64,
    /// Generation of the subscription.
    pub generation: u32,
    /// Last feed entry held.
    pub seq: u64,
    /// First 16 bytes of the feed's chain hash there.
    pub feed_hash: [u8; 16],
}

/// Opens a subscribe stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeOpen {
    /// The grant.
    pub grant: GrantId,
    /// Durable cursor, once a snapshot is complete.
    pub cursor: Option<Cursor>,
    /// What is held is consistent only once its cursor has passed this: rows of a snapshot or a repair were
    /// read so far ahead. `None` when it is consistent at its cursor.
    pub consistent_at: Option<Cursor>,
    /// Where an unfinished snapshot stands.
    pub resume: Option<SnapshotResume>,
    /// Payload bytes the receiver is ready for.
    pub credit_bytes: u64,
}

/// Where an unfinished snapshot stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotResume {
    /// Position of the snapshot's first chunk: the tail will start there.
    pub start: Cursor,
    /// Last key held durably.
    pub last_key: Key,
}

/// The hub serves the subscription.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SubscribeReady {
    /// What is delivered: a [`GrantView`](crate::grant::GrantView).
    pub view: Json,
    /// How delivery starts.
    pub mode: DeliveryMode,
}

/// How delivery starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DeliveryMode {
    /// From nothing: what the receiver holds of this subscription is replaced when the snapshot is
    /// complete.
    Snapshot {
        /// Position of the first chunk.
        start: Cursor,
        /// Why an older cursor was not taken, if there was one.
        because: Option<String>,
    },
    /// The unfinished snapshot goes on after the last key.
    Resume {
        /// Position of the snapshot's first chunk.
        start: Cursor,
    },
    /// After the cursor.
    Tail,
}

/// A part of the snapshot, in key order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotChunk<'a> {
    /// Feed position at which this chunk was read.
    pub at: Cursor,
    /// Last key of the chunk.
    #[serde(with = "serde_bytes", borrow)]
    pub last_key: &'a [u8],
    /// A column block.
    #[serde(borrow)]
    pub block: Packed<'a>,
}

/// A compressed column block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Packed<'a> {
    /// Changes in it.
    pub rows: u32,
    /// Size before compression, bytes.
    pub raw_len: u32,
    /// Compression.
    pub codec: Codec,
    /// Compressed bytes.
    #[serde(with = "serde_bytes", borrow)]
    pub payload: &'a [u8],
}

/// No more keys. The receiver is consistent once its cursor has passed `consistent_at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SnapshotEnd {
    /// Where the tail starts: the position of the first chunk.
    pub start: Cursor,
    /// Position of the last chunk.
    pub consistent_at: Cursor,
}

/// Changes after the snapshot. A batch without rows moves the cursor only.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TailBatch<'a> {
    /// Position after this batch.
    pub cursor: Cursor,
    /// Position before it.
    pub from_seq: u64,
    /// A column block.
    #[serde(borrow)]
    pub block: Packed<'a>,
}

/// A checkpoint in the feed: the receiver reports its own digest here.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointMark {
    /// Position of the checkpoint.
    pub cursor: Cursor,
}

/// The grant ended; nothing more will come. The receiver disposes of what it holds as the grant
/// says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Withdrawn {
    /// Why.
    pub reason: String,
}

/// Rows sent again because a reconciliation found a difference. Does not move the cursor: the receiver is
/// consistent once its cursor has passed `at`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Repair<'a> {
    /// Feed position at which the rows were read.
    pub at: Cursor,
    /// A column block.
    #[serde(borrow)]
    pub block: Packed<'a>,
}

/// Receiver to hub: more is welcome.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Credit {
    /// Further payload bytes the receiver is ready for.
    pub bytes: u64,
    /// Durable cursor; `None` until the snapshot is complete.
    pub cursor: Option<Cursor>,
}

/// Receiver to hub: digest of what it holds at a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointReport {
    /// Position of the checkpoint.
    pub cursor: Cursor,
    /// Digest there.
    pub digest: Digest,
}

super::messages! {
    SubscribeOpen => SUBSCRIBE_OPEN,
    SubscribeReady => SUBSCRIBE_READY,
    SnapshotChunk<'_> => SNAPSHOT_CHUNK,
    SnapshotEnd => SNAPSHOT_END,
    TailBatch<'_> => TAIL_BATCH,
    CheckpointMark => CHECKPOINT_MARK,
    Withdrawn => WITHDRAWN,
    Repair<'_> => REPAIR,
    Credit => CREDIT,
    CheckpointReport => CHECKPOINT_REPORT,
}
