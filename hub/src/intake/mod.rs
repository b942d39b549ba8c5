//! The intake: may this node publish that, is the batch valid, is it the next one — and then it is
//! appended. What is answered as admitted is durable.
//!
//! A batch is opened and validated in its caller's task, waits in the bounded queue of its data
//! partition, and is numbered and appended by the partition's owner ([`admit`]), several at a time.

mod admit;
mod backlog;
pub mod disk;
mod lanes;
mod open;
mod permission;
mod quota;
mod validate;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use hutong_schema::{
    batch::{BatchHeader, BatchKind, ChainHash},
    ids::CreditCode,
    wire::v1::{Ran, RefusalCode, Refused, publish::RejectedRow},
};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

pub use lanes::{LaneKey, LaneStart};
pub use quota::{Quota, Quotas};
pub use validate::{RULES_VERSION, Validator};

use crate::{
    governor::Governor,
    log::{Log, Offset, PartitionId},
    numbers::{NodeNo, ResourceNo},
    tasks::Tasks,
    views::{self, registry::RegistryHandle},
};
use admit::{Order, Owner};
use backlog::Backlog;
use disk::DiskLevel;
use quota::{Account, Accounts, Fits, Load, Reserved};

/// Settings of the intake.
#[derive(Clone, Debug)]
pub struct IntakeOptions {
    /// Batches that may wait for one data partition. When full, the sender waits.
    pub queue_batches: usize,
    /// Payload bytes that may wait for one data partition or be on their way to the disk. When
    /// full, the sender waits.
    pub queue_bytes: usize,
    /// Most batches in one append.
    pub group: usize,
    /// Bytes that the views of a data partition may be behind. Above it, batches are refused as
    /// busy, so that what is stored can also be found.
    pub backlog_bytes: u64,
    /// What a refused sender is told to wait, milliseconds.
    pub retry_ms: u32,
    /// What each department may store.
    pub quotas: Quotas,
}

impl Default for IntakeOptions {
    fn default() -> Self {
        Self {
            queue_batches: 1_024,
            queue_bytes: 32 * 1024 * 1024,
            group: 256,
            backlog_bytes: 1024 * 1024 * 1024,
            retry_ms: 1_000,
            quotas: Quotas::default(),
        }
    }
}

/// What the intake asks the views.
pub trait Standing: Send + Sync + 'static {
    /// Where the last applied epoch of a publication stands.
    ///
    /// # Errors
    /// When the views cannot be read; the words are for the operator's log.
    fn lane(&self, resource: ResourceNo, shard: u16) -> Result<Option<LaneStart>, String>;

    /// Rows of a resource.
    ///
    /// # Errors
    /// As [`Standing::lane`].
    fn rows(&self, resource: ResourceNo) -> Result<u64, String>;

    /// Bytes of a resource's batches in the log, opened.
    ///
    /// # Errors
    /// As [`Standing::lane`].
    fn volume(&self, resource: ResourceNo) -> Result<u64, String>;

    /// Follows the last applied entry of a data partition.
    fn applied(&self, partition: PartitionId) -> watch::Receiver<Offset>;
}

/// Handle to the intake. Cloning is cheap.
#[derive(Clone)]
pub struct Intake(Arc<Shared>);

struct Shared {
    registry: RegistryHandle,
    governor: Governor,
    views: Arc<dyn Standing>,
    partitions: Vec<Doorway>,
    disk: watch::Receiver<DiskLevel>,
    validators: Arc<Semaphore>,
    accounts: Accounts,
    options: IntakeOptions,
}

/// The way to the owner of one data partition.
struct Doorway {
    orders: mpsc::Sender<Order>,
    room: Arc<Semaphore>,
    backlog: Arc<Mutex<Backlog>>,
    applied: watch::Receiver<Offset>,
}

/// A publication that was opened.
#[derive(Clone, Debug)]
pub struct Lane {
    key: LaneKey,
    node: NodeNo,
    epoch: u32,
    partition: PartitionId,
    /// Cancelled when the publication is opened again.
    taken_over: CancellationToken,
    account: Arc<Account>,
    validator: Arc<Validator>,
    /// Last batch stored when it was opened: up to there the sender may repeat batches that follow
    /// an older schema.
    stored: u64,
}

impl Lane {
    /// Waits until the publication is opened by a newer stream; this one has no more say in it.
    pub async fn taken_over(&self) -> Refused {
        self.taken_over.cancelled().await;
        taken_over()
    }
}

