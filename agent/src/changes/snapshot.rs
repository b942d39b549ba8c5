//! A source that holds all rows, compared with the accepted image.

use std::ops::ControlFlow;

use hutong_schema::batch::BatchKind;
use hutong_schema::digest::{KeyHash, key_hash, leaf_of};
use hutong_schema::row::FieldId;

use super::outbound::Outbound;
use super::publication::{Resend, Scan, ScanOutcome, ScanReport, Stop, duplicate};
use super::record::{Waiting, WaitingReason};
use super::table::{KeyTable, Sight, leaf_start};
use super::whole::Whole;
use crate::quarantine::Staged;
use crate::sources::{Mark, Next, QueryMark, Row, Rows};
use crate::spool::{Replace, StoreError, WriteBatch};

pub(super) fn scan(mut scan: Scan<'_>, whole: Whole<'_>) -> Result<ScanOutcome, Stop> {
    if !scan.state.is_drained() {
        return Ok(ScanOutcome::NotDrained);
    }
    let mark = whole.mark(&scan)?;
    let mut resend = scan.resend()?;
    if scan.unchanged(&mark) && resend.is_empty() {
        return Ok(scan.record.waiting.take().map_or(ScanOutcome::Unchanged, ScanOutcome::Waiting));
    }
    let source = whole.open(&scan)?;
    if !source.is_still(&mark)? {
        return Ok(ScanOutcome::Unstable);
    }
    let begins = scan.state.replace == Replace::Due;
    let mut pass = Pass {
        names_all: begins,
        table: load_image(&scan)?,
        out: scan.outbound(),
        staged: scan.publication.quarantine.stage(&scan.entry.code),
        source,
        read: 0,
        broken: None,
        unreadable_keys: 0,
        unnamed: 0,
    };
    if begins {
        pass.out.marker(BatchKind::ReplaceBegin, WriteBatch::new())?;
    }
    pass.read(&scan, &mark, &mut resend)?;
    if let Some(broken) = pass.broken.take_if(|_| whole.heals()) {
        // What was read is true, and is sent; what is missing is not known.
        pass.out.flush(WriteBatch::new())?;
        pass.out.settle()?;
        return Ok(ScanOutcome::Trouble(broken));
    }
    let waiting = pass.must_wait(&scan, mark);
    let waiting = waiting.filter(|waiting| !whole.confirmed(waiting, scan.record.confirmed));
    if waiting.is_none() {
        pass.deletes(&scan)?;
    }
    pass.resend_removals(&resend, waiting.is_some())?;
    pass.finish(scan, mark, resend, waiting)
}

/// One reading of the source.
struct Pass<'a> {
    /// A replacement begins with this reading: what was named before it does not count.
    names_all: bool,
    table: KeyTable,
    out: Outbound<'a>,
    staged: Staged,
    source: Box<dyn Rows>,
    read: u64,
    broken: Option<String>,
    /// Refused rows whose key could not be read.
    unreadable_keys: u64,
    /// Refused rows whose key was not named to the hub, neither now nor before.
    unnamed: u64,
}

fn load_image(scan: &Scan<'_>) -> Result<KeyTable, StoreError> {
    let view = scan.store.view()?;
    let image = scan.stream().into();
    let keys = view.image_size_at_most(image)?;
    if keys == 0 {
        return Ok(KeyTable::without_image());
    }
    let mut table = KeyTable::for_image(keys);
    view.each_of_image(image, |entry| {
        table.load(&entry.hash, &entry.leaf);
        ControlFlow::Continue(())
    })?;
    Ok(table)
}

