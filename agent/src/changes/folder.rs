//! A watched folder: files are dropped in, read, and handed over to the folder of done files.
//!
//! What is known of the folder (which file is being read, and behind which row) is written in one commit
//! with the rows. A file is moved only after its last row is durable, and what was moved stands in a
//! journal beside the done files: when the outbox was lost, they are read again in the same order.

use std::io;
use std::path::Path;

use super::publication::{Scan, ScanOutcome, Stop};
use super::record::SourceRecord;
use crate::config::{FolderMode, FolderSource};
use crate::sources::SourceError;

mod changes;
mod failed;
mod inbox;
mod journal;
mod reading;
mod state;

pub use inbox::Settling;
pub use state::{CurrentFile, FolderRecord};

pub(super) fn scan(scan: Scan<'_>, folder: &FolderSource) -> Result<ScanOutcome, Stop> {
    match folder.mode {
        FolderMode::Changes => changes::scan(scan, folder),
        FolderMode::Snapshot => state::scan(scan, folder),
    }
}

/// What went wrong with a folder itself.
fn of_folder(path: &Path) -> impl Fn(io::Error) -> Stop {
    move |source| SourceError::Read { path: path.to_owned(), source }.into()
}

/// Why a file as a whole cannot be read; the error itself if it is the system's and may pass.
fn broken(error: SourceError) -> Result<String, SourceError> {
    match error {
        SourceError::Form { detail, .. } => Ok(detail),
        SourceError::Read { source, path } => {
            let kind = source.kind();
            if matches!(kind, io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof) {
                return Ok(source.to_string());
            }
            Err(SourceError::Read { source, path })
        }
        other
        @ (SourceError::Missing(_) | SourceError::Database(_) | SourceError::Query { .. }) => {
            Err(other)
        }
    }
}

/// Writes what is remembered, and waits until it is durable.
fn remember(scan: &Scan<'_>, record: &SourceRecord) -> Result<(), Stop> {
    let mut writes = crate::spool::WriteBatch::new();
    record.save(scan.stream(), &mut writes)?;
    writes.only_in(scan.stream(), scan.state.generation);
    scan.store.submit(writes)?.wait()?;
    Ok(())
}

#[cfg(test)]
mod tests;
