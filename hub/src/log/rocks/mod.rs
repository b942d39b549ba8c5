//! The embedded engine: a RocksDB under the hub's data directory.
//!
//! One column family per partition, keyed by offset; the payloads of batches stand in files of their
//! own ([`payloads`]), so that they are written once. One thread owns the writing side: whatever waits
//! becomes one write, synced, then all who waited are told. Beside the store stand the high-water marks ([`marks`]), which it is compared with when
//! it is opened ([`open`]).

mod engine;
mod marks;
mod open;
mod paths;
mod payloads;
mod read;
mod recover;
mod state;
#[cfg(test)]
mod tests;
mod trim;
mod writer;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rocksdb::DB;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use super::chain::NOTHING;
use super::{
    Floor, Hash, HighWater, Incarnation, IncarnationRecord, Log, LogError, NewEntry, Offset,
    PartitionId, Position, StoredEntry, Submitted,
};
pub use open::{MarksVerdict, OpenReport, Opening};
use payloads::PayloadFiles;

/// Largest payload, bytes: twice the largest frame of the protocol, so only a mistake meets it.
pub const PAYLOAD_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Milliseconds since the Unix epoch.
pub type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Settings of the embedded log.
#[derive(Clone)]
pub struct LogOptions {
    /// Data partitions of a log that is created; an existing one keeps its number.
    pub data_partitions: u16,
    /// Requests that may wait for the writer. When full, `submit` waits.
    pub queue_requests: usize,
    /// Bytes of payload that may wait for the writer or be under way. When full, `submit` waits.
    pub queue_bytes: usize,
    /// Memory for entries not yet in files, bytes; half as much again while they are being written
    /// out. Writing waits when it is used up.
    pub write_buffer_bytes: usize,
    /// Bytes of a payload file: what trimming can free at a time.
    pub payload_file_bytes: u64,
    /// How often changed high-water marks are written. What was lost within this time of a crash is
    /// recognised only by the log itself and by the agents' acknowledgements.
    pub marks_interval: Duration,
    /// The clock that log time follows.
    pub clock: Clock,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            data_partitions: 4,
            queue_requests: 4_096,
            queue_bytes: 32 * 1024 * 1024,
            write_buffer_bytes: 64 * 1024 * 1024,
            payload_file_bytes: 64 * 1024 * 1024,
            marks_interval: Duration::from_secs(1),
            clock: Arc::new(|| jiff::Timestamp::now().as_millisecond()),
        }
    }
}

impl std::fmt::Debug for LogOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LogOptions")
            .field("data_partitions", &self.data_partitions)
            .field("queue_requests", &self.queue_requests)
            .field("queue_bytes", &self.queue_bytes)
            .field("write_buffer_bytes", &self.write_buffer_bytes)
            .field("payload_file_bytes", &self.payload_file_bytes)
            .field("marks_interval", &self.marks_interval)
            .finish_non_exhaustive()
    }
}

/// What the log has written since it was opened.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct LogStats {
    /// Synced writes.
    pub commits: u64,
    /// Entries in them.
    pub entries: u64,
    /// Bytes of those entries as stored.
    pub bytes: u64,
}

/// The embedded log.
pub struct RocksLog {
    shared: Arc<Shared>,
    queue: Mutex<Option<mpsc::Sender<writer::Request>>>,
    room: Arc<Semaphore>,
    room_units: u32,
    threads: Mutex<Threads>,
    trimming: Mutex<()>,
}

/// What the writer, the readers and the marks' keeper have in common.
struct Shared {
    db: DB,
    payloads: Arc<PayloadFiles>,
    /// Column family names by partition.
    families: Vec<String>,
    heads: Mutex<Vec<HighWater>>,
    watches: Vec<watch::Sender<Offset>>,
    floors: Mutex<Vec<Floor>>,
    history: Vec<IncarnationRecord>,
    incarnation: Incarnation,
    poison: watch::Sender<Option<Arc<str>>>,
    commits: AtomicU64,
    entries: AtomicU64,
    bytes: AtomicU64,
}

#[derive(Default)]
struct Threads {
    writer: Option<std::thread::JoinHandle<()>>,
    marks: Option<marks::Keeper>,
    lock: Option<paths::DirLock>,
}

impl RocksLog {
    /// Opens the log in `dir`, or creates it when neither it nor its marks are there.
    ///
    /// The open is strict: any byte of the write-ahead log that does not verify is refused. Then a
    /// copy is recovered up to the damage, compared with the high-water marks and with what can be
    /// read behind the damage, and takes the place of the damaged directory, which is kept. What
    /// was durable and is missing is named in the report, and a new incarnation begins.
    ///
    /// # Errors
    /// When the directory is in use, gone, of another format, or cannot be recovered.
    pub fn open(
        dir: impl AsRef<Path>,
        options: LogOptions,
    ) -> Result<(Self, OpenReport), LogError> {
        open::open(dir.as_ref(), &options)
    }

    /// Writes what is queued, stops the threads and writes the marks. Blocks. Appends from here on
    /// are refused with [`LogError::Closed`]; reading goes on.
    pub fn close(&self) {
        drop(self.queue.lock().take());
        let mut threads = self.threads.lock();
        if let Some(writer) = threads.writer.take()
            && writer.join().is_err()
        {
            tracing::error!("the log's writer panicked");
        }
        if let Some(marks) = threads.marks.take() {
            marks.stop();
        }
        drop(threads.lock.take());
    }

