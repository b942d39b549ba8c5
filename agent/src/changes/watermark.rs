//! Rows of a query above a watermark: a column that grows with every change.
//!
//! Reading goes on a little below the highest value seen, because a transaction may commit later than
//! another with a higher one; rows that the hub already has are not sent again. When the highest value
//! has stood for that time, what lies below it is not read any more. Deletes are not seen
//! that way: all rows are compared now and then.

use jiff::civil::DateTime;
use jiff::{SignedDuration, Unit};

use super::publication::{Scan, ScanOutcome, Stop};
use super::query::{self, Changes};
use super::snapshot;
use super::whole::Whole;
use crate::config::{SqlSource, Watermark};
use crate::sources::{self, Next, Row, Rows, SourceError};
use crate::sql::{identifier, literal};

pub(super) fn scan(
    mut scan: Scan<'_>,
    source: &SqlSource,
    mode: &Watermark,
) -> Result<ScanOutcome, Stop> {
    let column = identifier(query::dialect(source), &mode.column);
    let from = sources::from(source);
    let known = scan.record.database.clone();
    let compare = match (&known, mode.compare) {
        (Some(known), Some(after)) => query::now() - known.compared >= after.as_secs() as i64,
        (Some(_), None) | (None, _) => false,
    };
    if compare || query::whole_is_due(&scan)? {
        // Asked before the rows are read: what commits meanwhile lies above it, or is read again.
        let highest = query::value(source, format!("SELECT max({column}) FROM {from}"))?;
        scan.record.database = highest.map(query::position);
        return snapshot::scan(scan, Whole::Query(source));
    }
    let Some(known) = known else { return Ok(ScanOutcome::Unchanged) };
    let dialect = query::dialect(source);
    let above = if known.rested {
        format!("> {}", literal(dialect, &known.at))
    } else {
        let lower = lower(&known.at, mode.overlap);
        let lower = lower.ok_or_else(|| not_a_watermark(source, mode, &known.at))?;
        format!(">= {}", literal(dialect, &lower))
    };
    // Of a number nobody knows how long a transaction may lie below it.
    let late = known.at.parse::<i128>().is_err().then(|| known.since + mode.overlap as i64);
    let rested = late.is_some_and(|late| query::now() > late);
    let statement = format!("SELECT * FROM {from} WHERE {column} {above} ORDER BY {column}");
    let mut rows = query::rows(&scan, source, statement, Some(&mode.column))?;
    let mut changes = Changes::new(&scan);
    let mut row = Row::default();
    let mut at = known.at.clone();
    loop {
        let next = rows.next(&mut row)?;
        if next == Next::End {
            break;
        }
        if next == Next::Row && changes.is_full(row.size()) {
            changes.commit(&mut scan, &at)?;
        }
        changes.take(&scan, next, &row, || rows.shown())?;
        if let Some(value) = rows.beside() {
            // Rows come in order; those of the overlap lie below what was seen before.
            if is_above(value, &at) {
                value.clone_into(&mut at);
            }
        }
    }
    scan.tell_unknown(rows.unknown_columns());
    if let Some(position) = &mut scan.record.database {
        position.rested = rested;
    }
    changes.commit(&mut scan, &at)?;
    changes.settle()?;
    Ok(changes.report(rows.unknown_columns()))
}

/// A little below a watermark. `None` if it is neither a time nor a whole number.
fn lower(at: &str, overlap: u64) -> Option<String> {
    if let Ok(number) = at.parse::<i128>() {
        return Some((number - i128::from(overlap)).to_string());
    }
    let time = time(at)?;
    let below = time.checked_sub(SignedDuration::from_secs(i64::try_from(overlap).ok()?)).ok()?;
    // Times are compared by whole seconds here: a fraction is cut off downwards.
    let below = below.round(
        jiff::civil::DateTimeRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor),
    );
    Some(below.ok()?.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// `2026-01-31 08:00:00.25`, what follows is passed over; or a date alone.
fn time(at: &str) -> Option<DateTime> {
    let whole = at.get(..19).unwrap_or(at).replacen(' ', "T", 1);
    match whole.parse::<DateTime>() {
        Ok(time) => Some(time),
        Err(_) => Some(
            at.get(..10)?
                .parse::<jiff::civil::Date>()
                .ok()?
                .to_datetime(jiff::civil::Time::midnight()),
        ),
    }
}

fn is_above(value: &str, at: &str) -> bool {
    match (value.parse::<i128>(), at.parse::<i128>()) {
        (Ok(value), Ok(at)) => value > at,
        // Times of one form are in the order of their text.
        _ => value > at,
    }
}

fn not_a_watermark(source: &SqlSource, mode: &Watermark, at: &str) -> SourceError {
    SourceError::Query {
        place: source.database.url.to_string(),
        detail: format!(
            "the watermark {} has the value {at:?}, which is neither a time nor a whole number; choose another column",
            mode.column
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reading_goes_on_a_little_below_what_was_seen() {
        assert_eq!(lower("100", 7).unwrap(), "93");
        assert_eq!(lower("3", 7).unwrap(), "-4");
        assert_eq!(lower("2026-03-01 00:00:10.75", 60).unwrap(), "2026-02-28 23:59:10");
        assert_eq!(lower("2026-03-01 00:00:10.75+08", 0).unwrap(), "2026-03-01 00:00:10");
        assert_eq!(lower("2026-03-01", 86_400).unwrap(), "2026-02-28 00:00:00");
        assert_eq!(lower("a word", 1), None);
        assert_eq!(lower("", 1), None);
    }

    #[test]
    fn numbers_are_in_order_by_value_and_times_by_text() {
        assert!(is_above("10", "9") && !is_above("9", "10"));
        assert!(is_above("2026-01-02 00:00:00", "2026-01-01 23:59:59"));
    }
}
