//! The one thread that writes: whatever waits becomes durable with one fsync.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use hutong_schema::wire::codec;
use parking_lot::RwLock;
use redb::Database;
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout_at;

use super::batch::{Operation, Receipt, Taken, WriteBatch};
use super::carry;
use super::image::{self, Merges};
use super::keys::Area;
use super::space::Space;
use super::stream::StreamRecord;
use super::tables::{Tables, written};
use super::{Conflict, ImageId, StoreError, StreamId};

/// Requests that may wait for the thread. When the queue is full, callers wait to put theirs in;
/// its bytes are bounded by the few batches each caller has under way.
pub(super) const QUEUE: usize = 64;
/// Bytes of requests that one fsync covers; what comes later takes the next one.
const GROUP_BYTES: u64 = 2 * 1024 * 1024;
/// How long a small write waits for company: much less than many a disk takes for an fsync, and
/// with hundreds of resources at work a fifth of the commits is saved.
const LINGER: Duration = Duration::from_millis(2);

/// The states of all streams as of the last commit.
pub(super) type Published = Arc<RwLock<HashMap<StreamId, StreamRecord>>>;

pub(super) struct Request {
    pub(super) batch: WriteBatch,
    pub(super) done: oneshot::Sender<Result<Receipt, StoreError>>,
}

/// What the thread owns. It ends when the last handle is gone or after a failed write.
pub(super) struct Committer {
    pub(super) database: Arc<Database>,
    pub(super) requests: mpsc::Receiver<Request>,
    pub(super) published: Published,
    pub(super) space: Arc<Space>,
    pub(super) merges: Merges,
    pub(super) next_id: u32,
}

impl Committer {
    pub(super) fn run(mut self, clock: &Runtime) {
        while let Some(group) = clock.block_on(self.gather()) {
            let (answers, result) = self.commit(group);
            let failed = result.is_err();
            if let Err(error) = &result {
                tracing::error!(%error, source = ?std::error::Error::source(error),
                    "the store failed; nothing is accepted any more, restart the agent");
            }
            for (done, answer) in answers {
                // Nobody waits any more: the write is durable all the same.
                let _ = done.send(if failed { Err(StoreError::Closed) } else { answer });
            }
            if failed {
                return;
            }
        }
    }

    /// Waits for requests, or until runs are to be merged. `None` when no handle is left.
    async fn gather(&mut self) -> Option<Vec<Request>> {
        let mut group = Vec::new();
        let first = match self.merges.due() {
            None => self.requests.recv().await,
            Some(due) => match timeout_at(due.into(), self.requests.recv()).await {
                Ok(first) => first,
                Err(_) => return Some(group),
            },
        };
        let first = first?;
        if first.batch.bytes() < GROUP_BYTES / 16 {
            tokio::time::sleep(LINGER).await;
        }
        let mut bytes = 0;
        let mut next = Some(first);
        while let Some(request) = next.take() {
            bytes += request.batch.bytes();
            group.push(request);
            if bytes < GROUP_BYTES {
                // No handle left, or nothing waits: what there is becomes durable first.
                next = self.requests.try_recv().ok();
            }
        }
        Some(group)
    }

    #[expect(clippy::type_complexity, reason = "answers and verdict of one group, used once")]
    fn commit(
        &mut self,
        group: Vec<Request>,
    ) -> (
        Vec<(oneshot::Sender<Result<Receipt, StoreError>>, Result<Receipt, StoreError>)>,
        Result<(), StoreError>,
    ) {
        let (batches, senders): (Vec<_>, Vec<_>) =
            group.into_iter().map(|request| (request.batch, request.done)).unzip();
        let mut answers = Vec::with_capacity(batches.len());
        let result = self.write(batches, &mut answers);
        answers.resize_with(senders.len(), || Err(StoreError::Closed));
        (senders.into_iter().zip(answers).collect(), result)
    }

    fn write(
        &mut self,
        batches: Vec<WriteBatch>,
        answers: &mut Vec<Result<Receipt, StoreError>>,
    ) -> Result<(), StoreError> {
        let failed = |error| StoreError::engine("committed", redb::Error::from(error));
        let database = self.database.clone();
        let transaction = database
            .begin_write()
            .map_err(|error| StoreError::engine("began a commit", redb::Error::from(error)))?;
        let asked = !batches.is_empty();
        let mut changed = HashMap::new();
        let freed = {
            let mut tables = Tables::open(&transaction)?;
            for batch in batches {
                // A conflict leaves nothing behind: all transitions are tried before anything is written.
                answers.push(match self.decide(&batch, &changed) {
                    Ok(states) => {
                        changed.extend(states);
                        Ok(self.apply(batch, &mut tables, &mut changed)?)
                    }
                    Err(conflict) => {
                        tables.freed.extend(batch.reserved());
                        Err(conflict)
                    }
                });
            }
            for (stream, record) in &changed {
                let stored = codec::encode(record).map_err(|_| StoreError::Record("a stream"))?;
                tables.streams.insert(stream.0, &stored[..]).map_err(written)?;
            }
            if !asked || self.merges.may_join() {
                self.merges.step(&database, &mut tables.runs, &mut tables.chunks)?;
            }
            tables.freed
        };
        transaction.commit().map_err(failed)?;
        if asked {
            self.merges.asked();
        }
        self.published.write().extend(changed);
        for (stream, bytes) in freed {
            self.space.release(stream, bytes);
        }
        Ok(())
    }

