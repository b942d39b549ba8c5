//! The intake over a real log and governor; the views are played.

use std::{collections::HashMap, time::Duration};

use hutong_schema::{
    batch::{self, BatchKind, Codec},
    block::BlockBuilder,
    catalogue::CatalogueEntry,
    row::FieldId,
    wire::v1::publish::{PublishOpen, PublishReady},
};

use super::*;
use crate::{
    govern::Command,
    governor::GovernorOptions,
    log::{self, EntryKind, LogOptions, NewEntry, RocksLog, event::Event},
};

mod quotas;
mod taken_over;

const PARTITIONS: u16 = 2;
const GOOD_KEY: &[u8] = b"11010519491231002X";
const BAD_KEY: &[u8] = b"110105194912310021";

/// Views that know what they are told.
#[derive(Default)]
struct Played {
    lanes: Mutex<HashMap<LaneKey, LaneStart>>,
    rows: Mutex<HashMap<ResourceNo, u64>>,
    volumes: Mutex<HashMap<ResourceNo, u64>>,
    applied: HashMap<PartitionId, watch::Sender<Offset>>,
}

impl Standing for Played {
    fn lane(&self, resource: ResourceNo, shard: u16) -> Result<Option<LaneStart>, String> {
        Ok(self.lanes.lock().get(&(resource, shard)).copied())
    }

    fn rows(&self, resource: ResourceNo) -> Result<u64, String> {
        Ok(self.rows.lock().get(&resource).copied().unwrap_or(0))
    }

    fn volume(&self, resource: ResourceNo) -> Result<u64, String> {
        Ok(self.volumes.lock().get(&resource).copied().unwrap_or(0))
    }

    fn applied(&self, partition: PartitionId) -> watch::Receiver<Offset> {
        self.applied[&partition].subscribe()
    }
}

struct World {
    _dir: tempfile::TempDir,
    log: Arc<RocksLog>,
    registry: RegistryHandle,
    governor: Governor,
    views: Arc<Played>,
    disk: watch::Sender<DiskLevel>,
    intake: Intake,
    tasks: Tasks,
}

fn entry() -> CatalogueEntry {
    validate::sample::entry()
}

impl World {
    async fn new(options: IntakeOptions) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let log_options = LogOptions { data_partitions: PARTITIONS, ..LogOptions::default() };
        let (log, _) = RocksLog::open(dir.path().join("log"), log_options).expect("opens");
        let log = Arc::new(log);
        let exchange = "tieling".parse().expect("a name");
        let founded = Event::ExchangeFounded { exchange, data_partitions: PARTITIONS };
        let founded =
            NewEntry::new(EntryKind::Event, Offset::NONE, founded.encode().expect("encodes"));
        log.append(vec![(PartitionId::META, founded)]).await.expect("appends");
        let registry = RegistryHandle::load(&*log).expect("loads");
        let tasks = Tasks::new();
        let today = Arc::new(|| jiff::civil::date(2026, 11, 21));
        let governor_options = GovernorOptions { queue: 16, group: 16, today };
        let governor =
            Governor::start(Arc::clone(&log), registry.clone(), &[], governor_options, &tasks)
                .await
                .expect("starts");
        let applied =
            (0..PARTITIONS).map(|n| (PartitionId::data(n), watch::Sender::new(Offset::NONE)));
        let views = Arc::new(Played { applied: applied.collect(), ..Played::default() });
        let (disk, level) = watch::channel(DiskLevel::Enough);
        let standing: Arc<dyn Standing> = Arc::clone(&views) as _;
        let intake = Intake::start(
            &log,
            registry.clone(),
            governor.clone(),
            standing,
            level,
            options,
            &tasks,
        );
        let world = Self { _dir: dir, log, registry, governor, views, disk, intake, tasks };
        world.enrol("n1").await;
        world.publish(entry()).await;
        world
    }

    async fn enrol(&self, name: &str) {
        let command = Command::EnrolNode {
            department: entry().provider,
            department_name: None,
            name: name.parse().expect("a name"),
            certificate_serial: "01".into(),
            expires: jiff::Timestamp::UNIX_EPOCH,
        };
        self.governor.command(command).await.expect("enrolled");
    }

    async fn publish(&self, entry: CatalogueEntry) {
        let command = Command::PublishEntries { department: entry.provider, entries: vec![entry] };
        self.governor.command(command).await.expect("registered");
    }

    async fn open(&self, node: u32, epoch: u32) -> Result<(Lane, PublishReady), Refused> {
        let open = PublishOpen { resource: entry().code, shard: 0, epoch, schema_version: 1 };
        self.intake.open(NodeNo(node), &open).await
    }

    fn partition(&self) -> PartitionId {
        self.registry.entry_coded(&entry().code).expect("registered").partition(PARTITIONS)
    }

    fn batches(&self) -> Vec<log::BatchHeader> {
        let stored = self.log.read(self.partition(), Offset::FIRST, usize::MAX, usize::MAX);
        let stored = stored.expect("reads").into_iter();
        stored
            .filter_map(|entry| match entry.envelope.kind {
                EntryKind::Batch(header) => Some(header),
                EntryKind::Event
                | EntryKind::Barrier { .. }
                | EntryKind::Access
                | EntryKind::Redact(_) => None,
            })
            .collect()
    }

    async fn stop(self) {
        self.tasks.closing.cancel();
        self.tasks.tracker.close();
        tokio::time::timeout(Duration::from_secs(20), self.tasks.tracker.wait())
            .await
            .expect("drains");
    }
}

