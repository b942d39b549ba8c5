//! The views: what the exchange knows, computed from the log.
//!
//! ```text
//! log ─► apply (one applier per data partition) ─► store ─► read (snapshots, feeds, searches)
//!                    └► digests (checkpoints, in the background)
//! ```
//!
//! A data view is a function of its own partition of the log. The store is written without a
//! write-ahead log of its own: each write carries the changes and how far the log is applied, and
//! after a crash the log repeats what was lost. Anything here can be thrown away and made again
//! ([`rebuild`]).

mod apply;
mod digests;
mod directory;
mod entry;
mod error;
mod feed_entry;
mod keys;
mod read;
mod ready;
mod rebuild;
mod records;
pub mod registry;
mod run;
mod spatial;
mod state;
mod store;
#[cfg(test)]
mod tests;
mod varint;

use std::{path::Path, sync::Arc, time::Duration};

use hutong_schema::grant::Target;
use parking_lot::Mutex;
use tokio::sync::watch;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    log::{Log, Offset, PartitionId, RocksLog},
    numbers::{FeedNo, ResourceNo},
};
use apply::Applier;
use digests::Digests;
use directory::Directory;
pub use entry::{Place, ViewEntry};
pub use error::{Result, ViewError};
pub use read::{
    ChangeSet, DigestFound, DigestSpec, FeedChange, FeedItem, FeedWhat, Found, LibraryRecord,
    ReadOnlyViews, ScanEnd, ViewSnapshot,
};
use read::{FeedCache, Reader};
use ready::ReadySet;
pub use rebuild::{RebuildReport, RebuildStep, rebuild};
pub(crate) use records::volume;
pub use records::{
    Applied, CheckpointRecord, FeedHash, FeedState, Finding, HubDigests, LaneState, ResourceState,
};
use state::PartitionState;
use store::Store;

/// Settings of the views.
#[derive(Clone, Debug)]
pub struct ViewOptions {
    /// Memory for blocks read from files, bytes.
    pub block_cache_bytes: usize,
    /// Memory for changes not yet in files, bytes, over all partitions.
    pub write_buffer_bytes: usize,
    /// Memory for feed entries made ready for delivery, bytes.
    pub feed_cache_bytes: usize,
    /// Changes applied in one write at most (a batch is never split).
    pub range_rows: usize,
    /// Bytes of opened batches applied in one write at most (a batch is never split).
    pub range_bytes: usize,
    /// From this many changes on a write goes through a sorted file.
    pub bulk_rows: usize,
    /// Keys per piece of an entry that takes several writes. Feeds depend on it: it stays what it
    /// was when the views were begun.
    pub step_rows: usize,
    /// Changes after which what is in memory goes into files.
    pub flush_rows: usize,
    /// Time after which what is in memory goes into files.
    pub flush_interval: Duration,
}

impl Default for ViewOptions {
    fn default() -> Self {
        Self {
            block_cache_bytes: 256 << 20,
            write_buffer_bytes: 96 << 20,
            feed_cache_bytes: 32 << 20,
            range_rows: 128 << 10,
            range_bytes: 40 << 20,
            bulk_rows: 32 << 10,
            step_rows: 4_096,
            flush_rows: 500_000,
            flush_interval: Duration::from_secs(30),
        }
    }
}

/// What can be read without the log.
pub(crate) struct Core {
    store: Store,
    directory: Directory,
    options: ViewOptions,
}

struct Inner {
    core: Core,
    log: Arc<RocksLog>,
    appliers: Vec<Mutex<Applier>>,
    applied: Vec<watch::Sender<Offset>>,
    ready: ReadySet,
    cache: FeedCache,
    digests: Digests,
    fatal: watch::Sender<Option<Arc<str>>>,
}

impl Inner {
    /// After this nothing is applied any more, and the app is told to end the process: a store that
    /// failed to write may have lost what it did not tell of.
    fn fail(&self, error: &ViewError) {
        let reason: Arc<str> = format!("{}: {error}", error.code()).into();
        tracing::error!(code = error.code(), ?error, "the views cannot go on");
        self.fatal.send_replace(Some(reason));
    }

