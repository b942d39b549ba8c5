//! Payload files: rotated, trimmed, given back, and damaged anywhere.

use std::fs;
use std::path::PathBuf;

use proptest::prelude::*;

use super::{Place, place};
use crate::log::conformance::{DATA, META, entry};
use crate::log::rocks::payloads::{PAYLOAD_BYTES_MIN, SUFFIX};
use crate::log::rocks::state::State;
use crate::log::rocks::{MarksVerdict, Opening};
use crate::log::{Log, LogError, Offset, PartitionId, Position, RocksLog, payload_hash, verify};

const OTHER: PartitionId = PartitionId::data(1);

/// Payloads of which five fill a file.
const LARGE: usize = 100_000;

fn payload_files(place: &Place) -> Vec<PathBuf> {
    let files = fs::read_dir(place.log()).expect("lists").map(|file| file.expect("lists").path());
    let mut files: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == SUFFIX)).collect();
    files.sort();
    files
}

fn append(log: &RocksLog, entries: Vec<(PartitionId, crate::log::NewEntry)>) {
    let runtime = tokio::runtime::Builder::new_current_thread().build().expect("runtime");
    runtime.block_on(log.append(entries)).expect("appends");
}

/// `count` large entries in each of two data partitions and a small one in meta, killed.
fn killed(count: u64) -> Place {
    let place = place();
    let (log, _) = place.opened();
    for tag in 0..count {
        append(
            &log,
            vec![(DATA, entry(tag, LARGE)), (OTHER, entry(tag, LARGE)), (META, entry(tag, 9))],
        );
    }
    place.as_if_killed()
}

/// All entries of a partition that can be read must be what was written.
fn readable(log: &RocksLog, partition: PartitionId) -> Vec<Result<(), LogError>> {
    let read = |offset| {
        let position = Position { partition, offset: Offset(offset) };
        let stored = log.read_one(position)?.expect("up to the head");
        assert_eq!(stored.payload, entry(offset - 1, LARGE).payload, "{position}");
        Ok(())
    };
    (1..=log.head(partition).0).map(read).collect()
}

#[test]
fn only_large_payloads_of_data_partitions_go_to_files() {
    let place = place();
    let (log, _) = place.opened();
    append(&log, vec![(META, entry(1, LARGE)), (DATA, entry(2, PAYLOAD_BYTES_MIN - 1))]);
    assert_eq!(payload_files(&place), Vec::<PathBuf>::new());
    append(&log, vec![(DATA, entry(3, PAYLOAD_BYTES_MIN))]);
    assert_eq!(payload_files(&place).len(), 1);
    log.close();
    let length = fs::metadata(&payload_files(&place)[0]).expect("there").len();
    assert_eq!(length, PAYLOAD_BYTES_MIN as u64, "no room is kept behind it");
    assert_eq!(verify(&log, |_| {}).broken, []);
}

#[test]
fn files_go_when_no_partition_needs_them() {
    let place = place();
    let (log, _) = place.opened();
    for tag in 0..20 {
        append(&log, vec![(DATA, entry(tag, LARGE)), (OTHER, entry(tag, LARGE))]);
    }
    let all = payload_files(&place).len();
    assert!(all > 5, "{all}");
    log.trim(DATA, Offset(20)).expect("trims");
    assert_eq!(payload_files(&place).len(), all, "the other partition needs them");
    log.trim(OTHER, Offset(11)).expect("trims");
    let half = payload_files(&place).len();
    assert!(half < all && half > 1, "{half} of {all}");
    assert!(readable(&log, OTHER)[10..].iter().all(Result::is_ok));
    log.trim(OTHER, Offset(100)).expect("trims");
    log.trim(DATA, Offset(100)).expect("trims");
    assert_eq!(payload_files(&place).len(), 1, "the one that is written stays");
    append(&log, vec![(DATA, entry(20, LARGE))]);
    drop(log);
    let (log, report) = place.opened();
    assert_eq!(report.opening, Opening::Strict);
    assert_eq!(verify(&log, |_| {}).broken, []);
    assert_eq!(log.head(DATA), Offset(21));
}

#[test]
fn what_a_killed_process_reserved_is_given_back() {
    let place = killed(2);
    let last = |place: &Place| payload_files(place).pop().expect("there");
    let length = |place: &Place| fs::metadata(last(place)).expect("there").len();
    assert!(length(&place) > 500_000, "{} bytes", length(&place));
    let file = last(&place);
    let (log, report) = place.opened();
    assert_eq!((report.opening, report.marks), (Opening::Strict, MarksVerdict::Fit));
    assert_eq!(fs::metadata(&file).expect("there").len(), 4 * LARGE as u64);
    append(&log, vec![(DATA, entry(2, LARGE))]);
    assert_ne!(last(&place), file, "a file of an earlier run is not written");
    assert!(readable(&log, DATA).iter().all(Result::is_ok));
}