    /// The states that a batch would lead to; an error if one of its transitions is refused.
    fn decide(
        &self,
        batch: &WriteBatch,
        changed: &HashMap<StreamId, StreamRecord>,
    ) -> Result<HashMap<StreamId, StreamRecord>, StoreError> {
        let mut states = HashMap::new();
        for operation in &batch.operations {
            let Some(stream) = operation.stream() else { continue };
            let conflict = |conflict| StoreError::Conflict { stream, conflict };
            let record = match states.entry(stream) {
                std::collections::hash_map::Entry::Occupied(entry) => entry.into_mut(),
                std::collections::hash_map::Entry::Vacant(entry) => {
                    let known = changed.get(&stream).cloned();
                    let known = known.or_else(|| self.published.read().get(&stream).cloned());
                    entry.insert(known.ok_or_else(|| conflict(Conflict::Unknown))?)
                }
            };
            transition(record, operation).map_err(conflict)?;
        }
        // What is written is decided again in order while it is applied, from the same start.
        Ok(states.into_keys().filter_map(|stream| self.start(stream, changed)).collect())
    }

    fn start(
        &self,
        stream: StreamId,
        changed: &HashMap<StreamId, StreamRecord>,
    ) -> Option<(StreamId, StreamRecord)> {
        let known = changed.get(&stream).cloned();
        known.or_else(|| self.published.read().get(&stream).cloned()).map(|record| (stream, record))
    }

    fn apply(
        &mut self,
        batch: WriteBatch,
        tables: &mut Tables<'_>,
        states: &mut HashMap<StreamId, StreamRecord>,
    ) -> Result<Receipt, StoreError> {
        let mut receipt = Receipt::default();
        for operation in batch.operations {
            if let Some(stream) = operation.stream() {
                let conflict = |conflict| StoreError::Conflict { stream, conflict };
                let record = states.get_mut(&stream).ok_or_else(|| conflict(Conflict::Unknown))?;
                let settled_before = record.state.settled_through;
                transition(record, &operation).map_err(conflict)?;
                match operation {
                    Operation::Append { mut batch, .. } => {
                        receipt.appended.push(record.state.last_seq());
                        let (image, delta) = (stream.into(), std::mem::take(&mut batch.image));
                        let run =
                            image::prepare(&mut tables.runs, &mut tables.chunks, image, delta)?;
                        tables.append(stream, record, &batch, run)?;
                    }
                    Operation::Acknowledge { taken, .. } => {
                        let settled = settled_before + 1..=record.state.settled_through;
                        let (batches, bytes) = tables.remove_batches(stream, settled)?;
                        record.state.queued_batches -= batches.min(record.state.queued_batches);
                        record.state.queued_bytes -= bytes.min(record.state.queued_bytes);
                        self.take(tables, stream.into(), taken)?;
                    }
                    Operation::BeginEpoch { keep, .. } => {
                        self.clear_image(tables, stream.into())?;
                        match keep {
                            None => {
                                tables.remove_batches(stream, 0..=u64::MAX)?;
                            }
                            Some(begin) => {
                                carry::over(tables, &self.space, stream, record, &begin)?;
                            }
                        }
                        let source = Area::Sources.key(&stream.0.to_be_bytes());
                        tables.records.remove(&source[..]).map_err(written)?;
                    }
                    Operation::DropPending { .. } => {
                        let pending = record.state.next_seq..=u64::MAX;
                        let (batches, bytes) = tables.remove_batches(stream, pending)?;
                        // Those of accepted batches are part of the image: what is left is theirs.
                        let image = stream.into();
                        image::discard_all(&mut tables.runs, &mut tables.chunks, image)?;
                        record.state.queued_batches -= batches.min(record.state.queued_batches);
                        record.state.queued_bytes -= bytes.min(record.state.queued_bytes);
                        let source = Area::Sources.key(&stream.0.to_be_bytes());
                        tables.records.remove(&source[..]).map_err(written)?;
                    }
                    Operation::OnlyIn { .. }
                    | Operation::OnlyAt { .. }
                    | Operation::Count { .. }
                    | Operation::Put { .. }
                    | Operation::Remove { .. }
                    | Operation::RemoveAll { .. }
                    | Operation::Image { .. }
                    | Operation::ClearImage { .. }
                    | Operation::NewStreams { .. }
                    | Operation::NewImage { .. } => {}
                }
                continue;
            }
            match operation {
                Operation::Put { area, key, value } => {
                    tables.records.insert(&area.key(&key)[..], &value[..]).map_err(written)?;
                }
                Operation::Remove { area, key } => {
                    tables.records.remove(&area.key(&key)[..]).map_err(written)?;
                }
                Operation::RemoveAll { area, prefix } => tables.remove_records(area, &prefix)?,
                Operation::Image { image, delta } => self.change_image(tables, image, delta)?,
                Operation::ClearImage { image } => self.clear_image(tables, image)?,
                Operation::NewStreams { wanted } => {
                    for (node, resource) in wanted {
                        let known = |record: &StreamRecord| {
                            record.node == node && record.resource == resource
                        };
                        if !states.values().chain(self.published.read().values()).any(known) {
                            let stream = StreamId(self.take_id(tables)?);
                            let state =
                                super::stream::StreamState { next_seq: 1, ..Default::default() };
                            states.insert(stream, StreamRecord { node, resource, state });
                        }
                    }
                }
                Operation::NewImage { name } => {
                    let key = Area::Images.key(&name);
                    if tables.records.get_mut(&key[..]).map_err(written)?.is_none() {
                        let number = self.take_id(tables)?;
                        tables
                            .records
                            .insert(&key[..], &number.to_be_bytes()[..])
                            .map_err(written)?;
                    }
                }
                Operation::Append { .. }
                | Operation::Acknowledge { .. }
                | Operation::BeginEpoch { .. }
                | Operation::DropPending { .. }
                | Operation::OnlyIn { .. }
                | Operation::OnlyAt { .. }
                | Operation::Count { .. } => {}
            }
        }
        Ok(receipt)
    }