struct Sender {
    seq: u64,
    chain: ChainHash,
}

struct Sent {
    header: BatchHeader,
    chain: ChainHash,
    payload: Bytes,
}

impl Sender {
    fn after(ready: &PublishReady) -> Self {
        Self { seq: ready.last_seq, chain: ready.chain }
    }

    fn send(&mut self, kind: BatchKind, rows: u32, raw: &[u8]) -> Sent {
        self.seq += 1;
        let (codec, payload) = batch::compress(raw, Codec::Lz4).expect("compresses");
        let raw_len = raw.len() as u32;
        let header = BatchHeader { seq: self.seq, kind, schema_version: 1, rows, raw_len, codec };
        self.chain = batch::extend(&self.chain, &header, blake3::hash(&payload).as_bytes());
        Sent { header, chain: self.chain, payload: payload.into() }
    }

    fn rows(&mut self, keys: &[&[u8]]) -> Sent {
        let mut builder = BlockBuilder::new(&[FieldId(2)]);
        for key in keys {
            builder.upsert(key, [Some(&b"x"[..])]);
        }
        self.send(BatchKind::Rows, keys.len() as u32, &builder.finish())
    }

    fn deletes(&mut self, keys: &[&[u8]]) -> Sent {
        let mut builder = BlockBuilder::new(&[FieldId(2)]);
        keys.iter().for_each(|key| builder.delete(key));
        self.send(BatchKind::Rows, keys.len() as u32, &builder.finish())
    }
}

type Waiting = oneshot::Receiver<Result<Admitted, Refused>>;

async fn submit(intake: &Intake, lane: &Lane, sent: &Sent) -> Result<Waiting, Refused> {
    intake.submit(lane, sent.header, sent.chain, sent.payload.clone()).await
}

