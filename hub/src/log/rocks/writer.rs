//! The one thread that writes: takes whatever waits, writes it as one group, tells all who waited.
//! The payloads of a group's batches are synced first, then the write that refers to them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use rocksdb::WriteBatch;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};

use hutong_schema::wire::codec;

use super::payloads::{Appender, PAYLOAD_BYTES_MIN};
use super::state::synced;
use super::{Clock, Shared, at, key};
use crate::log::chain::link;
use crate::log::entry::{Body, write_stored};
use crate::log::{Envelope, Hash, HighWater, LogError, NewEntry, Offset, PartitionId, Position};

/// Most requests of one group. Their bytes are bounded by the queue's room.
const GROUP_REQUESTS: usize = 4_096;

/// Bytes of queue room that one permit stands for.
const UNIT_BYTES: usize = 1_024;

/// Stored bytes of an entry besides its payload, estimated for reserving.
const ENTRY_OVERHEAD: usize = 256;

/// Entries waiting to be written together, and who waits for them.
pub(super) struct Request {
    pub(super) entries: Vec<(PartitionId, NewEntry)>,
    pub(super) answer: oneshot::Sender<Result<Vec<Position>, LogError>>,
    /// Given back when the request is dropped: its bytes count until they are durable.
    pub(super) _room: OwnedSemaphorePermit,
}

/// Permits that entries of so many bytes take.
pub(super) fn units(bytes: usize) -> u32 {
    u32::try_from(bytes / UNIT_BYTES + 1).unwrap_or(u32::MAX)
}

/// What the next entry of a partition builds on.
#[derive(Clone, Copy, Debug)]
pub(super) struct Base {
    pub(super) head: Offset,
    pub(super) chain: Hash,
}

pub(super) struct Writer {
    shared: Arc<Shared>,
    payloads: Appender,
    bases: Vec<Base>,
    log_time_ms: i64,
    clock: Clock,
    /// One entry's stored form, kept for its allocation.
    scratch: Vec<u8>,
}

/// A group that is ready to be written.
struct Group {
    batch: WriteBatch,
    answers: Vec<Vec<Position>>,
    entries: u64,
    bytes: u64,
}

impl Writer {
    pub(super) fn new(
        shared: Arc<Shared>,
        payloads: Appender,
        bases: Vec<Base>,
        log_time_ms: i64,
        clock: Clock,
    ) -> Self {
        Self { shared, payloads, bases, log_time_ms, clock, scratch: Vec::new() }
    }

    /// Runs until the queue is closed and empty, or a write failed.
    pub(super) fn run(mut self, mut queue: mpsc::Receiver<Request>) {
        let mut waiting = Vec::new();
        while queue.blocking_recv_many(&mut waiting, GROUP_REQUESTS) > 0 {
            match self.commit(&waiting) {
                Ok(answers) => {
                    for (request, positions) in waiting.drain(..).zip(answers) {
                        // Nobody may be waiting any more; the entries stand all the same.
                        let _ = request.answer.send(Ok(positions));
                    }
                }
                Err(error) => return self.fail(&error, waiting, queue),
            }
        }
        if let Err(error) = self.payloads.finish() {
            // Room that was reserved stays reserved until the log is opened again.
            tracing::warn!(%error, "the newest payload file was not ended in order");
        }
    }

    fn commit(&mut self, requests: &[Request]) -> Result<Vec<Vec<Position>>, LogError> {
        // Trimming writes too, and may have failed.
        self.shared.sound()?;
        let started = Instant::now();
        let group = self.assemble(requests)?;
        self.payloads.sync().map_err(|error| self.shared.poison("sync payloads", &error))?;
        self.shared
            .db
            .write_opt(group.batch, &synced())
            .map_err(|error| self.shared.poison("append", &error))?;
        self.payloads.referred();
        self.publish();
        let took = started.elapsed();
        self.count(group.entries, group.bytes, took.as_secs_f64());
        tracing::debug!(entries = group.entries, bytes = group.bytes, ?took, "group committed");
        Ok(group.answers)
    }

    /// Gives every entry its place, time and chain.
    fn assemble(&mut self, requests: &[Request]) -> Result<Group, LogError> {
        self.log_time_ms = self.log_time_ms.max((self.clock)());
        let mut group = Group {
            batch: WriteBatch::with_capacity_bytes(capacity(requests)),
            answers: Vec::with_capacity(requests.len()),
            entries: 0,
            bytes: 0,
        };
        for request in requests {
            let mut positions = Vec::with_capacity(request.entries.len());
            for (partition, entry) in &request.entries {
                positions.push(self.place(*partition, entry, &mut group)?);
            }
            group.answers.push(positions);
        }
        Ok(group)
    }

