//! The proof: are the rows in the source files, in the hub's views and in the subscribers' files the
//! same? Every digest is computed from bytes on disk, by a process that took no part in moving them.
//!
//! ```text
//! inventory ─► source files ──┐ full rows, by class     ┌── the hub's views
//!                             ├─────────── = ───────────┤
//!              source files ──┘ granted rows, by grant  └── the hub's views = subscribers' files
//! ```
//!
//! A first pass computes digests. Only if two differ, a second pass over the differing buckets names
//! the keys.

mod difference;
mod hub;
pub mod inventory;
mod json_row;
mod pass;
mod report;
mod schema;
mod source;
mod subscriber;

use anyhow::Result;

pub use difference::{Difference, NAMED_MAX, What};
pub use inventory::{GrantRecord, Inventory, ResourceRecord};
pub use pass::Place;
pub use report::print;

use hutong_schema::digest::Digest;

/// Rows and digest of one subject at the places that hold it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The class of resources, or the grant, in words.
    pub subject: String,
    /// From the source files.
    pub source: Digest,
    /// From the hub's views.
    pub hub: Digest,
    /// From the subscriber's file, for a grant.
    pub subscriber: Option<Digest>,
}

impl Line {
    /// Whether all places hold the same.
    pub fn equal(&self) -> bool {
        self.source == self.hub && self.subscriber.is_none_or(|digest| digest == self.hub)
    }
}

/// What the proof found.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// One line for each class, then one for each grant.
    pub lines: Vec<Line>,
    /// What is no row, where rows are expected.
    pub unreadable: Vec<String>,
    /// The differing keys, at most [`NAMED_MAX`] of each subject and pair of places.
    pub differences: Vec<Difference>,
}

impl Verdict {
    /// Whether all places hold the same, and nothing else.
    pub fn equal(&self) -> bool {
        self.lines.iter().all(Line::equal) && self.unreadable.is_empty()
    }

    /// The lines of classes.
    pub fn classes(&self) -> impl Iterator<Item = &Line> {
        self.lines.iter().filter(|line| line.subscriber.is_none())
    }
}

/// Computes all digests of an inventory, and names what differs.
///
/// # Errors
/// When a file is missing. A difference is no error but a finding.
pub fn prove(inventory: &Inventory) -> Result<Verdict> {
    let subjects = schema::Subjects::of(inventory)?;
    let walk = pass::Walk::new(inventory, &subjects)?;
    let first = pass::digests(&walk)?;
    let lines = first.lines(&subjects);
    let differences = match lines.iter().all(Line::equal) {
        true => Vec::new(),
        false => difference::name(&walk, &first)?,
    };
    Ok(Verdict { lines, unreadable: first.unreadable, differences })
}
