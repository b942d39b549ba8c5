//! Kills, cuts and flipped bits: nothing that was durable is lost silently.

use std::fs;
use std::path::PathBuf;
use std::time::Instant;

use proptest::prelude::*;

use super::{Place, copy_dir, place};
use crate::log::conformance::{DATA, DEADLINE, META, entry, fill};
use crate::log::rocks::marks::{self, Found, Marks};
use crate::log::rocks::paths::Paths;
use crate::log::rocks::{MarksVerdict, Opening};
use crate::log::{
    Cause, HighWater, Log, LogError, MissingRange, Offset, OpenReport, PartitionId, RocksLog,
    verify,
};

/// The write-ahead logs, oldest first; the last is the live one.
fn wals(place: &Place) -> Vec<PathBuf> {
    let files = fs::read_dir(place.log()).expect("lists").map(|file| file.expect("lists").path());
    let mut wals: Vec<_> =
        files.filter(|path| path.extension().is_some_and(|e| e == "log")).collect();
    wals.sort();
    wals
}

fn wal(place: &Place) -> PathBuf {
    wals(place).pop().expect("has one")
}

/// Entries that each of two partitions gets, in appends of one each.
const ENTRIES: u64 = 40;

/// Payload that keeps all entries in the write-ahead log, bytes.
const SMALL: usize = 3_000;

/// Payload that makes some of them reach files, bytes.
const LARGE: usize = 40_000;

/// A log as a killed process leaves it, and its heads. The marks are those after `marked` appends.
fn killed(marked: u64, size: usize) -> (Place, Vec<HighWater>) {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let place = place();
    let (log, _) = place.opened();
    let mut heads = log.high_water();
    for tag in 0..ENTRIES {
        let entries = vec![(DATA, entry(tag, size)), (META, entry(tag, 50))];
        runtime.block_on(log.append(entries)).expect("appends");
        if tag + 1 == marked {
            heads = log.high_water();
        }
    }
    let copy = place.as_if_killed();
    let marks = Marks { incarnation: log.incarnation(), heads };
    marks::write(&Paths::new(&copy.log()), &marks).expect("writes");
    (copy, log.high_water())
}

fn head(heads: &[HighWater], partition: PartitionId) -> Offset {
    heads[partition.index()].offset
}

/// What must hold however the log was damaged: it verifies, it can be written, and the next open is
/// quiet.
fn is_usable(place: &Place, log: RocksLog) {
    assert_eq!(verify(&log, |_| {}).broken, []);
    let incarnation = log.incarnation();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let next = log.head(DATA).next();
    let appended = runtime.block_on(log.append(vec![(DATA, entry(999, 10))])).expect("appends");
    assert_eq!(appended[0].offset, next);
    drop(log);
    let (log, report) = place.opened();
    assert_eq!(report.opening, Opening::Strict);
    assert_eq!((report.marks, report.began), (MarksVerdict::Fit, None));
    assert_eq!(log.incarnation(), incarnation);
    assert_eq!(verify(&log, |_| {}).broken, []);
}

#[test]
fn a_killed_process_loses_nothing_acknowledged() {
    let (place, heads) = killed(10, SMALL);
    let (log, report) = place.opened();
    assert_eq!(report.opening, Opening::Strict);
    assert_eq!((report.marks, report.began), (MarksVerdict::Fit, None));
    assert_eq!(log.high_water(), heads);
    is_usable(&place, log);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_taken_while_writing_holds_what_was_durable_before() {
    let place = place();
    let log = std::sync::Arc::new(place.opened().0);
    let writer = std::sync::Arc::clone(&log);
    let writing = tokio::spawn(async move {
        for tag in 0..400 {
            writer.append(vec![(DATA, entry(tag, 20_000))]).await.expect("appends");
        }
    });
    let mut watch = log.watch(DATA);
    for at_least in [50, 150, 250] {
        watch.wait_for(|head| head.0 >= at_least).await.expect("open");
        let (durable, _copy, copied, report) = loop {
            let durable = log.head(DATA);
            // A compaction may take files away that the copied manifest names; then once more. At
            // the latest when the writing has ended, nothing changes any more.
            let copy = place.as_if_killed();
            if let Ok((copied, report)) = copy.try_open() {
                break (durable, copy, copied, report);
            }
        };
        assert!(copied.head(DATA) >= durable, "{durable}: {report:?}");
        assert_eq!(report.began, None);
        assert_eq!(verify(&copied, |_| {}).broken, []);
    }
    writing.await.expect("writes");
}

#[test]
fn a_torn_tail_is_normal() {
    let (place, heads) = killed(10, SMALL);
    let wal = wal(&place);
    let whole = fs::read(&wal).expect("reads");
    // The last group lost its last byte: it cannot have been acknowledged.
    fs::write(&wal, &whole[..whole.len() - 1]).expect("writes");
    let (log, report) = place.opened();
    assert!(matches!(&report.opening, Opening::Recovered { damaged, .. } if damaged.exists()));
    assert_eq!((report.marks, report.began), (MarksVerdict::Fit, None));
    assert_eq!(log.head(DATA), head(&heads, DATA).previous());
    is_usable(&place, log);
}

#[test]
fn damage_before_readable_entries_begins_an_incarnation() {
    let (place, heads) = killed(10, SMALL);
    let wal = wal(&place);
    let mut bytes = fs::read(&wal).expect("reads");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&wal, bytes).expect("writes");
    let (log, report) = place.opened();
    assert_eq!(report.marks, MarksVerdict::Fit, "the marks alone would not have seen it");
    let began = report.began.expect("a new incarnation");
    assert_eq!(began.cause, Cause::EntriesMissing);
    for partition in [META, DATA] {
        let missing = MissingRange {
            partition,
            from: log.head(partition).next(),
            to: head(&heads, partition),
        };
        assert!(began.missing.contains(&missing), "{:?}", began.missing);
        assert_eq!(began.start_of(partition), Some(missing.from));
    }
    assert_eq!(log.incarnations().last(), Some(&began));
    is_usable(&place, log);
}

