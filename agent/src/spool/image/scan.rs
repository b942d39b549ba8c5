//! Reading an image in the order of its key hashes.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, binary_heap::PeekMut};
use std::ops::ControlFlow;

use hutong_schema::digest::{KeyHash, Leaf};
use redb::{AccessGuard, Range, ReadTransaction};

use super::super::keys::{CHUNK_KEY, CHUNKS, RUNS, chunk_key};
use super::super::{ImageId, StoreError};
use super::chunk::{self, Entry};
use super::runs::RunList;

/// A key that a peer is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImageEntry<'a> {
    /// Hash of the key; entries come in ascending order of it.
    pub hash: KeyHash,
    /// Hash of the row.
    pub leaf: Leaf,
    /// The key.
    pub key: &'a [u8],
}

/// Calls `visit` for every entry from a key hash on.
pub(in super::super) fn for_each(
    transaction: &ReadTransaction,
    image: ImageId,
    from: &KeyHash,
    mut visit: impl FnMut(ImageEntry<'_>) -> ControlFlow<()>,
) -> Result<(), StoreError> {
    let mut scan = Scan::open(transaction, image, from)?;
    while let Some(entry) = scan.next()? {
        let Some(leaf) = entry.leaf else { continue };
        if visit(ImageEntry { hash: entry.hash, leaf, key: entry.key }).is_break() {
            break;
        }
    }
    Ok(())
}

/// How many entries the runs of an image have together.
pub(in super::super) fn size_at_most(
    transaction: &ReadTransaction,
    image: ImageId,
) -> Result<u64, StoreError> {
    let runs = transaction.open_table(RUNS).map_err(failed)?;
    Ok(RunList::read(&runs, image)?.runs.iter().map(|run| run.entries).sum())
}

/// The runs of an image as one: ascending, of equal keys only the newest, removals included.
pub(in super::super) struct Scan {
    /// Oldest first.
    runs: Vec<RunCursor>,
    /// The runs by their current entry; of equal key hashes the newest run first.
    order: BinaryHeap<Reverse<(KeyHash, Reverse<usize>)>>,
    /// The entry that was given last: all runs move past it when the next one is asked for.
    given: Option<KeyHash>,
}

struct RunCursor {
    chunks: Range<'static, &'static [u8; CHUNK_KEY], &'static [u8]>,
    chunk: Option<AccessGuard<'static, &'static [u8]>>,
    /// Where the current entry begins in the chunk.
    at: usize,
    /// Where the next one begins.
    after: usize,
    hash: Option<KeyHash>,
}

impl Scan {
    /// All runs of the image.
    pub(super) fn open(
        transaction: &ReadTransaction,
        image: ImageId,
        from: &KeyHash,
    ) -> Result<Self, StoreError> {
        let runs = transaction.open_table(RUNS).map_err(failed)?;
        let list = RunList::read(&runs, image)?;
        Self::of_runs(transaction, image, list.runs.iter().map(|run| run.number), from)
    }

    /// Some runs of the image, given from the oldest on.
    pub(super) fn of_runs(
        transaction: &ReadTransaction,
        image: ImageId,
        numbers: impl Iterator<Item = u32>,
        from: &KeyHash,
    ) -> Result<Self, StoreError> {
        let table = transaction.open_table(CHUNKS).map_err(failed)?;
        let mut runs = Vec::new();
        for number in numbers {
            // The entry sought may stand in the middle of the chunk that begins before it.
            let until = chunk_key(image, number, from);
            let lowest = chunk_key(image, number, &[0; 16]);
            let before =
                table.range::<&[u8; CHUNK_KEY]>(&lowest..=&until).map_err(failed)?.next_back();
            let start = match before {
                Some(found) => *found.map_err(failed)?.0.value(),
                None => until,
            };
            let end = chunk_key(image, number, &[0xFF; 16]);
            let chunks = table.range::<&[u8; CHUNK_KEY]>(&start..=&end).map_err(failed)?;
            let mut cursor = RunCursor { chunks, chunk: None, at: 0, after: 0, hash: None };
            cursor.advance()?;
            while cursor.hash.is_some_and(|hash| hash < *from) {
                cursor.advance()?;
            }
            runs.push(cursor);
        }
        let current = |(index, run): (usize, &RunCursor)| Some((run.hash?, Reverse(index)));
        let order = runs.iter().enumerate().filter_map(current).map(Reverse).collect();
        Ok(Self { runs, order, given: None })
    }

    /// The next entry; of equal key hashes only that of the newest run.
    pub(super) fn next(&mut self) -> Result<Option<Entry<'_>>, StoreError> {
        // Older runs may hold the same key: their entries are superseded.
        while let Some(mut first) = self.order.peek_mut() {
            let Reverse((hash, Reverse(index))) = *first;
            if self.given != Some(hash) {
                break;
            }
            let run = &mut self.runs[index];
            run.advance()?;
            match run.hash {
                Some(hash) => *first = Reverse((hash, Reverse(index))),
                None => {
                    PeekMut::pop(first);
                }
            }
        }
        let Some(Reverse((hash, Reverse(index)))) = self.order.peek() else { return Ok(None) };
        self.given = Some(*hash);
        self.runs[*index].entry().map(Some)
    }
}

impl RunCursor {
    fn advance(&mut self) -> Result<(), StoreError> {
        loop {
            if let Some(guard) = &self.chunk {
                let entries = entries_of(guard.value());
                if let Some(rest) = entries.get(self.after..).filter(|rest| !rest.is_empty()) {
                    let (entry, behind) = Entry::read(rest).ok_or(DAMAGED)?;
                    self.at = self.after;
                    self.after = entries.len() - behind.len();
                    self.hash = Some(entry.hash);
                    return Ok(());
                }
            }
            let Some(next) = self.chunks.next() else {
                self.chunk = None;
                self.hash = None;
                return Ok(());
            };
            let (_, guard) = next.map_err(failed)?;
            chunk::open(guard.value())?;
            self.chunk = Some(guard);
            self.after = 0;
        }
    }

    fn entry(&self) -> Result<Entry<'_>, StoreError> {
        let guard = self.chunk.as_ref().ok_or(DAMAGED)?;
        let rest = entries_of(guard.value()).get(self.at..).ok_or(DAMAGED)?;
        Entry::read(rest).map(|(entry, _)| entry).ok_or(DAMAGED)
    }
}

/// The entries of a chunk whose check value was compared when it was fetched.
fn entries_of(chunk: &[u8]) -> &[u8] {
    &chunk[..chunk.len().saturating_sub(8)]
}

const DAMAGED: StoreError = StoreError::Record("an entry of an image");

fn failed(error: impl Into<redb::Error>) -> StoreError {
    StoreError::engine("read an image", error)
}
