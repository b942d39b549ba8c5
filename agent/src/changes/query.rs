//! A query of a database: all rows, or those that changed.

use std::ops::ControlFlow;

use hutong_schema::digest::{Leaf, key_hash, leaf_of};
use hutong_schema::row::FieldId;

use super::outbound::Outbound;
use super::publication::{Scan, ScanOutcome, ScanReport, Stop};
use super::record::DatabasePosition;
use super::whole::Whole;
use super::{replication, snapshot, watermark};
use crate::config::{Dialect, SqlMode, SqlSource};
use crate::quarantine::Staged;
use crate::sources::{Next, Row, Shown, SourceError, SqlRows, text};
use crate::spool::{Area, Replace, StoreError, StreamId, WriteBatch};
use crate::sql::Cell;

pub(super) fn scan(scan: Scan<'_>, source: &SqlSource) -> Result<ScanOutcome, Stop> {
    if !scan.state.is_drained() {
        return Ok(ScanOutcome::NotDrained);
    }
    match &source.mode {
        SqlMode::Snapshot => snapshot::scan(scan, Whole::Query(source)),
        SqlMode::Watermark(mode) => watermark::scan(scan, source, mode),
        SqlMode::Replication(mode) => replication::scan(scan, source, mode),
    }
}

/// The rows of a statement; `beside` is a column that need not be an item.
pub(super) fn rows(
    scan: &Scan<'_>,
    source: &SqlSource,
    statement: String,
    beside: Option<&str>,
) -> Result<SqlRows, Stop> {
    let read = text(source, statement)?;
    Ok(SqlRows::new(read, scan.entry, &scan.publication.config.rules, beside))
}

/// One statement that gives one value; `None` for no row or NULL.
pub(super) fn value(source: &SqlSource, statement: String) -> Result<Option<String>, SourceError> {
    let mut rows = text(source, statement)?;
    let mut found = None;
    while rows.advance()? {
        if let Cell::Text(text) = rows.cell(0) {
            found = Some(text.to_owned());
        }
    }
    Ok(found)
}

pub(super) fn dialect(source: &SqlSource) -> Dialect {
    source.database.url.dialect()
}

/// All rows must be read: nothing is known yet, the hub begins anew, keys are asked for, or a person
/// wishes it.
pub(super) fn whole_is_due(scan: &Scan<'_>) -> Result<bool, Stop> {
    let Some(known) = &scan.record.database else { return Ok(true) };
    Ok(scan.state.replace == Replace::Due
        || scan.record.confirmed.is_some()
        || !scan.resend()?.is_empty()
        || wished(scan)?.is_some_and(|wished| wished >= known.compared))
}

/// A person wishes that all rows are compared. Not in the source's record, which a scan under way is
/// about to write.
pub(super) fn wish(stream: StreamId, writes: &mut WriteBatch) {
    writes.put(Area::Nodes, wish_key(stream).as_bytes(), now().to_be_bytes().to_vec());
}

/// When it was wished last, seconds since 1970 UTC.
fn wished(scan: &Scan<'_>) -> Result<Option<i64>, StoreError> {
    let stored = scan.store.get(Area::Nodes, wish_key(scan.stream()).as_bytes())?;
    Ok(stored.and_then(|stored| Some(i64::from_be_bytes(stored.try_into().ok()?))))
}

fn wish_key(stream: StreamId) -> String {
    format!("compare/{}", stream.0)
}

/// Rows that were changed at the source, on their way to the outbox.
pub(super) struct Changes<'s> {
    out: Outbound<'s>,
    staged: Staged,
    columns: Vec<FieldId>,
    scratch: Vec<u8>,
    read: u64,
    /// Rows read since the last commit.
    uncounted: u64,
    rejected: u64,
}

impl<'s> Changes<'s> {
    pub(super) fn new(scan: &Scan<'s>) -> Self {
        Self {
            out: scan.outbound(),
            staged: scan.publication.quarantine.stage(&scan.entry.code),
            columns: scan.entry.columns().iter().map(|item| item.id).collect(),
            scratch: Vec::new(),
            read: 0,
            uncounted: 0,
            rejected: 0,
        }
    }

    /// Takes a row that was read; what the hub already has is not sent again.
    pub(super) fn take(
        &mut self,
        scan: &Scan<'_>,
        next: Next,
        row: &Row,
        shown: impl FnOnce() -> Shown,
    ) -> Result<(), Stop> {
        self.read += 1;
        self.uncounted += 1;
        match next {
            Next::Row => {
                if self.accepted(scan, row)? != Some(self.leaf(row)) {
                    self.out.upsert(row);
                }
            }
            Next::Refused(refusal) => scan.refuse(&mut self.staged, &shown(), row, refusal, "")?,
            Next::End => {}
        }
        Ok(())
    }

    /// Takes a row whatever the hub has.
    pub(super) fn send(&mut self, row: &Row) {
        self.read += 1;
        self.uncounted += 1;
        self.out.upsert(row);
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.read += 1;
        self.uncounted += 1;
        self.out.delete(key);
    }

    pub(super) fn is_full(&self, next_row: usize) -> bool {
        self.out.is_full(next_row)
    }

    /// Rows and the position behind them become durable together.
    pub(super) fn commit(&mut self, scan: &mut Scan<'_>, at: &str) -> Result<(), Stop> {
        let rejected = self.staged.rows();
        let next = scan.publication.quarantine.stage(&scan.entry.code);
        std::mem::replace(&mut self.staged, next).publish()?;
        self.rejected += rejected;
        if let Some(position) = &mut scan.record.database
            && position.at != at
        {
            at.clone_into(&mut position.at);
            (position.since, position.rested) = (now(), false);
        }
        let mut writes = WriteBatch::new();
        scan.record.save(scan.stream(), &mut writes)?;
        writes.count(scan.stream(), std::mem::take(&mut self.uncounted), rejected);
        Ok(self.out.flush(writes)?)
    }

    /// Waits until all of it is durable.
    pub(super) fn settle(&mut self) -> Result<(), Stop> {
        Ok(self.out.settle()?)
    }

    pub(super) fn report(&self, unknown_columns: &[String]) -> ScanOutcome {
        ScanOutcome::Done(ScanReport {
            read: self.read,
            rejected: self.rejected,
            upserts: self.out.upserts(),
            deletes: self.out.deletes(),
            batches: self.out.batches,
            unknown_columns: unknown_columns.to_vec(),
        })
    }

    fn leaf(&mut self, row: &Row) -> Leaf {
        let fields = self.columns.iter().zip(row.values());
        let present = fields.filter_map(|(id, value)| value.map(|value| (*id, value)));
        leaf_of(row.key(), present, &mut self.scratch)
    }

    /// The leaf that the hub has of this key.
    fn accepted(&self, scan: &Scan<'_>, row: &Row) -> Result<Option<Leaf>, StoreError> {
        let hash = key_hash(row.key());
        let mut found = None;
        scan.store.view()?.each_of_image_from(scan.stream().into(), &hash, |entry| {
            if entry.hash == hash {
                found = Some(entry.leaf);
            }
            ControlFlow::Break(())
        })?;
        Ok(found)
    }
}

/// Where changes go on once all rows were read.
pub(super) fn position(at: String) -> DatabasePosition {
    DatabasePosition { at, since: now(), rested: false, compared: now() }
}

pub(super) fn now() -> i64 {
    hutong_certs::clock::now().as_second()
}
