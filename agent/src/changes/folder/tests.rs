use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use crate::changes::{Publication, ScanOutcome, ScanReport, Settling, SourceRecord, WaitingReason};
use crate::config::{
    FolderMode, FolderSource, NamePattern, PublishConfig, Rules, SourceConfig, SourceForm,
    TextEncoding,
};
use crate::testing::{Bench, runtime};

struct Rig {
    bench: Bench,
    publication: Publication,
}

impl Rig {
    fn new(mode: FolderMode) -> Self {
        let bench = Bench::new();
        let inbox = bench.path("inbox");
        fs::create_dir(&inbox).unwrap();
        let folder = FolderSource {
            pattern: NamePattern::new("*.csv").unwrap(),
            done: inbox.join("done"),
            failed: inbox.join("failed"),
            folder: inbox,
            mode,
            settle: Duration::ZERO,
            form: SourceForm::CSV,
            encoding: TextEncoding::Utf8,
        };
        let op = (mode == FolderMode::Changes).then(|| "op".to_owned());
        let config = PublishConfig {
            resource: bench.entry.code.clone(),
            source: SourceConfig::Folder(folder),
            rules: Arc::new(Rules { op, ..Rules::default() }),
            rescan: Duration::from_secs(1),
            max_delete_percent: 50,
        };
        let (stream, quarantine) = (bench.stream, bench.quarantine.clone());
        let settling = Settling::default();
        Self { publication: Publication { stream, config, quarantine, settling }, bench }
    }

    fn inbox(&self, name: &str) -> PathBuf {
        self.bench.path("inbox").join(name)
    }

    /// Drops a file of `op,id,name` lines.
    fn put(&self, name: &str, lines: &str) {
        fs::write(self.inbox(name), format!("op,id,name\n{lines}")).unwrap();
    }

    fn scan_until(&self, cancel: &CancellationToken) -> ScanOutcome {
        self.publication.scan(&self.bench.store, &self.bench.entry, cancel).unwrap()
    }

    fn scan(&self) -> ScanOutcome {
        self.scan_until(&CancellationToken::new())
    }

    fn done(&mut self) -> ScanReport {
        let outcome = self.scan();
        let ScanOutcome::Done(report) = outcome else { panic!("{outcome:?}") };
        self.bench.drain();
        report
    }

    fn waits(&mut self) -> String {
        let outcome = self.scan();
        let ScanOutcome::Waiting(waiting) = outcome else { panic!("{outcome:?}") };
        assert_eq!(waiting.reason, WaitingReason::FilesGone);
        self.bench.drain_unfinished();
        waiting.to_string()
    }

    fn confirm(&self) -> bool {
        runtime().block_on(self.publication.confirm(&self.bench.store)).unwrap()
    }

    fn read_in_all(&self) -> u64 {
        self.bench.store.stream(self.bench.stream).unwrap().state.counters.read
    }

    /// Key → name, as the hub has it.
    fn hub(&self) -> BTreeMap<String, String> {
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let name = |row: &[u8]| {
            let row = hutong_schema::row::RowRef::parse(row).unwrap();
            text(row.get(hutong_schema::row::FieldId(2)).unwrap())
        };
        self.bench.hub.rows.iter().map(|(key, row)| (text(key), name(row))).collect()
    }

    fn equal(&self, pairs: &[(&str, &str)]) {
        let expected = pairs.iter().map(|(key, name)| ((*key).to_owned(), (*name).to_owned()));
        assert_eq!(self.hub(), expected.collect());
    }

    /// Names in a folder, hidden ones left out.
    fn names(&self, folder: &str) -> Vec<String> {
        let Ok(entries) = fs::read_dir(self.inbox(folder)) else { return Vec::new() };
        let mut names: Vec<String> =
            entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.retain(|name| !name.starts_with('.'));
        names.sort();
        names
    }

