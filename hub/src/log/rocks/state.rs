//! The log's own records, in the default column family: what it is, its incarnations, and where
//! trimmed partitions begin.

use rocksdb::{DB, WriteBatch, WriteOptions};
use serde::{Deserialize, Serialize};

use hutong_schema::wire::codec;

use super::key;
use crate::log::chain::NOTHING;
use crate::log::{
    Cause, Floor, Hash, Incarnation, IncarnationRecord, LogError, MissingRange, Offset, PartitionId,
};

/// Format of the directory. Another number is another layout and is refused.
const FORMAT: u16 = 2;

/// The format before payload files: its entries hold all payloads themselves, and are read as they are.
const FORMAT_WITHOUT_FILES: u16 = 1;

const STATE_KEY: &[u8] = b"state";

/// What the log is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct State {
    format: u16,
    data_partitions: u16,
    /// Oldest first; never empty.
    pub(super) incarnations: Vec<IncarnationRecord>,
}

/// Where a partition begins, as recorded when it was trimmed.
#[derive(Serialize, Deserialize)]
struct Trimmed {
    first: Offset,
    chain: Hash,
}

impl State {
    pub(super) fn new(data_partitions: u16, now_ms: i64) -> Self {
        let partitions = usize::from(data_partitions) + usize::from(PartitionId::FIXED);
        let first = IncarnationRecord {
            incarnation: Incarnation::after(None, now_ms),
            started_ms: now_ms,
            cause: Cause::Created,
            starts: vec![Offset::FIRST; partitions],
            missing: Vec::new(),
        };
        Self { format: FORMAT, data_partitions, incarnations: vec![first] }
    }

    pub(super) fn load(db: &DB) -> Result<Self, LogError> {
        let bytes = db
            .get_pinned(STATE_KEY)
            .map_err(LogError::engine("read its state"))?
            .ok_or(LogError::NoRecord("state"))?;
        let state: Self =
            codec::decode(&bytes).map_err(|error| LogError::Record("state", error))?;
        if !(FORMAT_WITHOUT_FILES..=FORMAT).contains(&state.format) {
            return Err(LogError::Format { found: state.format, known: FORMAT });
        }
        Ok(state)
    }

    pub(super) fn store(&self, db: &DB) -> Result<(), LogError> {
        let bytes = codec::encode(self).map_err(|error| LogError::Record("state", error))?;
        let mut batch = WriteBatch::default();
        batch.put(STATE_KEY, bytes);
        db.write_opt(batch, &synced()).map_err(LogError::engine("write its state"))
    }

    /// What is written from here on, a hub of an earlier format could not read.
    pub(super) fn raise_format(&mut self, db: &DB) -> Result<(), LogError> {
        if self.format == FORMAT {
            return Ok(());
        }
        self.format = FORMAT;
        self.store(db)
    }

    /// Writes it with another format number.
    #[cfg(test)]
    pub(super) fn store_as(mut self, db: &DB, format: u16) {
        self.format = format;
        self.store(db).expect("stores");
    }

    pub(super) fn partitions(&self) -> u16 {
        self.data_partitions + PartitionId::FIXED
    }

    pub(super) fn data_partitions(&self) -> u16 {
        self.data_partitions
    }

    pub(super) fn incarnation(&self) -> Incarnation {
        self.incarnations.last().map_or(Incarnation(0), |record| record.incarnation)
    }

    /// Begins a new incarnation behind the present heads; `beyond` is another incarnation number
    /// that is known to have existed.
    pub(super) fn begin(
        &mut self,
        now_ms: i64,
        beyond: Option<Incarnation>,
        cause: Cause,
        heads: impl Iterator<Item = Offset>,
        missing: Vec<MissingRange>,
    ) {
        let previous = Some(self.incarnation()).max(beyond);
        self.incarnations.push(IncarnationRecord {
            incarnation: Incarnation::after(previous, now_ms),
            started_ms: now_ms,
            cause,
            starts: heads.map(Offset::next).collect(),
            missing,
        });
    }
}

/// Where a partition begins.
pub(super) fn floor(db: &DB, partition: PartitionId) -> Result<Floor, LogError> {
    let stored = db.get_pinned(floor_key(partition));
    let Some(bytes) = stored.map_err(LogError::engine("read where a partition begins"))? else {
        return Ok(Floor { first: Offset::FIRST, chain: NOTHING });
    };
    let trimmed: Trimmed =
        codec::decode(&bytes).map_err(|error| LogError::Record("trimming record", error))?;
    Ok(Floor { first: trimmed.first, chain: trimmed.chain })
}

/// Adds to `batch`: the partition begins at `floor`, and its entries before that are gone.
pub(super) fn put_floor(
    batch: &mut WriteBatch,
    family: &rocksdb::ColumnFamily,
    partition: PartitionId,
    floor: Floor,
) -> Result<(), LogError> {
    let trimmed = Trimmed { first: floor.first, chain: floor.chain };
    let bytes =
        codec::encode(&trimmed).map_err(|error| LogError::Record("trimming record", error))?;
    batch.put(floor_key(partition), bytes);
    batch.delete_range_cf(family, key(Offset::NONE), key(floor.first));
    Ok(())
}

/// Every write of the log is synced before it counts.
pub(super) fn synced() -> WriteOptions {
    let mut options = WriteOptions::default();
    options.set_sync(true);
    options
}

fn floor_key(partition: PartitionId) -> [u8; 7] {
    let [high, low] = partition.0.to_be_bytes();
    [b'f', b'l', b'o', b'o', b'r', high, low]
}
