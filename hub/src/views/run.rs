//! Running the appliers.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Inner,
    apply::emit::Ask,
    entry::Place,
    error::{Result, ViewError},
    keys::{self, Table},
    records::{self, CheckpointRecord, HubDigests},
    state::{self, PartitionState},
};
use crate::log::{Log, LogError, Offset, Position, RocksLog};

/// How long the first of new entries waits for others: a write for each small batch would cost
/// more than the batch.
const GATHER: Duration = Duration::from_millis(5);

/// When nothing has come for so long, a partition is not being filled any more.
const QUIET: Duration = Duration::from_secs(5);

/// A burst of batches is acknowledged first, where cores are few: as long as so much is appended in
/// each of these windows, the views wait. It is more than comes from files being read, which leaves
/// time for both.
const BURST_WINDOW: Duration = Duration::from_millis(50);
const BURST_BYTES: u64 = 5 * 512 * 1024;

/// What must have come for it to look like a burst.
const BURST_BEGINS: u64 = 128 * 1024;

/// No burst keeps the views waiting for longer, or for more: then they follow without a pause.
const BURST_LASTS: Duration = Duration::from_secs(3);
const BURST_MOST: u64 = 256 * 1024 * 1024;

/// With more cores than this, applying takes nothing from acknowledging.
const FEW_CORES: usize = 4;

/// How much the threads of the views yield: a third of the share of one that answers somebody.
const NICE: i32 = 5;

/// Whether the log still has the entry that a partition was applied up to.
pub(super) fn fits(log: &RocksLog, state: &PartitionState) -> bool {
    let (partition, applied) = (state.partition, &state.applied);
    if applied.offset == Offset::NONE {
        return true;
    }
    match log.read_one(Position { partition, offset: applied.offset }) {
        Ok(entry) => entry.is_some_and(|entry| entry.chain == applied.chain),
        // Trimmed up to here: the floor tells the chain. Trimmed further, or unreadable: applying
        // will say so.
        Err(LogError::Trimmed { .. }) => {
            let floor = log.floor(partition);
            floor.first != applied.offset.next() || floor.chain == applied.chain
        }
        Err(_) => true,
    }
}

pub(super) fn start(inner: &Arc<Inner>, tracker: &TaskTracker, cancel: &CancellationToken) {
    let requests = inner.digests.open();
    let counter = Arc::clone(inner);
    let stop = cancel.clone();
    background("hutong-digests", inner, tracker, move || {
        counter.digests.run(&counter.core, requests, &|| stop.is_cancelled());
    });
    let running = Arc::new(());
    for index in 0..inner.appliers.len() {
        let (own, cancel, running) = (Arc::clone(inner), cancel.clone(), Arc::clone(&running));
        let runtime = tokio::runtime::Handle::current();
        background("hutong-views", inner, tracker, move || {
            if let Err(error) = run(&own, index, &cancel, &runtime) {
                own.fail(&error);
            }
            // The last applier to end lets the digests end.
            if Arc::into_inner(running).is_some() {
                own.digests.close();
            }
        });
    }
}

/// Runs work in a thread of its own, which gets out of the way of acknowledgements and answers.
fn background(
    name: &str,
    inner: &Arc<Inner>,
    tracker: &TaskTracker,
    work: impl FnOnce() + Send + 'static,
) {
    let token = tracker.token();
    let spawned = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        // Refused, it competes with everything else: slower acknowledgements, nothing worse.
        if let Err(error) = rustix::process::nice(NICE) {
            tracing::debug!(%error, "the priority of a thread cannot be lowered");
        }
        work();
        drop(token);
    });
    if let Err(source) = spawned {
        inner.fail(&ViewError::io("start the thread", std::path::Path::new(name))(source));
    }
}

fn run(
    inner: &Inner,
    index: usize,
    cancel: &CancellationToken,
    runtime: &tokio::runtime::Handle,
) -> Result<()> {
    let Some(applier) = inner.appliers.get(index) else { return Ok(()) };
    let mut burst = Burst::new(&inner.log);
    let partition = applier.lock().state.partition;
    let mut head = inner.log.watch(partition);
    ask_pending(inner, &applier.lock().state)?;
    while !cancel.is_cancelled() {
        head.mark_unchanged();
        runtime.block_on(burst.pass(cancel));
        if applier.lock().next(inner)? {
            continue;
        }
        burst.over();
        let quiet = runtime.block_on(async {
            tokio::select! {
                changed = head.changed() => {
                    // A closed log has nothing more; the tasks are about to be cancelled.
                    match changed {
                        Ok(()) => tokio::time::sleep(GATHER).await,
                        Err(_) => cancel.cancelled().await,
                    }
                    false
                }
                () = cancel.cancelled() => false,
                () = tokio::time::sleep(quiet_after(inner.core.options.flush_interval)) => true,
            }
        });
        burst.begins();
        let mut applier = applier.lock();
        match quiet {
            true => applier.quiet(inner)?,
            false => applier.flush_when_due(inner)?,
        }
    }
    applier.lock().flush(inner, true)
}

