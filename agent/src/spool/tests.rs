use hutong_schema::block::BlockBuilder;
use hutong_schema::row::FieldId;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::testing::{Bench, OPTIONS, copy_folder, runtime};

fn rows(from: u32, count: u32, name: &str) -> NewBatch {
    let mut builder = BlockBuilder::new(&[FieldId(2), FieldId(3), FieldId(4)]);
    let mut origins = Origins::default();
    for number in from..from + count {
        let name = format!("{name}{number}");
        builder.upsert(format!("k{number}").as_bytes(), [Some(name.as_bytes()), None, None]);
        origins.push(u64::from(number) + 1);
    }
    NewBatch::rows(1, &builder.finish(), count as usize, origins.take()).unwrap()
}

impl Bench {
    fn append(&self, batch: NewBatch) -> u64 {
        let cancel = CancellationToken::new();
        let ticket = self.store.append(self.stream, batch, WriteBatch::new(), &cancel).unwrap();
        ticket.wait().unwrap().appended[0]
    }

    fn state(&self) -> StreamState {
        self.store.stream(self.stream).unwrap().state
    }
}

#[test]
fn batches_are_numbered_chained_and_gone_when_settled() {
    let mut bench = Bench::new();
    assert_eq!(bench.append(rows(0, 10, "n")), 1);
    assert_eq!(bench.append(rows(10, 10, "n")), 2);
    assert_eq!(bench.store.pending(bench.stream, 0, usize::MAX).unwrap().len(), 2);
    assert_eq!(bench.store.pending(bench.stream, 0, 1).unwrap().len(), 1);
    assert!(bench.store.outbox_bytes() > 0);
    assert!(bench.store.oldest_unacknowledged_ms(bench.stream).unwrap().is_some());
    bench.exchange(1).unwrap();
    assert_eq!(bench.state().stored_through, 1);
    assert!(!bench.store.checkpoint_if_due(bench.stream, 1).unwrap(), "one batch is under way");
    bench.drain();
    assert_eq!(bench.image(), bench.hub.digest());
    assert_eq!(bench.hub.checkpoints.len(), 1);
    assert_eq!(bench.store.outbox_bytes(), 0);
    assert_eq!((bench.state().queued_batches, bench.state().queued_bytes), (0, 0));
    assert!(!bench.store.checkpoint_if_due(bench.stream, 1).unwrap(), "nothing came since");
    assert_eq!(bench.state().counters.accepted, 20);
}

#[test]
fn an_acknowledgement_taken_twice_changes_nothing() {
    let mut bench = Bench::new();
    bench.append(rows(0, 5, "n"));
    bench.exchange(1).unwrap();
    let before = bench.state();
    let ack = bench.hub.ack(Vec::new());
    let again =
        bench.store.acknowledge(bench.stream, &ack, &bench.entry, &bench.quarantine).unwrap();
    assert_eq!(again, AckOutcome { drained: true, ..AckOutcome::default() });
    assert_eq!(bench.state(), before);
}

#[test]
fn rejected_rows_stay_out_of_the_image_and_go_to_quarantine_with_their_row_number() {
    let mut bench = Bench::new();
    bench.append(rows(0, 10, "n"));
    bench.drain();
    bench.hub.dislikes = Some(b"m3".to_vec());
    bench.append(rows(0, 10, "m"));
    bench.drain();
    assert_eq!(bench.image(), bench.hub.digest());
    assert_eq!(bench.image().count, 10, "the rejected row keeps its accepted version");
    let counters = bench.state().counters;
    assert_eq!((counters.accepted, counters.rejected), (19, 1));
    let folder = bench.quarantine.folder(&bench.entry.code);
    let file = std::fs::read_dir(folder).unwrap().next().unwrap().unwrap().path();
    let text = std::fs::read_to_string(file).unwrap();
    let line = text.lines().nth(1).unwrap();
    assert!(line.starts_with("4,name 名称,3,长度不符,wrong length,rejected by the hub,"), "{line}");
    assert!(line.contains("k3") && line.contains("m3"), "{line}");
}

#[test]
fn wrong_acknowledgements_are_refused() {
    let mut bench = Bench::new();
    bench.append(rows(0, 5, "n"));
    let mut ack = bench.hub.ack(Vec::new());
    ack.stored_through = 1;
    let taken = bench.store.acknowledge(bench.stream, &ack, &bench.entry, &bench.quarantine);
    assert!(matches!(taken, Err(AckError::Forked(1))));
    ack.stored_through = 2;
    let taken = bench.store.acknowledge(bench.stream, &ack, &bench.entry, &bench.quarantine);
    assert!(
        matches!(taken, Err(AckError::Store(StoreError::Conflict { .. }))),
        "batch 2 was never sent: {taken:?}"
    );
    assert_eq!(bench.state().stored_through, 0);
    bench.drain();
}

