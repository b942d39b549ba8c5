//! The governor over a real log.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    govern::samples::{TODAY, enrol, entry, open, publish},
    log::{LogOptions, RocksLog},
    numbers::{NodeNo, ResourceNo},
};

struct Running {
    log: Arc<RocksLog>,
    registry: RegistryHandle,
    governor: Governor,
    tasks: Tasks,
}

const PARTITIONS: u16 = 3;

/// The last barrier of each data partition, found by reading all of it.
fn last_barriers(log: &RocksLog) -> Vec<(PartitionId, Offset)> {
    let last =
        |partition| barriers(log, partition).last().map_or(Offset::NONE, |(offset, _)| *offset);
    (0..PARTITIONS).map(PartitionId::data).map(|at| (at, last(at))).collect()
}

fn barriers(log: &RocksLog, partition: PartitionId) -> Vec<(Offset, Event)> {
    let entries = log.read(partition, Offset::FIRST, usize::MAX, usize::MAX).expect("reads");
    let event = |entry: &crate::log::StoredEntry| match entry.envelope.kind {
        EntryKind::Barrier { meta_offset } => {
            Some((meta_offset, Event::decode(&entry.payload).expect("an event")))
        }
        EntryKind::Batch(_) | EntryKind::Event | EntryKind::Access | EntryKind::Redact(_) => None,
    };
    entries.iter().filter_map(event).collect()
}

async fn append_meta(log: &RocksLog, event: &Event) {
    let payload = event.encode().expect("encodes");
    let entry = NewEntry::new(EntryKind::Event, Offset::NONE, payload);
    log.append(vec![(PartitionId::META, entry)]).await.expect("appends");
}

async fn start(dir: &std::path::Path) -> Running {
    let options = LogOptions { data_partitions: PARTITIONS, ..LogOptions::default() };
    let (log, _) = RocksLog::open(dir.join("log"), options).expect("opens");
    if log.head(PartitionId::META) == Offset::NONE {
        let exchange = "tieling".parse().expect("a name");
        append_meta(&log, &Event::ExchangeFounded { exchange, data_partitions: PARTITIONS }).await;
    }
    let log = Arc::new(log);
    let registry = RegistryHandle::load(&*log).expect("loads");
    let tasks = Tasks::new();
    let options = GovernorOptions { queue: 64, group: 64, today: Arc::new(|| TODAY) };
    let last = last_barriers(&log);
    let governor = Governor::start(Arc::clone(&log), registry.clone(), &last, options, &tasks)
        .await
        .expect("starts");
    Running { log, registry, governor, tasks }
}

async fn stop(running: Running) -> Registry {
    let Running { log, registry, governor: _governor, tasks } = running;
    tasks.closing.cancel();
    tasks.tracker.close();
    tokio::time::timeout(Duration::from_secs(20), tasks.tracker.wait()).await.expect("drains");
    log.close();
    registry.read().clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn commands_that_wait_together_share_their_appends() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = start(dir.path()).await;
    running.governor.command(enrol("n1")).await.expect("enrolled");
    let entries: Vec<_> = (1..=200).map(entry).collect();
    running.governor.command(publish(entries)).await.expect("registered");
    let before = running.log.stats().commits;
    let mut opening = tokio::task::JoinSet::new();
    for resource in 1..=200 {
        let governor = running.governor.clone();
        opening.spawn(async move { governor.command(open(1, resource)).await });
    }
    let outcomes = opening.join_all().await;
    assert!(outcomes.iter().all(|outcome| *outcome == Ok(Outcome::Epoch(1))), "{outcomes:?}");
    let commits = running.log.stats().commits - before;
    assert!(commits < 200, "{commits} synced writes for 200 epochs");

    // Every partition holds its copies, in the order of the meta partition.
    let mut copied = 0;
    for partition in (0..PARTITIONS).map(PartitionId::data) {
        let offsets: Vec<_> =
            barriers(&running.log, partition).into_iter().map(|(at, _)| at).collect();
        assert!(offsets.is_sorted());
        copied += offsets.len();
    }
    assert_eq!(copied, 400, "an entry and an epoch per resource");
    let state = stop(running).await;

    let again = start(dir.path()).await;
    assert_eq!(stop(again).await, state, "what is read back is what was decided");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_barrier_that_a_crash_prevented_is_appended_at_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = start(dir.path()).await;
    running.governor.command(enrol("n1")).await.expect("enrolled");
    running.governor.command(publish(vec![entry(1)])).await.expect("registered");
    let log = Arc::clone(&running.log);
    append_meta(
        &log,
        &Event::EpochOpened { resource: ResourceNo(1), shard: 0, epoch: 1, node: NodeNo(1) },
    )
    .await;
    drop(log);
    stop(running).await;

    let again = start(dir.path()).await;
    let at = again.registry.entry(ResourceNo(1)).expect("registered").partition(PARTITIONS);
    let names: Vec<_> = barriers(&again.log, at).iter().map(|(_, event)| event.name()).collect();
    assert_eq!(names, ["entry_published", "epoch_opened"]);
    let count = last_barriers(&again.log);
    stop(again).await;
    let third = start(dir.path()).await;
    assert_eq!(last_barriers(&third.log), count, "and only once");
    stop(third).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_closing_a_command_is_refused_as_not_run() {
    let dir = tempfile::tempdir().expect("a folder");
    let running = start(dir.path()).await;
    let governor = running.governor.clone();
    stop(running).await;
    let refused = governor.command(enrol("n1")).await.expect_err("refused");
    assert_eq!(refused.reason(), Some(RefusalCode::NotReady));
    assert_eq!(refused.ran, hutong_schema::wire::v1::Ran::No);
}
