use std::collections::BTreeMap;
use std::fs;
use std::time::Duration;

use hutong_schema::row::RowRef;
use hutong_schema::wire::v1::publish::PublishReady;

use super::super::{PushConfirmed, ScanOutcome, remap};
use super::*;
use crate::config::{
    FileSource, PublishConfig, SourceConfig, SourceForm, SourceMode, TextEncoding,
};
use crate::quarantine::Record;
use crate::spool::{NewBatch, Store};
use crate::testing::{Bench, OPTIONS, runtime};

struct Rig {
    bench: Bench,
    publication: Publication,
    clock: u64,
}

impl Rig {
    fn of(source: impl FnOnce(&Bench) -> SourceConfig) -> Self {
        let bench = Bench::new();
        let config = PublishConfig {
            resource: bench.entry.code.clone(),
            source: source(&bench),
            rescan: Duration::from_secs(1),
            max_delete_percent: 100,
            rules: Default::default(),
        };
        let quarantine = bench.quarantine.clone();
        let settling = Default::default();
        let publication = Publication { stream: bench.stream, config, quarantine, settling };
        Self { bench, publication, clock: 0 }
    }

    fn pushed() -> Self {
        Self::of(|_| SourceConfig::Push)
    }

    fn file(mode: SourceMode) -> Self {
        Self::of(|bench| {
            SourceConfig::File(FileSource {
                path: bench.path("rows.csv"),
                form: SourceForm::Separated(b','),
                encoding: TextEncoding::Utf8,
                mode,
            })
        })
    }

    /// Another version of the file, as old as those before are not.
    fn write(&mut self, content: &str) {
        let path = self.bench.path("rows.csv");
        fs::write(&path, content).unwrap();
        self.clock += 1;
        let time = std::time::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + self.clock);
        fs::File::options().write(true).open(path).unwrap().set_modified(time).unwrap();
    }

    fn scan(&self) -> ScanOutcome {
        let cancel = CancellationToken::new();
        self.publication.scan(&self.bench.store, &self.bench.entry, &cancel).unwrap()
    }

    fn read(&mut self, content: &str) -> ScanOutcome {
        self.write(content);
        let outcome = self.scan();
        self.bench.exchange(usize::MAX).unwrap();
        outcome
    }

    fn try_hand(&self, rows: &[&str]) -> Result<HandReport, HandError> {
        let rows = rows.iter().map(|text| HandedRow { text, wrong: None });
        let cancel = CancellationToken::new();
        self.publication
            .hand_over(&self.bench.store, &self.bench.entry, rows)?
            .commit(|_, _| {}, &cancel)
    }

    fn hand(&self, rows: &[&str]) -> HandReport {
        self.try_hand(rows).unwrap()
    }

    /// Key → name, as the hub has it.
    fn hub(&self) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = |row: &[u8]| text(RowRef::parse(row).unwrap().get(FieldId(2)).unwrap());
        self.bench.hub.rows.iter().map(|(key, row)| (text(key), name(row))).collect()
    }

    fn quarantined(&self) -> Vec<Record> {
        let mut found = Vec::new();
        let resource = &self.bench.entry.code;
        self.bench.quarantine.open_records(resource, |record| found.push(record)).unwrap();
        found
    }

    /// The hub opens an epoch and the agent keeps what its outbox has.
    fn begin_epoch_keeping(&mut self) {
        let hub = &mut self.bench.hub;
        hub.epoch += 1;
        hub.last_seq = 0;
        hub.chain = hutong_schema::batch::genesis(&self.bench.entry.code, 0, hub.epoch);
        let ready: PublishReady = hub.ready();
        let begin = hutong_schema::batch::BatchKind::ReplaceBegin;
        let begin = NewBatch::marker(begin, self.bench.entry.schema_version).unwrap();
        let store = &self.bench.store;
        runtime().block_on(store.begin_epoch_keeping(self.bench.stream, &ready, begin)).unwrap();
    }
}

fn names(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect()
}

fn row(id: &str, name: &str) -> String {
    format!("{{\"id\":\"{id}\",\"name\":\"{name}\"}}")
}