impl Pass<'_> {
    /// Reads all rows; inserts and updates go to the outbox.
    fn read(&mut self, scan: &Scan<'_>, mark: &Mark, resend: &mut Resend) -> Result<(), Stop> {
        let mut row = Row::default();
        let columns: Vec<FieldId> = scan.entry.columns().iter().map(|item| item.id).collect();
        let mut scratch = Vec::new();
        loop {
            let refusal = match self.source.next(&mut row) {
                Ok(Next::End) => break,
                Ok(Next::Row) => None,
                Ok(Next::Refused(refusal)) => Some(refusal),
                Err(error) => {
                    self.broken = Some(error.to_string());
                    break;
                }
            };
            self.read += 1;
            if let Some(refusal) = refusal {
                if !row.key_known() {
                    self.unreadable_keys += 1;
                    self.unnamed += 1;
                } else if !self.table.protect(&key_hash(row.key())) || self.names_all {
                    self.unnamed += 1;
                }
                if row.key_known() {
                    // Its accepted version stays; sending the key again is for when it is corrected.
                    resend.take(&key_hash(row.key()));
                }
                scan.refuse(&mut self.staged, &self.source.raw(), &row, refusal, "")?;
                continue;
            }
            let hash = key_hash(row.key());
            let send = match self.table.see(&hash, row.number) {
                Sight::New => true,
                Sight::Known(known) => {
                    let fields = columns.iter().zip(row.values());
                    let present = fields.filter_map(|(id, value)| value.map(|value| (*id, value)));
                    self.names_all
                        || leaf_start(&leaf_of(row.key(), present, &mut scratch)) != known
                }
                Sight::Duplicate(first) => {
                    let first =
                        first.map_or("an earlier row".to_owned(), |row| format!("row {row}"));
                    let note = format!("{first} has the same key");
                    let raw = self.source.raw();
                    scan.refuse(&mut self.staged, &raw, &row, duplicate(), &note)?;
                    continue;
                }
            };
            let wanted = !resend.is_empty() && resend.take(&hash);
            if send || wanted {
                if self.out.is_full(row.size()) {
                    self.stable(mark)?;
                    self.out.flush(WriteBatch::new())?;
                }
                self.out.upsert(&row);
            }
        }
        self.stable(mark)
    }

    /// A file that changes while it is read is neither the old one nor the new one.
    fn stable(&mut self, mark: &Mark) -> Result<(), Stop> {
        if self.source.is_still(mark)? {
            return Ok(());
        }
        self.out.settle()?;
        Err(Stop::Early(ScanOutcome::Unstable))
    }

    /// Whether a person must look before the hub deletes anything.
    fn must_wait(&self, scan: &Scan<'_>, mark: Mark) -> Option<Waiting> {
        let (deletes, of) = (self.table.unseen(), self.table.loaded());
        let percent = u64::from(scan.publication.config.max_delete_percent);
        let reason = if self.broken.is_some() {
            WaitingReason::Broken
        } else if self.read == 0 && (of > 0 || scan.replacing()) {
            WaitingReason::Empty
        } else if self.unreadable_keys > 0 && deletes > 0 {
            WaitingReason::UnreadableKeys
        } else if deletes * 100 > of * percent {
            WaitingReason::TooManyDeletes
        } else if scan.replacing() && self.unnamed > 0 {
            WaitingReason::RefusedInReplacement
        } else {
            return None;
        };
        let mark = match mark {
            Mark::Query(_) => Mark::Query(QueryMark { deletes }),
            Mark::File(_) => mark,
        };
        Some(Waiting { reason, deletes, of, mark, detail: self.broken.clone().unwrap_or_default() })
    }

    /// Sends a delete for every key of the image that the file does not have.
    fn deletes(&mut self, scan: &Scan<'_>) -> Result<(), Stop> {
        let mut from: KeyHash = [0; 16];
        while self.table.unseen() > 0 {
            // A view is held only while keys are collected, never while the outbox is full.
            let mut last = None;
            scan.store.view()?.each_of_image_from(scan.stream().into(), &from, |entry| {
                if self.table.is_unseen(&entry.hash) {
                    if self.out.is_full(entry.key.len()) {
                        last = Some(entry.hash);
                        return ControlFlow::Break(());
                    }
                    self.out.delete(entry.key);
                }
                ControlFlow::Continue(())
            })?;
            let Some(next) = last else { break };
            self.out.flush(WriteBatch::new())?;
            from = next;
        }
        Ok(())
    }

    /// Keys that were asked for and are not in the file: their removal is sent, also for keys that
    /// the image does not have, because the hub may have them.
    fn resend_removals(&mut self, resend: &Resend, waiting: bool) -> Result<(), Stop> {
        if waiting {
            return Ok(());
        }
        for (hash, key) in resend.missing() {
            // Those of the image were just deleted.
            if !self.table.is_unseen(hash) {
                if self.out.is_full(key.len()) {
                    self.out.flush(WriteBatch::new())?;
                }
                self.out.delete(key);
            }
        }
        Ok(())
    }

    fn finish(
        mut self,
        mut scan: Scan<'_>,
        mark: Mark,
        resend: Resend,
        waiting: Option<Waiting>,
    ) -> Result<ScanOutcome, Stop> {
        let rejected = self.staged.rows();
        self.staged.publish()?;
        scan.record.scanned = Some(scan.scanned(mark, self.read, rejected));
        scan.record.waiting = waiting.clone();
        scan.record.confirmed = None;
        let mut last = WriteBatch::new();
        scan.record.save(scan.stream(), &mut last)?;
        last.count(scan.stream(), self.read, rejected);
        if waiting.is_none() {
            resend.forget(scan.stream(), &mut last);
        }
        if waiting.is_none() && scan.replacing() {
            self.out.marker(BatchKind::ReplaceEnd, last)?;
        } else {
            self.out.flush(last)?;
        }
        self.out.settle()?;
        if let Some(waiting) = waiting {
            return Ok(ScanOutcome::Waiting(waiting));
        }
        Ok(ScanOutcome::Done(ScanReport {
            read: self.read,
            rejected,
            upserts: self.out.upserts,
            deletes: self.out.deletes,
            batches: self.out.batches,
            unknown_columns: self.source.unknown_columns().to_vec(),
        }))
    }
}