    fn quarantined(&self) -> String {
        let files = fs::read_dir(self.publication.quarantine.folder(&self.bench.entry.code));
        let files = files.into_iter().flatten();
        files.map(|file| fs::read_to_string(file.unwrap().path()).unwrap()).collect()
    }
}

#[test]
fn files_are_taken_once_in_the_order_of_their_names_and_handed_over() {
    let mut rig = Rig::new(FolderMode::Changes);
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    rig.put("b.csv", ",1,later\ndelete,2,\n");
    rig.put("a.csv", ",1,first\n,2,gone\n,3,stays\n");
    fs::write(rig.inbox("notes.txt"), "no rows").unwrap();
    let report = rig.done();
    assert_eq!((report.read, report.upserts, report.deletes), (5, 4, 1));
    rig.equal(&[("1", "later"), ("3", "stays")]);
    assert_eq!(rig.names("done"), ["a.csv", "b.csv"]);
    assert_eq!(rig.names("."), ["done", "notes.txt"]);
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    rig.put("a.csv", ",1,again\n");
    rig.done();
    rig.equal(&[("1", "again"), ("3", "stays")]);
    assert_eq!(rig.names("done"), ["a-2.csv", "a.csv", "b.csv"]);
    assert_eq!(rig.bench.image(), rig.bench.hub.digest());
}

/// "Resumes that start from zero", "checkpoints apart from data".
#[test]
fn reading_goes_on_at_the_committed_row_after_any_interruption() {
    let mut rig = Rig::new(FolderMode::Changes);
    const ROWS: u64 = 60_000;
    let lines: String = (0..ROWS).map(|row| format!(",k{row},n{}\n", row % 10)).collect();
    rig.put("large.csv", &lines);
    let mut interrupted = 0;
    for batches in 1..40 {
        let cancel = CancellationToken::new();
        let (token, store, stream) = (cancel.clone(), rig.bench.store.clone(), rig.bench.stream);
        let until = store.stream(stream).unwrap().state.last_seq() + batches % 3 + 1;
        let watcher = std::thread::spawn(move || {
            while !token.is_cancelled() {
                if store.stream(stream).unwrap().state.last_seq() >= until {
                    token.cancel();
                }
                std::thread::yield_now();
            }
        });
        let outcome = rig.scan_until(&cancel);
        cancel.cancel();
        watcher.join().unwrap();
        // What was not written is lost with the process.
        rig.bench.crash();
        match outcome {
            ScanOutcome::Cancelled => interrupted += 1,
            // The last row may be durable and the file not moved yet.
            ScanOutcome::Done(_) | ScanOutcome::Unchanged => break,
            other @ (ScanOutcome::NoEpoch
            | ScanOutcome::NotDrained
            | ScanOutcome::Unstable
            | ScanOutcome::Waiting(_)
            | ScanOutcome::Trouble(_)) => panic!("{other:?}"),
        }
        let current = SourceRecord::load(&rig.bench.store, rig.bench.stream).unwrap();
        let position = current.folder.unwrap().current.unwrap().position;
        let rows = position.map_or(0, |position| position.rows);
        assert_eq!(rows, rig.read_in_all(), "rows and the place behind them are one commit");
    }
    assert!(interrupted > 1, "the file was read in one piece");
    rig.bench.drain();
    assert_eq!(rig.read_in_all(), ROWS, "no row was read twice");
    let accepted = rig.bench.store.stream(rig.bench.stream).unwrap().state.counters.accepted;
    assert_eq!(accepted, ROWS, "no row was sent twice");
    assert_eq!(rig.hub().len() as u64, ROWS);
    assert_eq!(rig.names("done"), ["large.csv"]);
}

