//! Files that are the whole state each: the newest counts. And what is remembered of a folder.

use std::time::Instant;

use serde::{Deserialize, Serialize};

use super::inbox::{self, Dropped};
use super::journal::Journal;
use super::{broken, failed, of_folder, remember};
use crate::changes::publication::{Scan, ScanOutcome, Stop};
use crate::changes::record::{SourceRecord, Waiting, WaitingReason};
use crate::changes::snapshot;
use crate::changes::whole::Whole;
use crate::config::{FileSource, FolderSource};
use crate::sources::{FileMark, Identity, Mark, Position};

/// Where a watched folder stands whose files are changes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct FolderRecord {
    /// Number of the done file that is to be read again next, because everything is sent anew.
    pub replay: Option<u64>,
    /// Whether everything that was ever taken was sent, as far as is known.
    pub whole: bool,
    /// The file that is being read, or that was read and is to be moved.
    pub current: Option<CurrentFile>,
}

impl Default for FolderRecord {
    fn default() -> Self {
        Self { replay: None, whole: true, current: None }
    }
}

/// A file on its way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CurrentFile {
    /// Its name.
    pub name: String,
    /// The file, to be recognised.
    pub mark: FileMark,
    /// Behind the last row in the outbox; none before the first.
    pub position: Option<Position>,
    /// Whether that was its last row.
    pub complete: bool,
    /// Whether it is a done file that is read again.
    pub again: bool,
}

pub(super) fn scan(scan: Scan<'_>, folder: &FolderSource) -> Result<ScanOutcome, Stop> {
    if !scan.state.is_drained() {
        return Ok(ScanOutcome::NotDrained);
    }
    let of_inbox = of_folder(&folder.folder);
    let mut files =
        inbox::list(folder, &scan.publication.settling, Instant::now()).map_err(of_inbox)?;
    while let Some(newest) = files.pop() {
        if !newest.settled {
            return Ok(ScanOutcome::Unstable);
        }
        let of_done = of_folder(&folder.done);
        let mark = FileMark::whole(&newest.path).map_err(of_folder(&newest.path))?;
        match read(&scan, folder.file(newest.path.clone())) {
            Ok(outcome @ (ScanOutcome::Done(_) | ScanOutcome::Unchanged)) => {
                let mut journal = Journal::open(&folder.done).map_err(&of_done)?;
                for Dropped { name, path, settled } in files {
                    // One that is still being written is moved when it is complete.
                    if settled {
                        let mark = FileMark::whole(&path).map_err(of_folder(&path))?;
                        journal.take(&path, &name, &mark, true).map_err(&of_done)?;
                        tracing::info!(resource = %scan.entry.code, file = name,
                            "a newer whole state lay beside the file: it was not read");
                    }
                }
                journal.take(&newest.path, &newest.name, &mark, false).map_err(&of_done)?;
                return Ok(outcome);
            }
            Err(Stop::Source(error)) => {
                let detail = broken(error)?;
                tracing::error!(resource = %scan.entry.code, file = newest.name, reason = detail,
                    "the file cannot be read; it was set aside");
                failed::set_aside(&folder.failed, &newest.path, &newest.name, &detail, 0)
                    .map_err(of_folder(&folder.failed))?;
            }
            other => return other,
        }
    }
    nothing_dropped(scan, folder)
}

/// Reads one file as the whole state.
fn read(scan: &Scan<'_>, file: FileSource) -> Result<ScanOutcome, Stop> {
    let record = SourceRecord::load(scan.store, scan.stream())?;
    let Scan { publication, store, entry, cancel, .. } = *scan;
    let state = scan.state.clone();
    let scan = Scan { publication, store, entry, cancel, state, record };
    snapshot::scan(scan, Whole::File(&file))
}

/// No file lies there. If everything is to be sent anew, or some keys are, the newest done file is read.
fn nothing_dropped(mut scan: Scan<'_>, folder: &FolderSource) -> Result<ScanOutcome, Stop> {
    let journal = Journal::open(&folder.done).map_err(of_folder(&folder.done))?;
    let newest = journal.taken().iter().rev().find(|taken| !taken.superseded);
    let wanted = scan.replacing() || !scan.resend()?.is_empty();
    match newest.filter(|newest| wanted && journal.holds(newest)) {
        Some(newest) => read(&scan, folder.file(journal.path(newest))),
        None if scan.replacing() => {
            let of = journal.taken().len() as u64;
            Ok(ScanOutcome::Waiting(files_gone(&mut scan, u64::from(newest.is_some()), of)?))
        }
        None => {
            // What waited for a person was taken away.
            if scan.record.waiting.take().is_some() {
                remember(&scan, &scan.record)?;
            }
            Ok(ScanOutcome::Unchanged)
        }
    }
}

/// Notes that not everything can be sent anew.
pub(super) fn files_gone(scan: &mut Scan<'_>, gone: u64, of: u64) -> Result<Waiting, Stop> {
    let waiting = Waiting {
        reason: WaitingReason::FilesGone,
        deletes: gone,
        of,
        mark: Mark::File(mark_of_gone(gone, of)),
        detail: String::new(),
    };
    if scan.record.waiting.as_ref() != Some(&waiting) {
        scan.record.waiting = Some(waiting.clone());
        remember(scan, &scan.record)?;
    }
    Ok(waiting)
}

/// What a confirmation is for: so many files.
pub(super) fn mark_of_gone(gone: u64, of: u64) -> FileMark {
    FileMark { identity: Identity { size: gone, modified_ns: 0 }, through: of, ends: [0; 16] }
}
