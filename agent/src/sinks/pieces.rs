//! Hashes of the pieces of a delivered file: they tell whether it still holds what was written.
//!
//! They belong to the image of the file's rows, become durable with its length, and go with it.

use std::io::{self, Read};

use blake3::Hasher;

use super::SinkError;
use crate::spool::{Area, ImageId, Store, WriteBatch};

/// Bytes of a piece: small enough to be read again at every opening, and few enough to keep.
pub(super) const PIECE_BYTES: u64 = 1024 * 1024;

/// Hash of a piece; that of the last one covers what it holds so far.
pub(super) type PieceHash = [u8; 32];

/// The hashes of a file that grows at its end. Memory: one hash per full piece not yet stored.
#[derive(Clone, Debug, Default)]
pub(super) struct Pieces {
    full: Vec<(u64, PieceHash)>,
    /// Number of the piece that is being filled.
    number: u64,
    /// Bytes in it.
    held: u64,
    /// Two kilobytes, apart from the tasks that carry the file about.
    hasher: Box<Hasher>,
}

impl Pieces {
    /// Takes what is added to the file.
    pub(super) fn take(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = usize::try_from(PIECE_BYTES - self.held).unwrap_or(usize::MAX);
            let (fitting, rest) = bytes.split_at(room.min(bytes.len()));
            self.hasher.update(fitting);
            self.held += fitting.len() as u64;
            if self.held == PIECE_BYTES {
                self.full.push((self.number, *self.hasher.finalize().as_bytes()));
                self.hasher.reset();
                (self.number, self.held) = (self.number + 1, 0);
            }
            bytes = rest;
        }
    }

    /// Reads the last piece of a file of this length, to go on behind it. The reader must stand
    /// where that piece begins. Returns its hash too; `None` for an empty file.
    pub(super) fn resume(reader: impl Read, length: u64) -> io::Result<(Self, Option<PieceHash>)> {
        let start = last_piece(length) * PIECE_BYTES;
        let pieces = Self { number: last_piece(length), ..Self::default() };
        let mut hashing = Hashing { reader: reader.take(length - start), pieces };
        io::copy(&mut hashing, &mut io::sink())?;
        let mut pieces = hashing.pieces;
        let last = pieces.hashes().pop();
        pieces.full.clear();
        Ok((pieces, last))
    }

    /// The hashes not stored yet and that of the unfinished piece; of everything if it was read
    /// from the beginning.
    pub(super) fn hashes(&self) -> Vec<PieceHash> {
        self.numbered().map(|(_, hash)| hash).collect()
    }

    /// Puts what is not stored yet.
    pub(super) fn put(&mut self, image: ImageId, writes: &mut WriteBatch) {
        for (number, hash) in self.numbered() {
            writes.put(Area::Pieces, &key(image, number), hash.to_vec());
        }
        self.full.clear();
    }

    /// The store has all full pieces already.
    pub(super) fn stored(mut self) -> Self {
        self.full.clear();
        self
    }

    fn numbered(&self) -> impl Iterator<Item = (u64, PieceHash)> {
        let unfinished = || (self.number, *self.hasher.finalize().as_bytes());
        self.full.iter().copied().chain((self.held > 0).then(unfinished))
    }
}

/// Hashes what is read through it.
pub(super) struct Hashing<R> {
    reader: R,
    pieces: Pieces,
}

impl<R: Read> Hashing<R> {
    /// From a file's beginning.
    pub(super) fn new(reader: R) -> Self {
        Self { reader, pieces: Pieces::default() }
    }

    /// Reads what is left; the pieces of everything.
    pub(super) fn finish(
        mut self,
        mut go_on: impl FnMut() -> io::Result<()>,
    ) -> io::Result<Pieces> {
        let mut buffer = vec![0; 256 * 1024];
        while self.read(&mut buffer)? > 0 {
            go_on()?;
        }
        Ok(self.pieces)
    }
}

impl<R: Read> Read for Hashing<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.reader.read(buffer)?;
        self.pieces.take(&buffer[..read]);
        Ok(read)
    }
}

/// Number of the last piece of a file of this length.
pub(super) fn last_piece(length: u64) -> u64 {
    length.saturating_sub(1) / PIECE_BYTES
}

/// All stored hashes of a file, in order.
pub(super) fn all(store: &Store, image: ImageId) -> Result<Vec<PieceHash>, SinkError> {
    let records = store.records(Area::Pieces, &image.0.to_be_bytes())?;
    records.into_iter().map(|(_, hash)| read(hash)).collect()
}

/// The stored hash of the last piece of a file of this length. `None` for an empty file, and for
/// one that was written before pieces were kept.
pub(super) fn last(
    store: &Store,
    image: ImageId,
    length: u64,
) -> Result<Option<PieceHash>, SinkError> {
    let stored = store.get(Area::Pieces, &key(image, last_piece(length)))?;
    stored.filter(|_| length > 0).map(read).transpose()
}

/// The file's rows are forgotten, and its pieces with them.
pub(super) fn clear(writes: &mut WriteBatch, image: ImageId) {
    writes.clear_image(image);
    forget(writes, image);
}

/// Only the pieces are forgotten: others take their place.
pub(super) fn forget(writes: &mut WriteBatch, image: ImageId) {
    writes.remove_all(Area::Pieces, &image.0.to_be_bytes());
}

fn read(stored: Vec<u8>) -> Result<PieceHash, SinkError> {
    stored.try_into().map_err(|_| SinkError::Record)
}

fn key(image: ImageId, number: u64) -> Vec<u8> {
    [&image.0.to_be_bytes()[..], &number.to_be_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(length: usize) -> Vec<u8> {
        (0..length).map(|at| (at * 31 % 251) as u8).collect()
    }

    #[test]
    fn pieces_are_the_same_however_the_file_grew() {
        let piece = PIECE_BYTES as usize;
        for length in [0, 1, piece - 1, piece, piece + 1, 2 * piece, 2 * piece + 7] {
            let bytes = file(length);
            let whole: Vec<PieceHash> =
                bytes.chunks(piece).map(|chunk| *blake3::hash(chunk).as_bytes()).collect();
            for step in [300_000, piece, 3 * piece] {
                let mut grown = Pieces::default();
                bytes.chunks(step).for_each(|part| grown.take(part));
                assert_eq!(grown.hashes(), whole, "{length} bytes in steps of {step}");
            }
        }
    }

    #[test]
    fn a_file_goes_on_behind_its_last_piece() {
        let piece = PIECE_BYTES as usize;
        for length in [0, 5, piece, piece + 5, 2 * piece] {
            let bytes = file(length + 10);
            let start = last_piece(length as u64) as usize * piece;
            let (mut resumed, last) = Pieces::resume(&bytes[start..length], length as u64).unwrap();
            let mut whole = Pieces::default();
            whole.take(&bytes[..length]);
            assert_eq!(last, whole.hashes().pop(), "{length} bytes");
            resumed.take(&bytes[length..]);
            whole.take(&bytes[length..]);
            assert_eq!(resumed.numbered().last(), whole.numbered().last());
        }
    }
}