    fn applied(&self, partition: PartitionId) -> Option<&watch::Sender<Offset>> {
        let index = partition.0.checked_sub(PartitionId::FIXED)?;
        self.applied.get(usize::from(index))
    }
}

/// The views. Cheap to clone.
#[derive(Clone)]
pub struct Views {
    inner: Arc<Inner>,
}

impl Views {
    /// Opens the views in `dir`, or creates them. Blocks. Nothing is applied until [`Views::start`].
    ///
    /// Views that hold entries which the log no longer has (it was recovered with a loss) are thrown
    /// away and made anew from the log.
    ///
    /// # Errors
    /// When the store cannot be opened, was made for another number of partitions, or lies behind
    /// what the log still has.
    pub fn open(dir: impl AsRef<Path>, options: ViewOptions, log: Arc<RocksLog>) -> Result<Self> {
        let dir = dir.as_ref();
        let data_partitions = log.partitions().saturating_sub(PartitionId::FIXED);
        let opened = Self::load(dir, &options, data_partitions)?;
        let (core, states) = match opened.1.iter().find(|state| !run::fits(&log, state)) {
            None => opened,
            Some(state) => {
                tracing::warn!(
                    partition = %state.partition, applied = %state.applied.offset,
                    "the views hold entries that the log does not have; they are made anew"
                );
                drop(opened);
                std::fs::remove_dir_all(dir).map_err(ViewError::io("remove", dir))?;
                Self::load(dir, &options, data_partitions)?
            }
        };
        let applied = states.iter().map(|state| watch::channel(state.applied.offset).0).collect();
        let inner = Inner {
            cache: FeedCache::new(options.feed_cache_bytes),
            core,
            log,
            appliers: states.into_iter().map(|state| Mutex::new(Applier::new(state))).collect(),
            applied,
            ready: ReadySet::default(),
            digests: Digests::new(),
            fatal: watch::channel(None).0,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    fn load(
        dir: &Path,
        options: &ViewOptions,
        data_partitions: u16,
    ) -> Result<(Core, Vec<PartitionState>)> {
        let store = Store::open(dir, options, data_partitions)?;
        let core = Core { store, directory: Directory::default(), options: options.clone() };
        let states = core
            .store
            .partitions()
            .map(|partition| PartitionState::load(&core.store, partition, &core.directory))
            .collect::<Result<_>>()?;
        Ok((core, states))
    }

    /// Starts applying: one blocking task per data partition and one that counts digests. They end
    /// when `cancel` is cancelled, after what they are at; what is in memory is then flushed.
    pub fn start(&self, tracker: &TaskTracker, cancel: &CancellationToken) {
        run::start(&self.inner, tracker, cancel);
    }

    /// Applies everything up to the log's present head in this thread. Blocks. For tools and tests;
    /// a running hub uses [`Views::start`].
    ///
    /// # Errors
    /// When the store or the log fails.
    pub fn apply_all(&self) -> Result<()> {
        self.apply_all_telling(|_| {})
    }

    /// [`Views::apply_all`] that tells again and again how many entries of all partitions are applied.
    pub(crate) fn apply_all_telling(&self, mut tell: impl FnMut(u64)) -> Result<()> {
        let mut before = 0;
        for applier in &self.inner.appliers {
            let mut applier = applier.lock();
            while applier.next(&self.inner)? {
                tell(before + applier.state.applied.offset.0);
            }
            before += applier.state.applied.offset.0;
        }
        Ok(())
    }

    /// The last entry of a data partition that is applied and can be read. For another partition: a
    /// receiver that is closed already.
    #[must_use]
    pub fn applied(&self, partition: PartitionId) -> watch::Receiver<Offset> {
        match self.inner.applied(partition) {
            Some(applied) => applied.subscribe(),
            None => watch::channel(Offset::NONE).1,
        }
    }

    /// Waits until everything that is in the log now is applied.
    ///
    /// # Errors
    /// [`ViewError::Closed`] when applying has failed.
    pub async fn caught_up(&self) -> Result<()> {
        let mut fatal = self.inner.fatal.subscribe();
        for partition in self.inner.core.store.partitions() {
            let head = self.inner.log.head(partition);
            let mut applied = self.applied(partition);
            tokio::select! {
                reached = applied.wait_for(|applied| *applied >= head) => {
                    reached.map_err(|_| ViewError::Closed)?;
                }
                _ = fatal.wait_for(Option::is_some) => return Err(ViewError::Closed),
            }
        }
        Ok(())
    }

    /// Becomes `Some(reason)` when an applier cannot go on: the process must end, for what it serves
    /// falls behind the log.
    #[must_use]
    pub fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.inner.fatal.subscribe()
    }

    /// Puts everything applied into files, so that [`ReadOnlyViews`] of another process sees it.
    /// Blocks.
    ///
    /// # Errors
    /// When the store fails. The views are then of no use any more: see [`Views::fatal`].
    pub fn flush(&self) -> Result<()> {
        let flushed = self
            .inner
            .appliers
            .iter()
            .try_for_each(|applier| applier.lock().flush(&self.inner, true));
        if let Err(error) = &flushed {
            self.inner.fail(error);
        }
        flushed
    }

    /// Partitions whose files are being merged or will be once nothing comes for a while; until
    /// then reading one of their keys looks into many files.
    ///
    /// # Errors
    /// When the store fails.
    pub fn merges_due(&self) -> Result<u64> {
        let store = &self.inner.core.store;
        store.partitions().try_fold(0, |due, each| Ok(due + u64::from(store.merge_due(each)?)))
    }

    /// The views at this moment. Reading blocks on the disk.
    #[must_use]
    pub fn snapshot(&self) -> ViewSnapshot<'_> {
        ViewSnapshot::new(&self.inner.core)
    }

