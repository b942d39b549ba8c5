//! A file that rows are added to, read from where reading stopped.

use hutong_schema::batch::BatchKind;
use hutong_schema::digest::key_hash;

use super::outbound::Outbound;
use super::publication::{Resend, Scan, ScanOutcome, ScanReport, Stop};
use super::record::SourceRecord;
use crate::config::FileSource;
use crate::quarantine::Staged;
use crate::sources::{FileMark, Mark, Next, Position, Row, Rows, Source, SourceError};
use crate::spool::{Replace, StoreError, WriteBatch};

pub(super) fn scan(mut scan: Scan<'_>, file: &FileSource) -> Result<ScanOutcome, Stop> {
    let mark = scan.mark(file)?;
    let mut resend = scan.resend()?;
    if scan.unchanged(&Mark::File(mark)) && resend.is_empty() {
        return Ok(ScanOutcome::Unchanged);
    }
    let path = &file.path;
    let unreadable = |source| SourceError::Read { path: path.clone(), source };
    if let Some(position) = scan.record.position {
        let known = scan.record.mark.map_or(Ok(true), |mark| mark.still_begins(path));
        if mark.through < position.offset || !known.map_err(unreadable)? {
            tracing::info!(resource = %scan.entry.code, path = %path.display(),
                "the file was replaced or truncated and is read from its beginning");
            scan.record.position = None;
        }
    }
    // What is there now must still be there when reading goes on: this is compared next time.
    scan.record.mark = Some(mark);
    let mut out = scan.outbound();
    if scan.state.replace == Replace::Due {
        out.marker(BatchKind::ReplaceBegin, WriteBatch::new())?;
    }
    if !resend.is_empty() {
        send_again(&scan, file, &mut out, &mut resend)?;
    }
    let source = scan.open(file, scan.record.position, true)?;
    let staged = scan.publication.quarantine.stage(&scan.entry.code);
    let mut pass = Pass { out, source, staged, read: 0, uncounted: 0, rejected: 0 };
    pass.read(&mut scan)?;
    pass.finish(scan, mark, &resend)
}

struct Pass<'a> {
    out: Outbound<'a>,
    source: Source,
    staged: Staged,
    read: u64,
    /// Rows read since the last commit.
    uncounted: u64,
    rejected: u64,
}

impl Pass<'_> {
    fn read(&mut self, scan: &mut Scan<'_>) -> Result<(), Stop> {
        let mut row = Row::default();
        let mut before = self.source.position();
        loop {
            let next = self.source.next(&mut row)?;
            if next == Next::End {
                return Ok(());
            }
            if next == Next::Row && self.out.is_full(row.size()) {
                self.commit(scan, before)?;
            }
            before = self.source.position();
            self.read += 1;
            self.uncounted += 1;
            match next {
                Next::Row => self.out.upsert(&row),
                Next::Refused(refusal) => {
                    scan.refuse(&mut self.staged, &self.source.raw(), &row, refusal, "")?;
                }
                Next::End => {}
            }
        }
    }

    /// Rows and the position behind them become durable together.
    fn commit(&mut self, scan: &mut Scan<'_>, position: Position) -> Result<(), Stop> {
        let writes = self.writes(scan, position)?;
        Ok(self.out.flush(writes)?)
    }

    fn writes(&mut self, scan: &mut Scan<'_>, position: Position) -> Result<WriteBatch, Stop> {
        let rejected = self.staged.rows();
        let next = scan.publication.quarantine.stage(&scan.entry.code);
        std::mem::replace(&mut self.staged, next).publish()?;
        self.rejected += rejected;
        scan.record.position = Some(position);
        let mut writes = WriteBatch::new();
        scan.record.save(scan.stream(), &mut writes)?;
        writes.count(scan.stream(), std::mem::take(&mut self.uncounted), rejected);
        Ok(writes)
    }

    fn finish(
        mut self,
        mut scan: Scan<'_>,
        mark: FileMark,
        resend: &Resend,
    ) -> Result<ScanOutcome, Stop> {
        let position = self.source.position();
        let (read, rejected) = (self.read, self.rejected + self.staged.rows());
        // A line that is still being written is not read: the file is then not read to its end.
        let complete = position.offset == mark.through;
        scan.record.scanned = complete.then(|| scan.scanned(Mark::File(mark), read, rejected));
        let mut writes = self.writes(&mut scan, position)?;
        resend.forget(scan.stream(), &mut writes);
        if scan.replacing() {
            self.out.marker(BatchKind::ReplaceEnd, writes)?;
        } else {
            self.out.flush(writes)?;
        }
        self.out.settle()?;
        Ok(ScanOutcome::Done(ScanReport {
            read,
            rejected,
            upserts: self.out.upserts,
            deletes: self.out.deletes,
            batches: self.out.batches,
            unknown_columns: self.source.unknown_columns().to_vec(),
        }))
    }
}

/// Sends the asked keys as the part of the file read so far has them, or their removal.
fn send_again(
    scan: &Scan<'_>,
    file: &FileSource,
    out: &mut Outbound<'_>,
    resend: &mut Resend,
) -> Result<(), Stop> {
    let SourceRecord { position: Some(until), .. } = scan.record else {
        // The whole file is about to be read. A key that is nowhere in it still needs its removal,
        // which must come before the rows that follow.
        return removals(out, resend);
    };
    let mut source = scan.open(file, None, true)?;
    let mut row = Row::default();
    while source.position().offset < until.offset {
        match source.next(&mut row)? {
            Next::End => break,
            Next::Refused(_) => {}
            Next::Row => {
                if resend.take(&key_hash(row.key())) {
                    if out.is_full(row.size()) {
                        out.flush(WriteBatch::new())?;
                    }
                    out.upsert(&row);
                }
            }
        }
    }
    removals(out, resend)
}

fn removals(out: &mut Outbound<'_>, resend: &Resend) -> Result<(), Stop> {
    for (_, key) in resend.missing() {
        if out.is_full(key.len()) {
            out.flush(WriteBatch::new())?;
        }
        out.delete(key);
    }
    Ok(out.flush(WriteBatch::new()).map_err(|error: StoreError| error)?)
}
