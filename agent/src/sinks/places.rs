//! A subscription's files: the live one, the staged one beside it, and what was put aside.

use std::path::{Path, PathBuf};

use super::{
    Record, SinkError,
    file::{self, DataFile, FileFailure},
};

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

/// Brings files and record together after whatever happened.
pub(super) fn settle(live: &Path, record: &mut Record) -> Result<(), FileFailure> {
    let staged = staged_path(live);
    if record.rename_due {
        if staged.exists() {
            file::rename(&staged, live)?;
        }
        record.rename_due = false;
    }
    if let Some(under_way) = &record.staged
        && DataFile::reopen(&staged, under_way.length)?.is_none()
    {
        record.staged = None;
    }
    if record.cursor.is_some() && DataFile::reopen(live, record.length)?.is_none() {
        tracing::warn!(file = %live.display(), durable = record.length,
            "the delivered file is gone or shorter than it was; it is delivered anew");
        let staged = record.staged.take();
        record.lost();
        record.staged = staged;
    }
    Ok(())
}

pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, FileFailure> + Send + 'static,
) -> Result<T, SinkError> {
    Ok(tokio::task::spawn_blocking(work).await.map_err(|_| SinkError::Interrupted)??)
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
    match disposal {
        Disposal::KeepAside if held => {
            let mut name = live.as_os_str().to_owned();
            name.push(format!(".withdrawn-{}", now.strftime("%Y%m%dT%H%M%SZ")));
            let aside = PathBuf::from(name);
            file::rename(live, &aside)?;
            Ok(Some(aside))
        }
        Disposal::KeepAside | Disposal::Delete => file::remove(live).map(|()| None),
    }
}
