use std::fs;

use proptest::prelude::*;

use super::*;
use crate::quarantine::Rejection;

struct Rig {
    dir: tempfile::TempDir,
    quarantine: Quarantine,
    resource: ResourceCode,
}

impl Rig {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(dir.path().join("quarantine"));
        Self { dir, quarantine, resource: "300001/000001".parse().unwrap() }
    }

    fn refuse(&self, raws: &[&str]) {
        let rejections: Vec<_> = raws
            .iter()
            .map(|raw| Rejection {
                row: 7,
                item: None,
                reason: RejectReason::CheckDigit,
                note: "",
                raw: raw.as_bytes(),
                values: "",
            })
            .collect();
        self.quarantine.append(&self.resource, &rejections).unwrap();
    }

    fn open(&self) -> Vec<Record> {
        let mut found = Vec::new();
        self.quarantine.open_records(&self.resource, |record| found.push(record)).unwrap();
        found
    }

    fn raws(&self) -> Vec<String> {
        self.open().into_iter().map(|record| record.raw).collect()
    }

    fn settle(&self, which: impl Fn(&Record) -> bool) {
        let open = self.open();
        let chosen = open.iter().filter(|record| which(record));
        let chosen = chosen.map(|record| (&record.place, &record.id));
        self.quarantine.settle(&self.resource, chosen).unwrap();
    }

    fn day(&self) -> std::path::PathBuf {
        let folder = self.quarantine.folder(&self.resource);
        let mut files = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path());
        files.find(|path| path.extension().is_some_and(|suffix| suffix == "csv")).unwrap()
    }
}

#[test]
fn settled_rows_are_no_longer_listed_and_new_ones_are() {
    let rig = Rig::new();
    rig.refuse(&["a", "b", "a"]);
    rig.settle(|record| record.raw == "a");
    assert_eq!(rig.raws(), ["b"]);
    // Another process sees the same; the row that is refused once more is news.
    rig.refuse(&["a"]);
    assert_eq!(rig.raws(), ["b", "a"]);
    let again = Quarantine::new(rig.dir.path().join("quarantine"));
    let mut count = 0;
    again.open_records(&rig.resource, |_| count += 1).unwrap();
    assert_eq!(count, 2);
    assert_eq!(again.resources().unwrap(), vec![rig.resource.clone()]);
}

#[test]
fn a_day_file_that_somebody_edited_loses_no_row() {
    let rig = Rig::new();
    rig.refuse(&["a", "b"]);
    rig.settle(|record| record.raw == "a");
    // The first line is taken out: what was second now stands where a settled one stood.
    let path = rig.day();
    let text = fs::read_to_string(&path).unwrap();
    let kept: Vec<_> = text.lines().enumerate().filter(|(at, _)| *at != 1).collect();
    let kept: String = kept.into_iter().map(|(_, line)| format!("{line}\n")).collect();
    fs::write(&path, kept).unwrap();
    assert_eq!(rig.raws(), ["b"]);
}

#[test]
fn a_mark_that_a_crash_tore_settles_nothing_and_hides_no_later_one() {
    let rig = Rig::new();
    rig.refuse(&["a", "b", "c"]);
    rig.settle(|record| record.raw == "a");
    let marks = rig.quarantine.folder(&rig.resource).join(SETTLED);
    let whole = fs::read_to_string(&marks).unwrap();
    for cut in 0..whole.len() {
        fs::write(&marks, &whole[..cut]).unwrap();
        let open = rig.raws();
        assert!(open == ["a", "b", "c"] || open == ["b", "c"], "cut at {cut}: {open:?}");
        rig.settle(|record| record.raw == "c");
        assert!(!rig.raws().contains(&"c".to_owned()), "cut at {cut}");
        assert!(rig.raws().contains(&"b".to_owned()), "cut at {cut}");
    }
}

#[test]
fn files_of_an_older_form_are_read() {
    let rig = Rig::new();
    let folder = rig.quarantine.folder(&rig.resource);
    fs::create_dir_all(&folder).unwrap();
    let old = "\u{feff}行号 row,数据项 item,代码 code,原因,reason,说明 note,原始数据 raw\n\
               3,xm 姓名,1,必填项缺失,a required value is missing,,\"1,,x\"\n";
    fs::write(folder.join("2026-01-31.csv"), old).unwrap();
    let open = rig.open();
    assert_eq!(open.len(), 1);
    assert_eq!((open[0].row.as_str(), open[0].raw.as_str()), ("3", "1,,x"));
    assert_eq!(open[0].reason, Some(RejectReason::Missing));
    assert_eq!(open[0].values, "");
}

#[test]
fn two_writers_of_one_resource_do_not_mix_their_rows() {
    let rig = Rig::new();
    let long = "x".repeat(200_000);
    let mut staged = rig.quarantine.stage(&rig.resource);
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| rig.refuse(&[&long, "short"]));
        }
        let scan = Rejection {
            row: 1,
            item: None,
            reason: RejectReason::Type,
            note: "",
            raw: b"of the scan",
            values: "{}",
        };
        staged.push(&scan).unwrap();
    });
    staged.publish().unwrap();
    let raws = rig.raws();
    assert_eq!(raws.len(), 9);
    assert_eq!(raws.iter().filter(|raw| **raw == long).count(), 4);
    assert_eq!(raws.last().unwrap(), "of the scan");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    /// A crash cuts the day file anywhere in what was appended last: rows that were there before are
    /// still read, and so is what is appended afterwards.
    #[test]
    fn a_torn_row_costs_no_other(
        raws in prop::collection::vec("[a-c\",\n]{0,6}", 1..4),
        cut in any::<prop::sample::Index>(),
    ) {
        let rig = Rig::new();
        rig.refuse(&["before"]);
        let path = rig.day();
        let kept = fs::read(&path).unwrap().len();
        rig.refuse(&raws.iter().map(String::as_str).collect::<Vec<_>>());
        let whole = fs::read(&path).unwrap();
        fs::write(&path, &whole[..kept + cut.index(whole.len() - kept)]).unwrap();
        rig.refuse(&["after"]);
        let read = rig.raws();
        prop_assert_eq!(&read[0], "before");
        prop_assert_eq!(read.last().unwrap(), "after");
        for raw in &read[1..read.len() - 1] {
            prop_assert!(raws.contains(raw), "{:?} was never refused: {:?}", raw, read);
        }
    }
}

#[test]
fn a_row_torn_at_a_line_end_within_it_costs_no_other() {
    let rig = Rig::new();
    rig.refuse(&["before"]);
    let mut torn = fs::read(rig.day()).unwrap();
    torn.extend_from_slice(b"7,,4,a,b,,\"first line\n");
    fs::write(rig.day(), torn).unwrap();
    rig.refuse(&["after"]);
    assert_eq!(rig.raws(), ["before", "after"]);
}

#[test]
fn a_row_of_a_file_and_of_a_corrected_sheet_with_the_same_values_is_one_fault() {
    let rig = Rig::new();
    let values = r#"{"id":"1","name":"x"}"#;
    for (raw, values) in [("1,x,", values), (values, ""), ("1,x", "{\"id\":\"1\"}")] {
        let rejection = Rejection {
            row: 7,
            item: None,
            reason: RejectReason::CheckDigit,
            note: "",
            raw: raw.as_bytes(),
            values,
        };
        rig.quarantine.append(&rig.resource, &[rejection]).unwrap();
    }
    let ids: Vec<_> = rig.open().into_iter().map(|record| record.id).collect();
    assert_eq!(ids[0], ids[1]);
    assert_ne!(ids[0], ids[2]);
}
