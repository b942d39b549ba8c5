//! The publish stream: one bidirectional stream per publishing resource while there is work.

use serde::{Deserialize, Serialize};

use crate::{
    batch::{BatchHeader, ChainHash},
    ids::ResourceCode,
    row::FieldId,
};

/// Opens a publish stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishOpen {
    /// The resource.
    pub resource: ResourceCode,
    /// Shard of the resource's key space, 0 unless the resource is split.
    pub shard: u16,
    /// Epoch of the sender's outbox; 0 asks for a new epoch, which fences all older ones.
    pub epoch: u32,
    /// Version of the schema that the rows will follow.
    pub schema_version: u32,
}

/// The hub takes the resource's batches on this stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishReady {
    /// Epoch in force.
    pub epoch: u32,
    /// Last sequence number stored in this epoch, 0 for none.
    pub last_seq: u64,
    /// Chain hash after it.
    pub chain: ChainHash,
    /// Last sequence number settled.
    pub settled_through: u64,
    /// Whether an earlier epoch left rows of this resource at the hub: the sender then starts with
    /// `ReplaceBegin … ReplaceEnd`.
    pub has_rows: bool,
    /// Payload bytes the sender may have under way.
    pub credit_bytes: u64,
}

/// One batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch<'a> {
    /// Its numbers.
    pub header: BatchHeader,
    /// Chain hash after this batch.
    pub chain: ChainHash,
    /// Compressed payload.
    #[serde(with = "serde_bytes", borrow)]
    pub payload: &'a [u8],
}

/// Acknowledgement, cumulative.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ack {
    /// All batches up to this one are durable and admitted.
    pub stored_through: u64,
    /// Chain hash there.
    pub chain: ChainHash,
    /// All batches up to this one are settled: the sender may forget them.
    pub settled_through: u64,
    /// Rejected rows of the batches since the acknowledgement before.
    pub rejected: Vec<RejectedRow>,
}

/// A row that is not stored, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Its batch.
    pub seq: u64,
    /// Its index in the batch.
    pub index: u32,
    /// The field at fault; 0 for the row as a whole.
    pub field: FieldId,
    /// Number of a [`RejectReason`](crate::rules::RejectReason).
    pub reason: u16,
}

/// The sender has nothing more for now; the hub answers with a last [`Ack`] and finishes the stream.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PublishClose {}

super::messages! {
    PublishOpen => PUBLISH_OPEN,
    PublishReady => PUBLISH_READY,
    Batch<'_> => BATCH,
    Ack => ACK,
    PublishClose => PUBLISH_CLOSE,
}