async fn store(intake: &Intake, lane: &Lane, sent: &Sent) -> Result<Admitted, Refused> {
    submit(intake, lane, sent).await?.await.expect("an answer")
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_admitted_is_in_the_log_with_its_verdict() {
    let world = World::new(IntakeOptions::default()).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    assert_eq!((ready.epoch, ready.last_seq, ready.has_rows), (1, 0, false));
    assert_eq!(ready.chain, batch::genesis(&entry().code, 0, 1));
    let mut sender = Sender::after(&ready);
    let first = sender.rows(&[GOOD_KEY, BAD_KEY]);
    let admitted = store(&world.intake, &lane, &first).await.expect("stored");
    assert_eq!((admitted.seq, admitted.chain), (1, first.chain));
    assert_eq!(admitted.rejected.iter().map(|row| row.index).collect::<Vec<_>>(), [1]);

    let again = store(&world.intake, &lane, &first).await.expect("acknowledged again");
    assert_eq!(again, admitted, "with the same verdict");
    let batches = world.batches();
    assert_eq!(batches.len(), 1, "and stored once");
    assert_eq!((batches[0].node, batches[0].seq, batches[0].rows), (1, 1, 2));
    assert_eq!(batches[0].rejected.len(), 1);
    assert_eq!(batches[0].source_chain, first.chain);
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn many_batches_under_way_are_stored_in_order() {
    let options =
        IntakeOptions { queue_batches: 4, queue_bytes: 8 * 1024, ..IntakeOptions::default() };
    let world = World::new(options).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    let mut waiting = Vec::new();
    for _ in 0..200 {
        waiting.push(submit(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("taken"));
    }
    for (index, answer) in waiting.into_iter().enumerate() {
        let admitted = answer.await.expect("an answer").expect("stored");
        assert_eq!(admitted.seq, index as u64 + 1);
    }
    let seqs: Vec<u64> = world.batches().iter().map(|batch| batch.seq).collect();
    assert_eq!(seqs, (1..=200).collect::<Vec<_>>());
    assert!(world.log.stats().commits < 200, "appends are shared");

    let (_, ready) = world.open(1, 1).await.expect("opened again");
    assert_eq!((ready.epoch, ready.last_seq, ready.chain), (1, 200, sender.chain));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_closed_epoch_and_a_gap_are_refused() {
    let world = World::new(IntakeOptions::default()).await;
    let (old, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    store(&world.intake, &old, &sender.rows(&[GOOD_KEY])).await.expect("stored");
    let _lost = sender.rows(&[GOOD_KEY]);
    let gap = store(&world.intake, &old, &sender.rows(&[GOOD_KEY])).await.expect_err("a gap");
    assert_eq!((gap.reason(), gap.expected), (Some(RefusalCode::Gap), Some(2)));

    world.views.rows.lock().insert(ResourceNo(1), 1);
    let (new, ready) = world.open(1, 0).await.expect("opened");
    assert_eq!((ready.epoch, ready.last_seq, ready.has_rows), (2, 0, true));
    let fenced = submit(&world.intake, &old, &sender.rows(&[GOOD_KEY])).await.expect_err("closed");
    assert_eq!(fenced.reason(), Some(RefusalCode::Fenced));
    assert_eq!(world.open(1, 1).await.expect_err("closed").reason(), Some(RefusalCode::Fenced));
    assert_eq!(world.open(1, 9).await.expect_err("unknown").reason(), Some(RefusalCode::Fenced));
    let mut sender = Sender::after(&ready);
    store(&world.intake, &new, &sender.rows(&[GOOD_KEY])).await.expect("stored");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_the_holder_of_the_lease_publishes() {
    let world = World::new(IntakeOptions::default()).await;
    world.enrol("n2").await;
    world.open(1, 0).await.expect("opened");
    let leased = world.open(2, 0).await.expect_err("leased");
    assert_eq!(leased.reason(), Some(RefusalCode::Leased));
    assert_eq!(world.open(2, 1).await.expect_err("leased").reason(), Some(RefusalCode::Leased));
    assert_eq!(
        world.open(7, 0).await.expect_err("nobody").reason(),
        Some(RefusalCode::UnknownNode)
    );
    world.stop().await;
}

/// Whoever holds a lane's place in the log must not be overtaken by the event that closes it.
#[tokio::test(flavor = "multi_thread")]
async fn no_batch_gets_behind_the_barrier_that_closes_its_epoch() {
    let world = World::new(IntakeOptions::default()).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    // The batch is judged good at the door, and then an event comes.
    let changing = world.registry.changing().await;
    let waits = submit(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("queued");
    let closing =
        Event::EpochOpened { resource: ResourceNo(1), shard: 0, epoch: 2, node: NodeNo(1) };
    let at = world.registry.read().applied().next();
    world.registry.apply([(at, &closing)]);
    drop(changing);
    let refused = waits.await.expect("answered").expect_err("the epoch was closed");
    assert_eq!(refused.reason(), Some(RefusalCode::Fenced));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_schema_holds_the_sender_but_not_its_repeats() {
    let world = World::new(IntakeOptions::default()).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    let first = sender.rows(&[GOOD_KEY]);
    store(&world.intake, &lane, &first).await.expect("stored");
    let (lane, _) = world.open(1, 1).await.expect("opened again");
    let mut changed = entry();
    changed.items[2].label = "另一名称".into();
    world.publish(changed).await;

    let next = sender.rows(&[GOOD_KEY]);
    let held = submit(&world.intake, &lane, &next).await.expect_err("held");
    assert_eq!((held.reason(), held.expected), (Some(RefusalCode::SchemaChanged), Some(2)));
    store(&world.intake, &lane, &first).await.expect("acknowledged again");
    let held = world.open(1, 1).await.expect_err("held");
    assert_eq!((held.reason(), held.expected), (Some(RefusalCode::SchemaChanged), Some(2)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_or_a_long_backlog_is_answered_with_busy() {
    let options = IntakeOptions { backlog_bytes: 10, ..IntakeOptions::default() };
    let world = World::new(options).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    let (first, second) = (sender.rows(&[GOOD_KEY]), sender.rows(&[GOOD_KEY]));
    world.disk.send_replace(DiskLevel::Low { free_percent: 9 });
    let busy = submit(&world.intake, &lane, &first).await.expect_err("busy");
    assert_eq!((busy.reason(), busy.retry_after_ms), (Some(RefusalCode::Busy), Some(1_000)));
    world.disk.send_replace(DiskLevel::Enough);

    store(&world.intake, &lane, &first).await.expect("stored");
    let busy = submit(&world.intake, &lane, &second).await.expect_err("busy");
    assert_eq!(busy.reason(), Some(RefusalCode::Busy));
    let partition = world.partition();
    world.views.applied[&partition].send_replace(world.log.head(partition));
    store(&world.intake, &lane, &second).await.expect("the views have caught up");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lane_goes_on_where_the_views_left_it() {
    let world = World::new(IntakeOptions::default()).await;
    world
        .governor
        .command(Command::OpenEpoch { node: NodeNo(1), resource: ResourceNo(1), shard: 0 })
        .await
        .expect("opened");
    let fresh = LaneStart::fresh(&entry().code, 0, 1);
    let mut sender = Sender { seq: 0, chain: fresh.chain };
    let first = sender.rows(&[GOOD_KEY]);
    let loaded = LaneStart { last_seq: 1, chain: first.chain, ..fresh };
    world.views.lanes.lock().insert((ResourceNo(1), 0), loaded);
    let (lane, ready) = world.open(1, 1).await.expect("opened");
    assert_eq!((ready.last_seq, ready.chain), (1, first.chain));
    store(&world.intake, &lane, &first).await.expect("acknowledged again");
    assert_eq!(world.batches().len(), 0, "it is in the log of before");
    store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("stored");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_write_nobody_gets_an_answer() {
    let world = World::new(IntakeOptions::default()).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    world.log.close();
    let outcome = match submit(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await {
        Ok(answer) => answer.await.map_err(|_| ()).and_then(|answer| answer.map_err(|_| ())),
        Err(_) => Err(()),
    };
    assert_eq!(outcome, Err(()), "neither stored nor admitted");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_retired_node_is_held_at_its_next_batch() {
    let world = World::new(IntakeOptions::default()).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("stored");
    let retire = Command::RetireNode {
        department: entry().provider,
        name: "n1".parse().expect("a name"),
        reason: "示例".into(),
    };
    world.governor.command(retire).await.expect("retired");
    let held = submit(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect_err("held");
    assert_eq!(held.reason(), Some(RefusalCode::UnknownNode));
    world.stop().await;
}
