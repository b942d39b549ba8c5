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

/// Bytes of a filter's first layer at least, and at most; each further one has [`GROWTH`] times as many.
const FIRST_LAYER: std::ops::RangeInclusive<usize> = 4 << 10..=4 << 20;
/// The first layer has room for so many times the keys that are known to come: whatever is filled in
/// bulk comes in several ranges.
const ROOM: usize = 4;
/// Few layers, because a new key is looked for in each of them.
const GROWTH: usize = 4;
/// At so many bits per key one key in some hundred is taken for a known one.
const BITS_PER_KEY: usize = 15;
const WORDS_PER_LINE: usize = 8;
/// Bits set per key, all in one cache line.
const PROBES: u32 = 6;
/// Bytes read ahead when a space's keys are read.
const READ_AHEAD: usize = 2 * 1024 * 1024;

/// A Bloom filter of all keys that one space ever held since the filter was made. It grows with them.
pub(super) struct KeyFilter {
    /// All but the last have as many keys as they may have.
    layers: Vec<Layer>,
    hasher: RandomState,
}

struct Layer {
    words: Vec<u64>,
    keys: usize,
}

impl KeyFilter {
    /// Without keys; its first layer takes so many bytes.
    pub(super) fn new(first_layer: usize) -> Self {
        Self { layers: vec![Layer::new(first_layer)], hasher: RandomState::new() }
    }

    /// Bytes of the first layer of a filter that so many keys are known to come to; all that a first
    /// layer may have where nobody knows.
    pub(super) fn first_layer(keys: Option<usize>) -> usize {
        let (least, most) = FIRST_LAYER.into_inner();
        let bytes = keys.map(|keys| keys.saturating_mul(ROOM * BITS_PER_KEY / 8));
        bytes.map_or(most, |bytes| bytes.min(most).next_power_of_two().max(least))
    }

    /// With the keys that the space holds already.
    pub(super) fn of_space(
        store: &Store,
        partition: PartitionId,
        space: SpaceNo,
        first_layer: usize,
    ) -> Result<Self> {
        let mut filter = Self::new(first_layer);
        let prefix = keys::rows_of_space(space);
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::after_prefix(&prefix));
        options.fill_cache(false);
        options.set_readahead_size(READ_AHEAD);
        let mut rows = store.db.raw_iterator_cf_opt(store.family(partition)?, options);
        rows.seek(&prefix);
        while let Some(stored) = rows.key() {
            let (row, _) = keys::parse_row(stored).ok_or(ViewError::Damaged { what: "row key" })?;
            filter.grow();
            filter.insert(row);
            rows.next();
        }
        rows.status().map_err(ViewError::engine("read"))?;
        Ok(filter)
    }

    /// Bytes in memory.
    pub(super) fn bytes(&self) -> usize {
        self.layers.iter().map(Layer::bytes).sum()
    }

    /// Bytes that it needs before it takes more keys; none while its last layer has room.
    pub(super) fn wants(&self) -> Option<usize> {
        self.layers.last().filter(|last| last.is_full()).map(|last| last.bytes() * GROWTH)
    }

    /// Takes the memory that it [`wants`](Self::wants), if any.
    pub(super) fn grow(&mut self) {
        if let Some(bytes) = self.wants() {
            self.layers.push(Layer::new(bytes));
        }
    }

    /// Adds a key and tells whether it may have been there before.
    pub(super) fn insert(&mut self, key: &[u8]) -> bool {
        let hash = self.hasher.hash_one(key);
        match &mut self.layers[..] {
            [] => true,
            [earlier @ .., last] => {
                earlier.iter().any(|layer| layer.contains(hash)) || last.insert(hash)
            }
        }
    }
}

impl Layer {
    fn new(bytes: usize) -> Self {
        Self { words: vec![0; bytes / size_of::<u64>()], keys: 0 }
    }

    fn bytes(&self) -> usize {
        size_of_val(&self.words[..])
    }

    fn is_full(&self) -> bool {
        self.keys * BITS_PER_KEY >= self.bytes() * 8
    }

    fn contains(&self, hash: u64) -> bool {
        let line = self.line(hash);
        probes(hash).all(|(word, bit)| self.words[line + word] & bit != 0)
    }

    /// Whether it was there before.
    fn insert(&mut self, hash: u64) -> bool {
        let line = self.line(hash);
        let mut known = true;
        for (word, bit) in probes(hash) {
            let place = &mut self.words[line + word];
            known &= *place & bit != 0;
            *place |= bit;
        }
        self.keys += usize::from(!known);
        known
    }

    /// Index of the first word of a hash's cache line.
    fn line(&self, hash: u64) -> usize {
        (hash >> 32) as usize % (self.words.len() / WORDS_PER_LINE) * WORDS_PER_LINE
    }
}

/// The bits of a hash: a word of its line, and a bit of that word.
fn probes(hash: u64) -> impl Iterator<Item = (usize, u64)> {
    // Nine bits name one of the 512 bits of a line.
    let next = |bits: &u64| Some(bits.rotate_right(9).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    std::iter::successors(Some(hash), next)
        .take(PROBES as usize)
        .map(|bits| ((bits & 7) as usize, 1 << (bits >> 3 & 63)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u32) -> String {
        format!("21122119900101{n:07}")
    }

    #[test]
    fn what_was_added_is_known_and_little_else_is() {
        let mut filter = KeyFilter::new(KeyFilter::first_layer(None));
        let early = (0..200_000).filter(|n| filter.insert(key(*n).as_bytes())).count();
        assert!(early < 200, "{early} of 200,000 keys were taken for known ones");
        assert!((0..200_000).all(|n| filter.insert(key(n).as_bytes())));
    }

    #[test]
    fn many_small_spaces_leave_room_for_a_large_one() {
        let small = KeyFilter::first_layer(Some(100));
        assert_eq!(small, 4 << 10);
        assert_eq!(KeyFilter::first_layer(Some(20_000)), 256 << 10);
        assert_eq!(KeyFilter::first_layer(Some(usize::MAX)), KeyFilter::first_layer(None));
        let mut filter = KeyFilter::new(small);
        let early = (0..400).filter(|n| filter.insert(key(*n).as_bytes())).count();
        assert!(early < 4, "{early} of 400 keys were taken for known ones");
        assert_eq!(filter.wants(), None);
    }

    #[test]
    fn it_grows_with_its_keys_and_forgets_none() {
        let mut filter = KeyFilter::new(1 << 10);
        let mut early = 0;
        for n in 0..100_000 {
            if let Some(more) = filter.wants() {
                let before = filter.bytes();
                filter.grow();
                assert_eq!((filter.bytes(), filter.wants()), (before + more, None));
            }
            early += u32::from(filter.insert(key(n).as_bytes()));
        }
        assert!(filter.layers.len() > 3, "{} layers", filter.layers.len());
        assert!(early < 1_000, "{early} of 100,000 keys were taken for known ones");
        assert!((0..100_000).all(|n| filter.insert(key(n).as_bytes())));
    }
}
