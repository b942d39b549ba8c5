//! The keys of a snapshot while it is read: which were seen and where, which the image has.
//!
//! Memory is what counts here: 2.2 million keys are compared on a machine that gives the agent less
//! than 100 MB. A key is held as 72 bits of its hash; that two keys of one file share them has, at
//! that number, a chance of 1 in 2,000 million, and would put a row into quarantine as a duplicate.

use hutong_schema::digest::{KeyHash, Leaf};

/// Keys by hash, packed: `row [3] · hash [8] · leaf [6, only with an image]`, open addressing within
/// 256 parts that grow by a quarter, one at a time: little memory lies idle, and a part is large
/// enough for allocators to give it back to the system.
pub(super) struct KeyTable {
    parts: Vec<Part>,
    stride: usize,
    loaded: u64,
    unseen: u64,
}

#[derive(Clone, Default)]
struct Part {
    slots: Vec<u8>,
    used: usize,
}

/// What is known of a key that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sight {
    /// Not in the image, not read before.
    New,
    /// In the image with a leaf that begins so.
    Known(LeafStart),
    /// Read before in this row; `None` for a row whose number is too large to be remembered.
    Duplicate(Option<u64>),
}

/// The first bytes of a leaf: two versions of a row share them once in 2^48.
pub(super) type LeafStart = [u8; 6];

pub(super) fn leaf_start(leaf: &Leaf) -> LeafStart {
    let mut start = LeafStart::default();
    start.copy_from_slice(&leaf[..6]);
    start
}

/// Bytes of a slot: row and hash, and the leaf behind them.
const BARE: usize = 3 + 8;
/// A part is chosen by the first byte of the hash.
const PARTS: usize = 256;
const WITH_LEAF: usize = BARE + 6;

const EMPTY: u32 = 0;
/// In the image, not read yet.
const UNSEEN: u32 = 0x00FF_FFFF;
/// In the image; read, but the row was refused: it keeps its accepted version.
const PROTECTED: u32 = UNSEEN - 1;
/// Stands for all rows from this number on.
const LAST_ROW: u32 = UNSEEN - 2;

impl KeyTable {
    /// A table for a source without image: leaves are not held.
    pub(super) fn without_image() -> Self {
        Self::new(BARE)
    }

    /// A table for an image of about this many keys.
    pub(super) fn for_image(keys: u64) -> Self {
        let mut table = Self::new(WITH_LEAF);
        let each = usize::try_from(keys).unwrap_or(0) / PARTS;
        // Seven of eight slots are filled at most; parts differ by a few hundredths.
        let slots = each + each / 5;
        for part in &mut table.parts {
            part.slots = vec![0; slots * WITH_LEAF];
        }
        table
    }

    fn new(stride: usize) -> Self {
        Self { parts: vec![Part::default(); PARTS], stride, loaded: 0, unseen: 0 }
    }

    /// Adds a key of the image.
    pub(super) fn load(&mut self, hash: &KeyHash, leaf: &Leaf) {
        let mut slot = self.slot(hash);
        if slot.row() == EMPTY {
            slot.fill(UNSEEN, hash);
            slot.set_leaf(leaf_start(leaf));
            self.count(hash);
            self.loaded += 1;
            self.unseen += 1;
        }
    }

    /// A valid row of this key was read.
    pub(super) fn see(&mut self, hash: &KeyHash, row: u64) -> Sight {
        let number = u32::try_from(row).unwrap_or(LAST_ROW).min(LAST_ROW);
        let mut slot = self.slot(hash);
        match slot.row() {
            EMPTY => {
                slot.fill(number, hash);
                self.count(hash);
                Sight::New
            }
            UNSEEN => {
                slot.set_row(number);
                let leaf = slot.leaf();
                self.unseen -= 1;
                Sight::Known(leaf)
            }
            PROTECTED => {
                slot.set_row(number);
                Sight::Known(slot.leaf())
            }
            LAST_ROW => Sight::Duplicate(None),
            first => Sight::Duplicate(Some(first.into())),
        }
    }

    /// A refused row of this key was read: it is no delete. Whether the key is in the table.
    pub(super) fn protect(&mut self, hash: &KeyHash) -> bool {
        let mut slot = self.slot(hash);
        match slot.row() {
            EMPTY => false,
            UNSEEN => {
                slot.set_row(PROTECTED);
                self.unseen -= 1;
                true
            }
            _ => true,
        }
    }

    /// Whether the image has the key and the source does not.
    pub(super) fn is_unseen(&mut self, hash: &KeyHash) -> bool {
        self.slot(hash).row() == UNSEEN
    }

    /// Keys of the image.
    pub(super) fn loaded(&self) -> u64 {
        self.loaded
    }

    /// Keys of the image that were not read.
    pub(super) fn unseen(&self) -> u64 {
        self.unseen
    }