#[test]
fn the_two_sides_agree_on_where_to_go_on() {
    let mut bench = Bench::new();
    bench.append(rows(0, 5, "n"));
    bench.append(rows(5, 5, "n"));
    bench.exchange(1).unwrap();
    let resume = |bench: &Bench, ready: &PublishReady| {
        bench.store.resume(bench.stream, ready, false).unwrap()
    };
    let ready = bench.hub.ready();
    assert_eq!(resume(&bench, &ready), Resume::Continue { after: 1 });
    // The hub stored batch 2, its acknowledgement was lost: batch 2 is sent again.
    let batch = &bench.store.pending(bench.stream, 1, usize::MAX).unwrap()[0];
    let mut ahead = bench.hub.clone();
    ahead.take(batch);
    assert_eq!(resume(&bench, &ahead.ready()), Resume::Continue { after: 1 });
    let ready = PublishReady { chain: [7; 32], ..ahead.ready() };
    assert_eq!(resume(&bench, &ready), Resume::Diverged(Divergence::Forked));
    let ready = PublishReady { last_seq: 3, ..ahead.ready() };
    assert_eq!(resume(&bench, &ready), Resume::Diverged(Divergence::HubIsAhead));
    let ready = PublishReady { last_seq: 0, ..ahead.ready() };
    assert_eq!(resume(&bench, &ready), Resume::Diverged(Divergence::HubIsBehind));
    // A hub that lost the event of this epoch gives its number again to who asks for a new one.
    let again = bench.store.resume(bench.stream, &ready, true).unwrap();
    assert_eq!(again, Resume::BeginEpoch);
    let ready = PublishReady { epoch: 2, ..ahead.ready() };
    assert_eq!(resume(&bench, &ready), Resume::BeginEpoch);
}

#[test]
fn a_new_epoch_begins_with_nothing_and_a_replacement() {
    let mut bench = Bench::new();
    bench.append(rows(0, 5, "n"));
    bench.drain();
    bench.append(rows(5, 5, "n"));
    bench.begin_epoch();
    let state = bench.state();
    assert_eq!((state.epoch, state.next_seq, state.replace), (2, 1, Replace::Due));
    assert_eq!((state.queued_batches, bench.store.outbox_bytes()), (0, 0));
    assert_eq!(bench.image().count, 0);
}

#[test]
fn what_was_not_stored_can_be_forgotten() {
    let mut bench = Bench::new();
    bench.append(rows(0, 5, "n"));
    bench.exchange(1).unwrap();
    bench.append(rows(5, 5, "n"));
    bench.append(NewBatch::marker(hutong_schema::batch::BatchKind::ReplaceBegin, 1).unwrap());
    runtime().block_on(bench.store.drop_pending(bench.stream)).unwrap();
    assert_eq!((bench.state().next_seq, bench.state().replace), (2, Replace::Due));
    assert_eq!(bench.append(rows(9, 1, "n")), 2);
    bench.exchange(usize::MAX).unwrap();
    assert_eq!(bench.image(), bench.hub.digest());
}

#[test]
fn a_refused_write_leaves_nothing_behind() {
    let bench = Bench::new();
    let mut writes = WriteBatch::new();
    writes.put(Area::Nodes, b"fact", b"value".to_vec());
    writes.append(bench.stream, rows(0, 1, "n"), Some(9));
    let refused = bench.store.commit_blocking(writes);
    assert!(matches!(refused, Err(StoreError::Conflict { .. })));
    assert_eq!(bench.store.get(Area::Nodes, b"fact").unwrap(), None);
    assert_eq!(bench.state().next_seq, 1);
}

#[test]
fn a_state_folder_serves_one_agent_and_keeps_its_number() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OPTIONS).unwrap();
    assert!(matches!(Store::open(dir.path(), OPTIONS), Err(StoreError::InUse { .. })));
    let instance = store.instance();
    drop(store);
    assert_eq!(Store::open(dir.path(), OPTIONS).unwrap().instance(), instance);
}

#[test]
fn a_copy_of_the_file_at_any_moment_opens_at_a_commit() {
    let mut bench = Bench::new();
    for step in 0..12u32 {
        bench.append(rows(step * 40, 50, "n"));
        let copy = tempfile::tempdir().unwrap();
        copy_folder(&bench.path("store"), copy.path());
        let copied = Store::open(copy.path(), OPTIONS).unwrap();
        let state = copied.stream(bench.stream).unwrap().state;
        assert_eq!(state, bench.state(), "what was reported durable is in the copy");
        let seqs = copied.pending(bench.stream, state.stored_through, usize::MAX).unwrap();
        let expected = state.stored_through + 1..=state.last_seq();
        assert!(seqs.iter().map(|batch| batch.header.seq).eq(expected));
        if step % 3 == 2 {
            bench.exchange(2).unwrap();
        }
    }
}

