//! Where delivered rows go. A [`Sink`] is what all kinds have in common: the record of what is held,
//! the image of its rows, the order of commits. Its target is what differs:
//!
//! - a file per grant (`appended`),
//! - a table of a database (`sql`),
//! - JSON lines for a web service or a program (`feed`).
//!
//! A change counts once it is durable in the target *and* the store has, in one transaction, the cursor
//! after it and the leaves of the keys it named. The target commits first. What a file has beyond its
//! durable length is cut off when it is opened again, and delivered again; a database has a cursor of
//! its own, which counts, and the store follows it. A fresh snapshot is written beside the live rows and
//! takes their place when it is complete.
//!
//! When the hub asks for the digest, the target is compared with the image (files by a hash of every
//! piece): if somebody else changed it, what is held is what counts, the image follows it, and the hub
//! finds the keys that differ. What cannot be mended by sending rows again is delivered anew.

mod appended;
mod compare;
mod feed;
mod file;
mod ledger;
mod lines;
mod parse;
mod pieces;
mod places;
mod record;
mod records;
mod sink;
mod sql;
mod subscription;
mod target;

pub use compare::read_back;
pub use feed::WebhookError;
pub use file::FileFailure;
pub use lines::{Layout, LineFormat, Lines};
pub use places::Disposal;
pub use record::{Begin, Record, Resumption, Side, Staged};
pub use sink::{Checked, Dirty, Sink, TakeError, Taken};
pub use subscription::{SubscriptionKey, SubscriptionView, answer, known, of_image};
pub use target::Kept;

use std::path::PathBuf;

use crate::{
    config::{DatabaseConfig, SecretSource},
    spool::StoreError,
    sql::{SqlError, StatementError},
};

/// Where the rows of a subscription go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkOptions {
    /// One file per grant.
    Files {
        /// Folder of the files.
        folder: PathBuf,
        /// Their form.
        format: LineFormat,
    },
    /// One table per grant.
    Sql(Box<SqlOptions>),
    /// JSON lines, posted to a web service.
    Webhook(Box<WebhookOptions>),
    /// JSON lines, to standard output.
    Stdout,
}

/// A web service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookOptions {
    /// Its address, `http:` or `https:`.
    pub url: String,
    /// The token that it knows the agent by.
    pub token: Option<SecretSource>,
    /// Certificates of the authorities that may vouch for it, PEM; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

/// A table of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlOptions {
    /// The database.
    pub database: DatabaseConfig,
    /// The table's name, with its schema before a point if it has one; `{grant}` stands for the
    /// grant's number.
    pub table: String,
    /// Whether the table is made, and columns that it lacks are added.
    pub create: bool,
}

/// Why rows could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum SinkError {
    /// The file.
    #[error(transparent)]
    File(#[from] FileFailure),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// What the hub delivered cannot be written down as it is.
    #[error("the delivery does not fit its description: {0}")]
    Delivery(String),
    /// The subscription's record does not read.
    #[error("damaged record of a subscription in the store")]
    Record,
    /// The file could not be compared.
    #[error(
        "{0} was being changed while it was read; ask again when no other program writes to it"
    )]
    Unsettled(std::path::PathBuf),
    /// The database cannot be reached.
    #[error(transparent)]
    Sql(#[from] SqlError),
    /// The database could not do what it was asked for.
    #[error(transparent)]
    Database(#[from] StatementError),
    /// The table is not as the delivery needs it.
    #[error("{place}: {}", .problems.join("; "))]
    Table {
        /// The table.
        place: String,
        /// Everything that is wrong with it, and what to do.
        problems: Vec<String>,
    },
    /// The web service did not take the rows.
    #[error(transparent)]
    Webhook(#[from] WebhookError),
    /// Nobody reads standard output any more.
    #[error("standard output cannot be written")]
    Stdout(#[source] std::io::Error),
    /// A worker of the runtime ended early.
    #[error("the writing was interrupted")]
    Interrupted,
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