#[test]
fn rows_and_removals_are_taken_in_order_by_name_or_label_in_any_envelope() {
    let mut rig = Rig::pushed();
    let report = rig.hand(&[
        r#"{"id":"1","name":"a"}"#,
        r#"{"编号":2,"名称":"b","other":true}"#,
        r#"{"op":"upsert","row":{"id":"3","name":"c"}}"#,
        r#"{"op":"delete","key":"1"}"#,
        r#"{"op":"delete","key":{"编号":"2"}}"#,
        r#"{"id":"2","name":"again"}"#,
        r#"{"op":"delete","key":["9"]}"#,
    ]);
    assert_eq!((report.upserts, report.deletes), (4, 3));
    assert_eq!((report.refused.len(), report.unknown), (0, vec!["other".to_owned()]));
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("2", "again"), ("3", "c")]));
    assert_eq!(rig.bench.image(), rig.bench.hub.digest());
}

#[test]
fn what_cannot_be_read_is_refused_and_never_a_removal() {
    let mut rig = Rig::pushed();
    rig.hand(&[&row("1", "a"), &row("2", "b")]);
    rig.bench.drain();
    let wrong = [
        r#"{"op":"delete"}"#,
        r#"{"op":"delete","key":null}"#,
        r#"{"op":"delete","key":""}"#,
        r#"{"op":"delete","key":[]}"#,
        r#"{"op":"delete","key":["1","2"]}"#,
        r#"{"op":"delete","key":{"name":"a"}}"#,
        r#"{"op":"delete","key":"1","key":"2"}"#,
        r#"{"op":"delete","key":"1","row":{"id":"1","name":"a"},"x":1}"#,
        r#"{"op":"remove","key":"1"}"#,
        r#"{"op":"Delete","key":"1"}"#,
        r#"{"op":"delete","row":{"id":"1","name":"a"}}"#,
        r#"{"op":"upsert","row":"1"}"#,
        r#"{"op":"upsert","key":"1"}"#,
        r#"{"id":"1"}"#,
        r#"{"id":"1","name":"this name is too long"}"#,
        r#"{"id":"1","name":"a""#,
        "[]",
        "null",
        "delete",
    ];
    let report = rig.hand(&wrong);
    assert_eq!((report.upserts, report.deletes), (0, 0));
    let refused: Vec<u64> = report.refused.iter().map(|refused| refused.index).collect();
    assert_eq!(refused, (0..wrong.len() as u64).collect::<Vec<_>>());
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b")]));
    let raws: Vec<_> = rig.quarantined().into_iter().map(|record| record.raw).collect();
    assert_eq!(raws, wrong);
    let counters = rig.bench.store.stream(rig.bench.stream).unwrap().state.counters;
    assert_eq!((counters.read, counters.rejected), (21, 19));
}

#[test]
fn corrected_rows_of_a_snapshot_stay_until_a_snapshot_says_otherwise() {
    let mut rig = Rig::file(SourceMode::Snapshot);
    rig.read("id,name\n1,a\n2,b\n3,c\n");
    rig.read("id,name\n1,a\n2,this name is too long\n3,c\n4,also much too long\n");
    // The key of a refused row is protected; a correction that is wrong again changes nothing.
    assert_eq!(rig.hand(&[&row("2", "still much too long")]).refused.len(), 1);
    rig.bench.exchange(usize::MAX).unwrap();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b"), ("3", "c")]));
    rig.hand(&[&row("2", "good"), &row("4", "new")]);
    rig.bench.exchange(usize::MAX).unwrap();
    let corrected = names(&[("1", "a"), ("2", "good"), ("3", "c"), ("4", "new")]);
    assert_eq!(rig.hub(), corrected);
    // The source still has the rows as they were refused: that is no delete of their keys.
    rig.read("id,name\n1,a\n2,this name is too long\n3,c\n4,also much too long\n\n");
    assert_eq!(rig.hub(), corrected);
    // Once it has them corrected, or no more, it wins.
    rig.read("id,name\n1,a\n2,source\n3,c\n");
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "source"), ("3", "c")]));
    assert_eq!(rig.bench.image(), rig.bench.hub.digest());
}

