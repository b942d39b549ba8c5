//! When sources are read: at start, on a timer, and whenever somebody has a reason.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;
use tokio::{
    sync::{Semaphore, mpsc},
    task::JoinError,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    changes::{Publication as Source, ScanError, ScanOutcome, SourceRecord},
    config::SourceConfig,
    link::{Fatal, Hindrance, Node, Publication, ScanWish},
    spool::{Store, StoreError, StreamId},
};

/// How often it is looked which sources are due.
const TICK: Duration = Duration::from_secs(1);

/// How soon batches of a scan under way are offered to the link.
const OFFER: Duration = Duration::from_millis(25);

/// A file that changed while it was read is read again after this time.
const UNSTABLE: Duration = Duration::from_secs(2);

/// A source that was not read to its end is tried again after this time at the latest.
const AGAIN: Duration = Duration::from_secs(30);

/// One source with everything that a scan of it concerns.
pub(super) struct Mounted {
    pub(super) node: Arc<Node>,
    pub(super) publication: Arc<Publication>,
    pub(super) source: Source,
    due: Mutex<Option<Instant>>,
    cancel: CancellationToken,
}

/// All sources of the process. Cheap to clone.
#[derive(Clone)]
pub(super) struct Scans {
    store: Store,
    fatal: Fatal,
    mounted: Arc<Mutex<HashMap<StreamId, Arc<Mounted>>>>,
    turns: Arc<Semaphore>,
    cancel: CancellationToken,
    tasks: TaskTracker,
}

impl Scans {
    pub(super) fn new(
        store: Store,
        fatal: Fatal,
        parallel: usize,
        cancel: CancellationToken,
        tasks: TaskTracker,
    ) -> Self {
        let turns = Arc::new(Semaphore::new(parallel.max(1)));
        Self { store, fatal, mounted: Arc::default(), turns, cancel, tasks }
    }

    /// Adds a source and has it read; one that was there for the publication is read no more.
    pub(super) fn mount(&self, node: Arc<Node>, publication: Arc<Publication>, source: Source) {
        let stream = publication.stream;
        let (due, cancel) = (Mutex::new(None), self.cancel.child_token());
        let mounted = Mounted { node, publication, source, due, cancel };
        mounted.show_waiting(&self.store);
        let mounted = Arc::new(mounted);
        let before = self.mounted.lock().insert(stream, Arc::clone(&mounted));
        if let Some(before) = before {
            before.cancel.cancel();
        }
        mounted.publication.free(Hindrance::Source);
        mounted.node.want_scan(&mounted.publication);
        self.watch(mounted);
    }

    /// A watched folder is looked at as soon as something happens in it.
    fn watch(&self, mounted: Arc<Mounted>) {
        let SourceConfig::Folder(folder) = &mounted.source.config.source else { return };
        let (folder, cancel) = (folder.folder.clone(), self.cancel.clone());
        self.tasks.spawn(async move {
            let look = || mounted.node.want_scan(&mounted.publication);
            super::folders::watch(&folder, cancel, look).await;
        });
    }

    /// Removes a source: it is read no more.
    pub(super) fn unmount(&self, stream: StreamId) {
        if let Some(before) = self.mounted.lock().remove(&stream) {
            before.cancel.cancel();
        }
    }

    /// All sources.
    pub(super) fn all(&self) -> Vec<Arc<Mounted>> {
        self.mounted.lock().values().cloned().collect()
    }

