use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hutong_schema::block::BlockBuilder;
use hutong_schema::row::FieldId;
use proptest::prelude::*;
use tokio_util::sync::CancellationToken;

use super::*;
use crate::config::{
    FileSource, PublishConfig, Rules, SourceConfig, SourceForm, SourceMode, TextEncoding,
};
use crate::spool::{NewBatch, WriteBatch};
use crate::testing::{Bench, runtime};

struct Rig {
    bench: Bench,
    publication: Publication,
    clock: u64,
}

impl Rig {
    fn new(mode: SourceMode, max_delete_percent: u8) -> Self {
        let bench = Bench::new();
        let file = FileSource {
            path: bench.path("rows.csv"),
            form: SourceForm::CSV,
            encoding: TextEncoding::Utf8,
            mode,
        };
        let config = PublishConfig {
            resource: bench.entry.code.clone(),
            source: SourceConfig::File(file),
            rules: Arc::new(Rules::default()),
            rescan: Duration::from_secs(1),
            max_delete_percent,
        };
        let quarantine = bench.quarantine.clone();
        Self {
            publication: Publication {
                stream: bench.stream,
                config,
                quarantine,
                settling: Settling::default(),
            },
            bench,
            clock: 0,
        }
    }

    fn path(&self) -> PathBuf {
        self.publication.config.source.place().into()
    }

    /// Writes the file; every version has a time of its own, long ago.
    fn write(&mut self, content: &str) {
        fs::write(self.path(), content).unwrap();
        self.touch();
    }

    fn touch(&mut self) {
        self.clock += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + self.clock);
        fs::File::options().write(true).open(self.path()).unwrap().set_modified(time).unwrap();
    }

    fn scan(&self) -> ScanOutcome {
        let cancel = CancellationToken::new();
        self.publication.scan(&self.bench.store, &self.bench.entry, &cancel).unwrap()
    }

    fn done(&mut self) -> ScanReport {
        let outcome = self.scan();
        let ScanOutcome::Done(report) = outcome else { panic!("{outcome:?}") };
        self.bench.drain();
        report
    }

    fn waits(&self) -> WaitingReason {
        let outcome = self.scan();
        let ScanOutcome::Waiting(waiting) = outcome else { panic!("{outcome:?}") };
        waiting.reason
    }

    fn confirm(&self) -> bool {
        runtime().block_on(self.publication.confirm(&self.bench.store)).unwrap()
    }

    /// Key → name, as the hub has it.
    fn hub(&self) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = |row: &[u8]| {
            let row = hutong_schema::row::RowRef::parse(row).unwrap();
            text(row.get(hutong_schema::row::FieldId(2)).unwrap())
        };
        assert_eq!(self.bench.image(), self.bench.hub.digest(), "the image is what the hub holds");
        self.bench.hub.rows.iter().map(|(key, row)| (text(key), name(row))).collect()
    }

    fn quarantined(&self) -> Vec<String> {
        let Ok(files) = fs::read_dir(self.publication.quarantine.folder(&self.bench.entry.code))
        else {
            return Vec::new();
        };
        let text: String =
            files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect();
        text.lines().skip(1).map(str::to_owned).collect()
    }
}

fn names(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned())).collect()
}

#[test]
fn a_snapshot_brings_inserts_updates_and_deletes() {
    let mut rig = Rig::new(SourceMode::Snapshot, 50);
    rig.write("id,name\n1,a\n2,b\n3,c\n");
    let report = rig.done();
    assert_eq!((report.read, report.upserts, report.deletes), (3, 3, 0));
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    rig.write("id,name\n3,c\n2,changed\n4,d\n");
    let report = rig.done();
    assert_eq!((report.read, report.upserts, report.deletes), (3, 2, 1));
    assert_eq!(rig.hub(), names(&[("2", "changed"), ("3", "c"), ("4", "d")]));
    rig.write("id,name\n3,c\n2,changed\n4,d\n");
    assert_eq!(rig.done().batches, 0, "another time, the same content");
}

