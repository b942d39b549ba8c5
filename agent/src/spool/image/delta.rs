//! Changes of an image, collected in any order.

use hutong_schema::block::Block;
use hutong_schema::digest::{KeyHash, Leaf, key_hash, leaf_of};

use super::chunk::Entry;

/// Changes of an image, collected in any order; of several for one key the last counts.
#[derive(Clone, Debug, Default)]
pub struct ImageDelta {
    bytes: Vec<u8>,
    index: Vec<(KeyHash, u32)>,
}

impl ImageDelta {
    /// No changes.
    pub fn new() -> Self {
        Self::default()
    }

    /// What the changes of a block make of the image; those at the indexes `without`, ascending, do
    /// not count.
    pub fn of_block(block: &Block<'_>, without: &[usize]) -> Self {
        let (mut delta, mut scratch) = (Self::new(), Vec::new());
        delta.index.reserve(block.rows());
        for index in (0..block.rows()).filter(|index| without.binary_search(index).is_err()) {
            let key = block.key(index);
            if block.is_delete(index) {
                delta.delete(key);
                continue;
            }
            let fields = (0..block.columns()).filter_map(|column| {
                block.value(column, index).map(|value| (block.field(column), value))
            });
            delta.upsert(key, leaf_of(key, fields, &mut scratch));
        }
        delta
    }

    /// The key is there with this leaf.
    pub fn upsert(&mut self, key: &[u8], leaf: Leaf) {
        self.push(key, Some(leaf));
    }

    /// The key is gone.
    pub fn delete(&mut self, key: &[u8]) {
        self.push(key, None);
    }

    /// Bytes that it takes when it is written.
    pub fn bytes(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// Number of changes collected.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.index.is_empty()
    }

    fn push(&mut self, key: &[u8], leaf: Option<Leaf>) {
        let hash = key_hash(key);
        self.index.push((hash, self.bytes.len() as u32));
        Entry { hash, leaf, key }.write(&mut self.bytes);
    }

    /// The changes in the order of their key hash, one per key.
    pub(super) fn sorted(&mut self) -> impl Iterator<Item = Entry<'_>> {
        // Positions rise with time: the last of equal hashes is the newest.
        self.index.sort_unstable();
        let (bytes, index) = (&self.bytes, &self.index);
        index.iter().enumerate().filter_map(move |(at, (hash, position))| {
            let superseded = index.get(at + 1).is_some_and(|(next, _)| next == hash);
            if superseded {
                None
            } else {
                Entry::read(&bytes[*position as usize..]).map(|(entry, _)| entry)
            }
        })
    }
}