    /// What was written since the log was opened.
    #[must_use]
    pub fn stats(&self) -> LogStats {
        LogStats {
            commits: self.shared.commits.load(Ordering::Relaxed),
            entries: self.shared.entries.load(Ordering::Relaxed),
            bytes: self.shared.bytes.load(Ordering::Relaxed),
        }
    }

    fn known(&self, partition: PartitionId) -> Result<usize, LogError> {
        let index = partition.index();
        if index < self.shared.families.len() {
            Ok(index)
        } else {
            Err(LogError::NoSuchPartition(partition))
        }
    }

    fn admit(&self, entries: &[(PartitionId, NewEntry)]) -> Result<usize, LogError> {
        let mut bytes = 0;
        for (partition, entry) in entries {
            self.known(*partition)?;
            let payload = entry.payload.len();
            if payload > PAYLOAD_BYTES_MAX {
                return Err(LogError::TooLarge { bytes: payload, limit: PAYLOAD_BYTES_MAX });
            }
            bytes += payload;
        }
        Ok(bytes)
    }
}

impl Drop for RocksLog {
    fn drop(&mut self) {
        self.close();
    }
}

impl Log for RocksLog {
    async fn submit(&self, entries: Vec<(PartitionId, NewEntry)>) -> Result<Submitted, LogError> {
        let bytes = self.admit(&entries)?;
        self.shared.sound()?;
        // A call larger than the whole queue takes all of it rather than waiting for ever.
        let units = writer::units(bytes).min(self.room_units);
        let room = Arc::clone(&self.room);
        let room = room.acquire_many_owned(units).await.map_err(|_| LogError::Closed)?;
        let (answer, outcome) = oneshot::channel();
        let queue = self.queue.lock().clone().ok_or(LogError::Closed)?;
        let request = writer::Request { entries, answer, _room: room };
        if queue.send(request).await.is_err() {
            self.shared.sound()?;
            return Err(LogError::Closed);
        }
        Ok(Submitted::new(outcome))
    }

    fn read(
        &self,
        partition: PartitionId,
        from: Offset,
        max_entries: usize,
        max_bytes: usize,
    ) -> Result<Vec<StoredEntry>, LogError> {
        self.known(partition)?;
        self.shared.read(partition, from, max_entries, max_bytes)
    }

    fn trim(&self, partition: PartitionId, before: Offset) -> Result<Floor, LogError> {
        self.known(partition)?;
        let _one_at_a_time = self.trimming.lock();
        self.shared.trim(partition, before)
    }

    fn partitions(&self) -> u16 {
        // Never more than the ids of the partitions themselves.
        u16::try_from(self.shared.families.len()).unwrap_or(u16::MAX)
    }

    fn head(&self, partition: PartitionId) -> Offset {
        self.shared.watches.get(partition.index()).map_or(Offset::NONE, |head| *head.borrow())
    }

    fn chain_at_head(&self, partition: PartitionId) -> Hash {
        self.shared.heads.lock().get(partition.index()).map_or(NOTHING, |head| head.chain)
    }

    fn floor(&self, partition: PartitionId) -> Floor {
        let floors = self.shared.floors.lock();
        floors
            .get(partition.index())
            .copied()
            .unwrap_or(Floor { first: Offset::FIRST, chain: NOTHING })
    }

    fn watch(&self, partition: PartitionId) -> watch::Receiver<Offset> {
        match self.shared.watches.get(partition.index()) {
            Some(head) => head.subscribe(),
            None => watch::channel(Offset::NONE).1,
        }
    }

    fn high_water(&self) -> Vec<HighWater> {
        self.shared.heads.lock().clone()
    }

    fn incarnation(&self) -> Incarnation {
        self.shared.incarnation
    }

    fn incarnations(&self) -> Vec<IncarnationRecord> {
        self.shared.history.clone()
    }

    fn fatal(&self) -> watch::Receiver<Option<Arc<str>>> {
        self.shared.poison.subscribe()
    }
}

impl Shared {
    /// Refuses when a write failed before.
    fn sound(&self) -> Result<(), LogError> {
        match &*self.poison.borrow() {
            Some(reason) => Err(LogError::Poisoned { reason: Arc::clone(reason) }),
            None => Ok(()),
        }
    }

    /// After this nothing is written any more, and the app is told to end the process.
    fn poison(&self, action: &'static str, error: &dyn std::error::Error) -> LogError {
        let cause = error.source().map(|source| format!(": {source}")).unwrap_or_default();
        let reason: Arc<str> = format!("{action}: {error}{cause}").into();
        tracing::error!(code = "HT-LOG-POISONED", %reason, "a write of the log failed; no retry");
        self.poison.send_replace(Some(Arc::clone(&reason)));
        LogError::Poisoned { reason }
    }

    fn family(&self, partition: PartitionId) -> Result<&rocksdb::ColumnFamily, LogError> {
        self.families
            .get(partition.index())
            .and_then(|name| self.db.cf_handle(name))
            .ok_or(LogError::NoSuchPartition(partition))
    }
}

/// Where an entry's key sorts: offsets big-endian, so that bytes sort as numbers do.
fn key(offset: Offset) -> [u8; 8] {
    offset.0.to_be_bytes()
}

fn at(partition: PartitionId, offset: Offset) -> Position {
    Position { partition, offset }
}