#[test]
fn a_snapshot_waits_until_everything_before_is_acknowledged() {
    let mut rig = Rig::new(SourceMode::Snapshot, 50);
    rig.write("id,name\n1,a\n");
    assert!(matches!(rig.scan(), ScanOutcome::Done(_)));
    rig.write("id,name\n1,b\n");
    assert_eq!(rig.scan(), ScanOutcome::NotDrained);
    rig.bench.drain();
    rig.done();
    assert_eq!(rig.hub(), names(&[("1", "b")]));
}

#[test]
fn a_refused_row_is_no_delete_of_its_key() {
    let mut rig = Rig::new(SourceMode::Snapshot, 100);
    rig.write("id,name\n1,a\n2,b\n3,c\n");
    rig.done();
    rig.write("id,name\n1,this name is too long\n3,c\n");
    let report = rig.done();
    assert_eq!((report.rejected, report.deletes), (1, 1));
    assert_eq!(rig.hub(), names(&[("1", "a"), ("3", "c")]));
    assert!(rig.quarantined()[0].contains("this name is too long"));
}

#[test]
fn an_unreadable_key_holds_deletes_back_until_confirmed() {
    let mut rig = Rig::new(SourceMode::Snapshot, 100);
    rig.write("id,name\n1,a\n2,b\n");
    rig.done();
    rig.write("id,name\n1,new\n,b\n");
    assert_eq!(rig.waits(), WaitingReason::UnreadableKeys);
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("1", "new"), ("2", "b")]), "updates do not wait");
    assert_eq!(rig.waits(), WaitingReason::UnreadableKeys);
    assert_eq!(rig.quarantined().len(), 1, "an unchanged file is not read again");
    assert!(rig.confirm());
    rig.done();
    assert_eq!(rig.hub(), names(&[("1", "new")]));
    assert!(!rig.confirm());
}

#[test]
fn too_many_deletes_and_empty_files_wait() {
    let mut rig = Rig::new(SourceMode::Snapshot, 40);
    rig.write("id,name\n1,a\n2,b\n3,c\n4,d\n5,e\n");
    rig.done();
    rig.write("id,name\n1,a\n2,b\n3,c\n");
    assert_eq!(rig.done().deletes, 2, "two of five are 40 %");
    rig.write("id,name\n1,a\n");
    assert_eq!(rig.waits(), WaitingReason::TooManyDeletes);
    for empty in ["id,name\n", ""] {
        rig.write(empty);
        assert_eq!(rig.waits(), WaitingReason::Empty);
    }
    assert_eq!(rig.hub().len(), 3);
    assert!(rig.confirm());
    rig.write("id,name\n2,b\n");
    assert_eq!(rig.waits(), WaitingReason::TooManyDeletes, "another file was confirmed");
    rig.write("id,name\n1,a\n2,b\n3,c\n");
    rig.done();
    assert_eq!(rig.hub().len(), 3);
}

#[test]
fn a_broken_file_waits_and_what_could_be_read_is_sent() {
    let mut rig = Rig::new(SourceMode::Snapshot, 100);
    rig.write("id,name\n1,a\n2,b\n");
    rig.done();
    let open = "x".repeat(crate::sources::RECORD_BYTES_MAX + 10);
    rig.write(&format!("id,name\n1,new\n2,\"{open}"));
    assert_eq!(rig.waits(), WaitingReason::Broken);
    rig.bench.drain();
    assert_eq!(rig.hub(), names(&[("1", "new"), ("2", "b")]));
}

#[test]
fn the_second_row_of_a_key_is_quarantined_naming_the_first() {
    let mut rig = Rig::new(SourceMode::Snapshot, 100);
    rig.write("id,name\n1,a\n2,b\n1,c\n");
    assert_eq!(rig.done().rejected, 1);
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b")]));
    let line = &rig.quarantined()[0];
    assert!(line.starts_with("3,,8,主键重复") && line.contains("row 1 has the same key"), "{line}");
}

