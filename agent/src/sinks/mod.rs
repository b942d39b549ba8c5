//! Where delivered rows go: one file per granted subscription, with a durable cursor.
//!
//! A change counts once it is in the synchronised file *and* the store has, in one transaction, the
//! file's length, the cursor after it and the leaves of the keys it named. What stands in the file
//! behind that length is cut off at start, and delivered again. A fresh snapshot is written beside
//! the live file and takes its place when it is complete.

mod file;
mod lines;
mod places;
mod record;
mod sink;
mod subscription;

pub use file::FileFailure;
pub use lines::{Layout, LineFormat, Lines};
pub use places::Disposal;
pub use record::{Begin, Record, Side, Staged};
pub use sink::{Dirty, Sink};
pub use subscription::{SubscriptionKey, SubscriptionView, answer, known, of_image};

use crate::spool::StoreError;

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
    /// A worker of the runtime ended early.
    #[error("the writing was interrupted")]
    Interrupted,
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