/// A batch that is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Admitted {
    /// Its number.
    pub seq: u64,
    /// The sender's chain hash after it.
    pub chain: ChainHash,
    /// Rows of it that are not stored, and why.
    pub rejected: Vec<RejectedRow>,
}

/// Batches up to this size are validated where they arrive: about a millisecond, in which others of
/// the runtime's threads take over what waits. Handing them to another thread and back costs more.
const INLINE_BYTES: u32 = 1536 * 1024;

/// How long a batch waits for the views to tell whether there is room for it: what was stored before it
/// on its stream is acknowledged only then.
const TOLD_WITHIN: Duration = Duration::from_secs(2);

/// When a stream that was taken over may be opened again, ms: two machines with one identity are to be
/// noticed, not to take turns in haste.
const TAKEN_OVER_MS: u32 = 1_000;

/// Room in a queue is counted in units of this many bytes.
const ROOM_UNIT: usize = 1_024;

impl Intake {
    /// Starts the owners of all data partitions. The views must have caught up with the log as it
    /// is now: where a lane stands is asked from them once.
    pub fn start<L: Log>(
        log: &Arc<L>,
        registry: RegistryHandle,
        governor: Governor,
        views: Arc<dyn Standing>,
        disk: watch::Receiver<DiskLevel>,
        options: IntakeOptions,
        tasks: &Tasks,
    ) -> Self {
        let data_partitions = registry.read().data_partitions();
        let partitions = (0..data_partitions)
            .map(PartitionId::data)
            .map(|partition| {
                let (orders, waiting) = mpsc::channel(options.queue_batches);
                let backlog = Arc::new(Mutex::new(Backlog::default()));
                let owner = Owner::new(Arc::clone(log), partition, registry.clone(), waiting);
                owner.start(Arc::clone(&backlog), options.group, tasks);
                Doorway {
                    orders,
                    room: Arc::new(Semaphore::new(options.queue_bytes.div_ceil(ROOM_UNIT))),
                    backlog,
                    applied: views.applied(partition),
                }
            })
            .collect();
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let validators = Arc::new(Semaphore::new(cores));
        let accounts = Accounts::default();
        Self(Arc::new(Shared {
            registry,
            governor,
            views,
            partitions,
            disk,
            validators,
            accounts,
            options,
        }))
    }

    /// Validates a batch and puts it into the queue of its partition. Waits while that is full; the
    /// receiver resolves when the batch is durable. Call it for one batch of a lane after the other:
    /// their order is the order of the calls.
    ///
    /// # Errors
    /// When the batch is not taken. What is wrong with its number or chain is told by the receiver.
    pub async fn submit(
        &self,
        lane: &Lane,
        header: BatchHeader,
        chain: ChainHash,
        payload: Bytes,
    ) -> Result<oneshot::Receiver<Result<Admitted, Refused>>, Refused> {
        let shared = &self.0;
        let doorway = shared.doorway(lane.partition)?;
        let sender = (lane.key, lane.node, lane.epoch);
        permission::may_append(&shared.registry.read(), sender, &header, lane.stored)?;
        shared.has_room(doorway)?;
        let reserved = shared.within_quota(lane, &header, &payload).await?;
        let (rejected, payload_hash) = shared.validate(lane, header, &payload).await?;
        // A small payload may open to thousands of rows that are all named as rejected.
        let bytes = payload.len() + size_of_val(&rejected[..]);

        let units =
            bytes.div_ceil(ROOM_UNIT).clamp(1, shared.options.queue_bytes.div_ceil(ROOM_UNIT));
        let units = u32::try_from(units).unwrap_or(u32::MAX);
        let room =
            Arc::clone(&doorway.room).acquire_many_owned(units).await.map_err(|_| stopping())?;
        let (answer, admitted) = oneshot::channel();
        let order = Order::Batch(Box::new(admit::BatchOrder {
            key: lane.key,
            reserved,
            node: lane.node,
            epoch: lane.epoch,
            taken_over: lane.taken_over.clone(),
            header,
            chain,
            payload,
            payload_hash,
            rejected,
            answer,
            room,
        }));
        doorway.orders.send(order).await.map_err(|_| stopping())?;
        Ok(admitted)
    }

    /// What a department may store.
    #[must_use]
    pub fn quota(&self, department: CreditCode) -> Quota {
        self.0.options.quotas.of(department)
    }

