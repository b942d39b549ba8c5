//! Where the rows of a subscription are put: what differs between the kinds of sinks.
//!
//! A target holds rows; the ledger knows which. Of the two, the target commits first: what it has
//! beyond the record is dropped or adopted when it is opened again.

use std::{fmt, path::PathBuf};

use hutong_schema::{block::Block, grant::GrantView, wire::v1::subscribe::SnapshotEnd};
use tokio_util::sync::CancellationToken;

use super::{
    Begin, Disposal, Record, SinkError, SinkOptions, appended::AppendedFile, feed::Feed,
    ledger::Ledger, records::Broken, sql::SqlTable,
};
use crate::spool::WriteBatch;

/// Where the data of a grant that ended were kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In this file.
    File(PathBuf),
    /// In the table of this name.
    Table(String),
}

impl fmt::Display for Kept {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Table(name) => write!(f, "the table {name}"),
        }
    }
}

/// What a check of a target found.
pub(super) enum Finding {
    /// It holds what was written.
    Same,
    /// It says something else; the image now says the same, durably.
    Changed {
        /// Keys that differed.
        keys: usize,
    },
    /// It cannot be mended by sending rows again.
    Broken(Broken),
}

/// One kind of place for rows.
pub(super) enum Target {
    /// One append-only file.
    Appended(AppendedFile),
    /// A table of a database.
    Sql(Box<SqlTable>),
    /// JSON lines that go on.
    Feed(Feed),
}

impl Target {
    /// Brings target and record together after whatever happened. The caller makes the record
    /// durable if it changed.
    pub(super) async fn open(
        options: &SinkOptions,
        ledger: &mut Ledger,
    ) -> Result<Self, SinkError> {
        match options {
            SinkOptions::Files { folder, format } => {
                AppendedFile::open(folder, *format, ledger).await.map(Self::Appended)
            }
            SinkOptions::Sql(options) => {
                let table = Box::pin(SqlTable::open(options, ledger)).await?;
                Ok(Self::Sql(Box::new(table)))
            }
            SinkOptions::Webhook(options) => Feed::webhook(options, ledger).await.map(Self::Feed),
            SinkOptions::Stdout => Ok(Self::Feed(Feed::stdout(ledger))),
        }
    }

    /// The live file.
    #[cfg(test)]
    pub(super) fn path(&self) -> &std::path::Path {
        match self {
            Self::Appended(file) => file.path(),
            Self::Sql(_) | Self::Feed(_) => std::path::Path::new(""),
        }
    }

    /// Its name for people.
    pub(super) fn place(&self) -> String {
        match self {
            Self::Appended(file) => file.path().display().to_string(),
            Self::Sql(table) => table.place().to_owned(),
            Self::Feed(feed) => feed.place(),
        }
    }

    /// Bytes taken and not yet committed.
    pub(super) fn uncommitted(&self, record: &Record) -> u64 {
        match self {
            Self::Appended(file) => file.uncommitted(record),
            Self::Sql(table) => table.uncommitted(),
            Self::Feed(feed) => feed.uncommitted(),
        }
    }

    /// Whether there is anything of this subscription, be it unknown to the store.
    pub(super) fn is_there(&self) -> bool {
        match self {
            Self::Appended(file) => file.is_there(),
            // What the database knows is in the record; a feed keeps nothing.
            Self::Sql(_) | Self::Feed(_) => false,
        }
    }

    /// Makes ready for rows; whether the target is the one that the record knows. The record has
    /// begun already; the caller makes it durable with `writes`.
    pub(super) async fn begin(
        &mut self,
        ledger: &mut Ledger,
        begin: Begin,
        view: &GrantView,
        writes: &mut WriteBatch,
    ) -> Result<bool, SinkError> {
        match self {
            Self::Appended(file) => file.begin(ledger, begin, view, writes).await,
            Self::Sql(table) => Box::pin(table.begin(ledger, begin, view)).await,
            Self::Feed(feed) => {
                feed.begin(begin, view);
                Ok(true)
            }
        }
    }

    /// Takes the changes of a block.
    pub(super) fn rows(&mut self, block: &Block<'_>) -> Result<(), SinkError> {
        match self {
            Self::Appended(file) => file.rows(block),
            Self::Sql(table) => table.rows(block),
            Self::Feed(feed) => feed.rows(block),
        }
    }

    /// Makes what was taken durable. The caller then makes the record durable with `writes`.
    pub(super) async fn commit(
        &mut self,
        ledger: &mut Ledger,
        wrote: bool,
        writes: &mut WriteBatch,
    ) -> Result<(), SinkError> {
        match self {
            Self::Appended(file) => file.commit(ledger, wrote, writes).await,
            Self::Sql(table) => Box::pin(table.commit(ledger)).await,
            Self::Feed(feed) => feed.commit(ledger, writes).await,
        }
    }

    /// The record is durable, with what was taken.
    pub(super) async fn committed(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        match self {
            Self::Appended(_) | Self::Sql(_) => Ok(()),
            Self::Feed(feed) => feed.committed(ledger).await,
        }
    }

    /// The staged rows take the place of the live ones; record and target are durable afterwards.
    pub(super) async fn complete(
        &mut self,
        ledger: &mut Ledger,
        end: &SnapshotEnd,
    ) -> Result<(), SinkError> {
        match self {
            Self::Appended(file) => file.complete(ledger, end).await,
            Self::Sql(table) => Box::pin(table.complete(ledger, end)).await,
            Self::Feed(feed) => feed.complete(ledger, end).await,
        }
    }

    /// Forgets what is not committed.
    pub(super) fn forget_uncommitted(&mut self) {
        match self {
            Self::Appended(file) => file.forget_uncommitted(),
            Self::Sql(table) => table.forget_uncommitted(),
            Self::Feed(feed) => feed.forget_uncommitted(),
        }
    }

    /// The grant ended: the rows are kept aside or removed. The record says so already; `held` is
    /// whether it spoke of any.
    pub(super) async fn dispose(
        &mut self,
        ledger: &Ledger,
        held: bool,
        disposal: Disposal,
        now: jiff::Timestamp,
    ) -> Result<Option<Kept>, SinkError> {
        match self {
            Self::Appended(file) => file.dispose(held, disposal, now).await,
            Self::Sql(table) => Box::pin(table.dispose(ledger, disposal, now)).await,
            Self::Feed(feed) => feed.dispose(ledger).await.map(|()| None),
        }
    }

    /// What is held cannot be gone on with. The record says so already; `staged` is whether it spoke
    /// of a snapshot under way.
    pub(super) async fn give_up(
        &mut self,
        ledger: &Ledger,
        staged: bool,
    ) -> Result<Option<Kept>, SinkError> {
        match self {
            Self::Appended(file) => file.give_up(staged).await,
            Self::Sql(table) => Box::pin(table.give_up(ledger)).await.map(|()| None),
            Self::Feed(_) => Ok(None),
        }
    }

    /// Compares what is held with the image, and brings the image to what is held.
    pub(super) async fn check(
        &mut self,
        ledger: &mut Ledger,
        cancel: &CancellationToken,
    ) -> Result<Finding, SinkError> {
        match self {
            Self::Appended(file) => file.check(ledger, cancel).await,
            Self::Sql(table) => Box::pin(table.check(ledger, cancel)).await,
            // What was handed on is no longer to be looked at.
            Self::Feed(_) => Ok(Finding::Same),
        }
    }
}
