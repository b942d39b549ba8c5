//! The hub's log with a disk that takes its time: batches become durable when the model says so, in
//! their order. A crash before that loses them, as a crash before the sync does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Result;
use hutong_hub::log::{
    EntryKind, Floor, Hash, HighWater, Incarnation, IncarnationRecord, Log, LogError, NewEntry,
    Offset, PartitionId, Position, RocksLog, StoredEntry, Submitted,
};
use parking_lot::Mutex;
use tokio::sync::{oneshot, watch};

type Answer = oneshot::Sender<Result<Vec<Position>, LogError>>;

struct Held {
    entries: Vec<(PartitionId, NewEntry)>,
    answer: Answer,
}

/// The real log, behind a disk that waits. Governance is written at once, behind what is held.
pub(crate) struct HeldLog {
    log: Arc<RocksLog>,
    held: Mutex<Vec<Held>>,
    abandoned: AtomicBool,
    /// One release at a time, so that the order stays.
    releasing: tokio::sync::Mutex<()>,
}

impl HeldLog {
    pub(crate) fn new(log: Arc<RocksLog>) -> Self {
        Self {
            log,
            held: Mutex::default(),
            abandoned: AtomicBool::new(false),
            releasing: tokio::sync::Mutex::default(),
        }
    }

    /// Whether a batch of this resource with this number waits for the disk.
    pub(crate) fn holds(&self, resource: u32, epoch: u32, seq: u64) -> bool {
        self.held.lock().iter().flat_map(|held| &held.entries).any(|(_, entry)| {
            matches!(&entry.kind, EntryKind::Batch(header)
                if (header.resource, header.epoch, header.seq) == (resource, epoch, seq))
        })
    }

    /// Batches that wait.
    pub(crate) fn waiting(&self) -> u64 {
        self.held.lock().iter().map(|held| held.entries.len() as u64).sum()
    }

    /// The hub is gone: nothing that waits is ever written or answered.
    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
        self.held.lock().clear();
    }

    /// Lets everything that waits become durable.
    pub(crate) async fn release(&self) -> Result<(), LogError> {
        let _one_at_a_time = self.releasing.lock().await;
        let held = std::mem::take(&mut *self.held.lock());
        let mut under_way = Vec::with_capacity(held.len());
        for Held { entries, answer } in held {
            under_way.push((self.log.submit(entries).await?, answer));
        }
        for (submitted, answer) in under_way {
            // Whoever asked may be gone.
            drop(answer.send(submitted.durable().await));
        }
        Ok(())
    }
}

impl Log for HeldLog {
    async fn submit(&self, entries: Vec<(PartitionId, NewEntry)>) -> Result<Submitted, LogError> {
        if entries.iter().all(|(_, entry)| matches!(entry.kind, EntryKind::Batch(_))) {
            if self.abandoned.load(Ordering::Acquire) {
                return Err(LogError::Closed);
            }
            let (answer, outcome) = oneshot::channel();
            self.held.lock().push(Held { entries, answer });
            return Ok(Submitted::new(outcome));
        }
        self.release().await?;
        self.log.submit(entries).await
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEntry>, LogError> {
        self.log.read(partition, from, max_entries, max_bytes)
    }

    fn trim(&self, partition: PartitionId, before: Offset) -> Result<Floor, LogError> {
        self.log.trim(partition, before)
    }

    fn partitions(&self) -> u16 {
        self.log.partitions()
    }

    fn head(&self, partition: PartitionId) -> Offset {
        self.log.head(partition)
    }

    fn chain_at_head(&self, partition: PartitionId) -> Hash {
        self.log.chain_at_head(partition)
    }

    fn floor(&self, partition: PartitionId) -> Floor {
        self.log.floor(partition)
    }

    fn watch(&self, partition: PartitionId) -> watch::Receiver<Offset> {
        self.log.watch(partition)
    }

    fn high_water(&self) -> Vec<HighWater> {
        self.log.high_water()
    }

    fn incarnation(&self) -> Incarnation {
        self.log.incarnation()
    }

    fn incarnations(&self) -> Vec<IncarnationRecord> {
        self.log.incarnations()
    }

    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.log.fatal()
    }
}