    /// Reads sources as wished until cancelled.
    pub(super) async fn run(self, mut wishes: mpsc::Receiver<ScanWish>) {
        let mut tick = tokio::time::interval(TICK);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let wish = tokio::select! {
                () = self.cancel.cancelled() => return,
                _ = tick.tick() => {
                    self.wish_due();
                    continue;
                }
                wish = wishes.recv() => wish,
            };
            let Some(wish) = wish else { return };
            let found = self.mounted.lock().get(&wish.stream).cloned();
            let Some(mounted) = found else { continue };
            let turn = tokio::select! {
                turn = Arc::clone(&self.turns).acquire_owned() => turn,
                () = self.cancel.cancelled() => return,
            };
            let Ok(turn) = turn else { return };
            let scans = self.clone();
            self.tasks.spawn(async move {
                let well = scans.scan(&mounted).await;
                drop(turn);
                mounted.reschedule(well);
                mounted.node.scan_ended(&mounted.publication, well);
            });
        }
    }

    fn wish_due(&self) {
        let now = Instant::now();
        for mounted in self.all() {
            let mut due = mounted.due.lock();
            if due.is_some_and(|due| due <= now) {
                *due = None;
                mounted.node.want_scan(&mounted.publication);
            }
        }
    }

    /// Reads one source; whether it was read to its end, or is known to be as it was.
    async fn scan(&self, mounted: &Arc<Mounted>) -> bool {
        let publication = &mounted.publication;
        publication.scan_begins();
        // Without an entry there is nothing to read by: the link says so when it cannot get one.
        let Some(entry) = publication.entry() else { return false };
        let (source, store, cancel) =
            (mounted.source.clone(), self.store.clone(), mounted.cancel.clone());
        let mut scan = tokio::task::spawn_blocking(move || source.scan(&store, &entry, &cancel));
        let mut appended = 0;
        let ended = loop {
            tokio::select! {
                ended = &mut scan => break ended,
                () = tokio::time::sleep(OFFER) => {
                    let last = publication.state(&self.store).map_or(0, |state| state.last_seq());
                    if last != appended {
                        appended = last;
                        mounted.node.poke(publication);
                    }
                }
            }
        };
        match came_back(publication, ended) {
            Some(Ok(outcome)) => self.settle(mounted, outcome),
            Some(Err(error)) => {
                self.failed(mounted, &error);
                false
            }
            None => false,
        }
    }

    fn settle(&self, mounted: &Arc<Mounted>, outcome: ScanOutcome) -> bool {
        let publication = &mounted.publication;
        let resource = &publication.resource;
        if !matches!(outcome, ScanOutcome::Trouble(_) | ScanOutcome::Cancelled) {
            publication.free(Hindrance::Source);
        }
        match outcome {
            ScanOutcome::Done(report) => {
                mounted.show_waiting(&self.store);
                if report.rejected > 0 {
                    tracing::warn!(%resource, rows = report.rejected, "rows were refused; they are in quarantine");
                }
                tracing::info!(%resource, read = report.read, upserts = report.upserts,
                    deletes = report.deletes, rejected = report.rejected, "the source is read");
                true
            }
            ScanOutcome::Unchanged => {
                mounted.show_waiting(&self.store);
                true
            }
            ScanOutcome::Waiting(waiting) => {
                tracing::warn!(%resource, reason = %waiting, "the snapshot waits for confirmation");
                publication.hinder(Hindrance::Confirmation, waiting.to_string());
                true
            }
            ScanOutcome::Trouble(why) => {
                if !publication.troubles().iter().any(|(_, known)| *known == why) {
                    tracing::error!(%resource, reason = why, "the source cannot be read");
                }
                publication.hinder(Hindrance::Source, why);
                false
            }
            ScanOutcome::NotDrained => {
                publication.scan_when_drained();
                // It may have been drained while the scan looked: then nobody else would notice.
                if publication.state(&self.store).is_ok_and(|state| state.is_drained()) {
                    mounted.node.want_scan(publication);
                }
                false
            }
            ScanOutcome::Unstable => {
                let (mounted, cancel) = (Arc::clone(mounted), self.cancel.clone());
                self.tasks.spawn(async move {
                    tokio::select! {
                        () = tokio::time::sleep(UNSTABLE) => mounted.node.want_scan(&mounted.publication),
                        () = cancel.cancelled() => {}
                    }
                });
                false
            }
            ScanOutcome::NoEpoch | ScanOutcome::Cancelled => false,
        }
    }

    fn failed(&self, mounted: &Mounted, error: &ScanError) {
        let publication = &mounted.publication;
        match error {
            ScanError::Store(StoreError::Conflict { .. }) => {
                tracing::info!(resource = %publication.resource, %error, "the scan was overtaken");
                mounted.node.want_scan(publication);
            }
            ScanError::Store(error) => self.fatal.raise(error),
            ScanError::Quarantine(error) => {
                tracing::error!(resource = %publication.resource, %error, "nothing was taken as read");
                publication.hinder(Hindrance::Source, format!("{error}; make the folder writable"));
            }
        }
    }
}

/// What the thread of a scan brought; one that panicked hinders its publication until another ends
/// well.
pub(super) fn came_back<T>(publication: &Publication, ended: Result<T, JoinError>) -> Option<T> {
    match ended {
        Ok(brought) => Some(brought),
        Err(error) => {
            tracing::error!(resource = %publication.resource, %error, "a scan was interrupted");
            let why = "reading was interrupted by a fault of the agent: report it with its log";
            publication.hinder(Hindrance::Source, why);
            None
        }
    }
}

impl Mounted {
    /// Shows what waits for a person, as the store knows it.
    pub(super) fn show_waiting(&self, store: &Store) {
        if self.source.config.source == SourceConfig::Push {
            match self.source.push_asks(store) {
                Ok(Some(asks)) => self.publication.hinder(Hindrance::Confirmation, asks),
                Ok(None) => self.publication.free(Hindrance::Confirmation),
                Err(error) => self.publication.hinder(Hindrance::Source, error.to_string()),
            }
            return;
        }
        match SourceRecord::load(store, self.publication.stream) {
            Ok(SourceRecord { waiting: Some(waiting), .. }) => {
                self.publication.hinder(Hindrance::Confirmation, waiting.to_string());
            }
            Ok(_) => self.publication.free(Hindrance::Confirmation),
            Err(error) => self.publication.hinder(Hindrance::Source, error.to_string()),
        }
    }

    fn reschedule(&self, well: bool) {
        let rescan = self.source.config.rescan;
        // A source that could not be read may be back soon.
        let after = if well { rescan } else { rescan.min(AGAIN) };
        *self.due.lock() = Some(Instant::now() + after);
    }
}
