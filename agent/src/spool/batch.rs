//! A set of writes that become durable together or not at all.

use hutong_schema::batch::{self, BatchKind, Codec};
use hutong_schema::block::Block;

use super::image::ImageDelta;
use super::keys::Area;
use super::stream::{Acknowledged, Replace, Unnumbered};
use super::{ImageId, StoreError, StreamId};

/// Writes that become durable together or not at all.
#[derive(Debug, Default)]
pub struct WriteBatch {
    pub(super) operations: Vec<Operation>,
}

/// What a committed [`WriteBatch`] brought about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Receipt {
    /// Sequence numbers of the appended batches, in the order in which they were added.
    pub appended: Vec<u64>,
}

#[derive(Debug)]
pub(super) enum Operation {
    Append { stream: StreamId, batch: NewBatch, expect: Option<u64> },
    Acknowledge { stream: StreamId, ack: Acknowledged, taken: Vec<Taken> },
    BeginEpoch { stream: StreamId, epoch: u32, has_rows: bool, keep: Option<NewBatch> },
    DropPending { stream: StreamId, replace: Replace },
    OnlyIn { stream: StreamId, generation: u64 },
    OnlyAt { stream: StreamId, next_seq: u64 },
    Count { stream: StreamId, read: u64, rejected: u64 },
    Put { area: Area, key: Vec<u8>, value: Vec<u8> },
    Remove { area: Area, key: Vec<u8> },
    RemoveAll { area: Area, prefix: Vec<u8> },
    Image { image: ImageId, delta: ImageDelta },
    ClearImage { image: ImageId },
    NewStreams { wanted: Vec<(hutong_schema::ids::NodeName, hutong_schema::ids::ResourceCode)> },
    NewImage { name: Vec<u8> },
}

/// What an accepted batch makes of the image.
#[derive(Debug)]
pub(super) enum Taken {
    /// The run that was prepared when it was appended.
    Prepared(u32),
    /// Not what was prepared, because rows of it were rejected.
    Changes { prepared: Option<u32>, delta: ImageDelta },
}

impl Taken {
    pub(super) fn bytes(&self) -> u64 {
        match self {
            Self::Prepared(_) => 0,
            Self::Changes { delta, .. } => delta.bytes(),
        }
    }
}

impl Operation {
    /// The stream whose state it changes.
    pub(super) fn stream(&self) -> Option<StreamId> {
        match self {
            Self::Append { stream, .. }
            | Self::Acknowledge { stream, .. }
            | Self::BeginEpoch { stream, .. }
            | Self::DropPending { stream, .. }
            | Self::OnlyIn { stream, .. }
            | Self::OnlyAt { stream, .. }
            | Self::Count { stream, .. } => Some(*stream),
            Self::Put { .. }
            | Self::Remove { .. }
            | Self::RemoveAll { .. }
            | Self::Image { .. }
            | Self::ClearImage { .. }
            | Self::NewStreams { .. }
            | Self::NewImage { .. } => None,
        }
    }
}

/// A batch as the source side makes it: compressed and hashed, not yet numbered.
#[derive(Clone, Debug)]
pub struct NewBatch {
    pub(super) facts: Unnumbered,
    pub(super) payload: Vec<u8>,
    pub(super) origins: Vec<u8>,
    /// What it makes of the image when all of it is accepted.
    pub(super) image: ImageDelta,
}

impl NewBatch {
    /// A batch of changes from a finished column block. `origins` are the rows' numbers in their
    /// source as `super::origins` writes them, or empty.
    ///
    /// # Errors
    /// When the block is over the limit of a batch.
    pub fn rows(
        schema_version: u32,
        block: &[u8],
        rows: usize,
        origins: Vec<u8>,
    ) -> Result<Self, StoreError> {
        let parsed = Block::parse(block).map_err(|_| StoreError::Record("a new column block"))?;
        let image = ImageDelta::of_block(&parsed, &[]);
        Ok(Self { image, ..Self::new(BatchKind::Rows, schema_version, block, rows, origins)? })
    }

    /// A begin or end marker of a replacement.
    ///
    /// # Errors
    /// Never for a marker; the signature is that of its siblings.
    pub fn marker(kind: BatchKind, schema_version: u32) -> Result<Self, StoreError> {
        Self::new(kind, schema_version, &[], 0, Vec::new())
    }