#[test]
fn a_file_without_required_items_or_without_itself_stands_still() {
    let mut rig = Rig::new(SourceMode::Snapshot, 100);
    assert!(matches!(rig.scan(), ScanOutcome::Trouble(text) if text.contains("does not exist")));
    rig.write("id,label\n1,a\n");
    assert!(matches!(rig.scan(), ScanOutcome::Trouble(text) if text.contains("name (名称)")));
}

#[test]
fn a_lost_outbox_is_made_good_by_a_replacement() {
    let mut rig = Rig::new(SourceMode::Snapshot, 10);
    rig.write("id,name\n1,a\n2,b\n3,c\n");
    rig.done();
    rig.bench.begin_epoch();
    rig.write("id,name\n1,a\n4,d\n");
    rig.done();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("4", "d")]));
    rig.bench.begin_epoch();
    rig.write("id,name\n1,a\n4,this name is too long\n");
    assert_eq!(rig.waits(), WaitingReason::RefusedInReplacement);
    rig.bench.exchange(usize::MAX).unwrap();
    assert_eq!(rig.bench.hub.rows.len(), 2, "the refused row is not deleted");
    rig.write("id,name\n1,a\n4,short\n");
    rig.done();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("4", "short")]));
    rig.bench.begin_epoch();
    rig.write("id,name\n");
    assert_eq!(rig.waits(), WaitingReason::Empty);
}

#[test]
fn a_replacement_names_also_what_the_new_epoch_named_before_it() {
    let mut rig = Rig::new(SourceMode::Snapshot, 100);
    rig.write("id,name\n1,a\n2,b\n");
    rig.done();
    rig.bench.begin_epoch();
    let columns: Vec<_> = rig.bench.entry.columns().iter().map(|item| item.id).collect();
    let mut builder = BlockBuilder::new(&columns);
    let name = |id: &FieldId| (id.0 == 2).then_some(&b"a"[..]);
    builder.upsert(b"1", columns.iter().map(name));
    let rows = builder.rows();
    let batch = NewBatch::rows(1, &builder.finish(), rows, Vec::new()).unwrap();
    let cancel = CancellationToken::new();
    let store = &rig.bench.store;
    store.append(rig.bench.stream, batch, WriteBatch::new(), &cancel).unwrap().wait().unwrap();
    rig.bench.drain_unfinished();
    rig.touch();
    rig.done();
    assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b")]));
}

#[test]
fn keys_asked_for_again_are_sent_as_they_stand_or_removed() {
    for mode in [SourceMode::Snapshot, SourceMode::Append] {
        let mut rig = Rig::new(mode, 10);
        rig.write("id,name\n1,a\n2,b\n3,c\n");
        rig.done();
        // The hub lost one row and kept one that the source does not have.
        let kept = rig.bench.hub.rows.remove(&b"2"[..]).unwrap();
        rig.bench.hub.rows.insert(b"9".to_vec(), kept);
        let keys: [&[u8]; 2] = [b"2", b"9"];
        runtime().block_on(rig.bench.store.republish(rig.bench.stream, keys)).unwrap();
        let report = rig.done();
        assert_eq!((report.upserts, report.deletes), (1, 1), "{mode:?}");
        assert_eq!(rig.hub(), names(&[("1", "a"), ("2", "b"), ("3", "c")]));
        assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    }
}

#[test]
fn appended_rows_are_read_once_and_truncation_is_seen() {
    let mut rig = Rig::new(SourceMode::Append, 10);
    rig.write("id,name\n1,a\n2,b\n3,unfini");
    assert_eq!(rig.done().read, 2);
    rig.write("id,name\n1,a\n2,b\n3,unfinished\n1,again\n");
    let report = rig.done();
    assert_eq!((report.read, report.upserts), (2, 2));
    assert_eq!(rig.hub(), names(&[("1", "again"), ("2", "b"), ("3", "unfinished")]));
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    rig.write("id,name\n4,d\n");
    assert_eq!(rig.done().read, 1, "a shorter file is a new one");
    rig.write("id,name\n5,e\n6,f\n7,g\n");
    assert_eq!(rig.done().read, 3, "a file with another beginning is a new one");
    assert_eq!(rig.hub().len(), 7);
}

