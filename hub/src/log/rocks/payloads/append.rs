//! Appending payloads. One thread does it: the log's writer.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::fs::{FallocateFlags, fallocate};

use super::{PayloadFiles, Reference};
use crate::log::LogError;
use crate::log::rocks::paths::sync_dir;

/// Room reserved at a time: the file system then has one place to find for many payloads.
const RESERVE_BYTES: u64 = 8 * 1024 * 1024;

/// The end of the newest payload file.
#[derive(Debug)]
pub(in super::super) struct Appender {
    files: Arc<PayloadFiles>,
    /// Bytes after which a new file is begun.
    file_bytes: u64,
    next: u32,
    current: Option<Current>,
}

#[derive(Debug)]
struct Current {
    number: u32,
    file: File,
    end: u64,
    reserved: u64,
    /// Something was written that no sync covers yet.
    unsynced: bool,
}

impl Appender {
    /// Begins behind all files there are: what was written before the log was opened stays as it is.
    pub(in super::super) fn new(files: Arc<PayloadFiles>, file_bytes: u64, next: u32) -> Self {
        files.in_use_from.store(next, Ordering::Release);
        Self { files, file_bytes, next, current: None }
    }

    /// Writes a payload behind the last one; durable after [`sync`](Self::sync).
    pub(in super::super) fn append(&mut self, payload: &[u8]) -> Result<Reference, LogError> {
        let length = payload.len() as u64;
        let full = |current: &Current| current.end > 0 && current.end + length > self.file_bytes;
        if self.current.as_ref().is_some_and(full) {
            self.finish()?;
        }
        let mut current = match self.current.take() {
            Some(current) => current,
            None => self.begin()?,
        };
        let written = current.write(payload, self.file_bytes);
        let reference = Reference {
            file: current.number,
            at: current.end - if written.is_ok() { length } else { 0 },
            length: u32::try_from(length).unwrap_or(u32::MAX),
        };
        let path = self.files.path(current.number);
        self.current = Some(current);
        written.map_err(LogError::io("write", &path))?;
        Ok(reference)
    }

    /// Makes everything written durable.
    pub(in super::super) fn sync(&mut self) -> Result<(), LogError> {
        let Some(current) = self.current.as_mut().filter(|current| current.unsynced) else {
            return Ok(());
        };
        let path = self.files.path(current.number);
        current.file.sync_data().map_err(LogError::io("sync", &path))?;
        current.unsynced = false;
        Ok(())
    }

    /// The entries that refer to what was written are in the store now.
    pub(in super::super) fn referred(&self) {
        let number = self.current.as_ref().map_or(self.next, |current| current.number);
        self.files.in_use_from.store(number, Ordering::Release);
    }

    fn begin(&mut self) -> Result<Current, LogError> {
        let (number, path) = (self.next, self.files.path(self.next));
        let mut options = OpenOptions::new();
        let file = options.write(true).create_new(true).open(&path);
        let file = file.map_err(LogError::io("create", &path))?;
        sync_dir(&self.files.dir)?;
        self.next += 1;
        Ok(Current { number, file, end: 0, reserved: 0, unsynced: false })
    }

    /// Ends the newest file; the next payload begins another.
    pub(in super::super) fn finish(&mut self) -> Result<(), LogError> {
        self.sync()?;
        if let Some(current) = self.current.take() {
            let path = self.files.path(current.number);
            current.file.set_len(current.end).map_err(LogError::io("cut", &path))?;
        }
        Ok(())
    }
}

impl Current {
    fn write(&mut self, payload: &[u8], file_bytes: u64) -> std::io::Result<()> {
        let end = self.end + payload.len() as u64;
        if end > self.reserved {
            let length = RESERVE_BYTES.min(file_bytes.saturating_sub(self.end)).max(end - self.end);
            match fallocate(&self.file, FallocateFlags::empty(), self.end, length) {
                Ok(()) => {}
                // Some file systems cannot; then each payload finds its own place.
                Err(rustix::io::Errno::OPNOTSUPP) => {}
                Err(error) => return Err(error.into()),
            }
            self.reserved = self.end + length;
        }
        self.unsynced = true;
        self.file.write_all_at(payload, self.end)?;
        self.end = end;
        Ok(())
    }
}

impl PayloadFiles {
    /// Gives back the room that a process which was killed had reserved behind the last payload. A
    /// file that a kept copy of the log shares is left alone.
    pub(in super::super) fn give_back(&self, number: u32, end: u64) {
        let path = self.path(number);
        let cut = || {
            let file = OpenOptions::new().write(true).open(&path)?;
            let meta = file.metadata()?;
            if meta.nlink() == 1 && meta.len() > end { file.set_len(end) } else { Ok(()) }
        };
        if let Err(error) = cut() {
            tracing::debug!(%error, path = %path.display(), "reserved room was not given back");
        }
    }
}
