//! What a delivery hands to its stream.

use hutong_schema::{
    batch::{self, Codec},
    block::BlockBuilder,
    wire::v1::subscribe::{
        CheckpointMark, Cursor, Packed, Repair, SnapshotChunk, SnapshotEnd, TailBatch,
    },
};

use super::RouteError;

/// One message of a delivery.
#[derive(Clone, Debug)]
pub enum Parcel {
    /// A part of the snapshot.
    Chunk(Chunk),
    /// The end of the snapshot.
    End(SnapshotEnd),
    /// Changes after it.
    Tail(Tail),
    /// A checkpoint.
    Mark(CheckpointMark),
    /// Rows sent again by a reconciliation.
    Repair(PackedBlock),
    /// The grant ended.
    Withdrawn(String),
}

/// A part of the snapshot.
#[derive(Clone, Debug)]
pub struct Chunk {
    pub(super) at: Cursor,
    pub(super) last_key: Vec<u8>,
    pub(super) block: PackedBlock,
}

/// Changes after the snapshot.
#[derive(Clone, Debug)]
pub struct Tail {
    pub(super) cursor: Cursor,
    pub(super) from_seq: u64,
    pub(super) block: PackedBlock,
}

/// A compressed block that owns its bytes.
#[derive(Clone, Debug)]
pub struct PackedBlock {
    rows: u32,
    raw_len: u32,
    codec: Codec,
    payload: Vec<u8>,
}

impl PackedBlock {
    /// Finishes and compresses what the builder holds.
    pub(super) fn pack(builder: &mut BlockBuilder) -> Result<Self, RouteError> {
        let rows = builder.rows();
        let raw = builder.finish();
        let (codec, payload) = batch::compress(&raw, Codec::Lz4)?;
        // Both are far below 2^32: a block is bounded by its limits.
        Ok(Self { rows: rows as u32, raw_len: raw.len() as u32, codec, payload })
    }

    fn packed(&self) -> Packed<'_> {
        Packed {
            rows: self.rows,
            raw_len: self.raw_len,
            codec: self.codec,
            payload: &self.payload,
        }
    }

    /// As a repair message.
    pub fn message(&self) -> Repair<'_> {
        Repair { block: self.packed() }
    }
}

impl Chunk {
    /// As a message.
    pub fn message(&self) -> SnapshotChunk<'_> {
        SnapshotChunk { at: self.at, last_key: &self.last_key, block: self.block.packed() }
    }
}

impl Tail {
    /// As a message.
    pub fn message(&self) -> TailBatch<'_> {
        TailBatch { cursor: self.cursor, from_seq: self.from_seq, block: self.block.packed() }
    }
}

impl Parcel {
    /// What the parcel costs of the receiver's credit.
    pub fn payload_bytes(&self) -> u64 {
        let block = match self {
            Self::Chunk(chunk) => &chunk.block,
            Self::Tail(tail) => &tail.block,
            Self::Repair(block) => block,
            Self::End(_) | Self::Mark(_) | Self::Withdrawn(_) => return 0,
        };
        block.payload.len() as u64
    }
}
