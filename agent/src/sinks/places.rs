//! A subscription's files: the live one, the staged one beside it, and what was put aside.

use std::path::{Path, PathBuf};

use super::{
    Record, SinkError,
    file::{self, DataFile, FileFailure},
    pieces::{self, PieceHash},
    subscription::Images,
};
use crate::spool::Store;

/// What happens to the data of a grant that ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Disposal {
    /// The file is moved to `<name>.withdrawn-<time>`: a person decides.
    #[default]
    KeepAside,
    /// The file is deleted.
    Delete,
}

pub(super) fn staged_path(live: &Path) -> PathBuf {
    let mut name = live.as_os_str().to_owned();
    name.push(".new");
    name.into()
}

/// The hashes of the last pieces of a subscription's files, as far as they are stored.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct LastPieces {
    pub(super) live: Option<PieceHash>,
    pub(super) staged: Option<PieceHash>,
}

impl LastPieces {
    pub(super) fn of(store: &Store, images: Images, record: &Record) -> Result<Self, SinkError> {
        let (live, staged) = (images.side(record.side), images.side(record.side.other()));
        let length = record.staged.as_ref().map_or(0, |staged| staged.length);
        Ok(Self {
            live: pieces::last(store, live, record.length)?,
            staged: pieces::last(store, staged, length)?,
        })
    }
}

/// Brings files and record together after whatever happened.
pub(super) fn settle(
    live: &Path,
    record: &mut Record,
    last: LastPieces,
    now: jiff::Timestamp,
) -> Result<(), FileFailure> {
    let staged = staged_path(live);
    if record.rename_due {
        if staged.exists() {
            file::rename(&staged, live)?;
        }
        record.rename_due = false;
    }
    if let Some(under_way) = &record.staged
        && DataFile::reopen(&staged, under_way.length, last.staged)?.is_none()
    {
        record.staged = None;
    }
    if record.cursor.is_some() && DataFile::reopen(live, record.length, last.live)?.is_none() {
        let kept = put_changed_aside(live, now)?;
        tracing::warn!(file = %live.display(), durable = record.length, kept = ?kept,
            "the delivered file is gone, shorter than it was or changed at its end; it is delivered anew");
        let staged = record.staged.take();
        record.lost();
        record.staged = staged;
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static, E: Into<SinkError> + Send + 'static>(
    work: impl FnOnce() -> Result<T, E> + Send + 'static,
) -> Result<T, SinkError> {
    let done = tokio::task::spawn_blocking(work).await.map_err(|_| SinkError::Interrupted)?;
    done.map_err(Into::into)
}

/// Moves a live file that somebody changed to `<name>.changed-<time>`: it may be all that is left of
/// what they wrote. Returns where it is, if it was there.
pub(super) fn put_changed_aside(
    live: &Path,
    now: jiff::Timestamp,
) -> Result<Option<PathBuf>, FileFailure> {
    if !live.exists() {
        return Ok(None);
    }
    let aside = aside_path(live, "changed", now);
    file::rename(live, &aside)?;
    Ok(Some(aside))
}

/// Removes the files of a grant that ended, or moves the live one aside if it holds anything.
pub(super) fn put_aside(
    live: &Path,
    held: bool,
    disposal: Disposal,
    now: jiff::Timestamp,
) -> Result<Option<PathBuf>, FileFailure> {
    file::remove(&staged_path(live))?;
    if !live.exists() {
        return Ok(None);
    }
    // A file that the store does not know of may be all that is left of a store that was lost.
    let held = held || std::fs::metadata(live).is_ok_and(|file| file.len() > 0);
    match disposal {
        Disposal::KeepAside if held => {
            let aside = aside_path(live, "withdrawn", now);
            file::rename(live, &aside)?;
            Ok(Some(aside))
        }
        Disposal::KeepAside | Disposal::Delete => file::remove(live).map(|()| None),
    }
}

fn aside_path(live: &Path, why: &str, now: jiff::Timestamp) -> PathBuf {
    let mut name = live.as_os_str().to_owned();
    name.push(format!(".{why}-{}", now.strftime("%Y%m%dT%H%M%SZ")));
    name.into()
}
