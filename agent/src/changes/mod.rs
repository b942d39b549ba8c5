//! Changes: what a source says now, compared with what the hub accepted.
//!
//! [`Publication::scan`] reads a source once and puts what changed into the outbox. A snapshot file
//! holds all rows: it is compared with the accepted image, and what is missing in it becomes deletes,
//! unless there is reason to ask a person first. An append file is read from where reading stopped.
//!
//! A snapshot is compared only when everything appended before is acknowledged: the image is then
//! exactly what the hub holds, and a scan that was interrupted simply continues as the next one.

mod append;
mod outbound;
mod publication;
mod query;
mod record;
mod replication;
mod snapshot;
mod table;
mod watermark;
mod whole;

pub use publication::{Publication, ScanError, ScanOutcome, ScanReport};
pub use record::{SourceRecord, Waiting, WaitingReason};

#[cfg(test)]
mod tests;
