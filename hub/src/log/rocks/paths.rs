//! Names beside the log's directory, and the lock on all of them.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::path::{Path, PathBuf};

use crate::log::LogError;

/// The log's directory and what stands beside it.
#[derive(Clone, Debug)]
pub(super) struct Paths {
    /// The database.
    pub(super) log: PathBuf,
    /// The high-water marks.
    pub(super) marks: PathBuf,
    /// A database under construction; worthless after a crash.
    pub(super) incomplete: PathBuf,
    /// A copy of a damaged database, to look behind the damage; worthless after a crash.
    pub(super) probe: PathBuf,
    /// A recovered database that is to take the log's place: once it has this name, it will.
    pub(super) recovered: PathBuf,
    lock: PathBuf,
    parent: PathBuf,
}

/// Held while the log is open.
#[derive(Debug)]
pub(super) struct DirLock {
    _file: File,
}

impl Paths {
    pub(super) fn new(log: &Path) -> Self {
        let beside = |suffix: &str| {
            let mut name = log.file_name().map_or_else(|| OsString::from("log"), OsString::from);
            name.push(suffix);
            log.with_file_name(name)
        };
        let parent = log.parent().filter(|parent| !parent.as_os_str().is_empty());
        Self {
            log: log.to_owned(),
            marks: beside(".marks"),
            incomplete: beside(".incomplete"),
            probe: beside(".probe"),
            recovered: beside(".recovered"),
            lock: beside(".lock"),
            parent: parent.unwrap_or(Path::new(".")).to_owned(),
        }
    }

    /// Where a damaged log is kept for inspection.
    pub(super) fn damaged(&self, now_ms: i64) -> PathBuf {
        let mut name = self.log.as_os_str().to_owned();
        name.push(format!(".damaged-{now_ms}"));
        PathBuf::from(name)
    }

    /// Keeps other processes away, also while directories are being exchanged.
    pub(super) fn lock(&self) -> Result<DirLock, LogError> {
        fs::create_dir_all(&self.parent).map_err(LogError::io("create", &self.parent))?;
        let mut options = OpenOptions::new();
        let file = options.create(true).truncate(false).write(true).open(&self.lock);
        let file = file.map_err(LogError::io("open", &self.lock))?;
        match file.try_lock() {
            Ok(()) => Ok(DirLock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(LogError::InUse(self.log.clone())),
            Err(TryLockError::Error(source)) => Err(LogError::io("lock", &self.lock)(source)),
        }
    }

    pub(super) fn exists(&self) -> bool {
        self.log.exists()
    }

    /// Renames, durably.
    pub(super) fn rename(&self, from: &Path, to: &Path) -> Result<(), LogError> {
        fs::rename(from, to).map_err(LogError::io("rename", from))?;
        self.sync_parent()
    }

    /// Removes what a crash or a failed recovery left unfinished.
    pub(super) fn remove_unfinished(&self) -> Result<(), LogError> {
        remove_dir(&self.incomplete)?;
        self.remove_probe()
    }

    pub(super) fn remove_probe(&self) -> Result<(), LogError> {
        remove_dir(&self.probe)
    }

    fn sync_parent(&self) -> Result<(), LogError> {
        sync_dir(&self.parent)
    }
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), LogError> {
    let handle = File::open(dir).map_err(LogError::io("open", dir))?;
    handle.sync_all().map_err(LogError::io("sync", dir))
}

fn remove_dir(dir: &Path) -> Result<(), LogError> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        removed => removed.map_err(LogError::io("remove", dir)),
    }
}