#[test]
fn a_crash_between_the_last_row_and_the_move_leads_to_the_move_only() {
    let mut rig = Rig::new(FolderMode::Changes);
    rig.put("a.csv", ",1,a\n,2,b\n");
    // The folder of done files cannot be made yet.
    std::os::unix::fs::symlink("nowhere", rig.inbox("done")).unwrap();
    assert!(matches!(rig.scan(), ScanOutcome::Trouble(_)));
    rig.bench.crash();
    assert_eq!(
        (rig.read_in_all(), rig.names(".")),
        (2, vec!["a.csv".to_owned(), "done".to_owned()])
    );
    fs::remove_file(rig.inbox("done")).unwrap();
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    assert_eq!((rig.read_in_all(), rig.names("done")), (2, vec!["a.csv".to_owned()]));
    rig.bench.drain();
    rig.equal(&[("1", "a"), ("2", "b")]);
}

/// "Dirty rows that stop everything."
#[test]
fn bad_rows_and_bad_files_cost_themselves_only_and_say_where() {
    let mut rig = Rig::new(FolderMode::Changes);
    rig.put("a.csv", ",1,a\n,2,this name is too long\nsquash,3,c\n");
    fs::write(rig.inbox("b.csv"), "op,colour\n,red\n").unwrap();
    rig.put("c.csv", ",4,d\n,5,e\n,6,\"never closed\n");
    rig.put("d.csv", ",7,g\n");
    rig.done();
    rig.equal(&[("1", "a"), ("4", "d"), ("5", "e"), ("7", "g")]);
    assert_eq!(rig.names("done"), ["a.csv", "d.csv"]);
    assert_eq!(rig.names("failed"), ["b.csv", "b.csv.error.txt", "c.csv", "c.csv.error.txt"]);
    let said = fs::read_to_string(rig.inbox("failed/c.csv.error.txt")).unwrap();
    assert!(said.contains("已接收 2 行") && said.contains("2 row(s) of it were taken"), "{said}");
    let said = fs::read_to_string(rig.inbox("failed/b.csv.error.txt")).unwrap();
    assert!(said.contains("lacks required items") && said.contains("处理"), "{said}");
    let quarantined = rig.quarantined();
    assert!(quarantined.lines().skip(1).all(|line| line.contains("a.csv")), "{quarantined}");
    assert_eq!(quarantined.lines().count(), 3, "{quarantined}");
    // The corrected file is another one.
    rig.put("c.csv", ",4,d\n,5,e\n,6,f\n");
    rig.done();
    assert_eq!(rig.hub().len(), 5);
}

#[test]
fn a_lost_outbox_is_made_good_from_the_done_files_in_their_order() {
    let mut rig = Rig::new(FolderMode::Changes);
    rig.put("z.csv", ",1,a\n,2,b\n");
    rig.done();
    rig.put("a.csv", ",1,later\n,3,c\ndelete,2,\n");
    rig.done();
    rig.bench.begin_epoch();
    rig.put("b.csv", ",4,d\n");
    assert_eq!(rig.done().read, 6);
    rig.equal(&[("1", "later"), ("3", "c"), ("4", "d")]);
    assert_eq!(rig.bench.image(), rig.bench.hub.digest());
    assert_eq!(rig.names("done"), ["a.csv", "b.csv", "z.csv"]);
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
}

#[test]
fn rows_of_files_that_are_gone_are_not_deleted_unasked() {
    for put_back in [true, false] {
        let mut rig = Rig::new(FolderMode::Changes);
        rig.put("a.csv", ",1,a\n,2,b\n");
        rig.done();
        rig.put("b.csv", ",1,later\n");
        rig.done();
        let kept = fs::read(rig.inbox("done/a.csv")).unwrap();
        fs::remove_file(rig.inbox("done/a.csv")).unwrap();
        rig.bench.begin_epoch();
        assert!(rig.waits().contains("1 of 2 files"));
        rig.put("c.csv", ",3,c\n");
        assert!(rig.waits().contains("confirm"), "what is dropped is taken meanwhile");
        rig.equal(&[("1", "later"), ("2", "b"), ("3", "c")]);
        if put_back {
            fs::write(rig.inbox("done/a.csv"), kept).unwrap();
            rig.done();
            rig.equal(&[("1", "later"), ("2", "b"), ("3", "c")]);
        } else {
            assert!(rig.confirm());
            rig.done();
            rig.equal(&[("1", "later"), ("3", "c")]);
        }
        assert_eq!(rig.bench.image(), rig.bench.hub.digest());
        assert_eq!(rig.scan(), ScanOutcome::Unchanged);
        let record = SourceRecord::load(&rig.bench.store, rig.bench.stream).unwrap();
        assert_eq!(record.waiting, None, "nothing waits any more");
    }
}

