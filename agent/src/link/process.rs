//! What nodes are made from, and what all nodes of a process share.

use std::{
    panic::AssertUnwindSafe,
    path::PathBuf,
    sync::{Arc, OnceLock},
};

use futures_util::FutureExt;
use hutong_certs::enrol::NodeFolder;
use hutong_schema::{
    grant::GrantId,
    ids::{NodeName, ResourceCode},
};
use jiff::Timestamp;
use tokio::sync::{Semaphore, mpsc};
use tokio_util::sync::CancellationToken;

use super::Dialler;
use crate::{
    quarantine::Quarantine,
    sinks::{Disposal, SinkOptions},
    spool::{Store, StreamId},
};

/// Digests and checks of files that one process computes at once: each reads an image or a file and
/// keeps a core busy.
const DIGESTS_AT_ONCE: usize = 2;

/// What a node is and does.
#[derive(Clone, Debug)]
pub struct NodeOptions {
    /// Its name.
    pub name: NodeName,
    /// Its key and certificates.
    pub folder: NodeFolder,
    /// Catalogue entries to apply at connect when the file has changed.
    pub catalogue: Option<PathBuf>,
    /// What it publishes, with the streams in the store.
    pub publications: Vec<(StreamId, ResourceCode)>,
    /// What it receives.
    pub subscriptions: Vec<SubscriptionOptions>,
}

/// What is received and where it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// One grant; all of the department when absent.
    pub grant: Option<GrantId>,
    /// Where its rows go.
    pub sink: SinkOptions,
    /// What happens to the data when the grant ends.
    pub disposal: Disposal,
}

/// What the nodes of a process share. Cheap to clone.
#[derive(Clone)]
pub struct Process {
    /// The socket.
    pub dialler: Dialler,
    /// The store.
    pub store: Store,
    /// Where refused rows go.
    pub quarantine: Quarantine,
    /// Where wishes for a scan go; holds one place per publication, so that it is never full.
    pub scans: mpsc::Sender<ScanWish>,
    /// What ends the process.
    pub fatal: Fatal,
    pub(super) digests: Arc<Semaphore>,
}

/// A source is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ScanWish {
    /// The publication's stream.
    pub stream: StreamId,
}

/// A failure after which the process must not go on, such as a failed fsync of the store.
#[derive(Clone, Debug)]
pub struct Fatal {
    reason: Arc<OnceLock<String>>,
    cancel: CancellationToken,
}

/// How the connection stands.
#[derive(Clone, Debug)]
pub enum LinkState {
    /// Not tried yet.
    Idle,
    /// A dial is under way.
    Connecting,
    /// Greeted.
    Connected {
        /// Since when.
        since: Timestamp,
        /// The hub's software.
        hub: String,
    },
    /// No connection.
    Away {
        /// Since when.
        since: Timestamp,
        /// Why, in words.
        reason: String,
        /// What a person should do.
        advice: Option<&'static str>,
        /// Failures in a row.
        failures: u32,
    },
}

impl Process {
    /// What the nodes of a process share.
    pub fn new(
        dialler: Dialler,
        store: Store,
        quarantine: Quarantine,
        scans: mpsc::Sender<ScanWish>,
        fatal: Fatal,
    ) -> Self {
        Self {
            dialler,
            store,
            quarantine,
            scans,
            fatal,
            digests: Arc::new(Semaphore::new(DIGESTS_AT_ONCE)),
        }
    }
}

impl Fatal {
    /// Nothing failed; `cancel` is cancelled when something does.
    pub fn new(cancel: CancellationToken) -> Self {
        Self { reason: Arc::default(), cancel }
    }

    /// Ends the process; the first reason counts.
    pub fn raise(&self, reason: &dyn std::fmt::Display) {
        if self.reason.set(reason.to_string()).is_ok() {
            tracing::error!(%reason, "the agent cannot go on and ends");
        }
        self.cancel.cancel();
    }

    /// Does work that others wait for without a time limit. If it panics, the process ends: it is
    /// started anew rather than shown healthy without that part.
    pub async fn guard(&self, what: &str, work: impl Future<Output = ()>) {
        if AssertUnwindSafe(work).catch_unwind().await.is_err() {
            self.raise(&format_args!("{what} was interrupted by a fault of the agent"));
        }
    }

    /// What failed.
    pub fn reason(&self) -> Option<&str> {
        self.reason.get().map(String::as_str)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_that_panics_ends_the_process_with_a_reason() {
        let cancel = CancellationToken::new();
        let fatal = Fatal::new(cancel.clone());
        fatal.guard("the work", async {}).await;
        assert!(!cancel.is_cancelled());
        fatal.guard("the work", async { panic!("a fault") }).await;
        assert!(cancel.is_cancelled());
        assert_eq!(fatal.reason(), Some("the work was interrupted by a fault of the agent"));
    }
}