    /// The place of a target, as of the barriers applied.
    #[must_use]
    pub fn place(&self, target: &Target) -> Option<Place> {
        self.inner.core.directory.place(target)
    }

    /// A catalogue entry, as of the barriers applied.
    #[must_use]
    pub fn entry(&self, resource: ResourceNo) -> Option<Arc<ViewEntry>> {
        self.inner.core.directory.entry(resource)
    }

    /// The partition that a place's changes come from.
    ///
    /// # Errors
    /// When the place is not known.
    pub fn partition_of(&self, place: Place) -> Result<PartitionId> {
        self.inner.core.partition_of(place)
    }

    /// Entries of a place's feed behind the entry `after`, until they hold `max_bytes` (at least
    /// one, if there is one). Blocks.
    ///
    /// # Errors
    /// [`ViewError::NoSuchPosition`] when the entries are no longer kept: who follows starts again
    /// from a snapshot.
    pub fn feed_after(
        &self,
        place: Place,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<Arc<FeedItem>>> {
        self.reader().after(place, after, max_bytes)
    }

    /// The hash of a place's feed at an entry; `None` when there is no such entry. A cursor fits if
    /// it has this hash.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn feed_hash(&self, place: Place, seq: u64) -> Result<Option<FeedHash>> {
        self.reader().hash(place, seq)
    }

    fn reader(&self) -> Reader<'_, RocksLog> {
        Reader { core: &self.inner.core, log: &self.inner.log, cache: &self.inner.cache }
    }

    /// Waits until feeds have moved on since the last call, and tells which and how far. For one
    /// caller: the routes.
    pub async fn feeds_moved(&self) -> Vec<(FeedNo, u64)> {
        self.inner.ready.next().await
    }

    /// Rises whenever digests of checkpoints were written.
    #[must_use]
    pub fn digests_counted(&self) -> watch::Receiver<u64> {
        self.inner.digests.finished()
    }
}
