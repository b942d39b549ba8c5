//! Appending and reading.

use std::collections::HashSet;
use std::sync::Arc;

use super::{DATA, META, Subject, at, entry, fill, payloads, sound};
use crate::log::{EntryKind, Log, LogError, Offset, PartitionId, StoredEntry, payload_hash};

pub(crate) async fn offsets_are_dense_in_each_partition<S: Subject>(subject: S) {
    let log = subject.open(1);
    for round in 1..=3 {
        for partition in [META, DATA] {
            let positions = log.append(vec![(partition, entry(round, 10))]).await.expect("appends");
            assert_eq!(positions, [at(partition, round)]);
            assert_eq!(log.head(partition), Offset(round));
        }
    }
}

pub(crate) async fn one_append_may_span_partitions<S: Subject>(subject: S) {
    let log = subject.open(1);
    let entries = vec![(DATA, entry(1, 10)), (META, entry(2, 10)), (DATA, entry(3, 10))];
    let positions = log.append(entries).await.expect("appends");
    assert_eq!(positions, [at(DATA, 1), at(META, 1), at(DATA, 2)]);
    assert_eq!(log.append(Vec::new()).await.expect("appends nothing"), []);
}

pub(crate) async fn what_was_appended_is_read_back<S: Subject>(subject: S) {
    let log = subject.open(77);
    // Empty, small, and large enough to be kept apart by engines that do so.
    for (tag, size) in [(1, 0), (2, 10), (3, 300_000)] {
        let given = entry(tag, size);
        let payload = given.payload.clone();
        let [position] = log.append(vec![(DATA, given)]).await.expect("appends")[..] else {
            panic!("one position for one entry");
        };
        let stored = log.read_one(position).expect("reads").expect("is there");
        assert_eq!(stored.position, position);
        assert_eq!(stored.payload, payload);
        assert_eq!(stored.envelope.kind, EntryKind::Event);
        assert_eq!(stored.envelope.log_time_ms, 77);
        assert_eq!(stored.envelope.payload_hash, payload_hash(&payload));
        assert_eq!(stored.chain, log.chain_at_head(DATA));
    }
}

pub(crate) async fn what_is_durable_is_there_after_reopening<S: Subject>(subject: S) {
    let log = subject.open(1);
    fill(&log, DATA, 0..10).await;
    let (before, marks) = (payloads(&log, DATA), log.high_water());
    subject.close(log);
    let log = subject.open(1);
    assert_eq!(payloads(&log, DATA), before);
    assert_eq!(log.high_water(), marks);
    let positions = log.append(vec![(DATA, entry(10, 10))]).await.expect("appends");
    assert_eq!(positions, [at(DATA, 11)]);
}

pub(crate) async fn concurrent_appends_share_commits_and_lose_nothing<S: Subject>(subject: S) {
    const CALLERS: u64 = 16;
    const EACH: u64 = 20;
    let log = Arc::new(subject.open(1));
    let mut callers = tokio::task::JoinSet::new();
    for caller in 0..CALLERS {
        let log = Arc::clone(&log);
        callers.spawn(async move {
            let mut written = Vec::new();
            for round in 0..EACH {
                let given = entry(caller * EACH + round, 2_000);
                let payload = given.payload.clone();
                let positions = log.append(vec![(DATA, given)]).await.expect("appends");
                written.push((positions[0], payload));
            }
            assert!(written.is_sorted_by_key(|(position, _)| *position));
            written
        });
    }
    let written = callers.join_all().await.concat();
    let distinct: HashSet<_> = written.iter().map(|(position, _)| *position).collect();
    assert_eq!(distinct.len() as u64, CALLERS * EACH);
    for (position, payload) in written {
        let stored = log.read_one(position).expect("reads").expect("is there");
        assert_eq!(stored.payload, payload);
    }
    assert_eq!(sound(&*log), CALLERS * EACH);
}

pub(crate) async fn submissions_stand_in_the_order_of_submitting<S: Subject>(subject: S) {
    let log = subject.open(1);
    let mut waiting = Vec::new();
    for tag in 0..100 {
        waiting.push(log.submit(vec![(DATA, entry(tag, 5_000))]).await.expect("submits"));
    }
    for (submitted, offset) in waiting.into_iter().zip(1..) {
        assert_eq!(submitted.durable().await.expect("becomes durable"), [at(DATA, offset)]);
        assert!(log.head(DATA) >= Offset(offset));
    }
}

