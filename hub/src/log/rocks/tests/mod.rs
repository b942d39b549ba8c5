//! The embedded engine under the conformance suite, and what is particular to it.

mod damage;
mod payloads;
mod space;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use rocksdb::DB;
use tempfile::TempDir;

use super::engine::{self, Mode, family_name};
use super::{LogOptions, OpenReport, RocksLog, key};
use crate::log::conformance::{Subject, conformance};
use crate::log::{LogError, Position};

/// A log in a directory that goes away with it.
struct Place {
    dir: TempDir,
}

fn place() -> Place {
    Place { dir: tempfile::tempdir().expect("temporary directory") }
}

/// Marks are written at opening and closing only, small buffers, a clock that stands.
fn options(clock_ms: i64) -> LogOptions {
    LogOptions {
        data_partitions: 2,
        queue_requests: 64,
        queue_bytes: 1024 * 1024,
        write_buffer_bytes: 1024 * 1024,
        payload_file_bytes: 512 * 1024,
        marks_interval: Duration::from_secs(3_600),
        clock: Arc::new(move || clock_ms),
    }
}

impl Place {
    fn log(&self) -> PathBuf {
        self.dir.path().join("log")
    }

    fn marks(&self) -> PathBuf {
        self.dir.path().join("log.marks")
    }

    fn try_open(&self) -> Result<(RocksLog, OpenReport), LogError> {
        RocksLog::open(self.log(), options(1_000))
    }

    fn opened(&self) -> (RocksLog, OpenReport) {
        self.try_open().expect("opens")
    }

    /// What would be found after the process was killed now.
    fn as_if_killed(&self) -> Self {
        let copy = place();
        copy_dir(self.dir.path(), copy.dir.path());
        copy
    }

    fn database(&self) -> DB {
        engine::open(&self.log(), Mode::Strict, &options(0)).expect("opens")
    }

    /// Changes the stored bytes of an entry.
    fn tamper(&self, position: Position, change: impl FnOnce(&mut Vec<u8>)) {
        let db = self.database();
        let family = db.cf_handle(&family_name(position.partition)).expect("there");
        let key = key(position.offset);
        let mut stored = db.get_cf(family, key).expect("reads").expect("is there");
        change(&mut stored);
        db.put_cf(family, key, stored).expect("writes");
    }
}

/// Copies a directory that may be in use, so that the copy holds at least what it held at the
/// beginning: the write-ahead logs first, then the manifest, which may only name more in files than
/// they did, then the files it names.
fn copy_dir(from: &Path, to: &Path) {
    let mut files: Vec<_> =
        fs::read_dir(from).expect("lists").map(|file| file.expect("lists")).collect();
    files.sort_by_key(|file| {
        let name = file.file_name().to_string_lossy().into_owned();
        let manifest = name.starts_with("MANIFEST") || name == "CURRENT";
        if name.ends_with(".log") {
            0
        } else if manifest {
            1
        } else {
            2
        }
    });
    for file in files {
        let target = to.join(file.file_name());
        if file.file_type().expect("has a type").is_dir() {
            fs::create_dir(&target).expect("creates");
            copy_dir(&file.path(), &target);
        } else {
            // RocksDB may drop a file meanwhile; a crash would have found it dropped, too.
            let _ = fs::copy(file.path(), &target);
        }
    }
}

impl Subject for Place {
    type Log = RocksLog;

    fn open(&self, clock_ms: i64) -> RocksLog {
        RocksLog::open(self.log(), options(clock_ms)).expect("opens").0
    }

    fn close(&self, log: RocksLog) {
        log.close();
    }

    fn change_payload(&self, position: Position) {
        self.tamper(position, |stored| *stored.last_mut().expect("has a payload") ^= 1);
    }

    fn change_envelope(&self, position: Position) {
        // The first byte behind chain and length: the kind.
        self.tamper(position, |stored| stored[36] ^= 1);
    }

    fn remove(&self, position: Position) {
        let db = self.database();
        let family = db.cf_handle(&family_name(position.partition)).expect("there");
        db.delete_cf(family, key(position.offset)).expect("deletes");
    }

    fn break_writes(&self, _log: &RocksLog) {
        // The open files go on working; the next one that has to be created fails.
        fs::rename(self.log(), self.dir.path().join("away")).expect("renames");
    }
}

conformance!(place);
