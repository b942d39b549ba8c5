//! A power cut for a process under test: kill it, then take back every write that no fsync had covered.
//!
//! `kill -9` alone cannot show a missing fsync, because the page cache survives the process. The library in
//! `tests/powercut/` is loaded into the process with `LD_PRELOAD` and keeps an undo journal of one directory; after the
//! kill, [`PowerCut::discard_unsynced`] rolls that directory back to what a disk would hold at worst. What is modelled,
//! and what the library cannot see, stands at the head of `tests/powercut/powercut.c`.
//!
//! ```no_run
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! use hutong_tests::powercut::PowerCut;
//! let cut = PowerCut::new("run/hub/data".as_ref(), "run/hub/journal".as_ref())?;
//! let mut command = std::process::Command::new("hutong-hub");
//! command.envs(cut.environment());
//! let mut hub = command.spawn()?;
//! // … load it, then:
//! hub.kill()?;
//! hub.wait()?;
//! let lost = cut.discard_unsynced()?;
//! # Ok(()) }
//! ```

mod journal;
mod rollback;

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;
use std::{env, fs, io};

pub use rollback::Discarded;

/// The library's sources; compiled when first needed, so that no build script is.
const SOURCES: [(&str, &str); 6] = [
    ("powercut.c", include_str!("../../powercut/powercut.c")),
    ("names.c", include_str!("../../powercut/names.c")),
    ("faults.c", include_str!("../../powercut/faults.c")),
    ("journal.c", include_str!("../../powercut/journal.c")),
    ("journal.h", include_str!("../../powercut/journal.h")),
    ("watch.h", include_str!("../../powercut/watch.h")),
];

/// Why a power cut could not be prepared or carried out.
#[derive(Debug, thiserror::Error)]
pub enum PowerCutError {
    /// The C compiler is missing or refused the library.
    #[error("the power-cut library does not compile: {0}")]
    Compile(String),
    /// A file operation failed.
    #[error("{what} {path}")]
    Io {
        /// What was attempted.
        what: &'static str,
        /// On which path.
        path: PathBuf,
        /// The system's reason.
        source: io::Error,
    },
    /// A log of the journal does not read as one.
    #[error("the journal {path} is damaged at byte {at}")]
    Journal {
        /// The log file.
        path: PathBuf,
        /// Offset of the record, in bytes.
        at: u64,
    },
    /// The process did something whose effect the journal does not hold.
    #[error("the process did what cannot be undone: {0}")]
    CannotUndo(String),
}

impl PowerCutError {
    fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PowerCutError {
        let path = path.to_owned();
        move |source| PowerCutError::Io { what, path, source }
    }
}

/// One watched directory with its journal.
#[derive(Debug, Clone)]
pub struct PowerCut {
    dir: PathBuf,
    journal: PathBuf,
    library: PathBuf,
    sync_takes: Duration,
}

/// What a disk is to fail at.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The next sync, once.
    Sync,
    /// Every read, until [`PowerCut::heal`].
    Read,
}

impl Fault {
    fn order(self) -> &'static str {
        match self {
            Fault::Sync => "sync",
            Fault::Read => "read",
        }
    }
}

impl PowerCut {
    /// Prepares to watch `dir` (created if missing). `journal` must lie outside of it, on the same file system.
    ///
    /// # Errors
    /// When the library does not compile or a folder cannot be made.
    pub fn new(dir: &Path, journal: &Path) -> Result<PowerCut, PowerCutError> {
        let folder = |path: &Path| {
            fs::create_dir_all(path).map_err(PowerCutError::io("cannot create", path))?;
            path.canonicalize().map_err(PowerCutError::io("cannot resolve", path))
        };
        let (dir, journal) = (folder(dir)?, folder(journal)?);
        if journal.starts_with(&dir) {
            return Err(PowerCutError::CannotUndo(
                "the journal lies inside the watched directory".into(),
            ));
        }
        Ok(PowerCut { dir, journal, library: compile_library()?, sync_takes: Duration::ZERO })
    }

    /// Lets every sync take so much longer, as on a slow disk. What is wrongly told before a sync has
    /// returned then stands open long enough for a cut to fall between.
    #[must_use]
    pub fn slow_disk(self, sync_takes: Duration) -> PowerCut {
        PowerCut { sync_takes, ..self }
    }