#[test]
fn damage_is_named_set_aside_and_survived() {
    let dir = tempfile::tempdir().unwrap();
    drop(Store::open(dir.path(), OPTIONS).unwrap());
    let file = dir.path().join("agent.redb");
    let mut bytes = std::fs::read(&file).unwrap();
    let middle = bytes.len() / 2;
    for byte in &mut bytes[4096..middle.max(64 * 1024)] {
        *byte ^= 0x5A;
    }
    std::fs::write(&file, &bytes).unwrap();
    let refused = Store::open(dir.path(), OPTIONS);
    assert!(matches!(refused, Err(StoreError::Damaged { .. })), "{:?}", refused.err());
    let opened = Store::open_or_set_aside(dir.path(), OPTIONS).unwrap();
    let (aside, _) = opened.set_aside.expect("the damaged file is kept");
    assert_eq!(std::fs::read(aside).unwrap(), bytes);
    assert!(opened.store.streams().is_empty());
}

#[test]
fn any_flipped_byte_or_cut_is_damage_or_harmless_but_never_a_panic() {
    let mut bench = Bench::new();
    bench.append(rows(0, 200, "n"));
    bench.drain();
    bench.append(rows(200, 200, "n"));
    let copy = tempfile::tempdir().unwrap();
    copy_folder(&bench.path("store"), copy.path());
    let file = copy.path().join("agent.redb");
    let good = std::fs::read(&file).unwrap();
    let step = good.len() / 60;
    for at in (0..good.len()).step_by(step) {
        for cut in [false, true] {
            let mut bytes = good.clone();
            if cut {
                bytes.truncate(at);
            } else {
                bytes[at] ^= 0xFF;
            }
            std::fs::write(&file, &bytes).unwrap();
            match Store::open(copy.path(), OPTIONS) {
                Ok(store) => {
                    for (stream, record) in store.streams() {
                        let _ = store.pending(stream, record.state.stored_through, usize::MAX);
                        let _ = store.view().and_then(|view| view.digest(stream.into()));
                    }
                }
                Err(StoreError::Damaged { .. }) => {}
                Err(other) => panic!("byte {at} {cut}: {other:?}"),
            }
        }
    }
}

#[test]
fn what_began_before_the_stream_was_begun_anew_is_refused_and_its_space_freed() {
    let mut bench = Bench::new();
    let generation = bench.state().generation;
    bench.begin_epoch();
    let mut with = WriteBatch::new();
    with.only_in(bench.stream, generation);
    let cancel = CancellationToken::new();
    let ticket = bench.store.append(bench.stream, rows(0, 9, "n"), with, &cancel).unwrap();
    assert!(matches!(ticket.wait(), Err(StoreError::Conflict { .. })));
    assert_eq!((bench.store.outbox_bytes(), bench.state().next_seq), (0, 1));
}

#[test]
fn a_store_that_is_looked_into_is_opened_when_that_is_over() {
    let dir = tempfile::tempdir().unwrap();
    let looked_into = Store::open(dir.path(), OPTIONS).unwrap();
    let path = dir.path().to_owned();
    let opening = std::thread::spawn(move || Store::open(&path, OPTIONS).map(|_| ()));
    // Long enough for a refusal to come.
    let until = std::time::Instant::now() + std::time::Duration::from_millis(300);
    while std::time::Instant::now() < until && !opening.is_finished() {
        std::thread::yield_now();
    }
    drop(looked_into);
    opening.join().unwrap().unwrap();
}

/// Chunks of images, whether they count yet or not.
fn chunks(store: &Store) -> u64 {
    let table = store.view().unwrap().0.open_table(super::keys::CHUNKS).unwrap();
    redb::ReadableTableMetadata::len(&table).unwrap()
}

#[test]
fn what_was_prepared_for_batches_that_are_forgotten_is_forgotten_too() {
    let mut bench = Bench::new();
    let append = |bench: &Bench| {
        let cancel = CancellationToken::new();
        let batch = rows(0, 9, "n");
        bench
            .store
            .append(bench.stream, batch, WriteBatch::new(), &cancel)
            .unwrap()
            .wait()
            .unwrap();
    };
    append(&bench);
    assert_eq!(chunks(&bench.store), 1);
    let view = bench.store.view().unwrap();
    assert_eq!(view.image_size_at_most(bench.stream.into()).unwrap(), 0, "it does not count yet");
    drop(view);
    runtime().block_on(bench.store.drop_pending(bench.stream)).unwrap();
    assert_eq!(chunks(&bench.store), 0);
    append(&bench);
    bench.begin_epoch();
    assert_eq!(chunks(&bench.store), 0);
}