/// What was appended since the views had caught up.
struct Burst<'l> {
    log: &'l RocksLog,
    began: Instant,
    bytes_before: u64,
    /// Whether the views wait for bursts at all.
    yields: bool,
}

impl<'l> Burst<'l> {
    fn new(log: &'l RocksLog) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let bytes_before = log.stats().bytes;
        Self { log, began: Instant::now(), bytes_before, yields: cores <= FEW_CORES }
    }

    /// Everything is applied.
    fn over(&mut self) {
        self.bytes_before = self.log.stats().bytes;
    }

    /// Something new came after that.
    fn begins(&mut self) {
        self.began = Instant::now();
    }

    /// Waits while batches come fast.
    async fn pass(&self, cancel: &CancellationToken) {
        while self.yields && !cancel.is_cancelled() {
            let before = self.log.stats().bytes;
            let come = before - self.bytes_before;
            if !may_wait(come, self.began.elapsed()) {
                return;
            }
            tokio::time::sleep(BURST_WINDOW).await;
            if self.log.stats().bytes - before < BURST_BYTES {
                return;
            }
        }
    }
}

/// How long nothing comes before what was filled is merged, and what is old enough is flushed.
fn quiet_after(flush_interval: Duration) -> Duration {
    QUIET.min(flush_interval)
}

/// Whether the views may wait on, with so many bytes not yet applied.
fn may_wait(come: u64, waited: Duration) -> bool {
    waited < BURST_LASTS && (BURST_BEGINS..BURST_MOST).contains(&come)
}

/// Checkpoints that were not counted before the hub stopped: counted now if nothing has changed
/// since, else missed.
fn ask_pending(inner: &Inner, state: &PartitionState) -> Result<()> {
    let mut asks = Vec::new();
    let mut missed = rocksdb::WriteBatch::default();
    let family = inner.core.store.family(state.partition)?;
    state::scan(&inner.core.store, state.partition, Table::Checkpoint, |key, value| {
        let record: CheckpointRecord = records::read("checkpoint", value)?;
        if record.hub != HubDigests::Pending {
            return Ok(());
        }
        let seq = keys::seq_of(key).ok_or(ViewError::Damaged { what: "checkpoint key" })?;
        let entry = inner.core.entry(record.resource)?;
        let own = Place::Resource(record.resource);
        let library = entry.library().map(|library| Place::Library(library.id));
        let place = match library {
            Some(library) if keys::number(key) == Some(library.feed().0) => library,
            Some(_) | None => own,
        };
        if state.feed(place.feed()).seq == seq {
            asks.push(Ask { place, seq, record });
        } else {
            let record = CheckpointRecord { hub: HubDigests::Missed, ..record };
            missed.put_cf(family, key, records::write("checkpoint", &record)?);
        }
        Ok(())
    })?;
    inner.core.store.write(missed)?;
    inner.digests.ask(inner, state, asks)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::views::ViewOptions;

    #[test]
    fn a_partition_is_quiet_after_five_seconds_unless_it_is_flushed_more_often() {
        let usual = ViewOptions::default().flush_interval;
        let seconds = Duration::from_secs;
        let told = [(usual, seconds(5)), (seconds(5), seconds(5)), (seconds(1), seconds(1))];
        for (flush_interval, after) in told {
            assert_eq!(quiet_after(flush_interval), after, "flushed every {flush_interval:?}");
        }
    }

    #[test]
    fn a_burst_keeps_the_views_waiting_within_bounds_only() {
        assert!(may_wait(BURST_BEGINS, Duration::ZERO));
        assert!(!may_wait(BURST_BEGINS - 1, Duration::ZERO), "a few rows are applied at once");
        assert!(!may_wait(BURST_BEGINS, BURST_LASTS), "however long it lasts");
        assert!(!may_wait(BURST_MOST, Duration::ZERO), "however much comes");
    }
}
