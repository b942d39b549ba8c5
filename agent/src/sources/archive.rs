//! What the outside of a workbook tells, before anything in it is unpacked.

use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;

/// What a file begins like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A ZIP archive: .xlsx.
    Zip,
    /// A compound file: .xls, or a workbook with a password.
    Compound,
    Other,
}

/// What the file is by its first bytes.
pub(super) fn kind(path: &Path) -> io::Result<Kind> {
    let mut first = Vec::new();
    File::open(path)?.take(8).read_to_end(&mut first)?;
    Ok(match first.as_slice() {
        [b'P', b'K', 3, 4, ..] => Kind::Zip,
        [0xD0, 0xCF, 0x11, 0xE0, 0xA1, 0xB1, 0x1A, 0xE1] => Kind::Compound,
        _ => Kind::Other,
    })
}

/// Longest end of an archive: the record and its comment.
const END_MAX: u64 = 22 + 65_535;
/// Largest directory that is looked at, bytes: a workbook has some dozens of parts.
const DIRECTORY_MAX: u64 = 4 * 1024 * 1024;

/// Bytes that a part of a ZIP archive says to unpack to, by its central directory (APPNOTE.TXT, 4.3.12);
/// 0 if there is no such part.
pub(super) fn unpacked(path: &Path, part: &str) -> io::Result<u64> {
    let broken = || io::Error::new(io::ErrorKind::InvalidData, "the archive has no directory");
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    let end = read_at(&mut file, length.saturating_sub(END_MAX), END_MAX)?;
    let at = end.windows(4).rposition(|four| four == b"PK\x05\x06").ok_or_else(broken)?;
    let size = number(&end, at + 12, 4).ok_or_else(broken)?;
    let from = number(&end, at + 16, 4).ok_or_else(broken)?;
    if size > DIRECTORY_MAX {
        return Err(broken());
    }
    let directory = read_at(&mut file, from, size)?;
    let mut entry = 0;
    while directory.get(entry..entry + 4) == Some(b"PK\x01\x02") {
        let field = |at: usize, bytes: usize| number(&directory, entry + at, bytes);
        let lengths = (field(28, 2), field(30, 2), field(32, 2));
        let (Some(name), Some(extra), Some(comment)) = lengths else { return Err(broken()) };
        let named = directory.get(entry + 46..entry + 46 + name as usize).ok_or_else(broken)?;
        if named.eq_ignore_ascii_case(part.as_bytes()) {
            return field(24, 4).ok_or_else(broken);
        }
        entry += 46 + (name + extra + comment) as usize;
    }
    Ok(0)
}

fn read_at(file: &mut File, from: u64, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.seek(SeekFrom::Start(from))?;
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// A little-endian number.
fn number(bytes: &[u8], at: usize, length: usize) -> Option<u64> {
    let bytes = bytes.get(at..at + length)?;
    Some(bytes.iter().rev().fold(0, |sum, byte| sum << 8 | u64::from(*byte)))
}
