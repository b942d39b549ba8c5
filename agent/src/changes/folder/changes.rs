//! Files that are changes: read once each, in the order of their names.

use std::collections::HashMap;
use std::time::Instant;

use hutong_schema::batch::BatchKind;
use hutong_schema::digest::{KeyHash, key_hash};

use super::inbox::{self, Dropped};
use super::journal::Journal;
use super::reading::{End, Figures, Reading, open};
use super::state::{CurrentFile, FolderRecord, files_gone, mark_of_gone};
use super::{failed, of_folder, remember};
use crate::changes::outbound::Outbound;
use crate::changes::publication::{Resend, Scan, ScanOutcome, ScanReport, Stop};
use crate::changes::record::SourceRecord;
use crate::config::FolderSource;
use crate::sources::{FileMark, Mark, Next, Row, Rows as _, SourceError};
use crate::spool::{Replace, WriteBatch};

pub(super) fn scan(mut scan: Scan<'_>, folder: &FolderSource) -> Result<ScanOutcome, Stop> {
    let journal = Journal::open(&folder.done).map_err(of_folder(&folder.done))?;
    let known = scan.record.clone();
    if scan.record.folder.is_none() {
        // A new stream, or one that was begun anew: everything that was taken is sent again.
        let again = !journal.taken().is_empty() || scan.replacing();
        scan.record.folder =
            Some(FolderRecord { replay: again.then_some(1), ..FolderRecord::default() });
    }
    let mut out = scan.outbound();
    if scan.state.replace == Replace::Due {
        out.marker(BatchKind::ReplaceBegin, WriteBatch::new())?;
    }
    let mut pass = Pass { scan, known, folder, journal, out, figures: Figures::default() };
    pass.hand_over_the_last()?;
    pass.replay()?;
    let settled = pass.take_files()?;
    let resend = pass.scan.resend()?;
    if settled && !resend.is_empty() {
        pass.send_again(resend)?;
    }
    if let Some(waiting) = pass.wait_or_end()? {
        return Ok(ScanOutcome::Waiting(waiting));
    }
    if !settled {
        return Ok(ScanOutcome::Unstable);
    }
    Ok(pass.outcome())
}

struct Pass<'a> {
    scan: Scan<'a>,
    /// The record as it was stored last, apart from what was stored with rows.
    known: SourceRecord,
    folder: &'a FolderSource,
    journal: Journal,
    out: Outbound<'a>,
    figures: Figures,
}