#[test]
fn a_correction_of_an_unreadable_key_is_not_deleted_without_a_person() {
    let mut rig = Rig::file(SourceMode::Snapshot);
    rig.read("id,name\n1,a\n,b\n");
    rig.hand(&[&row("2", "b")]);
    rig.bench.exchange(usize::MAX).unwrap();
    let outcome = rig.read("id,name\n1,changed\n,b\n");
    assert!(matches!(outcome, ScanOutcome::Waiting(_)), "{outcome:?}");
    assert_eq!(rig.hub(), names(&[("1", "changed"), ("2", "b")]));
}

#[test]
fn a_corrected_row_is_never_an_envelope() {
    let mut rig = Rig::file(SourceMode::Append);
    rig.read("id,name\n1,a\n");
    let report = rig.hand(&[r#"{"op":"delete","key":"1"}"#]);
    assert_eq!((report.deletes, report.refused.len()), (0, 1));
    rig.bench.exchange(usize::MAX).unwrap();
    assert_eq!(rig.hub(), names(&[("1", "a")]));
}

#[test]
fn what_was_committed_survives_a_crash_and_what_was_not_is_not_there() {
    let mut rig = Rig::pushed();
    rig.hand(&[&row("1", "a")]);
    let store = rig.bench.store.clone();
    let (text, entry) = (row("2", "b"), rig.bench.entry.clone());
    let rows = [HandedRow { text: &text, wrong: None }];
    let handed = rig.publication.hand_over(&store, &entry, rows).unwrap();
    drop(handed);
    drop(store);
    rig.bench.crash();
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("1", "a")]));
}

#[test]
fn a_full_outbox_sends_rows_back_and_keeps_none_of_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut rig = Rig::pushed();
    let options = crate::spool::StoreOptions { outbox_cap_bytes: 4 << 10, ..OPTIONS };
    rig.bench.store = Store::open(&dir.path().join("small"), options).unwrap();
    let wanted = vec![("n1".parse().unwrap(), rig.bench.entry.code.clone())];
    rig.bench.stream = runtime().block_on(rig.bench.store.open_streams(wanted)).unwrap()[0];
    rig.publication.stream = rig.bench.stream;
    rig.bench.begin_epoch();
    let rows: Vec<String> = (0..300).map(|at| row(&format!("{at}-{}", at * 7_919), "n")).collect();
    let mut rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    rows.push("no row");
    rig.hand(&rows);
    let before = rig.bench.store.outbox_bytes();
    let (store, entry) = (rig.bench.store.clone(), rig.bench.entry.clone());
    let cancel = CancellationToken::new();
    cancel.cancel();
    let again = rows.iter().map(|text| HandedRow { text, wrong: None });
    let handed = rig.publication.hand_over(&store, &entry, again).unwrap();
    assert!(matches!(handed.commit(|_, _| {}, &cancel), Err(HandError::Full)));
    assert_eq!(rig.bench.store.outbox_bytes(), before);
    assert_eq!(rig.quarantined().len(), 1, "a repeat does not fill quarantine");
    rig.bench.drain();
    rig.hand(&rows);
    rig.bench.drain();
    assert_eq!(rig.hub().len(), 300);
}

#[test]
fn a_new_epoch_keeps_what_the_outbox_has_and_removes_nothing_by_itself() {
    for settled in [0, 1, 3] {
        let mut rig = Rig::pushed();
        for name in ["a", "b", "c"] {
            rig.hand(&[&row(name, "old")]);
        }
        rig.bench.exchange(settled).unwrap();
        // What the hub keeps of the epoch before; the agent's answers to these are lost.
        rig.begin_epoch_keeping();
        rig.hand(&[&row("d", "new")]);
        rig.bench.crash();
        rig.bench.exchange(usize::MAX).unwrap();
        let all = names(&[("a", "old"), ("b", "old"), ("c", "old"), ("d", "new")]);
        assert_eq!(rig.hub(), all, "{settled} were settled before");
        assert_eq!(rig.scan(), ScanOutcome::Unchanged);
        let asks = rig.publication.push_asks(&rig.bench.store).unwrap();
        assert_eq!(asks.is_some(), settled > 0, "{asks:?}");
        let space = rig.bench.store.outbox_bytes();
        assert_eq!(space, 0, "all space is free again");
    }
}

