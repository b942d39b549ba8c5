//! A file read in pieces.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

use super::{Identity, SourceError};
use crate::config::TextEncoding;

/// Longest row taken, bytes. A longer one is mostly a quote that is never closed.
pub const RECORD_BYTES_MAX: usize = 8 * 1024 * 1024;
const PIECE: usize = 128 * 1024;
const PIECE_LEAST: usize = 4 * 1024;

/// A file, the piece of it in memory, and how much was consumed.
pub(super) struct Input {
    file: File,
    piece: Vec<u8>,
    start: usize,
    end: usize,
    /// Offset in the file of `piece[start]`.
    offset: u64,
}

impl Input {
    pub(super) fn open(path: &Path) -> Result<Self, SourceError> {
        let failed = |source| SourceError::of_open(path, source);
        let file = File::open(path).map_err(failed)?;
        // Most files are small, and fresh memory is not for nothing. One byte more, to see the end.
        let length = file.metadata().map_err(failed)?.len();
        let piece = usize::try_from(length + 1).unwrap_or(PIECE).clamp(PIECE_LEAST, PIECE);
        Ok(Self { file, piece: vec![0; piece], start: 0, end: 0, offset: 0 })
    }

    /// Length of the byte order mark and the encoding it tells; no encoding for UTF-16.
    pub(super) fn byte_order_mark(
        &mut self,
        configured: TextEncoding,
    ) -> io::Result<(usize, Option<TextEncoding>)> {
        while self.end < 4 && self.more()? {}
        Ok(match self.available() {
            [0xEF, 0xBB, 0xBF, ..] => (3, Some(TextEncoding::Utf8)),
            [0x84, 0x31, 0x95, 0x33, ..] => (4, Some(TextEncoding::Gb18030)),
            [0xFF, 0xFE, ..] | [0xFE, 0xFF, ..] => (2, None),
            _ => (0, Some(configured)),
        })
    }

    /// Bytes read and not consumed.
    pub(super) fn available(&self) -> &[u8] {
        &self.piece[self.start..self.end]
    }

    /// Consumes bytes of [`Input::available`].
    pub(super) fn skip(&mut self, bytes: usize) {
        self.start += bytes;
        self.offset += bytes as u64;
        debug_assert!(self.start <= self.end);
    }

    /// Offset in the file of the first byte not consumed.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    pub(super) fn seek(&mut self, offset: u64) -> io::Result<()> {
        self.file.seek(SeekFrom::Start(offset))?;
        (self.start, self.end, self.offset) = (0, 0, offset);
        Ok(())
    }

    /// Reads on behind what is available; `false` at the end of the file.
    pub(super) fn more(&mut self) -> io::Result<bool> {
        if self.start == self.end {
            (self.start, self.end) = (0, 0);
        } else if self.end == self.piece.len() {
            self.piece.copy_within(self.start..self.end, 0);
            (self.start, self.end) = (0, self.end - self.start);
            if self.end == self.piece.len() {
                self.piece.resize(self.piece.len() * 2, 0);
            }
        }
        loop {
            match self.file.read(&mut self.piece[self.end..]) {
                Ok(read) => {
                    self.end += read;
                    return Ok(read > 0);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
    }

    pub(super) fn identity(&self) -> io::Result<Identity> {
        Identity::of(&self.file)
    }
}
