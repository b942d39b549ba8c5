use std::path::PathBuf;

use super::*;
use crate::config::{Rules, SourceForm, TextEncoding};
use crate::sources::{Rows as _, Source, SourceOptions};
use crate::testing::entry;

fn fixture(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/workbooks").join(name)
}

fn people() -> Sheet {
    Sheet { name: Some("人员".to_owned()), header_row: 2 }
}

fn open(path: &Path, sheet: Sheet, from: Option<Position>) -> Result<Source, SourceError> {
    let form = SourceForm::Workbook(sheet);
    let rules = Rules::default();
    let encoding = TextEncoding::Utf8;
    let options =
        SourceOptions { path, form: &form, encoding, rules: &rules, from, whole_lines: false };
    Source::open(options, &entry())
}

type Rows = (Vec<(u64, String)>, Vec<(u64, u16, String)>);

fn read(mut source: Source) -> Rows {
    let (mut rows, mut refused, mut row) = (Vec::new(), Vec::new(), Row::default());
    loop {
        match source.next(&mut row).unwrap() {
            Next::End => return (rows, refused),
            Next::Row => {
                let text = |value: Option<&[u8]>| {
                    value.map_or("-".to_owned(), |value| String::from_utf8(value.to_vec()).unwrap())
                };
                let values: Vec<_> = row.values().map(text).collect();
                let key = String::from_utf8(row.key().to_vec()).unwrap();
                rows.push((row.number, format!("{key}|{}", values.join("|"))));
            }
            Next::Refused(refusal) => {
                refused.push((row.number, refusal.field.0, row.note().to_owned()));
            }
        }
    }
}

#[test]
fn cells_are_read_as_a_person_sees_them_and_lost_digits_are_refused() {
    for name in ["people.xlsx", "people-inline.xlsx", "people.xls"] {
        let (rows, refused) = read(open(&fixture(name), people(), None).unwrap());
        let seen: Vec<_> = rows.iter().map(|(number, row)| (*number, row.as_str())).collect();
        assert_eq!(
            seen,
            [(3, "a1|示例一|20260315|12.5"), (4, "1001|示例二|20260316|3"), (8, "a5|示例五|-|0.3")],
            "{name}"
        );
        let of = |at: usize| (refused[at].0, refused[at].1);
        assert_eq!((of(0), of(2)), ((5, 1), (7, 4)), "{name}: {refused:?}");
        assert!(refused[0].2.contains("format the column as text"), "{name}: {refused:?}");
        assert_eq!(refused.len(), 3, "the row with a remark only has no key: {refused:?}");
    }
}

#[test]
fn reading_goes_on_behind_any_row() {
    let whole = read(open(&fixture("people.xlsx"), people(), None).unwrap());
    let mut source = open(&fixture("people.xlsx"), people(), None).unwrap();
    let mut row = Row::default();
    let mut before = 0;
    while source.next(&mut row).unwrap() != Next::End {
        before += 1;
        let rest = read(open(&fixture("people.xlsx"), people(), Some(source.position())).unwrap());
        assert_eq!(rest.0.len() + rest.1.len() + before, whole.0.len() + whole.1.len());
        assert!(rest.0.iter().all(|(number, _)| *number > row.number));
    }
    assert!(String::from_utf8(source.raw()).unwrap().starts_with("a5,"));
}

#[test]
fn what_cannot_be_read_says_what_to_do() {
    let said = |path: &Path, sheet: Sheet| open(path, sheet, None).err().unwrap().to_string();
    let other = Sheet { name: Some("People".to_owned()), header_row: 2 };
    assert!(said(&fixture("people.xlsx"), other).contains("there are: 说明, 人员"));
    let empty = Sheet { name: Some("人员".to_owned()), header_row: 900 };
    assert!(said(&fixture("people.xlsx"), empty).contains("header_row"));
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file.xlsx");
    std::fs::write(&path, "id,name\n").unwrap();
    assert!(said(&path, people()).contains("no Excel workbook"));
    let bytes = std::fs::read(fixture("people.xlsx")).unwrap();
    for cut in (8..bytes.len()).step_by(97) {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(matches!(
            open(&path, people(), None),
            Err(SourceError::Form { .. } | SourceError::Read { .. })
        ));
    }
    let large = std::fs::File::create(&path).unwrap();
    large.set_len(WORKBOOK_BYTES_MAX + 1).unwrap();
    assert!(said(&path, people()).contains("save the sheet as CSV"));
}

#[test]
fn what_texts_unpack_to_is_known_before_they_are_unpacked() {
    let path = fixture("people.xlsx");
    let unpacked = archive::unpacked(&path, "xl/sharedStrings.xml").unwrap();
    assert!((100..10_000).contains(&unpacked), "{unpacked}");
    assert_eq!(archive::unpacked(&path, "xl/none.xml").unwrap(), 0);
}
