//! Changes as PostgreSQL tells them from a logical replication slot.
//!
//! The slot is read through SQL (`pg_logical_slot_peek_binary_changes`): what was read stays in it
//! until the outbox has it durably, and only then the slot is moved on. A crash in between repeats
//! changes, and never leaves one out. First, and whenever all rows are due, the table itself is read
//! and compared; what the slot kept meanwhile follows, so that the newest state comes last.

mod apply;
mod slot;

use super::publication::{Scan, ScanOutcome, Stop};
use super::whole::Whole;
use super::{query, snapshot};
use crate::config::{Replication, SqlSource};
use crate::sources::SourceError;

pub(super) fn scan(
    mut scan: Scan<'_>,
    source: &SqlSource,
    mode: &Replication,
) -> Result<ScanOutcome, Stop> {
    let slot = slot::Slot::new(source, mode);
    let kept = slot.prepare()?;
    if !kept || query::whole_is_due(&scan)? {
        // The slot keeps everything from here on.
        scan.record.database = Some(query::position(slot.kept_from()?));
        return snapshot::scan(scan, Whole::Query(source));
    }
    apply::changes(scan, source, &slot)
}

fn wrong(source: &SqlSource, detail: impl Into<String>) -> SourceError {
    SourceError::Query { place: source.database.url.to_string(), detail: detail.into() }
}
