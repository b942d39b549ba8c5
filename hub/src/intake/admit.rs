//! The owner of one data partition's batches: numbers are checked and entries appended here, and
//! nowhere else. Whatever waits goes into one append; while that is on its way to the disk, the next
//! is prepared.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use hutong_schema::{
    batch::{self, ChainHash},
    wire::v1::{Refused, publish},
};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use super::{
    Admitted, LaneKey, LaneStart, RULES_VERSION,
    backlog::Backlog,
    lanes::{Lanes, Numbered, Verdict},
    permission,
    quota::Reserved,
    taken_over,
};
use crate::{
    log::{self, EntryKind, Log, NewEntry, PartitionId, Submitted},
    numbers::NodeNo,
    tasks::Tasks,
    views::registry::RegistryHandle,
};

/// Something for the owner.
pub(super) enum Order {
    /// Where does a lane stand? Answered behind all batches that were admitted before. Whoever opened it
    /// before has no more say in it.
    Open {
        key: LaneKey,
        loaded: Option<LaneStart>,
        fresh: LaneStart,
        answer: oneshot::Sender<Opened>,
    },
    /// A validated batch.
    Batch(Box<BatchOrder>),
}

/// A lane that was opened.
pub(super) struct Opened {
    pub(super) at: LaneStart,
    /// Cancelled when it is opened again.
    pub(super) taken_over: CancellationToken,
}

pub(super) struct BatchOrder {
    pub(super) key: LaneKey,
    /// Its place in what the department may store, if that is bounded.
    pub(super) reserved: Option<Reserved>,
    pub(super) node: NodeNo,
    pub(super) epoch: u32,
    pub(super) taken_over: CancellationToken,
    pub(super) header: batch::BatchHeader,
    pub(super) chain: ChainHash,
    pub(super) payload: Bytes,
    pub(super) payload_hash: [u8; 32],
    pub(super) rejected: Vec<publish::RejectedRow>,
    pub(super) answer: oneshot::Sender<Result<Admitted, Refused>>,
    /// Its room in the queue; given back when it is durable.
    pub(super) room: OwnedSemaphorePermit,
}

/// Appends under way. One is on its way to the disk, one waits behind it; then the owner waits, and
/// the next append grows.
const UNDER_WAY: usize = 1;

pub(super) struct Owner<L> {
    log: Arc<L>,
    partition: PartitionId,
    registry: RegistryHandle,
    lanes: Lanes,
    /// Who opened each lane last.
    holders: HashMap<LaneKey, CancellationToken>,
    waiting: mpsc::Receiver<Order>,
}

/// Batches and questions whose answers depend on one append.
struct Group {
    submitted: Option<Submitted>,
    answers: Vec<Answer>,
}

enum Answer {
    Stands(oneshot::Sender<Opened>, Opened),
    Stored(Stored),
}

struct Stored {
    answer: oneshot::Sender<Result<Admitted, Refused>>,
    admitted: Admitted,
    /// What was appended now; `None` for a repeat.
    appended: Option<Appended>,
    _room: OwnedSemaphorePermit,
}

struct Appended {
    bytes: usize,
    rows: u32,
    reserved: Option<Reserved>,
}

impl<L: Log> Owner<L> {
    pub(super) fn new(
        log: Arc<L>,
        partition: PartitionId,
        registry: RegistryHandle,
        waiting: mpsc::Receiver<Order>,
    ) -> Self {
        let (lanes, holders) = (Lanes::default(), HashMap::new());
        Self { log, partition, registry, lanes, holders, waiting }
    }

    pub(super) fn start(self, backlog: Arc<Mutex<Backlog>>, group: usize, tasks: &Tasks) {
        let (groups, finishing) = mpsc::channel(UNDER_WAY);
        tasks.spawn_vital("intake owner", self.run(groups, group, tasks.closing.clone()));
        tasks.spawn_vital("intake answers", finish(finishing, backlog));
    }

