//! Counting the digests of checkpoints, beside the applying of the log.
//!
//! The applier asks for them right after it has written the range with the checkpoint, and goes on
//! as soon as a snapshot of the store is taken. One request is counted at a time; at most
//! [`WAITING`] wait, each with a snapshot. When so many wait, the applier waits.

use std::{
    collections::{BTreeMap, HashMap},
    ops::ControlFlow,
    sync::mpsc::{Receiver, SyncSender, sync_channel},
};

use hutong_schema::{grant::GrantId, row::RowBuf};
use parking_lot::Mutex;
use rocksdb::{Snapshot, WriteBatch};
use tokio::sync::watch;

use super::{
    Core, Inner,
    apply::emit::Ask,
    entry::Place,
    error::Result,
    keys,
    read::{
        Count, DigestSpec,
        groups::{Groups, Reach},
    },
    records::{self, HubDigests},
    state::PartitionState,
};
use crate::{
    log::PartitionId,
    numbers::{FeedNo, ResourceNo, SpaceNo},
};

/// Requests that may wait. A request is small, but its snapshot keeps replaced rows on disk.
const WAITING: usize = 64;

/// Leaves held in memory at most while counting: rows × digests of one walk, 32 to 64 bytes each.
const LEAVES_MAX: u64 = 10_000_000;

pub(super) struct Digests {
    queue: Mutex<Option<SyncSender<Request>>>,
    /// The last checkpoint asked for of each library. Earlier ones that still wait are passed over:
    /// each would walk over the whole library.
    newest: Mutex<HashMap<FeedNo, u64>>,
    finished: watch::Sender<u64>,
}

/// The checkpoints of one range.
pub(super) struct Request {
    partition: PartitionId,
    jobs: Vec<Job>,
    taken: SyncSender<()>,
}

struct Job {
    ask: Ask,
    space: SpaceNo,
    /// Rows in the space.
    rows: u64,
    /// All rows are counted for resources; a library is counted for its grants only.
    full: Option<DigestSpec>,
    grants: Vec<(GrantId, u32, DigestSpec)>,
}

impl Digests {
    pub(super) fn new() -> Self {
        Self { queue: Mutex::default(), newest: Mutex::default(), finished: watch::channel(0).0 }
    }

    /// Counts requests finished.
    pub(super) fn finished(&self) -> watch::Receiver<u64> {
        self.finished.subscribe()
    }

    /// Opens the queue; the answer is for [`run`].
    pub(super) fn open(&self) -> Receiver<Request> {
        let (sender, receiver) = sync_channel(WAITING);
        *self.queue.lock() = Some(sender);
        receiver
    }

    /// No more requests; [`run`] ends when it has done those that wait.
    pub(super) fn close(&self) {
        drop(self.queue.lock().take());
    }

    /// Asks for digests of the store as it is now. While nobody counts in the background they are
    /// counted here.
    pub(super) fn ask(&self, inner: &Inner, state: &PartitionState, asks: Vec<Ask>) -> Result<()> {
        if asks.is_empty() {
            return Ok(());
        }
        let mut jobs = Vec::with_capacity(asks.len());
        for ask in asks {
            jobs.push(Job::new(&inner.core, state, ask)?);
        }
        let mut newest = self.newest.lock();
        for job in jobs.iter().filter(|job| matches!(job.ask.place, Place::Library(_))) {
            newest.insert(job.ask.place.feed(), job.ask.seq);
        }
        drop(newest);
        let (taken, wait) = sync_channel(1);
        let request = Request { partition: state.partition, jobs, taken };
        let queue = self.queue.lock().clone();
        let request = match queue {
            None => request,
            Some(queue) => match queue.send(request) {
                Ok(()) => {
                    // An answer that does not come means that the counter ended; the checkpoints
                    // stay pending and are looked at when the views are opened again.
                    let _ = wait.recv();
                    return Ok(());
                }
                Err(rejected) => rejected.0,
            },
        };
        let snapshot = inner.core.store.db.snapshot();
        self.count(&inner.core, &snapshot, &request, &|| false)
    }