#[test]
fn keys_asked_for_again_are_sent_as_the_files_say_last() {
    let mut rig = Rig::new(FolderMode::Changes);
    rig.put("a.csv", ",1,a\n,2,b\n,3,c\n");
    rig.put("b.csv", ",2,later\n");
    rig.done();
    let kept = rig.bench.hub.rows.remove(&b"2"[..]).unwrap();
    rig.bench.hub.rows.insert(b"9".to_vec(), kept);
    let keys: [&[u8]; 2] = [b"2", b"9"];
    runtime().block_on(rig.bench.store.republish(rig.bench.stream, keys)).unwrap();
    let report = rig.done();
    assert_eq!((report.upserts, report.deletes), (1, 1));
    rig.equal(&[("1", "a"), ("2", "later"), ("3", "c")]);
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
}

/// "Deletes never seen."
#[test]
fn of_whole_states_the_newest_counts_and_what_it_lacks_is_deleted() {
    let mut rig = Rig::new(FolderMode::Snapshot);
    let put = |rig: &Rig, name: &str, lines: &str| {
        fs::write(rig.inbox(name), format!("id,name\n{lines}")).unwrap();
    };
    put(&rig, "people-01.csv", "1,a\n2,b\n3,c\n");
    rig.done();
    put(&rig, "people-02.csv", "1,never\n");
    put(&rig, "people-03.csv", "1,a\n2,changed\n");
    let report = rig.done();
    assert_eq!((report.read, report.upserts, report.deletes), (2, 1, 1));
    rig.equal(&[("1", "a"), ("2", "changed")]);
    assert_eq!(rig.names("done"), ["people-01.csv", "people-02.csv", "people-03.csv"]);
    assert_eq!(rig.names("."), ["done"]);
    assert_eq!(rig.scan(), ScanOutcome::Unchanged);
    // A newer file takes the place of one that waits; a broken one is set aside.
    put(&rig, "people-04.csv", "");
    assert!(
        matches!(rig.scan(), ScanOutcome::Waiting(waiting) if waiting.reason == WaitingReason::Empty)
    );
    fs::write(rig.inbox("people-06.csv"), "colour\n").unwrap();
    put(&rig, "people-05.csv", "1,a\n2,again\n");
    rig.done();
    rig.equal(&[("1", "a"), ("2", "again")]);
    assert_eq!(rig.names("failed"), ["people-06.csv", "people-06.csv.error.txt"]);
    // The outbox is lost: the newest of the done files tells everything.
    rig.bench.begin_epoch();
    rig.bench.hub.rows.remove(&b"1"[..]);
    rig.done();
    rig.equal(&[("1", "a"), ("2", "again")]);
    rig.bench.begin_epoch();
    fs::remove_file(rig.inbox("done/people-05.csv")).unwrap();
    rig.waits();
    rig.equal(&[("1", "a"), ("2", "again")]);
    put(&rig, "people-07.csv", "2,b\n");
    assert!(matches!(rig.scan(), ScanOutcome::Done(_) | ScanOutcome::Waiting(_)));
}

#[test]
fn what_an_older_agent_remembered_is_understood() {
    let old = r#"{"scanned":{"mark":{"identity":{"size":1,"modified_ns":2},"through":1,"ends":[0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0]},
        "settled":true,"entry_version":1,"rows":1,"rejected":0},"position":{"offset":1,"rows":1},"mark":null,"waiting":null,"confirmed":null}"#;
    let record: SourceRecord = serde_json::from_str(old).unwrap();
    assert_eq!((record.folder, record.scanned.unwrap().rules), (None, 0));
}