    async fn run(mut self, groups: mpsc::Sender<Group>, limit: usize, closing: CancellationToken) {
        let mut orders = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled(), if !self.waiting.is_closed() => self.waiting.close(),
                count = self.waiting.recv_many(&mut orders, limit) => {
                    if count == 0 {
                        return;
                    }
                    let registry = self.registry.clone();
                    let unchanged = registry.unchanged().await;
                    let (entries, answers) = self.judge(orders.drain(..));
                    let submitted = match self.submit(entries).await {
                        Ok(submitted) => submitted,
                        Err(error) => {
                            tracing::error!(partition = %self.partition, %error, "batches could not be appended");
                            return;
                        }
                    };
                    drop(unchanged);
                    // The other side ends only when an append failed.
                    if groups.send(Group { submitted, answers }).await.is_err() {
                        return;
                    }
                }
            }
        }
    }

    async fn submit(
        &self,
        entries: Vec<(PartitionId, NewEntry)>,
    ) -> Result<Option<Submitted>, log::LogError> {
        if entries.is_empty() {
            return Ok(None);
        }
        metrics::histogram!("hutong_intake_group_batches").record(entries.len() as f64);
        self.log.submit(entries).await.map(Some)
    }

    fn judge(
        &mut self,
        orders: impl Iterator<Item = Order>,
    ) -> (Vec<(PartitionId, NewEntry)>, Vec<Answer>) {
        let mut entries = Vec::new();
        let mut answers = Vec::new();
        for order in orders {
            match order {
                Order::Open { key, loaded, fresh, answer } => {
                    let at = self.lanes.open(key, loaded, fresh);
                    let taken_over = CancellationToken::new();
                    // An opening that comes too late takes nothing over.
                    if at.epoch == fresh.epoch
                        && let Some(before) = self.holders.insert(key, taken_over.clone())
                    {
                        before.cancel();
                    }
                    answers.push(Answer::Stands(answer, Opened { at, taken_over }));
                }
                Order::Batch(mut order) => {
                    let verdict = self.verdict(&order);
                    let appended = match verdict {
                        Verdict::Admit => {
                            entries.push((self.partition, self.entry(&order)));
                            let (bytes, rows) = (order.payload.len(), order.header.rows);
                            Some(Appended { bytes, rows, reserved: order.reserved.take() })
                        }
                        Verdict::Repeat => None,
                        Verdict::Refuse(refused) => {
                            // Before it is told: what comes next finds the place free.
                            drop(order.reserved.take());
                            // Whoever sent it may be gone.
                            drop(order.answer.send(Err(refused)));
                            continue;
                        }
                    };
                    answers.push(Answer::Stored(order.stored(appended)));
                }
            }
        }
        (entries, answers)
    }

    fn verdict(&mut self, order: &BatchOrder) -> Verdict {
        // It was asked already when the batch came; an event may have come in between.
        let stored = self.lanes.stored(order.key);
        let sender = (order.key, order.node, order.epoch);
        match permission::may_append(&self.registry.read(), sender, &order.header, stored) {
            Err(refused) => Verdict::Refuse(refused),
            // Cancelled here alone: nothing of an older stream comes behind what a newer one was told.
            Ok(()) if order.taken_over.is_cancelled() => Verdict::Refuse(taken_over()),
            Ok(()) => self.lanes.judge(Numbered {
                key: order.key,
                epoch: order.epoch,
                header: &order.header,
                payload_hash: &order.payload_hash,
                chain: &order.chain,
            }),
        }
    }

    fn entry(&self, order: &BatchOrder) -> NewEntry {
        let rejected = order.rejected.iter().map(|row| log::RejectedRow {
            index: row.index,
            field: row.field.0,
            reason: row.reason,
        });
        let (resource, shard) = order.key;
        let header = log::BatchHeader {
            node: order.node.0,
            resource: resource.0,
            shard,
            epoch: order.epoch,
            seq: order.header.seq,
            content: content(order.header.kind),
            schema_version: order.header.schema_version,
            rules_version: RULES_VERSION,
            rows: order.header.rows,
            raw_len: order.header.raw_len,
            codec: order.header.codec.code(),
            rejected: rejected.collect(),
            source_chain: order.chain,
        };
        let seen = self.registry.read().applied();
        let kind = EntryKind::Batch(header);
        NewEntry::verified(kind, seen, order.payload.clone(), order.payload_hash)
    }
}

impl BatchOrder {
    fn stored(self, appended: Option<Appended>) -> Stored {
        let admitted =
            Admitted { seq: self.header.seq, chain: self.chain, rejected: self.rejected };
        Stored { answer: self.answer, admitted, appended, _room: self.room }
    }
}

fn content(kind: batch::BatchKind) -> log::BatchKind {
    match kind {
        batch::BatchKind::Rows => log::BatchKind::Rows,
        batch::BatchKind::ReplaceBegin => log::BatchKind::ReplaceBegin,
        batch::BatchKind::ReplaceEnd => log::BatchKind::ReplaceEnd,
        batch::BatchKind::Checkpoint => log::BatchKind::Checkpoint,
    }
}

/// Answers group after group, each when it is durable. After a failed append nobody is answered any
/// more: the process ends.
async fn finish(mut groups: mpsc::Receiver<Group>, backlog: Arc<Mutex<Backlog>>) {
    while let Some(Group { submitted, mut answers }) = groups.recv().await {
        let positions = match submitted {
            None => Vec::new(),
            Some(submitted) => match submitted.durable().await {
                Ok(positions) => positions,
                Err(error) => {
                    tracing::error!(%error, "batches could not be made durable");
                    return;
                }
            },
        };
        let appended = answers.iter_mut().filter_map(|answer| match answer {
            Answer::Stored(stored) => stored.appended.as_mut(),
            Answer::Stands(..) => None,
        });
        let mut behind = backlog.lock();
        for (position, appended) in positions.iter().zip(appended) {
            behind.admit(position.offset, appended.bytes);
            if let Some(reserved) = appended.reserved.take() {
                reserved.settle(*position);
            }
        }
        drop(behind);
        let mut rows = Counted::default();
        for answer in answers {
            // Whoever waited may be gone; what it asked for is done all the same.
            match answer {
                Answer::Stands(answer, at) => drop(answer.send(at)),
                Answer::Stored(stored) => {
                    rows.count(&stored);
                    drop(stored.answer.send(Ok(stored.admitted)));
                }
            }
        }
        rows.report();
    }
}

#[derive(Default)]
struct Counted {
    batches: u64,
    repeats: u64,
    rows: u64,
    rejected: u64,
    bytes: u64,
}

impl Counted {
    fn count(&mut self, stored: &Stored) {
        match &stored.appended {
            Some(Appended { bytes, rows, .. }) => {
                self.batches += 1;
                self.rows += u64::from(*rows);
                self.rejected += stored.admitted.rejected.len() as u64;
                self.bytes += *bytes as u64;
            }
            None => self.repeats += 1,
        }
    }

    fn report(&self) {
        metrics::counter!("hutong_intake_batches_total").increment(self.batches);
        metrics::counter!("hutong_intake_repeats_total").increment(self.repeats);
        metrics::counter!("hutong_intake_rows_total").increment(self.rows);
        metrics::counter!("hutong_intake_rejected_rows_total").increment(self.rejected);
        metrics::counter!("hutong_intake_bytes_total").increment(self.bytes);
    }
}