#[test]
fn a_log_cut_below_its_marks_begins_an_incarnation_and_names_what_is_missing() {
    let (place, heads) = killed(ENTRIES, SMALL);
    let wal = wal(&place);
    let whole = fs::read(&wal).expect("reads");
    fs::write(&wal, &whole[..whole.len() / 2]).expect("writes");
    let (log, report) = place.opened();
    assert!(matches!(report.opening, Opening::Recovered { .. }));
    assert_eq!(report.marks, MarksVerdict::Contradict);
    let began = report.began.expect("a new incarnation");
    let missing = |partition| MissingRange {
        partition,
        from: log.head(partition).next(),
        to: head(&heads, partition),
    };
    assert_eq!(began.missing, [missing(META), missing(DATA)]);
    is_usable(&place, log);
}

#[test]
fn a_write_ahead_log_that_vanished_is_missed() {
    let (place, _) = killed(ENTRIES, SMALL);
    fs::remove_file(wal(&place)).expect("removes");
    let (log, report) = place.opened();
    assert_eq!(report.marks, MarksVerdict::Contradict);
    assert_eq!(log.head(DATA), Offset::NONE);
    is_usable(&place, log);
}

#[test]
fn marks_follow_the_log_while_it_is_open() {
    let place = place();
    let mut often = super::options(1);
    often.marks_interval = std::time::Duration::from_millis(1);
    let (log, _) = RocksLog::open(place.log(), often).expect("opens");
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    runtime.block_on(fill(&log, DATA, 0..5));
    let expected = Found::Marks(Marks { incarnation: log.incarnation(), heads: log.high_water() });
    let deadline = Instant::now() + DEADLINE;
    while marks::read(&place.marks()).expect("reads") != expected {
        assert!(Instant::now() < deadline, "the marks were not written");
        std::thread::yield_now();
    }
}

#[test]
fn a_log_restored_from_an_older_copy_diverges_or_misses() {
    let place = place();
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let (log, _) = place.opened();
    runtime.block_on(fill(&log, DATA, 0..5));
    let older = place.as_if_killed();
    runtime.block_on(fill(&log, DATA, 5..10));
    drop(log);
    // The older log beside the newer marks.
    fs::copy(place.marks(), older.marks()).expect("copies");
    let (log, report) = older.opened();
    assert_eq!(report.opening, Opening::Strict);
    assert_eq!(report.marks, MarksVerdict::Contradict);
    let missing = MissingRange { partition: DATA, from: Offset(6), to: Offset(10) };
    let began = report.began.expect("a new incarnation");
    assert_eq!(began.missing, [missing]);
    is_usable(&older, log);
}

#[test]
fn a_log_with_another_history_than_its_marks_diverges() {
    let runtime = tokio::runtime::Runtime::new().expect("runtime");
    let (one, other) = (place(), place());
    for (place, tag) in [(&one, 1), (&other, 2)] {
        let (log, _) = place.opened();
        runtime.block_on(fill(&log, DATA, tag..tag + 1));
    }
    fs::copy(one.marks(), other.marks()).expect("copies");
    let (log, report) = other.opened();
    assert_eq!(report.marks, MarksVerdict::Contradict);
    let began = report.began.expect("a new incarnation");
    assert_eq!((began.cause, &began.missing[..]), (Cause::Diverged, &[][..]));
    is_usable(&other, log);
}

