use proptest::prelude::*;

use super::*;
use crate::quarantine::Place;
use crate::testing::entry;

fn record(raw: &str, values: &str) -> Record {
    Record {
        place: Place { file: "2026-01-31.csv".to_owned(), index: 0 },
        id: FaultId::from_text(&format!("q{:016x}", raw.len() * 1_000 + values.len())).unwrap(),
        row: "12".to_owned(),
        item: "name 名称".to_owned(),
        reason: Some(RejectReason::Length),
        note: String::new(),
        raw: raw.to_owned(),
        values: values.to_owned(),
    }
}

fn written(records: &[Record]) -> Vec<u8> {
    let (entry, mut bytes) = (entry(), Vec::new());
    let mut sheet = SheetWriter::begin(&mut bytes, &entry).unwrap();
    records.iter().for_each(|record| sheet.push(record).unwrap());
    sheet.finish().unwrap();
    bytes
}

#[test]
fn a_sheet_says_what_was_wrong_and_is_read_back() {
    let values =
        r#"{"id":"0123456789012345678","name":"=1+1","day":"2020-01-31","amount":"-12.5"}"#;
    let bytes = written(&[record("raw", values)]);
    let text = String::from_utf8(bytes.clone()).unwrap();
    assert!(
        text.starts_with("\u{feff}#编号 id,id 编号,name 名称,day 日期,amount 数量,#原因,#reason")
    );
    assert!(text.contains("\t0123456789012345678,\t=1+1,\t2020-01-31,-12.5,长度不符,wrong length"));
    assert!(text.contains(",name 名称,12,"), "the item and the row of the source: {text}");
    let sheet = Sheet::read(&bytes).unwrap();
    assert_eq!(sheet.header, ["id 编号", "name 名称", "day 日期", "amount 数量"]);
    let row = &sheet.rows[0];
    assert_eq!(row.cells, ["0123456789012345678", "=1+1", "2020-01-31", "-12.5"]);
    assert_eq!((row.number, row.misfit), (2, None));
    assert_eq!(row.id, Some(record("raw", values).id));
}

#[test]
fn rows_of_the_hub_and_of_programs_fill_their_columns_by_name_or_label() {
    let raw = r#"{"编号":7,"name":null,"day":{"a":1},"other":"x"}"#;
    let sheet = Sheet::read(&written(&[record(raw, "")])).unwrap();
    assert_eq!(sheet.rows[0].cells, ["7", "", "{\"a\":1}", ""]);
    let sheet = Sheet::read(&written(&[record("1,what,was,here", "")])).unwrap();
    assert_eq!(sheet.rows[0].cells, ["", "", "", ""], "nobody knows: the raw row stands beside");
}

#[test]
fn the_same_fault_stands_in_a_sheet_once() {
    let twice = [record("same", ""), record("same", ""), record("other one", "")];
    assert_eq!(Sheet::read(&written(&twice)).unwrap().rows.len(), 2);
}

#[test]
fn what_people_save_is_read() {
    let rows = "编号,名称\n1,甲\n,\n2,乙,多\n3\n";
    let gb = GB18030.encode(rows).0.into_owned();
    for bytes in [rows.as_bytes(), &gb, &[MARK, rows.replace('\n', "\r\n").as_bytes()].concat()] {
        let sheet = Sheet::read(bytes).unwrap();
        assert_eq!(sheet.header, ["编号", "名称"]);
        let numbers: Vec<_> = sheet.rows.iter().map(|row| (row.number, row.misfit)).collect();
        let long = (4, Some(RejectReason::UnknownField));
        assert_eq!(numbers, [(2, None), long, (5, Some(RejectReason::Missing))]);
        assert_eq!(sheet.rows[0].cells, ["1", "甲"]);
        assert_eq!(sheet.rows[0].id, None);
    }
    assert!(matches!(Sheet::read(b"\xFF\xFE1\x00"), Err(SheetError::Utf16)));
    assert!(matches!(Sheet::read(b""), Err(SheetError::NoHeader)));
}

proptest! {
    #[test]
    fn values_come_back_as_they_were(values in prop::collection::vec("\\PC{0,8}|[-=+@0-9\t\n,\"]{0,8}", 4)) {
        let object: serde_json::Map<String, Value> = ["id", "name", "day", "amount"]
            .iter()
            .zip(&values)
            .map(|(name, value)| ((*name).to_owned(), value.clone().into()))
            .collect();
        let bytes = written(&[record("raw", &Value::Object(object).to_string())]);
        let sheet = Sheet::read(&bytes).unwrap();
        prop_assert_eq!(&sheet.rows[0].cells, &values);
    }

    #[test]
    fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let _ = Sheet::read(&bytes);
    }
}
