//! What a snapshot is read from: a file, or a query.

use crate::config::{FileSource, SqlSource};
use crate::sources::{Mark, QueryMark, Rows};

use super::publication::{Scan, Stop};
use super::query;
use super::record::{Waiting, WaitingReason};

/// A source that gives all rows.
#[derive(Clone, Copy)]
pub(super) enum Whole<'a> {
    File(&'a FileSource),
    Query(&'a SqlSource),
}

impl Whole<'_> {
    pub(super) fn mark(self, scan: &Scan<'_>) -> Result<Mark, Stop> {
        match self {
            Self::File(file) => Ok(Mark::File(scan.mark(file)?)),
            Self::Query(_) => Ok(Mark::Query(QueryMark::default())),
        }
    }

    pub(super) fn open(self, scan: &Scan<'_>) -> Result<Box<dyn Rows>, Stop> {
        match self {
            Self::File(file) => Ok(Box::new(scan.open(file, None, false)?)),
            Self::Query(source) => Ok(Box::new(query::all(scan, source)?)),
        }
    }

    /// Whether a reading that broke off is tried again by itself. A file stays as it is.
    pub(super) fn heals(self) -> bool {
        match self {
            Self::File(_) => false,
            Self::Query(_) => true,
        }
    }

    /// Whether a person confirmed this. A file is confirmed as it is; of a query that gives other rows
    /// each time, so many deletes.
    pub(super) fn confirmed(self, waiting: &Waiting, confirmed: Option<Mark>) -> bool {
        match (confirmed, waiting.mark) {
            (Some(Mark::File(confirmed)), Mark::File(mark)) => confirmed.same_content(&mark),
            (Some(Mark::Query(confirmed)), Mark::Query(_)) => {
                waiting.reason != WaitingReason::Broken && waiting.deletes <= confirmed.deletes
            }
            (None | Some(Mark::File(_) | Mark::Query(_)), Mark::File(_) | Mark::Query(_)) => false,
        }
    }
}