#[test]
fn missing_or_broken_marks_are_said_and_survived() {
    let (place, _) = killed(10, SMALL);
    fs::remove_file(place.marks()).expect("removes");
    assert_eq!(place.opened().1.marks, MarksVerdict::Absent);
    fs::write(place.marks(), "no marks").expect("writes");
    let report = place.opened().1;
    assert!(matches!(report.marks, MarksVerdict::Unreadable(_)));
    assert_eq!(place.opened().1.marks, MarksVerdict::Fit, "they were written anew");
}

#[test]
fn a_missing_directory_is_not_taken_for_a_new_log() {
    let (place, _) = killed(10, SMALL);
    fs::remove_dir_all(place.log()).expect("removes");
    assert!(matches!(place.try_open(), Err(LogError::Gone(_))));
}

#[test]
fn an_interrupted_exchange_of_directories_is_finished() {
    let (place, heads) = killed(10, SMALL);
    let beside = |suffix: &str| place.dir.path().join(format!("log{suffix}"));
    // Ended before the recovered copy was complete.
    fs::create_dir(beside(".incomplete")).expect("creates");
    fs::write(beside(".incomplete").join("CURRENT"), "half").expect("writes");
    assert_eq!(place.opened().0.high_water(), heads);
    assert!(!beside(".incomplete").exists());
    // Ended between the two renames.
    fs::rename(place.log(), beside(".recovered")).expect("renames");
    assert_eq!(place.opened().0.high_water(), heads);
    // Ended before the first of them.
    fs::create_dir(beside(".recovered")).expect("creates");
    copy_dir(&place.log(), &beside(".recovered"));
    fs::write(place.log().join("CURRENT"), "damaged").expect("writes");
    assert_eq!(place.opened().0.high_water(), heads);
    assert!(beside(".damaged-1000").exists());
}

/// Opens a damaged log and checks the one promise: what the marks name, or what can be read behind
/// the damage, is there or named missing.
fn nothing_is_lost_silently(place: &Place, before: &[HighWater], marked: u64) {
    let (log, report) = match place.try_open() {
        Ok(opened) => opened,
        Err(error) => panic!("{error:?}"),
    };
    let missing = |partition: PartitionId, offset: u64| {
        report.began.as_ref().is_some_and(|began| {
            began.missing.iter().any(|range| {
                range.partition == partition && (range.from.0..=range.to.0).contains(&offset)
            })
        })
    };
    for partition in [META, DATA] {
        let now = log.head(partition);
        assert!(now <= head(before, partition));
        for offset in 1..=marked {
            assert!(
                offset <= now.0 || missing(partition, offset),
                "{partition}/{offset} was lost silently: {report:?}"
            );
        }
    }
    consistent_over_partitions(&report);
    is_usable(place, log);
}

/// Each append wrote one entry to both partitions: a consistent state has as many of each.
fn consistent_over_partitions(report: &OpenReport) {
    assert_eq!(head(&report.heads, DATA), head(&report.heads, META));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, fork: false, ..ProptestConfig::default() })]

    #[test]
    fn cutting_a_write_ahead_log_anywhere_loses_nothing_silently(
        which in any::<prop::sample::Index>(),
        cut in 0.0f64..1.0,
        marked in 0..=ENTRIES,
        size in prop::sample::select(vec![SMALL, LARGE]),
    ) {
        let (place, before) = killed(marked, size);
        let wals = wals(&place);
        let wal = which.get(&wals);
        let bytes = fs::read(wal).expect("reads");
        let keep = (bytes.len() as f64 * cut) as usize;
        fs::write(wal, &bytes[..keep]).expect("writes");
        nothing_is_lost_silently(&place, &before, marked);
    }

    #[test]
    fn flipping_any_bit_of_a_write_ahead_log_loses_nothing_silently(
        which in any::<prop::sample::Index>(),
        at in 0.0f64..1.0,
        bit in 0u8..8,
        marked in 0..=ENTRIES,
        size in prop::sample::select(vec![SMALL, LARGE]),
    ) {
        let (place, before) = killed(marked, size);
        let wals = wals(&place);
        let wal = which.get(&wals);
        let mut bytes = fs::read(wal).expect("reads");
        prop_assume!(!bytes.is_empty());
        let at = ((bytes.len() - 1) as f64 * at) as usize;
        bytes[at] ^= 1 << bit;
        fs::write(wal, &bytes).expect("writes");
        nothing_is_lost_silently(&place, &before, marked);
    }
}
