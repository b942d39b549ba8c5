//! Who asked what. A record is durable before the answer it is about leaves the hub.

mod access;
mod pseudonym;

pub use access::{AccessLog, AccessRecord, Actor, NotRecorded, Question};
pub use pseudonym::{KeyFolder, KeyFolderError, Pseudonym};