    fn place(
        &mut self,
        partition: PartitionId,
        entry: &NewEntry,
        group: &mut Group,
    ) -> Result<Position, LogError> {
        let base =
            self.bases.get_mut(partition.index()).ok_or(LogError::NoSuchPartition(partition))?;
        let envelope = Envelope {
            kind: entry.kind.clone(),
            meta_seen: entry.meta_seen,
            log_time_ms: self.log_time_ms,
            payload_hash: entry.payload_hash,
        };
        let envelope =
            codec::encode(&envelope).map_err(|error| LogError::Record("envelope", error))?;
        let offset = base.head.next();
        let chain = link(&base.chain, &envelope, &entry.payload_hash);
        *base = Base { head: offset, chain };
        self.scratch.clear();
        if goes_to_file(partition, entry) {
            let place = self.payloads.append(&entry.payload);
            let place = place.map_err(|error| self.shared.poison("append a payload", &error))?;
            group.bytes += u64::from(place.length);
            let place = place.to_bytes();
            write_stored(&mut self.scratch, &chain, &envelope, Body::Elsewhere(&place));
        } else {
            write_stored(&mut self.scratch, &chain, &envelope, Body::Here(&entry.payload));
        }
        group.batch.put_cf(self.shared.family(partition)?, key(offset), &self.scratch);
        group.entries += 1;
        group.bytes += self.scratch.len() as u64;
        Ok(at(partition, offset))
    }

    /// Shows the new heads, which are durable now.
    fn publish(&self) {
        let mut heads = self.shared.heads.lock();
        for (index, base) in self.bases.iter().enumerate() {
            let (Some(head), Some(watch)) = (heads.get_mut(index), self.shared.watches.get(index))
            else {
                continue;
            };
            // Unchanged partitions keep their hash: a base may already be an incarnation's seed.
            if head.offset != base.head {
                let partition = head.partition;
                *head = HighWater { partition, offset: base.head, chain: base.chain };
                watch.send_replace(base.head);
            }
        }
    }

    fn count(&self, entries: u64, bytes: u64, seconds: f64) {
        self.shared.commits.fetch_add(1, Ordering::Relaxed);
        self.shared.entries.fetch_add(entries, Ordering::Relaxed);
        self.shared.bytes.fetch_add(bytes, Ordering::Relaxed);
        metrics::counter!("hutong_log_commits_total").increment(1);
        metrics::counter!("hutong_log_entries_total").increment(entries);
        metrics::counter!("hutong_log_bytes_total").increment(bytes);
        metrics::histogram!("hutong_log_commit_seconds").record(seconds);
    }

    /// Ends the log: all who wait, and all who come before the queue is seen closed, are refused.
    fn fail(self, error: &LogError, waiting: Vec<Request>, mut queue: mpsc::Receiver<Request>) {
        let reason = match self.shared.sound() {
            Err(LogError::Poisoned { reason }) => reason,
            // The group could not even be assembled: this program is at fault, and must not go on
            // with places half assigned.
            _ => {
                let reason: Arc<str> = error.to_string().into();
                tracing::error!(code = "HT-LOG-POISONED", %reason, "a group could not be built");
                self.shared.poison.send_replace(Some(Arc::clone(&reason)));
                reason
            }
        };
        queue.close();
        let late = std::iter::from_fn(|| queue.blocking_recv());
        for request in waiting.into_iter().chain(late) {
            let reason = Arc::clone(&reason);
            let _ = request.answer.send(Err(LogError::Poisoned { reason }));
        }
    }
}

fn capacity(requests: &[Request]) -> usize {
    let entries = requests.iter().flat_map(|request| &request.entries);
    let here = |(partition, entry): &(PartitionId, NewEntry)| {
        let payload = if goes_to_file(*partition, entry) { 0 } else { entry.payload.len() };
        payload + ENTRY_OVERHEAD
    };
    entries.map(here).sum()
}

/// The other partitions are kept for ever, and would keep the files of batches with them.
fn goes_to_file(partition: PartitionId, entry: &NewEntry) -> bool {
    partition.0 >= PartitionId::FIXED && entry.payload.len() >= PAYLOAD_BYTES_MIN
}