impl Pass<'_> {
    /// A file whose last row is durable was perhaps not moved before the agent ended.
    fn hand_over_the_last(&mut self) -> Result<(), Stop> {
        let current = self.state().current.take_if(|current| current.complete && !current.again);
        let Some(current) = current else { return Ok(()) };
        let path = self.folder.folder.join(&current.name);
        if FileMark::whole(&path).is_ok_and(|mark| mark.same_content(&current.mark)) {
            self.hand_over(&path, &current.name, &current.mark)?;
        }
        Ok(())
    }

    /// Reads done files again, in the order in which they were taken.
    fn replay(&mut self) -> Result<(), Stop> {
        let Some(mut next) = self.state().replay else { return Ok(()) };
        let all: Vec<_> = self.journal.taken().to_vec();
        for taken in all.iter().skip(next as usize - 1) {
            next = taken.number + 1;
            if !self.journal.holds(taken) {
                continue;
            }
            let path = self.journal.path(taken);
            let mark = FileMark::whole(&path).map_err(of_folder(&path))?;
            let known = self.state().current.take();
            let going_on =
                known.filter(|known| known.again && known.name == taken.file && known.mark == mark);
            let position = going_on.and_then(|known| known.position);
            let name = taken.file.clone();
            let current = CurrentFile { name, mark, position, complete: false, again: true };
            // It was read once: what is wrong with it was told then.
            let _ = self.read(&path, current)?;
            self.state().current = None;
            self.state().replay = Some(next);
        }
        let whole = self.journal.gone().is_none();
        let state = self.state();
        (state.replay, state.current, state.whole) = (None, None, whole);
        remember(&self.scan, &self.scan.record)
    }

    /// Takes what was dropped; whether all of it was complete.
    fn take_files(&mut self) -> Result<bool, Stop> {
        let settling = &self.scan.publication.settling;
        let mut files = inbox::list(self.folder, settling, Instant::now())
            .map_err(of_folder(&self.folder.folder))?;
        let begun = self.state().current.take();
        if let Some(begun) = begun {
            let at = files.iter().position(|file| file.name == begun.name);
            let going_on = at.map(|at| files.remove(at)).map(|file| (file.settled, file));
            match going_on {
                // It rested before its first row was read.
                Some((_, file)) if same(&file, &begun)? => self.take(&file, Some(begun))?,
                Some((settled, file)) => {
                    tracing::warn!(resource = %self.scan.entry.code, file = begun.name,
                        "the file changed after a part of it was read; it is read from its beginning");
                    files.push(Dropped { settled, ..file });
                    files.sort_by(|a, b| a.name.cmp(&b.name));
                }
                None => tracing::warn!(resource = %self.scan.entry.code, file = begun.name,
                    "the file was taken away after a part of it was read"),
            }
        }
        for file in &files {
            // Later ones wait for it: changes are taken in their order.
            if !file.settled {
                return Ok(false);
            }
            self.take(file, None)?;
        }
        Ok(true)
    }

    fn take(&mut self, file: &Dropped, begun: Option<CurrentFile>) -> Result<(), Stop> {
        let Dropped { name, path, .. } = file;
        let current = match begun {
            Some(begun) => begun,
            None => {
                let mark = match FileMark::whole(path) {
                    Ok(mark) => mark,
                    // Taken away since it was seen.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
                    Err(error) => return Err(of_folder(path)(error)),
                };
                let name = name.clone();
                CurrentFile { name, mark, position: None, complete: false, again: false }
            }
        };
        let mark = current.mark;
        let rows = |pass: &Self| (pass.figures.read, pass.figures.rejected);
        let before = rows(self);
        let end = self.read(path, current)?;
        let (read, rejected) = (rows(self).0 - before.0, rows(self).1 - before.1);
        match end {
            End::Complete => {
                self.hand_over(path, name, &mark)?;
                tracing::info!(resource = %self.scan.entry.code, file = name, read, rejected, "the file is taken");
            }
            End::Broken(detail) => {
                let taken = self.state().current.as_ref().and_then(|current| current.position);
                let taken = taken.map_or(0, |position| position.rows);
                tracing::error!(resource = %self.scan.entry.code, file = name, reason = detail,
                    "the file cannot be read; it was set aside");
                failed::set_aside(&self.folder.failed, path, name, &detail, taken)
                    .map_err(of_folder(&self.folder.failed))?;
            }
        }
        self.state().current = None;
        Ok(())
    }

    fn read(&mut self, path: &std::path::Path, current: CurrentFile) -> Result<End, Stop> {
        let mut reading = Reading {
            source: self.folder,
            scan: &mut self.scan,
            out: &mut self.out,
            figures: Figures::default(),
        };
        let end = reading.file(path, current);
        self.figures.read += reading.figures.read;
        self.figures.rejected += reading.figures.rejected;
        end
    }

    fn hand_over(
        &mut self,
        path: &std::path::Path,
        name: &str,
        mark: &FileMark,
    ) -> Result<(), Stop> {
        self.journal.take(path, name, mark, false).map_err(of_folder(&self.folder.done))
    }

    /// Sends the asked keys as the files say last, or their removal if every file is there to tell.
    fn send_again(&mut self, mut resend: Resend) -> Result<(), Stop> {
        let mut last: HashMap<KeyHash, Row> = HashMap::new();
        let mut row = Row::default();
        for taken in self.journal.taken().iter().filter(|taken| self.journal.holds(taken)) {
            let Ok(mut source) = open(&self.scan, self.folder, &self.journal.path(taken), None)
            else {
                continue;
            };
            // A file that broke was not taken behind its break.
            while let Ok(next @ (Next::Row | Next::Refused(_))) = source.next(&mut row) {
                let hash = key_hash(row.key());
                if next == Next::Row && resend.take(&hash) {
                    last.insert(hash, row.clone());
                }
            }
        }
        for row in last.values() {
            self.make_room(row.size())?;
            if row.is_removed() { self.out.delete(row.key()) } else { self.out.upsert(row) }
        }
        let gone = self.journal.gone().is_some();
        for (_, key) in resend.missing() {
            if gone {
                tracing::warn!(resource = %self.scan.entry.code,
                    "a key that the hub asks for is in no file that is kept; its row stays as it is there");
                continue;
            }
            self.make_room(key.len())?;
            self.out.delete(key);
        }
        let mut writes = WriteBatch::new();
        resend.forget(self.scan.stream(), &mut writes);
        self.out.flush(writes)?;
        Ok(self.out.settle()?)
    }

    fn make_room(&mut self, size: usize) -> Result<(), Stop> {
        if self.out.is_full(size) {
            self.out.flush(WriteBatch::new())?;
        }
        Ok(())
    }

    /// If everything was to be sent anew: that it was, or why a person must look first.
    fn wait_or_end(&mut self) -> Result<Option<crate::changes::Waiting>, Stop> {
        if !self.state().whole {
            let Some((gone, of)) = self.journal.gone() else {
                // They were put back: their rows belong before those that were sent since.
                self.state().replay = Some(1);
                self.replay()?;
                return self.wait_or_end();
            };
            let confirmed = self.scan.record.confirmed.take();
            if !confirmed.is_some_and(|mark| mark.same_content(&Mark::File(mark_of_gone(gone, of))))
            {
                return Ok(Some(files_gone(&mut self.scan, gone, of)?));
            }
            self.state().whole = true;
        }
        self.scan.record.waiting = None;
        let mut writes = WriteBatch::new();
        if self.scan.record != self.known {
            self.scan.record.save(self.scan.stream(), &mut writes)?;
        }
        if self.scan.replacing() {
            self.out.marker(BatchKind::ReplaceEnd, writes)?;
        } else {
            self.out.flush(writes)?;
        }
        self.out.settle()?;
        Ok(None)
    }

    fn outcome(self) -> ScanOutcome {
        if self.figures.read == 0 && self.out.batches == 0 {
            return ScanOutcome::Unchanged;
        }
        ScanOutcome::Done(ScanReport {
            read: self.figures.read,
            rejected: self.figures.rejected,
            upserts: self.out.upserts(),
            deletes: self.out.deletes(),
            batches: self.out.batches,
            unknown_columns: Vec::new(),
        })
    }

    fn state(&mut self) -> &mut FolderRecord {
        self.scan.record.folder.get_or_insert_default()
    }
}

/// Whether the file is the one of which a part was read.
fn same(file: &Dropped, begun: &CurrentFile) -> Result<bool, Stop> {
    match FileMark::whole(&file.path) {
        Ok(mark) => Ok(mark.same_content(&begun.mark)),
        Err(error) => Err(SourceError::Read { path: file.path.clone(), source: error }.into()),
    }
}
