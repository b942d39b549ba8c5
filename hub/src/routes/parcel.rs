//! What a delivery hands to its stream.

use std::collections::VecDeque;

use bytes::Bytes;
use hutong_schema::{
    batch::{self, Codec},
    block::BlockBuilder,
    limits::{BATCH_BYTES_MAX, BATCH_BYTES_TARGET, BATCH_ROWS_MAX, BATCH_ROWS_TARGET},
    row::{FieldId, RowRef},
    wire::v1::subscribe::{
        CheckpointMark, Cursor, Packed, Repair, SnapshotChunk, SnapshotEnd, TailBatch,
    },
};

use super::{RouteError, project};

/// Room for a block's header and bitmaps, bytes.
const SLACK: usize = 512 * 1024 + 4 * 1024;

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
    Repair(Repaired),
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

/// Rows sent again by a reconciliation.
#[derive(Clone, Debug)]
pub struct Repaired {
    pub(super) at: Cursor,
    pub(super) block: PackedBlock,
}

/// Puts rows into blocks, none larger than a receiver takes.
#[derive(Debug)]
pub(super) struct Packer {
    builder: BlockBuilder,
    /// Full blocks.
    pub(super) spilled: VecDeque<PackedBlock>,
}

impl Packer {
    pub(super) fn new(columns: &[FieldId]) -> Self {
        Self { builder: BlockBuilder::new(columns), spilled: VecDeque::new() }
    }

    /// Adds a row, or its removal; a full block is spilled before.
    pub(super) fn push(
        &mut self,
        key: &[u8],
        row: Option<RowRef<'_>>,
        columns: &[FieldId],
    ) -> Result<(), RouteError> {
        let size = key.len() + row.map_or(0, |row| row.as_bytes().len()) + 8 * (columns.len() + 1);
        let fits = self.builder.bytes() + size <= BATCH_BYTES_MAX - SLACK;
        if !self.builder.is_empty() && (!fits || self.builder.rows() >= BATCH_ROWS_MAX) {
            let block = self.pack()?;
            self.spilled.push_back(block);
        }
        match row {
            Some(row) => self.builder.upsert(key, project(row, columns)),
            None => self.builder.delete(key),
        }
        Ok(())
    }

    /// Whether a row goes into the open block without spilling it.
    pub(super) fn fits(&self, key: &[u8], row: RowRef<'_>) -> bool {
        let size = key.len() + 2 * row.as_bytes().len() + SLACK;
        self.builder.is_empty() || self.builder.bytes() + size <= BATCH_BYTES_MAX
    }

    /// Whether the open block has reached its target size.
    pub(super) fn is_full(&self) -> bool {
        self.builder.rows() >= BATCH_ROWS_TARGET || self.builder.bytes() >= BATCH_BYTES_TARGET
    }

    pub(super) fn is_empty(&self) -> bool {
        self.builder.is_empty()
    }

    /// Closes the open block; it may be empty.
    pub(super) fn pack(&mut self) -> Result<PackedBlock, RouteError> {
        let rows = self.builder.rows();
        let raw = self.builder.finish();
        let (codec, payload) = batch::compress(&raw, Codec::Lz4)?;
        // Both are far below 2^32: a block is bounded by its limits.
        Ok(PackedBlock {
            rows: rows as u32,
            raw_len: raw.len() as u32,
            codec,
            payload: payload.into(),
        })
    }
}

/// A compressed block; copies share its bytes.
#[derive(Clone, Debug)]
pub struct PackedBlock {
    rows: u32,
    raw_len: u32,
    codec: Codec,
    payload: Bytes,
}

impl PackedBlock {
    /// Bytes of it, compressed.
    pub(super) fn bytes(&self) -> usize {
        self.payload.len()
    }

    #[cfg(test)]
    pub(super) fn of_bytes(payload: Vec<u8>) -> Self {
        let raw_len = payload.len() as u32;
        Self { rows: 1, raw_len, codec: Codec::Plain, payload: payload.into() }
    }

    /// Changes in it.
    pub(super) fn rows(&self) -> u32 {
        self.rows
    }

    fn packed(&self) -> Packed<'_> {
        Packed { rows: self.rows, raw_len: self.raw_len, codec: self.codec, payload: &self.payload }
    }
}

impl Repaired {
    /// As a message.
    pub fn message(&self) -> Repair<'_> {
        Repair { at: self.at, block: self.block.packed() }
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
            Self::Repair(repaired) => &repaired.block,
            Self::End(_) | Self::Mark(_) | Self::Withdrawn(_) => return 0,
        };
        block.payload.len() as u64
    }
}
