//! `[node.publish.sql]`

use std::time::Duration;

use super::super::section::Section;
use super::super::{Dialect, Replication, SqlFrom, SqlMode, SqlSource, Watermark};
use super::database::{DATABASE, database};

const SOURCE: &[&str] = &["table", "query", "mode", "patience_seconds"];
const WATERMARK: &[&str] = &["watermark", "overlap", "compare_hours"];
const REPLICATION: &[&str] = &["slot", "publication"];

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Snapshot,
    Watermark,
    Replication,
}

/// `None` only if a mistake was reported.
pub(super) fn source(section: &Section<'_>) -> Option<SqlSource> {
    section.only(&[DATABASE, SOURCE, WATERMARK, REPLICATION].concat());
    let words = [
        ("snapshot", Mode::Snapshot),
        ("watermark", Mode::Watermark),
        ("replication", Mode::Replication),
    ];
    let kind = section.choice("mode", &words, Mode::Snapshot);
    let patience = section.number("patience_seconds", 1..=86_400, 600);
    let from = from(section);
    let mode = match kind {
        Mode::Snapshot => Some(SqlMode::Snapshot),
        Mode::Watermark => watermark(section).map(SqlMode::Watermark),
        Mode::Replication => replication(section).map(SqlMode::Replication),
    };
    let unfit = |names: &[&str], mode: &str| {
        for name in names {
            if section.text(name).is_some() {
                section.report(
                    name,
                    "has no meaning here",
                    format!("it belongs to mode = \"{mode}\""),
                );
            }
        }
    };
    if kind != Mode::Watermark {
        unfit(WATERMARK, "watermark");
    }
    if kind != Mode::Replication {
        unfit(REPLICATION, "replication");
    }
    let database = database(section);
    if kind == Mode::Replication {
        if let Some(SqlFrom::Query(_)) = from {
            section.report(
                "query",
                "cannot be replicated",
                "name the table: table = \"schema.name\"",
            );
        }
        if database.as_ref().is_some_and(|each| each.url.dialect() != Dialect::Postgres) {
            section.report(
                "mode",
                "is \"replication\"",
                "only PostgreSQL has it; use watermark or snapshot",
            );
        }
    }
    Some(SqlSource {
        database: database?,
        from: from?,
        mode: mode?,
        patience: Duration::from_secs(patience),
    })
}

fn from(section: &Section<'_>) -> Option<SqlFrom> {
    match (section.text("table"), section.text("query")) {
        (Some(table), None) => Some(SqlFrom::Table(table)),
        (None, Some(query)) => {
            let query = query.trim().trim_end_matches(';').to_owned();
            Some(SqlFrom::Query(query))
        }
        (Some(_), Some(_)) => {
            section.report("query", "stands beside a table", "give one of the two");
            None
        }
        (None, None) => {
            section.report(
                "table",
                "is missing",
                "the table with the rows, or query = \"SELECT …\"",
            );
            None
        }
    }
}

fn watermark(section: &Section<'_>) -> Option<Watermark> {
    let hint = "a column that grows with every change of a row, such as updated_at";
    let column = section.required("watermark", hint);
    let overlap = section.number("overlap", 0..=10_000_000, 60);
    let compare = section.number("compare_hours", 0..=10_000, 24);
    let compare = (compare > 0).then(|| Duration::from_secs(compare * 3_600));
    Some(Watermark { column: column?, overlap, compare })
}

fn replication(section: &Section<'_>) -> Option<Replication> {
    let slot = section.required("slot", "a name for the slot, such as hutong_people");
    let fits = |name: &String| {
        let known = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_';
        (1..=63).contains(&name.len()) && name.chars().all(known)
    };
    if slot.as_ref().is_some_and(|slot| !fits(slot)) {
        section.report("slot", "is no name of a slot", "1 to 63 of a-z, 0-9 and _");
    }
    let publication = section.required("publication", "the publication that names the table");
    Some(Replication { slot: slot?, publication: publication? })
}
