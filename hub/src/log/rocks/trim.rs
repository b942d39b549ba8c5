//! Dropping old entries.

use rocksdb::WriteBatch;

use super::payloads::first_file;
use super::read::chain_at;
use super::state::{put_floor, synced};
use super::{Shared, at, key};
use crate::log::{Floor, LogError, Offset, PartitionId};

impl Shared {
    /// Makes a partition begin at `before`, or behind its head if that is earlier.
    pub(super) fn trim(&self, partition: PartitionId, before: Offset) -> Result<Floor, LogError> {
        self.sound()?;
        let family = self.family(partition)?;
        let head = self.watches.get(partition.index()).map_or(Offset::NONE, |w| *w.borrow());
        let current = super::state::floor(&self.db, partition)?;
        let first = before.min(head.next());
        if first <= current.first {
            return Ok(current);
        }
        let last = first.previous();
        let chain = chain_at(&self.db, family, last)?.ok_or_else(|| LogError::Damaged {
            position: at(partition, last),
            reason: "it is missing".to_owned(),
        })?;
        let floor = Floor { first, chain };
        let mut batch = WriteBatch::default();
        put_floor(&mut batch, family, partition, floor)?;
        // Readers learn the floor first: so none takes a trimmed entry for a damaged one.
        if let Some(shown) = self.floors.lock().get_mut(partition.index()) {
            *shown = floor;
        }
        self.db.write_opt(batch, &synced()).map_err(|error| self.poison("trim", &error))?;
        self.free(family, last);
        self.free_payloads();
        Ok(floor)
    }

    /// Removes the payload files that lie before the floors of all partitions.
    fn free_payloads(&self) {
        let floors = self.floors.lock().clone();
        let first_files = (0..).map(PartitionId).zip(&floors).skip(usize::from(PartitionId::FIXED));
        let mut keep = u32::MAX;
        for (partition, floor) in first_files {
            match first_file(&self.db, partition, floor.first) {
                Ok(first) => keep = keep.min(first.unwrap_or(u32::MAX)),
                Err(error) => {
                    tracing::warn!(%error, "which payload files are old was not found out; trimming retries");
                    return;
                }
            }
        }
        self.payloads.remove_before(keep);
    }

    /// Gives the space of entries up to `last` back: whole files at once, the rest by compacting
    /// the (small) files of references to them.
    fn free(&self, family: &rocksdb::ColumnFamily, last: Offset) {
        if let Err(error) = self.db.delete_file_in_range_cf(family, key(Offset::NONE), key(last)) {
            tracing::warn!(%error, "old files of the log could not be dropped; trimming retries");
        }
        self.db.compact_range_cf(family, None::<&[u8]>, Some(key(last)));
    }
}