pub(crate) async fn a_dropped_wait_does_not_take_entries_back<S: Subject>(subject: S) {
    let log = subject.open(1);
    drop(log.submit(vec![(DATA, entry(1, 10))]).await.expect("submits"));
    let positions = log.append(vec![(DATA, entry(2, 10))]).await.expect("appends");
    assert_eq!(positions, [at(DATA, 2)]);
    assert_eq!(payloads(&log, DATA)[0], entry(1, 10).payload);
}

pub(crate) async fn reading_stops_at_the_limits<S: Subject>(subject: S) {
    let log = subject.open(1);
    fill(&log, DATA, 0..10).await;
    let read = |from, entries, bytes| -> Vec<u64> {
        let read = log.read(DATA, Offset(from), entries, bytes).expect("reads");
        read.iter().map(|entry: &StoredEntry| entry.position.offset.0).collect()
    };
    assert_eq!(read(1, 3, usize::MAX), [1, 2, 3]);
    assert_eq!(read(9, 100, usize::MAX), [9, 10]);
    assert_eq!(read(4, 100, 1), [4], "at least one");
    assert!(read(4, 100, 400).len() < 5);
    assert_eq!(read(4, 0, usize::MAX), [0; 0]);
}

pub(crate) async fn reading_behind_the_head_gives_nothing<S: Subject>(subject: S) {
    let log = subject.open(1);
    assert!(log.read(DATA, Offset(1), 10, 10).expect("reads").is_empty());
    assert!(log.read_one(at(DATA, 5)).expect("reads").is_none());
    assert_eq!(log.head(DATA), Offset::NONE);
}

pub(crate) async fn unknown_partitions_are_refused<S: Subject>(subject: S) {
    let log = subject.open(1);
    let unknown = PartitionId(log.partitions());
    let appended = log.append(vec![(DATA, entry(1, 10)), (unknown, entry(1, 10))]).await;
    assert!(matches!(appended, Err(LogError::NoSuchPartition(id)) if id == unknown));
    assert_eq!(log.head(DATA), Offset::NONE, "nothing of a refused append is written");
    assert!(matches!(log.read(unknown, Offset(1), 1, 1), Err(LogError::NoSuchPartition(_))));
    assert!(matches!(log.trim(unknown, Offset(1)), Err(LogError::NoSuchPartition(_))));
    assert_eq!(log.head(unknown), Offset::NONE);
    assert!(log.watch(unknown).changed().await.is_err());
}

pub(crate) async fn the_watch_follows_the_head<S: Subject>(subject: S) {
    let log = subject.open(1);
    let mut watch = log.watch(DATA);
    assert_eq!(*watch.borrow_and_update(), Offset::NONE);
    fill(&log, META, 0..1).await;
    assert!(!watch.has_changed().expect("open"), "another partition's head");
    fill(&log, DATA, 0..1).await;
    watch.changed().await.expect("open");
    assert_eq!(*watch.borrow_and_update(), Offset(1));
    assert!(log.read_one(at(DATA, 1)).expect("reads").is_some());
}

pub(crate) async fn log_time_never_goes_back<S: Subject>(subject: S) {
    let log = subject.open(5_000);
    fill(&log, DATA, 0..1).await;
    subject.close(log);
    let log = subject.open(4_000);
    fill(&log, DATA, 1..2).await;
    fill(&log, META, 0..1).await;
    for position in [at(DATA, 2), at(META, 1)] {
        let stored = log.read_one(position).expect("reads").expect("is there");
        assert_eq!(stored.envelope.log_time_ms, 5_000);
    }
}

pub(crate) async fn a_failed_write_poisons_the_log<S: Subject>(subject: S) {
    let log = subject.open(1);
    fill(&log, DATA, 0..3).await;
    let mut fatal = log.fatal();
    assert!(fatal.borrow_and_update().is_none());
    subject.break_writes(&log);
    let mut durable = 3;
    // Ends by the deadline of the test, or by the failure.
    let error = loop {
        match log.append(vec![(DATA, entry(durable, 50_000))]).await {
            Ok(_) => durable += 1,
            Err(error) => break error,
        }
    };
    assert!(matches!(error, LogError::Poisoned { .. }), "{error}");
    fatal.wait_for(Option::is_some).await.expect("open");
    let later = log.append(vec![(META, entry(0, 10))]).await;
    assert!(matches!(later, Err(LogError::Poisoned { .. })));
    assert_eq!(log.head(DATA), Offset(durable), "only what was acknowledged is shown");
}