    /// Lets the disk fail from now on at files with `part` in their path; see `tests/powercut/faults.c`.
    ///
    /// # Errors
    /// When the order cannot be written.
    pub fn fail(&self, fault: Fault, part: &str) -> Result<(), PowerCutError> {
        let path = self.journal.join(fault.order());
        fs::write(&path, part).map_err(PowerCutError::io("cannot write", &path))
    }

    /// Takes back what [`PowerCut::fail`] ordered.
    ///
    /// # Errors
    /// When that cannot be removed.
    pub fn heal(&self) -> Result<(), PowerCutError> {
        for fault in [Fault::Sync, Fault::Read] {
            let path = self.journal.join(fault.order());
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(PowerCutError::io("cannot remove", &path)(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// What failed, a line each: `failed PATH`; `again PATH` for a later sync of a file whose sync had
    /// failed.
    ///
    /// # Errors
    /// When that cannot be read.
    pub fn failures(&self) -> Result<Vec<String>, PowerCutError> {
        let path = self.journal.join("done");
        match fs::read_to_string(&path) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(PowerCutError::io("cannot read", &path)(error)),
        }
    }

    /// What the process needs in its environment to be watched; its children inherit it.
    #[must_use]
    pub fn environment(&self) -> [(&'static str, OsString); 5] {
        [
            ("LD_PRELOAD", self.library.clone().into()),
            ("HUTONG_POWERCUT_DIR", self.dir.clone().into()),
            ("HUTONG_POWERCUT_JOURNAL", self.journal.clone().into()),
            ("HUTONG_POWERCUT_FAULTS", self.journal.clone().into()),
            ("HUTONG_POWERCUT_SYNC_MS", self.sync_takes.as_millis().to_string().into()),
        ]
    }

    /// Rolls the directory back to its synced state and starts a new journal. The process must be dead. Without this
    /// call the journal goes on through a restart, as the page cache does.
    ///
    /// # Errors
    /// When the journal does not hold what is needed, or a file operation fails.
    pub fn discard_unsynced(&self) -> Result<Discarded, PowerCutError> {
        let records = journal::read(&self.journal)?;
        let discarded = rollback::roll_back(&self.dir, &self.journal, &records)?;
        fs::remove_dir_all(&self.journal)
            .map_err(PowerCutError::io("cannot clear", &self.journal))?;
        fs::create_dir_all(&self.journal)
            .map_err(PowerCutError::io("cannot create", &self.journal))?;
        Ok(discarded)
    }
}

/// Compiles the library into the temporary folder, once per version of its sources.
fn compile_library() -> Result<PathBuf, PowerCutError> {
    let mut hasher = blake3::Hasher::new();
    for (name, text) in SOURCES {
        hasher.update(name.as_bytes()).update(text.as_bytes());
    }
    let name = format!("hutong-powercut-{}.so", &hasher.finalize().to_hex()[..16]);
    let library = env::temp_dir().join(name);
    if library.exists() {
        return Ok(library);
    }
    let work = tempfile::tempdir()
        .map_err(PowerCutError::io("cannot create a folder in", &env::temp_dir()))?;
    for (name, text) in SOURCES {
        let path = work.path().join(name);
        fs::write(&path, text).map_err(PowerCutError::io("cannot write", &path))?;
    }
    let output = Command::new(env::var_os("CC").unwrap_or_else(|| "cc".into()))
        .args([
            "-shared",
            "-fPIC",
            "-O2",
            "-std=c11",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-o",
            "powercut.so",
        ])
        .args(SOURCES.iter().map(|(name, _)| *name).filter(|name| name.ends_with(".c")))
        .current_dir(work.path())
        .output()
        .map_err(|error| PowerCutError::Compile(error.to_string()))?;
    if !output.status.success() {
        return Err(PowerCutError::Compile(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    // Copied beside the target first: a test that runs at the same time sees a whole library or none.
    let fresh = library.with_extension(format!("{}.new", std::process::id()));
    fs::copy(work.path().join("powercut.so"), &fresh)
        .map_err(PowerCutError::io("cannot write", &fresh))?;
    fs::rename(&fresh, &library).map_err(PowerCutError::io("cannot write", &library))?;
    Ok(library)
}