#[test]
fn a_log_from_before_payload_files_is_read_and_goes_on() {
    let place = place();
    let (log, _) = place.opened();
    append(&log, (0..3).map(|tag| (DATA, entry(tag, 100))).collect());
    drop(log);
    for offset in 1..=3 {
        // Its payloads stood in the store, however large.
        place.tamper(Position { partition: DATA, offset: Offset(offset) }, |stored| {
            stored.truncate(stored.len() - 100);
            stored.extend_from_slice(&entry(offset - 1, LARGE).payload);
        });
    }
    let format = |number| {
        let database = place.database();
        State::load(&database).expect("loads").store_as(&database, number);
    };
    format(1);
    let (log, _) = place.opened();
    append(&log, vec![(DATA, entry(3, LARGE))]);
    assert_eq!(log.read(DATA, Offset(1), 9, usize::MAX).expect("reads").len(), 4);
    assert_eq!(readable(&log, DATA).len(), 4);
    drop(log);
    format(3);
    assert!(matches!(place.try_open(), Err(LogError::Format { found: 3, known: 2 })));
}

#[test]
fn a_newest_file_that_is_gone_is_missed() {
    let place = killed(4);
    let last = payload_files(&place).pop().expect("there");
    fs::remove_file(last).expect("removes");
    let (log, report) = place.opened();
    assert!(matches!(report.opening, Opening::Recovered { .. }));
    let began = report.began.expect("a new incarnation");
    assert!(!began.missing.is_empty());
    assert_eq!(verify(&log, |_| {}).broken, []);
    assert_eq!(log.head(META), Offset(4), "other partitions keep what they have");
    append(&log, vec![(DATA, entry(log.head(DATA).0, LARGE))]);
    assert!(readable(&log, DATA).iter().all(Result::is_ok));
}

/// Opens a log with a damaged payload file. Every entry is there as it was, or named missing, or
/// named when it is read; nothing else changed.
fn nothing_is_lost_silently(place: &Place, count: u64) {
    let (log, report) = place.opened();
    for partition in [DATA, OTHER] {
        let head = log.head(partition).0;
        let named = |offset: u64| {
            report.began.as_ref().is_some_and(|began| {
                began.missing.iter().any(|range| {
                    range.partition == partition && (range.from.0..=range.to.0).contains(&offset)
                })
            })
        };
        for offset in head + 1..=count {
            assert!(named(offset), "{partition}/{offset} was lost silently: {report:?}");
        }
        let broken = verify(&log, |_| {}).broken;
        for (offset, read) in (1..).zip(readable(&log, partition)) {
            let position = Position { partition, offset: Offset(offset) };
            match read {
                Ok(()) => {}
                Err(LogError::Damaged { position: named, .. }) => {
                    assert_eq!(named, position);
                    // The walk over a chain ends at its first unreadable entry.
                    let told = broken.iter().map(|broken| broken.position);
                    let mut told = told.filter(|broken| broken.partition == partition);
                    assert!(told.any(|broken| broken <= position), "{position}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    assert_eq!(log.head(META), Offset(count));
    for partition in [DATA, OTHER] {
        append(&log, vec![(partition, entry(log.head(partition).0, LARGE))]);
    }
    let heads = log.high_water();
    drop(log);
    let (log, report) = place.opened();
    assert_eq!((report.opening, report.began), (Opening::Strict, None));
    assert_eq!(log.high_water(), heads);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, fork: false, ..ProptestConfig::default() })]

    #[test]
    fn cutting_a_payload_file_anywhere_loses_nothing_silently(
        which in any::<prop::sample::Index>(),
        cut in 0.0f64..1.0,
    ) {
        let place = killed(6);
        let files = payload_files(&place);
        let file = which.get(&files);
        let bytes = fs::read(file).expect("reads");
        fs::write(file, &bytes[..(bytes.len() as f64 * cut) as usize]).expect("writes");
        nothing_is_lost_silently(&place, 6);
    }

    #[test]
    fn flipping_any_bit_of_a_payload_file_loses_nothing_silently(
        which in any::<prop::sample::Index>(),
        at in 0.0f64..1.0,
        bit in 0u8..8,
    ) {
        let place = killed(6);
        let files = payload_files(&place);
        let file = which.get(&files);
        let mut bytes = fs::read(file).expect("reads");
        let written = bytes.iter().rposition(|byte| *byte != 0).expect("something is written");
        bytes[(written as f64 * at) as usize] ^= 1 << bit;
        fs::write(file, &bytes).expect("writes");
        nothing_is_lost_silently(&place, 6);
    }
}

#[test]
fn a_payload_is_what_its_hash_says() {
    let place = place();
    let (log, _) = place.opened();
    append(&log, vec![(DATA, entry(0, LARGE))]);
    let stored = log.read_one(Position { partition: DATA, offset: Offset(1) }).expect("reads");
    let stored = stored.expect("is there");
    assert_eq!(payload_hash(&stored.payload), stored.envelope.payload_hash);
}
