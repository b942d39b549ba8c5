//! Which keys a space may hold: while a space is filled for the first time, this spares a look into
//! the store for each key.

use std::hash::{BuildHasher, RandomState};

use rocksdb::ReadOptions;

use super::super::{
    error::{Result, ViewError},
    keys,
    store::Store,
};
use crate::{log::PartitionId, numbers::SpaceNo};

/// Bits of a filter: 4 MiB, at 15 bits per key enough for 2.2 million keys.
const BITS: usize = 1 << 25;
const WORDS_PER_LINE: usize = 8;
/// Bits set per key, all in one cache line.
const PROBES: u32 = 6;
/// Beyond this it says "maybe" too often to be of use.
const KEYS_MAX: u64 = 4_000_000;
/// Bytes read ahead when a space's keys are read.
const READ_AHEAD: usize = 2 * 1024 * 1024;

/// A Bloom filter of all keys that one space ever held since the filter was made.
pub(super) struct KeyFilter {
    words: Vec<u64>,
    hasher: RandomState,
    keys: u64,
}

impl KeyFilter {
    pub(super) fn new() -> Self {
        Self { words: vec![0; BITS / 64], hasher: RandomState::new(), keys: 0 }
    }

    /// With the keys that the space holds already.
    pub(super) fn of_space(store: &Store, partition: PartitionId, space: SpaceNo) -> Result<Self> {
        let mut filter = Self::new();
        let prefix = keys::rows_of_space(space);
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::after_prefix(&prefix));
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        let mut rows = store.db.raw_iterator_cf_opt(store.family(partition)?, options);
        rows.seek(&prefix);
        while let Some(stored) = rows.key() {
            let (row, _) = keys::parse_row(stored).ok_or(ViewError::Damaged { what: "row key" })?;
            filter.insert(row);
            rows.next();
        }
        rows.status().map_err(ViewError::engine("read"))?;
        Ok(filter)
    }

    /// Whether it holds so many keys that it no longer pays.
    pub(super) fn is_full(&self) -> bool {
        self.keys > KEYS_MAX
    }

    /// Adds a key and tells whether it may have been there before.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        let lines = self.words.len() / WORDS_PER_LINE;
        let line = (hash >> 40) as usize % lines * WORDS_PER_LINE;
        let mut known = true;
        let mut bits = hash;
        for _ in 0..PROBES {
            // Nine bits name one of the 512 bits of a line; the probes use bits below the line's.
            let (word, bit) = ((bits & 7) as usize, bits >> 3 & 63);
            let place = &mut self.words[line + word];
            known &= *place >> bit & 1 == 1;
            *place |= 1 << bit;
            bits = bits.rotate_right(9).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        }
        self.keys += u64::from(!known);
        known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_added_is_known_and_little_else_is() {
        let mut filter = KeyFilter::new();
        let key = |n: u32| format!("21122119900101{n:06}");
        let early = (0..200_000).filter(|n| filter.insert(key(*n).as_bytes())).count();
        assert!(early < 200, "{early} of 200,000 keys were taken for known ones");
        assert!((0..200_000).all(|n| filter.insert(key(n).as_bytes())));
    }
}