    /// A batch of any kind with this payload.
    ///
    /// # Errors
    /// When the payload is over the limit of a batch.
    pub fn new(
        kind: BatchKind,
        schema_version: u32,
        raw: &[u8],
        rows: usize,
        origins: Vec<u8>,
    ) -> Result<Self, StoreError> {
        let (codec, payload) = batch::compress(raw, Codec::Lz4)?;
        let facts = Unnumbered {
            kind,
            schema_version,
            rows: rows as u32,
            raw_len: raw.len() as u32,
            codec,
            payload_hash: *blake3::hash(&payload).as_bytes(),
            stored_len: (payload.len() + origins.len()) as u64,
        };
        Ok(Self { facts, payload, origins, image: ImageDelta::new() })
    }

    /// Bytes it takes in the outbox.
    pub fn stored_len(&self) -> u64 {
        self.facts.stored_len
    }
}

impl WriteBatch {
    /// No writes yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether there is nothing to write.
    pub fn is_empty(&self) -> bool {
        self.operations.is_empty()
    }

    /// Adds a record or replaces it.
    pub fn put(&mut self, area: Area, key: &[u8], value: Vec<u8>) -> &mut Self {
        self.push(Operation::Put { area, key: key.to_vec(), value })
    }

    /// Removes a record, if it is there.
    pub fn remove(&mut self, area: Area, key: &[u8]) -> &mut Self {
        self.push(Operation::Remove { area, key: key.to_vec() })
    }

    /// Removes all records of an area whose key begins with `prefix`.
    pub fn remove_all(&mut self, area: Area, prefix: &[u8]) -> &mut Self {
        self.push(Operation::RemoveAll { area, prefix: prefix.to_vec() })
    }

    /// Changes an image.
    pub fn image(&mut self, image: ImageId, delta: ImageDelta) -> &mut Self {
        self.push(Operation::Image { image, delta })
    }

    /// Empties an image.
    pub fn clear_image(&mut self, image: ImageId) -> &mut Self {
        self.push(Operation::ClearImage { image })
    }

    /// Adds to the figures of a stream: rows read from its source, and rows put into quarantine.
    pub fn count(&mut self, stream: StreamId, read: u64, rejected: u64) -> &mut Self {
        self.push(Operation::Count { stream, read, rejected })
    }

    /// Refuses the whole write unless the stream is still in this generation.
    pub fn only_in(&mut self, stream: StreamId, generation: u64) -> &mut Self {
        self.push(Operation::OnlyIn { stream, generation })
    }

    /// Appends a batch to a stream; its space in the outbox must have been reserved.
    pub(super) fn append(
        &mut self,
        stream: StreamId,
        batch: NewBatch,
        expect: Option<u64>,
    ) -> &mut Self {
        self.push(Operation::Append { stream, batch, expect })
    }

    pub(super) fn push(&mut self, operation: Operation) -> &mut Self {
        self.operations.push(operation);
        self
    }

    /// The space in the outbox that was reserved for it.
    pub(super) fn reserved(&self) -> impl Iterator<Item = (StreamId, u64)> {
        self.operations.iter().filter_map(|operation| {
            let Operation::Append { stream, batch, .. } = operation else { return None };
            Some((*stream, batch.stored_len()))
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        let size = |operation: &Operation| match operation {
            Operation::Append { batch, .. } => batch.stored_len() + batch.image.bytes(),
            Operation::Acknowledge { taken, .. } => taken.iter().map(Taken::bytes).sum(),
            Operation::Image { delta, .. } => delta.bytes(),
            Operation::Put { value, .. } => value.len() as u64,
            Operation::BeginEpoch { .. }
            | Operation::DropPending { .. }
            | Operation::OnlyIn { .. }
            | Operation::OnlyAt { .. }
            | Operation::Count { .. }
            | Operation::Remove { .. }
            | Operation::RemoveAll { .. }
            | Operation::ClearImage { .. }
            | Operation::NewStreams { .. }
            | Operation::NewImage { .. } => 0,
        };
        self.operations.iter().map(size).sum()
    }
}