    /// Counts until the queue is closed; `stop` ends it early.
    pub(super) fn run(
        &self,
        core: &Core,
        requests: Receiver<Request>,
        stop: &(dyn Fn() -> bool + Sync),
    ) {
        std::thread::scope(|scope| {
            let (sender, receiver) = sync_channel::<(Request, Snapshot<'_>)>(WAITING);
            scope.spawn(move || {
                for (request, snapshot) in receiver {
                    if stop() {
                        continue;
                    }
                    if let Err(error) = self.count(core, &snapshot, &request, stop) {
                        tracing::error!(code = error.code(), error = ?error, "a checkpoint could not be counted");
                    }
                }
            });
            for request in requests {
                let snapshot = core.store.db.snapshot();
                let _ = request.taken.send(());
                if sender.send((request, snapshot)).is_err() {
                    break;
                }
            }
        });
    }

    fn count(
        &self,
        core: &Core,
        snapshot: &Snapshot<'_>,
        request: &Request,
        stop: &dyn Fn() -> bool,
    ) -> Result<()> {
        let groups = Groups { core, snapshot: Some(snapshot), reach: Reach::Disk };
        let mut by_space: BTreeMap<SpaceNo, Vec<&Job>> = BTreeMap::new();
        for job in &request.jobs {
            by_space.entry(job.space).or_default().push(job);
        }
        let mut batch = WriteBatch::default();
        for (space, jobs) in by_space {
            let (late, now): (Vec<_>, Vec<_>) =
                jobs.into_iter().partition(|job| self.superseded(job));
            let mut found: Vec<(&Job, HubDigests)> =
                late.into_iter().map(|job| (job, HubDigests::Missed)).collect();
            let Some(counted) = count_space(&groups, request.partition, space, &now, stop)? else {
                return Ok(());
            };
            found.extend(counted);
            for (job, hub) in found {
                let key = keys::checkpoint(job.ask.place.feed(), job.ask.seq);
                let record = records::CheckpointRecord { hub, ..job.ask.record.clone() };
                batch.put_cf(
                    core.store.family(request.partition)?,
                    key,
                    records::write("checkpoint", &record)?,
                );
            }
        }
        core.store.write(batch)?;
        self.finished.send_modify(|finished| *finished += 1);
        Ok(())
    }

    fn superseded(&self, job: &Job) -> bool {
        let newest = self.newest.lock();
        newest.get(&job.ask.place.feed()).is_some_and(|newest| *newest > job.ask.seq)
    }
}

impl Job {
    fn new(core: &Core, state: &PartitionState, ask: Ask) -> Result<Self> {
        let (space, full) = match ask.place {
            Place::Resource(resource) => (core.entry(resource)?.space, Some(DigestSpec::default())),
            Place::Library(library) => (SpaceNo::library(library), None),
        };
        let granted = state.grants.values().filter(|(place, _)| *place == ask.place);
        let grants = granted.filter_map(|(place, grant)| {
            let filter = core.directory.filter(*place, grant.filter.as_ref())?;
            let spec = DigestSpec { fields: Some(grant.fields.clone()), filter: Some(filter) };
            Some((grant.id, grant.generation, spec))
        });
        let members = state.spaces.get(&space).into_iter().flatten();
        let rows = members.map(|resource| state.resource(*resource).rows).sum();
        Ok(Self { space, rows, full, grants: grants.collect(), ask })
    }

    fn specs(&self) -> impl Iterator<Item = &DigestSpec> {
        self.full.iter().chain(self.grants.iter().map(|(_, _, spec)| spec))
    }
}

/// Counts all jobs of one space; `None` when told to stop.
fn count_space<'j>(
    groups: &Groups<'_>,
    partition: PartitionId,
    space: SpaceNo,
    jobs: &[&'j Job],
    stop: &dyn Fn() -> bool,
) -> Result<Option<Vec<(&'j Job, HubDigests)>>> {
    let wanted: Vec<(Place, &DigestSpec, _)> = jobs
        .iter()
        .flat_map(|job| job.specs().map(|spec| (job.ask.place, spec, job.ask.record.as_of)))
        .collect();
    let rows = jobs.iter().map(|job| job.rows).max().unwrap_or_default();
    let at_once = usize::try_from(LEAVES_MAX / rows.max(1)).unwrap_or(usize::MAX).max(1);
    let mut found = Vec::with_capacity(wanted.len());
    for part in wanted.chunks(at_once) {
        let mut counts: Vec<_> =
            part.iter().map(|(place, spec, as_of)| (*place, Count::new(spec, *as_of))).collect();
        if !walk(groups, partition, space, &mut counts, stop)? {
            return Ok(None);
        }
        found.extend(counts.into_iter().map(|(_, count)| count.finish_root()));
    }
    let mut found = found.into_iter();
    let mut out = Vec::with_capacity(jobs.len());
    for job in jobs {
        let full = job.full.as_ref().and_then(|_| found.next());
        let grants = job
            .grants
            .iter()
            .zip(found.by_ref())
            .map(|((id, generation, _), digest)| (*id, *generation, digest));
        out.push((*job, HubDigests::Found { full, grants: grants.collect() }));
    }
    Ok(Some(out))
}

/// Walks over what the counts need; false when told to stop.
fn walk(
    groups: &Groups<'_>,
    partition: PartitionId,
    space: SpaceNo,
    counts: &mut [(Place, Count<'_>)],
    stop: &dyn Fn() -> bool,
) -> Result<bool> {
    if counts.is_empty() {
        return Ok(true);
    }
    let library = PartitionState::library(space);
    let only = only_resource(counts);
    let mut scratch = RowBuf::new();
    let mut walked = 0u32;
    let mut stopped = false;
    let visit = |group: &super::read::groups::Group| {
        walked += 1;
        if walked.is_multiple_of(4_096) && stop() {
            stopped = true;
            return Ok(ControlFlow::Break(()));
        }
        let mut record = None;
        for (place, count) in counts.iter_mut() {
            match (place, library) {
                (Place::Resource(resource), _) => {
                    if let Some(row) = group.of(*resource) {
                        count.row(group.key(), row.row()?);
                    }
                }
                (Place::Library(_), Some(library)) => {
                    if record.is_none() {
                        record = group.record(groups.core, library, &mut scratch)?;
                    }
                    if let Some(record) = record {
                        count.row(group.key(), record);
                    }
                }
                (Place::Library(_), None) => {}
            }
        }
        Ok(ControlFlow::Continue(()))
    };
    match only {
        Some(resource) => groups.of_resource(&*groups.core.entry(resource)?, None, visit)?,
        None => groups.of_space(space, partition, None, visit)?,
    }
    Ok(!stopped)
}

/// The resource that all counts are of, if it is one: a small one need not walk over its library.
fn only_resource(counts: &[(Place, Count<'_>)]) -> Option<ResourceNo> {
    let (first, _) = counts.first()?;
    match first {
        Place::Resource(resource) if counts.iter().all(|(place, _)| place == first) => {
            Some(*resource)
        }
        Place::Resource(_) | Place::Library(_) => None,
    }
}
