//! One file of changes, read from where reading stopped.

use std::path::Path;

use super::broken;
use super::state::CurrentFile;
use crate::changes::outbound::Outbound;
use crate::changes::publication::{Scan, ScanOutcome, Stop};
use crate::config::FolderSource;
use crate::quarantine::Staged;
use crate::sources::{FileMark, Next, Position, Row, Rows as _, Source, SourceOptions};
use crate::spool::WriteBatch;

/// Figures of one file.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Figures {
    pub(super) read: u64,
    pub(super) rejected: u64,
}

/// How reading ended.
pub(super) enum End {
    /// All rows are durable in the outbox.
    Complete,
    /// The file cannot be read further, for this reason; rows before it are durable.
    Broken(String),
}

pub(super) struct Reading<'s, 'a> {
    pub(super) source: &'s FolderSource,
    pub(super) scan: &'s mut Scan<'a>,
    pub(super) out: &'s mut Outbound<'a>,
    pub(super) figures: Figures,
}

impl Reading<'_, '_> {
    /// Reads a file to its end. `current` tells from where, and is kept in the record with each commit.
    pub(super) fn file(&mut self, path: &Path, current: CurrentFile) -> Result<End, Stop> {
        let (from, mark) = (current.position, current.mark);
        let name = current.name.clone();
        self.folder().current = Some(current);
        let mut source = match open(self.scan, self.source, path, from) {
            Ok(source) => source,
            Err(error) => return Ok(End::Broken(broken(error)?)),
        };
        if !source.unknown_columns().is_empty() {
            tracing::warn!(resource = %self.scan.entry.code, file = name, columns = ?source.unknown_columns(),
                "columns that the catalogue entry does not have are ignored");
        }
        let mut row = Row::default();
        let mut staged = self.stage();
        let mut uncounted = 0;
        let mut before = source.position();
        let broken_by = loop {
            let next = match source.next(&mut row) {
                Ok(Next::End) => break None,
                Ok(next) => next,
                Err(error) => break Some(broken(error)?),
            };
            if self.out.is_full(row.size()) {
                self.stable(&source, &mark)?;
                let writes = self.writes(&mut staged, &mut uncounted, before, false)?;
                self.out.flush(writes)?;
            }
            before = source.position();
            uncounted += 1;
            match next {
                Next::Row if row.is_removed() => self.out.delete(row.key()),
                Next::Row => self.out.upsert(&row),
                Next::Refused(refusal) => {
                    self.scan.refuse(&mut staged, &source.shown(), &row, refusal, &name)?;
                }
                Next::End => {}
            }
        };
        self.stable(&source, &mark)?;
        let writes = self.writes(&mut staged, &mut uncounted, before, broken_by.is_none())?;
        self.out.flush(writes)?;
        self.out.settle()?;
        Ok(broken_by.map_or(End::Complete, End::Broken))
    }

    /// The rows up to a position and the position become durable together.
    fn writes(
        &mut self,
        staged: &mut Staged,
        uncounted: &mut u64,
        position: Position,
        complete: bool,
    ) -> Result<WriteBatch, Stop> {
        let rejected = staged.rows();
        std::mem::replace(staged, self.stage()).publish()?;
        let read = std::mem::take(uncounted);
        self.figures.read += read;
        self.figures.rejected += rejected;
        if let Some(current) = &mut self.folder().current {
            current.position = Some(position);
            current.complete = complete;
        }
        let mut writes = WriteBatch::new();
        self.scan.record.save(self.scan.stream(), &mut writes)?;
        writes.count(self.scan.stream(), read, rejected);
        Ok(writes)
    }

    /// A file that changes while it is read was not complete.
    fn stable(&mut self, source: &Source, mark: &FileMark) -> Result<(), Stop> {
        if source.identity()? == mark.identity {
            return Ok(());
        }
        self.out.settle()?;
        Err(Stop::Early(ScanOutcome::Unstable))
    }

    fn stage(&self) -> Staged {
        self.scan.publication.quarantine.stage(&self.scan.entry.code)
    }

    fn folder(&mut self) -> &mut super::FolderRecord {
        self.scan.record.folder.get_or_insert_default()
    }
}

pub(super) fn open(
    scan: &Scan<'_>,
    folder: &FolderSource,
    path: &Path,
    from: Option<Position>,
) -> Result<Source, crate::sources::SourceError> {
    let options = SourceOptions {
        path,
        form: &folder.form,
        encoding: folder.encoding,
        rules: &scan.publication.config.rules,
        from,
        whole_lines: false,
    };
    Source::open(options, scan.entry)
}