    /// The key's slot, or the empty one where it belongs.
    fn slot(&mut self, hash: &KeyHash) -> Slot<'_> {
        let stride = self.stride;
        let part = &mut self.parts[usize::from(hash[0])];
        if part.used * 8 >= part.slots.len() / stride * 7 {
            part.grow(stride);
        }
        let at = part.find(stride, rest_of(hash));
        Slot(&mut part.slots[at..at + stride])
    }

    fn count(&mut self, hash: &KeyHash) {
        self.parts[usize::from(hash[0])].used += 1;
    }
}

impl Part {
    /// Where the key is, or belongs. There is always an empty slot.
    fn find(&self, stride: usize, rest: u64) -> usize {
        let slots = self.slots.len() / stride;
        let mut index = ((u128::from(rest) * slots as u128) >> 64) as usize;
        loop {
            let slot = &self.slots[index * stride..(index + 1) * stride];
            if number(slot) == EMPTY || rest_in(slot) == rest {
                return index * stride;
            }
            index = if index + 1 == slots { 0 } else { index + 1 };
        }
    }

    fn grow(&mut self, stride: usize) {
        let slots = self.slots.len() / stride;
        let old = std::mem::replace(&mut self.slots, vec![0; (slots + slots / 4 + 4) * stride]);
        for slot in old.chunks_exact(stride).filter(|slot| number(slot) != EMPTY) {
            let at = self.find(stride, rest_in(slot));
            self.slots[at..at + stride].copy_from_slice(slot);
        }
    }
}

struct Slot<'a>(&'a mut [u8]);

impl Slot<'_> {
    fn row(&self) -> u32 {
        number(self.0)
    }

    fn set_row(&mut self, row: u32) {
        self.0[..3].copy_from_slice(&row.to_le_bytes()[..3]);
    }

    fn fill(&mut self, row: u32, hash: &KeyHash) {
        self.set_row(row);
        self.0[3..BARE].copy_from_slice(&rest_of(hash).to_be_bytes());
    }

    /// Zero in a table without image.
    fn leaf(&self) -> LeafStart {
        let mut leaf = LeafStart::default();
        if let Some(stored) = self.0.get(BARE..WITH_LEAF) {
            leaf.copy_from_slice(stored);
        }
        leaf
    }

    fn set_leaf(&mut self, leaf: LeafStart) {
        if let Some(stored) = self.0.get_mut(BARE..WITH_LEAF) {
            stored.copy_from_slice(&leaf);
        }
    }
}

/// Eight bytes of the hash behind the one that chooses the part.
fn rest_of(hash: &KeyHash) -> u64 {
    let mut rest = [0; 8];
    rest.copy_from_slice(&hash[1..9]);
    u64::from_be_bytes(rest)
}

fn number(slot: &[u8]) -> u32 {
    u32::from_le_bytes([slot[0], slot[1], slot[2], 0])
}

fn rest_in(slot: &[u8]) -> u64 {
    let mut rest = [0; 8];
    rest.copy_from_slice(&slot[3..BARE]);
    u64::from_be_bytes(rest)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use hutong_schema::digest::key_hash;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn it_behaves_like_a_map(image in prop::collection::hash_map(0u16..3_000, any::<u8>(), 0..300),
                                 reads in prop::collection::vec((0u16..3_000, any::<bool>()), 0..600)) {
            let hash = |key: u16| key_hash(&key.to_be_bytes());
            let mut table = KeyTable::for_image(image.len() as u64);
            for (key, leaf) in &image {
                table.load(&hash(*key), &[*leaf; 32]);
            }
            let mut seen: HashMap<u16, u64> = HashMap::new();
            let mut protected = std::collections::HashSet::new();
            for (row, (key, valid)) in (1u64..).zip(reads) {
                if !valid {
                    prop_assert_eq!(table.protect(&hash(key)), image.contains_key(&key) || seen.contains_key(&key));
                    protected.insert(key);
                    continue;
                }
                let expected = match (seen.get(&key), image.get(&key)) {
                    (Some(first), _) => Sight::Duplicate(Some(*first)),
                    (None, Some(leaf)) => Sight::Known([*leaf; 6]),
                    (None, None) => Sight::New,
                };
                prop_assert_eq!(table.see(&hash(key), row), expected);
                seen.entry(key).or_insert(row);
            }
            let unseen = image.keys().filter(|key| !seen.contains_key(key) && !protected.contains(key));
            let unseen: Vec<u16> = unseen.copied().collect();
            prop_assert_eq!(table.unseen(), unseen.len() as u64);
            for key in image.keys() {
                prop_assert_eq!(table.is_unseen(&hash(*key)), unseen.contains(key));
            }
        }
    }

    #[test]
    fn two_million_keys_take_little_more_than_thirty_megabytes() {
        let mut table = KeyTable::without_image();
        for key in 0..220_000u32 {
            assert_eq!(table.see(&key_hash(&key.to_be_bytes()), u64::from(key) + 1), Sight::New);
        }
        let bytes: usize = table.parts.iter().map(|part| part.slots.capacity()).sum();
        assert!(bytes < 3_200_000, "{bytes} bytes for a tenth of it");
    }
}