    /// The image follows what was accepted, batch by batch.
    fn take(
        &mut self,
        tables: &mut Tables<'_>,
        image: ImageId,
        taken: Vec<Taken>,
    ) -> Result<(), StoreError> {
        let mut runs = Vec::new();
        for taken in taken {
            match taken {
                Taken::Prepared(run) => runs.push(run),
                Taken::Changes { prepared, delta } => {
                    // Later changes win, so what came before counts first.
                    self.accept(tables, image, &std::mem::take(&mut runs))?;
                    if let Some(run) = prepared {
                        image::discard(&mut tables.runs, &mut tables.chunks, image, run)?;
                    }
                    self.change_image(tables, image, delta)?;
                }
            }
        }
        self.accept(tables, image, &runs)
    }

    fn accept(
        &mut self,
        tables: &mut Tables<'_>,
        image: ImageId,
        runs: &[u32],
    ) -> Result<(), StoreError> {
        if !runs.is_empty() {
            let crowd = image::accept(&mut tables.runs, image, runs)?;
            self.merges.changed(image, crowd);
        }
        Ok(())
    }

    fn change_image(
        &mut self,
        tables: &mut Tables<'_>,
        image: ImageId,
        delta: image::ImageDelta,
    ) -> Result<(), StoreError> {
        if !delta.is_empty() {
            let crowd = image::write_delta(&mut tables.runs, &mut tables.chunks, image, delta)?;
            self.merges.changed(image, crowd);
        }
        Ok(())
    }

    fn clear_image(&mut self, tables: &mut Tables<'_>, image: ImageId) -> Result<(), StoreError> {
        self.merges.cleared(image);
        image::clear(&mut tables.runs, &mut tables.chunks, image)
    }

    fn take_id(&mut self, tables: &mut Tables<'_>) -> Result<u32, StoreError> {
        let id = self.next_id;
        self.next_id += 1;
        let next = self.next_id.to_be_bytes();
        tables.meta.insert(super::NEXT_ID, &next[..]).map_err(written)?;
        Ok(id)
    }
}

/// What an operation does to the state of its stream.
fn transition(record: &mut StreamRecord, operation: &Operation) -> Result<(), Conflict> {
    let state = &mut record.state;
    match operation {
        Operation::Append { batch, expect, .. } => {
            if let Some(expected) = expect
                && *expected != state.next_seq
            {
                return Err(Conflict::Moved { expected: *expected, found: state.next_seq });
            }
            state.append(&batch.facts).map(|_| ())
        }
        Operation::Acknowledge { ack, .. } => state.acknowledge(ack),
        Operation::BeginEpoch { epoch, has_rows, .. } => {
            state.begin_epoch(&record.resource, *epoch, *has_rows);
            Ok(())
        }
        Operation::DropPending { replace, .. } => {
            state.drop_pending(*replace);
            Ok(())
        }
        Operation::OnlyIn { generation, .. } if *generation == state.generation => Ok(()),
        Operation::OnlyIn { generation, .. } => {
            Err(Conflict::Moved { expected: *generation, found: state.generation })
        }
        Operation::OnlyAt { next_seq, .. } if *next_seq == state.next_seq => Ok(()),
        Operation::OnlyAt { next_seq, .. } => {
            Err(Conflict::Moved { expected: *next_seq, found: state.next_seq })
        }
        Operation::Count { read, rejected, .. } => {
            state.counters.read += read;
            state.counters.rejected += rejected;
            Ok(())
        }
        Operation::Put { .. }
        | Operation::Remove { .. }
        | Operation::RemoveAll { .. }
        | Operation::Image { .. }
        | Operation::ClearImage { .. }
        | Operation::NewStreams { .. }
        | Operation::NewImage { .. } => Ok(()),
    }
}

#[cfg(test)]
#[path = "committer_tests.rs"]
mod tests;
