//! A chunk: consecutive entries of a run, with a check value at its end.
//!
//! Entry: `key hash [16] · length u16 LE, top bit set for a removal · leaf [32] (not for a removal) ·
//! key`. After the last entry: the first eight bytes of the BLAKE3 hash of all before.

use hutong_schema::digest::{KeyHash, Leaf};

use super::super::StoreError;

/// Size a chunk is closed at: with the tree's own bytes it fits 32 KiB of pages.
const CHUNK_BYTES: usize = 32 * 1024 - 1024;
const CHECK: usize = 8;
const REMOVED: u16 = 0x8000;

/// One entry of a run; `leaf` is `None` where the run removes the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry<'a> {
    pub(super) hash: KeyHash,
    pub(super) leaf: Option<Leaf>,
    pub(super) key: &'a [u8],
}

impl<'a> Entry<'a> {
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.hash);
        // Keys are at most 512 bytes: the top bit is free.
        let flag = if self.leaf.is_none() { REMOVED } else { 0 };
        out.extend_from_slice(&(self.key.len() as u16 | flag).to_le_bytes());
        if let Some(leaf) = &self.leaf {
            out.extend_from_slice(leaf);
        }
        out.extend_from_slice(self.key);
    }

    /// The first entry, and the bytes behind it.
    pub(super) fn read(bytes: &'a [u8]) -> Option<(Self, &'a [u8])> {
        let (hash, rest) = bytes.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let length = u16::from_le_bytes(*length);
        let (leaf, rest) = match length & REMOVED {
            0 => rest.split_first_chunk::<32>().map(|(leaf, rest)| (Some(*leaf), rest))?,
            _ => (None, rest),
        };
        let (key, rest) = rest.split_at_checked(usize::from(length & !REMOVED))?;
        Some((Self { hash: *hash, leaf, key }, rest))
    }
}

/// Collects entries in order and hands out finished chunks.
#[derive(Debug, Default)]
pub(super) struct ChunkWriter {
    bytes: Vec<u8>,
    first: KeyHash,
    pub(super) entries: u64,
}

impl ChunkWriter {
    /// Adds an entry; a chunk that became full comes back with its first key hash.
    pub(super) fn push(&mut self, entry: &Entry<'_>) -> Option<(KeyHash, Vec<u8>)> {
        let full = if self.bytes.len() >= CHUNK_BYTES { self.finish() } else { None };
        if self.bytes.is_empty() {
            self.first = entry.hash;
        }
        entry.write(&mut self.bytes);
        self.entries += 1;
        full
    }

    /// What is left, if anything.
    pub(super) fn finish(&mut self) -> Option<(KeyHash, Vec<u8>)> {
        if self.bytes.is_empty() {
            return None;
        }
        let check = check_of(&self.bytes);
        self.bytes.extend_from_slice(&check);
        let capacity = self.bytes.len();
        Some((self.first, std::mem::replace(&mut self.bytes, Vec::with_capacity(capacity))))
    }
}

/// The entries' bytes of a stored chunk.
pub(super) fn open(chunk: &[u8]) -> Result<&[u8], StoreError> {
    let damaged = StoreError::Record("a chunk of an image");
    let Some((entries, check)) = chunk.split_last_chunk::<CHECK>() else { return Err(damaged) };
    if check_of(entries) == *check { Ok(entries) } else { Err(damaged) }
}

fn check_of(bytes: &[u8]) -> [u8; CHECK] {
    let mut check = [0; CHECK];
    check.copy_from_slice(&blake3::hash(bytes).as_bytes()[..CHECK]);
    check
}
