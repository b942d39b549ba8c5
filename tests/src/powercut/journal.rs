//! Reading the undo logs; their layout is defined in `tests/powercut/journal.h`.

use std::fs;
use std::path::{Path, PathBuf};

use super::PowerCutError;

/// Where a record stands: the log's rank by start time, and the byte offset in it. Later changes compare greater.
pub(super) type Position = (usize, u64);

/// One change or one sync.
#[derive(Debug)]
pub(super) struct Record {
    pub(super) at: Position,
    pub(super) event: Event,
}

/// What the process did. Inodes are numbers of the file system; names are canonical paths.
#[derive(Debug)]
pub(super) enum Event {
    Write { inode: u64, size: u64, offset: u64, image: Vec<u8> },
    FileSync { inode: u64, upto: u64, path: PathBuf },
    Create { parent: u64, inode: u64, path: PathBuf },
    Link { parent: u64, inode: u64, path: PathBuf },
    Unlink { parent: u64, saved: Option<PathBuf>, path: PathBuf },
    Rename { parents: [u64; 2], saved: Option<PathBuf>, old: PathBuf, new: PathBuf },
    MakeDir { parent: u64, inode: u64, path: PathBuf },
    RemoveDir { parent: u64, path: PathBuf },
    DirSync { inode: u64, upto: u64, path: PathBuf },
    SyncAll { upto: u64 },
    Warning(String),
}

const HEADER: usize = 32;

/// All records of the journal in the order in which things happened. A torn last record is left out: what it
/// announces had not begun.
pub(super) fn read(journal: &Path) -> Result<Vec<Record>, PowerCutError> {
    let listing = fs::read_dir(journal).map_err(PowerCutError::io("cannot read", journal))?;
    let mut logs = Vec::new();
    for entry in listing {
        let path = entry.map_err(PowerCutError::io("cannot read", journal))?.path();
        if path.extension().is_some_and(|suffix| suffix == "undo") {
            logs.push(path);
        }
    }
    logs.sort();

    let mut records = Vec::new();
    for (rank, log) in logs.iter().enumerate() {
        let bytes = fs::read(log).map_err(PowerCutError::io("cannot read", log))?;
        let mut offset = 0;
        while let Some((header, rest)) = bytes[offset..].split_at_checked(HEADER) {
            let damaged = || PowerCutError::Journal { path: log.clone(), at: offset as u64 };
            let word = |from: usize| {
                header[from..from + 8].try_into().map(u64::from_le_bytes).map_err(|_| damaged())
            };
            let len = u32::from_le_bytes(header[4..8].try_into().map_err(|_| damaged())?) as usize;
            let Some(payload) = rest.get(..len) else { break };
            let words = [word(8)?, word(16)?, word(24)?];
            let event = event(header[0], words, payload, log).ok_or_else(damaged)?;
            records.push(Record { at: (rank, offset as u64), event });
            offset += HEADER + len;
        }
    }
    Ok(records)
}

fn event(kind: u8, [a, b, c]: [u64; 3], payload: &[u8], log: &Path) -> Option<Event> {
    let path = || path_of(payload);
    let saved = |id: u64| (id != 0).then(|| saved_path(log, id));
    Some(match kind {
        b'W' => Event::Write { inode: a, size: b, offset: c, image: payload.to_vec() },
        b'S' => Event::FileSync { inode: a, upto: b, path: path() },
        b'C' => Event::Create { parent: a, inode: b, path: path() },
        b'L' => Event::Link { parent: a, inode: b, path: path() },
        b'U' => Event::Unlink { parent: a, saved: saved(b), path: path() },
        b'R' => {
            let middle = payload.iter().position(|byte| *byte == 0)?;
            let (old, new) = (path_of(&payload[..middle]), path_of(&payload[middle + 1..]));
            Event::Rename { parents: [a, b], saved: saved(c), old, new }
        }
        b'M' => Event::MakeDir { parent: a, inode: b, path: path() },
        b'X' => Event::RemoveDir { parent: a, path: path() },
        b'D' => Event::DirSync { inode: a, upto: b, path: path() },
        b'A' => Event::SyncAll { upto: b },
        b'!' => Event::Warning(String::from_utf8_lossy(payload).into_owned()),
        _ => return None,
    })
}

fn path_of(bytes: &[u8]) -> PathBuf {
    use std::os::unix::ffi::OsStrExt;
    PathBuf::from(std::ffi::OsStr::from_bytes(bytes))
}

/// `saved/<log's name without suffix>-<id>` beside the log.
fn saved_path(log: &Path, id: u64) -> PathBuf {
    let stem = log.file_stem().unwrap_or_default().to_string_lossy();
    log.with_file_name("saved").join(format!("{stem}-{id}"))
}