#[test]
fn only_a_person_ends_a_replacement_and_not_before_something_was_pushed() {
    let mut rig = Rig::pushed();
    rig.hand(&[&row("1", "a"), &row("2", "b")]);
    rig.bench.drain();
    // The outbox was lost: its plain beginning leaves the replacement to be begun by a scan.
    rig.bench.begin_epoch();
    assert!(matches!(rig.try_hand(&[&row("3", "c")]), Err(HandError::NewEpoch)));
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    rig.bench.exchange(usize::MAX).unwrap();
    assert!(rig.publication.push_asks(&rig.bench.store).unwrap().unwrap().contains("confirm"));
    let (entry, cancel) = (rig.bench.entry.clone(), CancellationToken::new());
    let confirm =
        |rig: &Rig| rig.publication.confirm_pushed(&rig.bench.store, &entry, &cancel).unwrap();
    assert_eq!(confirm(&rig), PushConfirmed::NothingNamed);
    for _ in 0..3 {
        rig.scan();
        rig.bench.exchange(usize::MAX).unwrap();
    }
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b")]), "nothing is removed by itself");
    rig.hand(&[&row("2", "b"), &row("3", "c")]);
    rig.bench.exchange(usize::MAX).unwrap();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b"), ("3", "c")]));
    assert_eq!(confirm(&rig), PushConfirmed::Ended);
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("2", "b"), ("3", "c")]));
    assert_eq!(rig.bench.image(), rig.bench.hub.digest());
    assert_eq!(confirm(&rig), PushConfirmed::Nothing);
    assert_eq!(rig.publication.push_asks(&rig.bench.store).unwrap(), None);
}

#[test]
fn keys_that_the_hub_asks_for_again_are_named_and_not_removed() {
    let mut rig = Rig::pushed();
    rig.hand(&[&row("1", "a"), &row("2", "b")]);
    rig.bench.drain();
    let keys: [&[u8]; 2] = [b"1", b"9"];
    runtime().block_on(rig.bench.store.republish(rig.bench.stream, keys)).unwrap();
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b")]));
    assert_eq!(rig.publication.wanted(&rig.bench.store).unwrap(), [b"1".to_vec(), b"9".to_vec()]);
    rig.hand(&[&row("1", "a"), r#"{"op":"delete","key":"9"}"#]);
    assert_eq!(rig.publication.push_asks(&rig.bench.store).unwrap(), None);
}

#[test]
fn rows_that_wait_are_brought_into_a_changed_schema() {
    let mut rig = Rig::pushed();
    rig.hand(&[&row("1", "a"), r#"{"id":"2","name":"b","amount":5}"#, &row("3", "a longer 1")]);
    rig.hand(&[r#"{"op":"delete","key":"1"}"#, &row("4", "d")]);
    let old = rig.bench.entry.clone();
    let mut entry = old.clone();
    (entry.version, entry.schema_version) = (2, 2);
    entry.items[1].length = 5;
    entry.items.retain(|item| item.name != "day");
    rig.bench.entry = entry.clone();
    let (store, stream) = (rig.bench.store.clone(), rig.bench.stream);
    let refused = remap(&store, stream, &old, &entry, &rig.bench.quarantine).unwrap();
    drop(store);
    assert_eq!(refused, 1);
    let kept = rig.quarantined();
    assert!(kept[0].raw.contains("a longer 1"), "{}", kept[0].raw);
    rig.hand(&[&row("5", "e")]);
    rig.bench.crash();
    let pending = rig.bench.store.pending(stream, 0, usize::MAX).unwrap();
    assert!(pending.iter().all(|batch| batch.header.schema_version == 2));
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("2", "b"), ("4", "d"), ("5", "e")]));
    assert_eq!(rig.bench.image(), rig.bench.hub.digest());
    assert_eq!(rig.bench.store.outbox_bytes(), 0);
}