    /// Bytes by which the views of each data partition are behind.
    #[must_use]
    pub fn backlog(&self) -> Vec<u64> {
        self.0.partitions.iter().map(Doorway::behind).collect()
    }
}

impl Shared {
    fn doorway(&self, partition: PartitionId) -> Result<&Doorway, Refused> {
        let index = partition.index().checked_sub(usize::from(PartitionId::FIXED));
        index.and_then(|index| self.partitions.get(index)).ok_or_else(|| {
            tracing::error!(%partition, "a resource belongs to a partition that the log has not");
            Refused::new(RefusalCode::Internal, "the resource has no place in this hub's log")
        })
    }

    fn has_room(&self, doorway: &Doorway) -> Result<(), Refused> {
        let busy = |detail: String| {
            metrics::counter!("hutong_intake_busy_total").increment(1);
            Err(Refused::new(RefusalCode::Busy, detail).retry_after(self.options.retry_ms))
        };
        match *self.disk.borrow() {
            DiskLevel::Enough => {}
            DiskLevel::Low { free_percent } | DiskLevel::Full { free_percent } => {
                return busy(format!("the hub's disk has only {free_percent} % free"));
            }
        }
        let behind = doorway.behind();
        if behind > self.options.backlog_bytes {
            return busy(format!("the hub still has {} MiB to make searchable", behind >> 20));
        }
        Ok(())
    }

    /// Takes the batch's place in what the department may store; `None` where nothing is bounded.
    /// Waits a while when only the views can tell.
    async fn within_quota(
        &self,
        lane: &Lane,
        header: &BatchHeader,
        payload: &Bytes,
    ) -> Result<Option<Reserved>, Refused> {
        if header.kind != BatchKind::Rows || lane.account.is_open() {
            return Ok(None);
        }
        let load = Load { rows: header.rows, bytes: views::volume(payload.len(), header.raw_len) };
        let began = Instant::now();
        loop {
            let asked = (&self.registry, &*self.views);
            let fits = lane.account.fits(load, asked, Instant::now());
            match fits.map_err(|reason| open::unreadable(&reason))? {
                Fits::Yes(reserved) => return Ok(Some(reserved)),
                Fits::Later(_) if began.elapsed() >= TOLD_WITHIN => {
                    let detail = "whether the department has room for more rows is not known before the hub has made searchable what it sent";
                    return Err(
                        Refused::new(RefusalCode::Busy, detail).retry_after(self.options.retry_ms)
                    );
                }
                Fits::Later(wait) => tokio::time::sleep(wait).await,
                Fits::IfItDeletes(reserved, _) if lane.validator.only_deletes(header, payload) => {
                    return Ok(Some(reserved));
                }
                Fits::IfItDeletes(_, refused) | Fits::No(refused) => return Err(refused),
            }
        }
    }

    /// Rejected rows and the payload's hash.
    async fn validate(
        &self,
        lane: &Lane,
        header: BatchHeader,
        payload: &Bytes,
    ) -> Result<(Vec<RejectedRow>, [u8; 32]), Refused> {
        let validator = Arc::clone(&lane.validator);
        let judge = move |validator: &Validator, payload: &Bytes| {
            let rejected = validator.judge(&header, payload)?;
            Ok((rejected, *blake3::hash(payload).as_bytes()))
        };
        if header.raw_len <= INLINE_BYTES {
            return judge(&validator, payload);
        }
        // As many at once as there are cores: more would only hold more memory.
        let turn = Arc::clone(&self.validators).acquire_owned().await.map_err(|_| stopping())?;
        let payload = payload.clone();
        let judged = tokio::task::spawn_blocking(move || {
            let judged = judge(&validator, &payload);
            drop(turn);
            judged
        });
        judged.await.unwrap_or_else(|error| {
            tracing::error!(%error, "validating a batch failed");
            Err(Refused::new(RefusalCode::Internal, "the batch could not be validated"))
        })
    }
}

impl Doorway {
    fn behind(&self) -> u64 {
        self.backlog.lock().bytes(*self.applied.borrow())
    }
}

/// A newer stream of the same publication was opened.
fn taken_over() -> Refused {
    let detail = "a newer stream of this publication took over";
    Refused::new(RefusalCode::NotReady, detail).retry_after(TAKEN_OVER_MS)
}

/// The hub ends while something is under way.
fn stopping() -> Refused {
    let refused = Refused::new(RefusalCode::NotReady, "the hub is stopping; send it again");
    Refused { ran: Ran::Unknown, ..refused }
}

#[cfg(test)]
mod tests;