#[test]
fn a_cancelled_scan_says_so() {
    let mut rig = Rig::new(SourceMode::Snapshot, 10);
    rig.write("id,name\n1,a\n");
    let cancel = CancellationToken::new();
    cancel.cancel();
    let outcome = rig.publication.scan(&rig.bench.store, &rig.bench.entry, &cancel).unwrap();
    assert_eq!(outcome, ScanOutcome::Cancelled);
    rig.done();
    assert_eq!(rig.hub().len(), 1);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// Random versions of a file; crashes, lost outboxes and lost acknowledgements in between.
    #[test]
    fn the_hub_always_ends_with_what_the_file_says(
        versions in prop::collection::vec(
            (prop::collection::btree_map(0u8..40, 0u8..4, 0..30), 0u8..6), 1..8),
    ) {
        let mut rig = Rig::new(SourceMode::Snapshot, 100);
        for (rows, event) in versions {
            let lines = rows.iter().map(|(key, name)| format!("k{key},n{name}\n"));
            rig.write(&format!("id,name\n{}", lines.collect::<String>()));
            match event {
                0 => {
                    rig.scan();
                    rig.bench.crash();
                }
                1 => {
                    rig.scan();
                    rig.bench.exchange(1).unwrap();
                    rig.bench.crash();
                }
                2 => rig.bench.begin_epoch(),
                _ => {}
            }
            rig.bench.drain();
            match rig.scan() {
                ScanOutcome::Waiting(_) => {
                    rig.bench.drain_unfinished();
                    prop_assert!(rig.confirm());
                    rig.done();
                }
                ScanOutcome::Done(_) | ScanOutcome::Unchanged => rig.bench.drain(),
                outcome @ (ScanOutcome::NoEpoch
                | ScanOutcome::NotDrained
                | ScanOutcome::Unstable
                | ScanOutcome::Trouble(_)
                | ScanOutcome::Cancelled) => prop_assert!(false, "{outcome:?}"),
            }
            let expected: BTreeMap<_, _> =
                rows.iter().map(|(key, name)| (format!("k{key}"), format!("n{name}"))).collect();
            prop_assert_eq!(rig.hub(), expected);
        }
    }

    #[test]
    fn appending_in_any_pieces_with_crashes_gives_the_same(
        rows in prop::collection::vec((0u8..10, 0u8..4), 1..30),
        cuts in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..6),
    ) {
        let lines = rows.iter().map(|(key, name)| format!("k{key},n{name}\n"));
        let text = format!("id,name\n{}", lines.collect::<String>());
        let mut at: Vec<_> = cuts.iter().map(|(cut, crash)| (cut.index(text.len()).max(8), *crash)).collect();
        at.sort_unstable();
        let mut rig = Rig::new(SourceMode::Append, 10);
        let mut read = 0;
        for (cut, crash) in at.into_iter().chain([(text.len(), false)]) {
            rig.write(&text[..cut]);
            let outcome = rig.scan();
            if let ScanOutcome::Done(report) = &outcome {
                read += report.read;
            } else {
                prop_assert_eq!(outcome, ScanOutcome::Unchanged);
            }
            if crash {
                rig.bench.crash();
            }
        }
        rig.bench.drain();
        prop_assert_eq!(read, rows.len() as u64, "every row is read once");
        let expected: BTreeMap<_, _> =
            rows.iter().map(|(key, name)| (format!("k{key}"), format!("n{name}"))).collect();
        prop_assert_eq!(rig.hub(), expected);
    }
}
