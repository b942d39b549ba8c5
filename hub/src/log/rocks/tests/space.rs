//! Memory, disk space and the order of closing.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use super::{options, place};
use crate::log::conformance::{DATA, META, entry, fill};
use crate::log::rocks::PAYLOAD_BYTES_MAX;
use crate::log::{EntryKind, Log, LogError, NewEntry, Offset, RocksLog};

fn bytes_in(dir: &Path) -> u64 {
    let files = fs::read_dir(dir).expect("lists").map(|file| file.expect("lists"));
    files.map(|file| file.metadata().map_or(0, |meta| meta.len())).sum()
}

#[tokio::test]
async fn trimming_gives_space_back() {
    let place = place();
    let (log, _) = place.opened();
    for tag in 0..100 {
        log.append(vec![(DATA, entry(tag, 200_000))]).await.expect("appends");
    }
    let full = bytes_in(&place.log());
    assert!(full > 20_000_000);
    log.trim(DATA, Offset(100)).expect("trims");
    // Files are removed by RocksDB's own threads.
    let deadline = std::time::Instant::now() + crate::log::conformance::DEADLINE;
    while bytes_in(&place.log()) > full / 4 {
        assert!(std::time::Instant::now() < deadline, "{} of {full}", bytes_in(&place.log()));
        tokio::task::yield_now().await;
    }
    assert!(
        log.read_one(crate::log::Position { partition: DATA, offset: Offset(100) })
            .expect("reads")
            .is_some()
    );
}

#[tokio::test]
async fn an_append_larger_than_the_queue_is_taken_alone() {
    let place = place();
    let log = RocksLog::open(place.log(), options(1)).expect("opens").0;
    let entries = (0..4).map(|tag| (DATA, entry(tag, 600_000))).collect();
    assert_eq!(log.append(entries).await.expect("appends").len(), 4);
}

#[tokio::test]
async fn an_oversized_payload_is_refused() {
    let place = place();
    let (log, _) = place.opened();
    let payload = vec![0; PAYLOAD_BYTES_MAX + 1];
    let refused =
        log.append(vec![(DATA, NewEntry::new(EntryKind::Event, Offset::NONE, payload))]).await;
    assert!(matches!(refused, Err(LogError::TooLarge { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn closing_writes_what_is_queued_and_refuses_what_comes() {
    let place = place();
    let log = Arc::new(place.opened().0);
    let mut waiting = Vec::new();
    for tag in 0..50 {
        waiting.push(log.submit(vec![(DATA, entry(tag, 1_000))]).await.expect("submits"));
    }
    let closing = Arc::clone(&log);
    tokio::task::spawn_blocking(move || closing.close()).await.expect("closes");
    for submitted in waiting {
        submitted.durable().await.expect("was queued before");
    }
    assert!(matches!(log.append(vec![(DATA, entry(0, 1))]).await, Err(LogError::Closed)));
    assert_eq!(log.head(DATA), Offset(50));
}

#[tokio::test]
async fn a_second_process_is_kept_out() {
    let place = place();
    let (log, _) = place.opened();
    assert!(matches!(place.try_open(), Err(LogError::InUse(_))));
    fill(&log, META, 0..1).await;
    drop(log);
    place.opened();
}

#[tokio::test]
async fn an_existing_log_keeps_its_number_of_partitions() {
    let place = place();
    drop(place.opened());
    let mut other = options(1);
    other.data_partitions = 9;
    let (log, _) = RocksLog::open(place.log(), other).expect("opens");
    assert_eq!(log.partitions(), 4);
}
