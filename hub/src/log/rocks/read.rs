//! Reading entries.

use rocksdb::{DBRawIterator, ReadOptions};

use super::payloads::Reference;
use super::{Shared, at, key};
use crate::log::chain::NOTHING;
use crate::log::entry::Parts;
use crate::log::{Hash, LogError, Offset, PartitionId, StoredEntry};

/// What a partition ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tail {
    /// Offset of the last entry, also when that was trimmed.
    pub(super) head: Offset,
    /// Its chain hash.
    pub(super) chain: Hash,
    /// Its log time; `i64::MIN` when it cannot be read any more.
    pub(super) log_time_ms: i64,
}

impl Shared {
    pub(super) fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEntry>, LogError> {
        self.not_trimmed(partition, from)?;
        let head = self.watches.get(partition.index()).map_or(Offset::NONE, |w| *w.borrow());
        let mut entries = Vec::new();
        if from > head || max_entries == 0 {
            return Ok(entries);
        }
        let mut iterator = self.db.raw_iterator_cf_opt(self.family(partition)?, once());
        iterator.seek(key(from));
        let mut next = from;
        let mut bytes = 0;
        while next <= head && entries.len() < max_entries && bytes < max_bytes {
            match self.entry_at(&iterator, partition, next) {
                Ok(entry) => {
                    bytes += entry.stored_bytes();
                    entries.push(entry);
                }
                // What is good is handed out; the next call meets the damage first.
                Err(_) if !entries.is_empty() => break,
                Err(reason) => {
                    // It may have been trimmed since we looked.
                    self.not_trimmed(partition, from)?;
                    return Err(LogError::Damaged { position: at(partition, next), reason });
                }
            }
            next = next.next();
            iterator.next();
        }
        Ok(entries)
    }

    fn entry_at(
        &self,
        iterator: &DBRawIterator<'_>,
        partition: PartitionId,
        offset: Offset,
    ) -> Result<StoredEntry, String> {
        let stored = stored_at(iterator, offset)?;
        StoredEntry::parse(at(partition, offset), stored, |place, hash| {
            self.payloads.read(Reference::from_bytes(place)?, hash)
        })
    }

    fn not_trimmed(&self, partition: PartitionId, from: Offset) -> Result<(), LogError> {
        match self.floors.lock().get(partition.index()) {
            Some(floor) if from < floor.first => {
                Err(LogError::Trimmed { partition, first: floor.first })
            }
            Some(_) => Ok(()),
            None => Err(LogError::NoSuchPartition(partition)),
        }
    }
}

/// The last entry of a partition that a database holds, or what was recorded when it was trimmed.
pub(super) fn tail(
    db: &rocksdb::DB,
    family: &rocksdb::ColumnFamily,
    partition: PartitionId,
) -> Result<Tail, LogError> {
    let floor = super::state::floor(db, partition)?;
    let mut iterator = db.raw_iterator_cf_opt(family, once());
    iterator.seek_to_last();
    let Some(last) = iterator.key().map(offset_of) else {
        iterator.status().map_err(LogError::engine("find a partition's last entry"))?;
        let tail = Tail { head: floor.first.previous(), chain: floor.chain, log_time_ms: i64::MIN };
        return Ok(tail);
    };
    let head = last.ok_or(LogError::NoRecord("offset in a partition's last key"))?;
    let read = || {
        let parts = Parts::of(stored_at(&iterator, head)?)?;
        Ok((parts.chain, parts.envelope()?.log_time_ms))
    };
    let (chain, log_time_ms) =
        read().map_err(|reason| LogError::Damaged { position: at(partition, head), reason })?;
    Ok(Tail { head, chain, log_time_ms })
}

/// Chain hash at an offset; `None` when there is no such entry.
pub(super) fn chain_at(
    db: &rocksdb::DB,
    family: &rocksdb::ColumnFamily,
    offset: Offset,
) -> Result<Option<Hash>, LogError> {
    if offset == Offset::NONE {
        return Ok(Some(NOTHING));
    }
    let stored =
        db.get_pinned_cf(family, key(offset)).map_err(LogError::engine("read an entry"))?;
    Ok(stored.and_then(|stored| stored.first_chunk().copied()))
}

/// What the store has at the place where the iterator stands, which must be that of `offset`.
fn stored_at<'a>(iterator: &'a DBRawIterator<'_>, offset: Offset) -> Result<&'a [u8], String> {
    let Some((found, stored)) = iterator.item() else {
        return Err(match iterator.status() {
            Ok(()) => "it is missing".to_owned(),
            Err(error) => error.to_string(),
        });
    };
    if found != key(offset) {
        return Err("it is missing".to_owned());
    }
    Ok(stored)
}

fn offset_of(key: &[u8]) -> Option<Offset> {
    Some(Offset(u64::from_be_bytes(key.try_into().ok()?)))
}

/// Entries are read in order and mostly once: they would only push envelopes out of the cache.
pub(super) fn once() -> ReadOptions {
    let mut options = ReadOptions::default();
    options.fill_cache(false);
    options
}
