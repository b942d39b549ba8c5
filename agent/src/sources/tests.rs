use hutong_schema::rules::RejectReason;

use super::*;
use crate::testing::entry;
use hutong_schema::words::in_full;

struct Read {
    rows: Vec<(u64, String)>,
    refused: Vec<(u64, u16, RejectReason, bool)>,
    raw: Vec<String>,
    position: Position,
    unknown: Vec<String>,
}

fn read_from(
    content: &[u8],
    form: SourceForm,
    encoding: TextEncoding,
    from: Option<Position>,
    whole_lines: bool,
) -> Result<Read, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, content).unwrap();
    let form = &form;
    let rules = &Rules::default();
    let options = SourceOptions { path: &path, form, encoding, rules, from, whole_lines };
    let mut source = Source::open(options, &entry())?;
    let (mut rows, mut refused, mut raw) = (Vec::new(), Vec::new(), Vec::new());
    let mut row = Row::default();
    loop {
        match source.next(&mut row)? {
            Next::End => break,
            Next::Row => {
                let value = |value: Option<&[u8]>| {
                    value.map_or("-".to_owned(), |value| String::from_utf8(value.to_vec()).unwrap())
                };
                let values: Vec<_> = row.values().map(value).collect();
                let key = String::from_utf8(row.key().to_vec()).unwrap();
                rows.push((row.number, format!("{key}|{}", values.join("|"))));
            }
            Next::Refused(refusal) => {
                refused.push((row.number, refusal.field.0, refusal.reason, row.key_known()));
                raw.push(String::from_utf8(source.raw()).unwrap());
            }
        }
    }
    let unknown = source.unknown_columns().to_vec();
    Ok(Read { rows, refused, raw, position: source.position(), unknown })
}

fn csv(content: &[u8]) -> Read {
    read_from(content, SourceForm::CSV, TextEncoding::Utf8, None, false).unwrap()
}

fn jsonl(content: &[u8]) -> Read {
    read_from(content, SourceForm::Jsonl, TextEncoding::Utf8, None, false).unwrap()
}

fn lines(read: &Read) -> Vec<&str> {
    read.rows.iter().map(|(_, row)| row.as_str()).collect()
}

#[test]
fn columns_are_found_by_machine_name_or_label_in_any_order() {
    let read =
        csv("数量,name,extra,编号,日期\n 007.50 ,张三,x,a1,2020/1/31\n,李四,y,a2,\n".as_bytes());
    assert_eq!(lines(&read), ["a1|张三|20200131|7.5", "a2|李四|-|-"]);
    assert_eq!(read.unknown, ["extra"]);
    assert!(read.refused.is_empty());
}

#[test]
fn quoted_values_hold_commas_line_ends_and_quotes() {
    let read = csv(b"id,name,amount\r\n1,\"a,b\",\r\n\r\n2,\"say \"\"x\"\"\",3\r\n3,\"l1\nl2\",");
    assert_eq!(lines(&read), ["1|a,b|-|-", "2|say \"x\"|-|3", "3|l1\nl2|-|-"]);
    assert_eq!(read.rows.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [1, 2, 3]);
}

#[test]
fn byte_order_marks_are_no_part_of_the_first_name_and_win_over_the_setting() {
    let mut marked = b"\xEF\xBB\xBF".to_vec();
    marked.extend_from_slice("编号,名称\n1,示例\n".as_bytes());
    assert_eq!(lines(&csv(&marked)), ["1|示例|-|-"]);
    let read = read_from(&marked, SourceForm::CSV, TextEncoding::Gb18030, None, false).unwrap();
    assert_eq!(lines(&read), ["1|示例|-|-"]);
    let utf16 = b"\xFF\xFEi\0d\0";
    let refused = read_from(utf16, SourceForm::CSV, TextEncoding::Utf8, None, false);
    assert!(matches!(refused, Err(SourceError::Form { .. })));
}

#[test]
fn one_wrong_character_costs_one_row_and_not_the_file() {
    let encode = |text: &str| encoding_rs::GB18030.encode(text).0.into_owned();
    let mut content = encode("编号,名称\n1,示例\n2,");
    content.extend_from_slice(b"\x81\n3,\xFF\xFF\n");
    content.extend(encode("4,𠮷野\n"));
    let read = read_from(&content, SourceForm::CSV, TextEncoding::Gb18030, None, false).unwrap();
    assert_eq!(lines(&read), ["1|示例|-|-", "4|𠮷野|-|-"]);
    assert_eq!(
        read.refused,
        [(2, 2, RejectReason::Encoding, true), (3, 2, RejectReason::Encoding, true)]
    );
    let read = csv(b"id,name\n1,ok\n\xFF,x\n2,\xC3\x28\n3,ok\n");
    assert_eq!(lines(&read), ["1|ok|-|-", "3|ok|-|-"]);
    assert_eq!(
        read.refused,
        [(2, 1, RejectReason::Encoding, false), (3, 2, RejectReason::Encoding, true)]
    );
    let mut content = encode("{\"id\":\"1\",\"名称\":\"示例\"}\n");
    content.extend_from_slice(b"{\"id\":\"2\",\"name\":\"\xFF\"}\n");
    let read = read_from(&content, SourceForm::Jsonl, TextEncoding::Gb18030, None, false).unwrap();
    assert_eq!(lines(&read), ["1|示例|-|-"]);
    assert_eq!(read.refused, [(2, 0, RejectReason::Encoding, false)]);
}

#[test]
fn every_kind_of_bad_row_is_named_with_its_item() {
    let read = csv(concat!(
        "id,name,day,amount\n",
        "1,ok,20200101,1\n",
        ",no key,,\n",
        "3,,,\n",
        "4,far too long a name,,\n",
        "5,x,20200230,\n",
        "6,x,,twelve\n",
        "7,x,,123456789\n",
        "8,a\u{0}b,,\n",
        "9,x\n",
        "10,x,,,,\n",
        "a\u{1f}b,x,,\n",
        "12345678901234567890X,x,,\n",
    )
    .as_bytes());
    assert_eq!(lines(&read), ["1|ok|20200101|1"]);
    use RejectReason as R;
    assert_eq!(
        read.refused,
        [
            (2, 1, R::Missing, false),
            (3, 2, R::Missing, true),
            (4, 2, R::Length, true),
            (5, 3, R::Date, true),
            (6, 4, R::Type, true),
            (7, 4, R::Length, true),
            (8, 2, R::ControlCharacter, true),
            (9, 3, R::Missing, true),
            (10, 0, R::UnknownField, true),
            (11, 1, R::ControlCharacter, false),
            (12, 1, R::Length, false),
        ]
    );
    assert_eq!(read.raw[5], "7,x,,123456789");
}

#[test]
fn json_values_are_taken_by_their_text() {
    let read = jsonl(
        concat!(
            "{\"id\":1,\"name\":\"a\\u0062\",\"day\":null,\"amount\":1.50}\n",
            "\n",
            "{\"amount\":\"2\",\"名称\":\"示例\",\"id\":\"x\",\"other\":[1]}\r\n",
            "{\"id\":\"y\",\"name\":true}\n",
        )
        .as_bytes(),
    );
    assert_eq!(lines(&read), ["1|ab|-|1.5", "x|示例|-|2", "y|true|-|-"]);
    assert_eq!(read.unknown, ["other"]);
}

#[test]
fn broken_json_costs_its_line() {
    let read = jsonl(concat!(
        "not json\n[1]\n{\"id\":\"1\",\"name\":\"a\"} x\n{\"id\":\"2\",\"name\":\"a\"}\n",
        "{\"id\":\"3\",\"name\":{\"a\":1}}\n{\"id\":\"4\",\"name\":\"\\ud800\"}\n{\"id\":\"5\"}\n",
    ).as_bytes());
    assert_eq!(lines(&read), ["2|a|-|-"]);
    use RejectReason as R;
    assert_eq!(
        read.refused,
        [
            (1, 0, R::Type, false),
            (2, 0, R::Type, false),
            (3, 0, R::Type, false),
            (5, 2, R::Type, true),
            (6, 2, R::Encoding, true),
            (7, 2, R::Missing, true),
        ]
    );
}

#[test]
fn a_header_that_lacks_required_items_says_which() {
    let refused = read_from(b"id,day\n1,\n", SourceForm::CSV, TextEncoding::Utf8, None, false);
    let text = refused.err().unwrap().to_string();
    assert!(text.contains("lacks required items") && text.contains("name (名称)"), "{text}");
    let refused = read_from(b"id,name,name\n", SourceForm::CSV, TextEncoding::Utf8, None, false);
    assert!(refused.err().unwrap().to_string().contains("two columns"));
    let missing = Path::new("/nowhere/at/all.csv");
    let options = SourceOptions {
        path: missing,
        form: &SourceForm::CSV,
        encoding: TextEncoding::Utf8,
        rules: &Rules::default(),
        from: None,
        whole_lines: false,
    };
    assert!(matches!(Source::open(options, &entry()), Err(SourceError::Missing(_))));
}

#[test]
fn a_quote_that_is_never_closed_is_an_error_and_not_endless_memory() {
    let mut content = b"id,name\n1,ok\n2,\"open".to_vec();
    content.resize(RECORD_BYTES_MAX + 1_000, b'x');
    let read = read_from(&content, SourceForm::CSV, TextEncoding::Utf8, None, false);
    assert!(read.err().unwrap().to_string().contains("never closed"));
    let read = jsonl(&[&content[..], b"\n{\"id\":\"1\",\"name\":\"a\"}\n"].concat());
    assert_eq!(lines(&read), ["1|a|-|-"]);
}

#[test]
fn a_file_that_ends_inside_a_row_is_broken_and_one_that_lacks_the_last_line_end_is_not() {
    let read = |content: &[u8], format| {
        let read = read_from(content, format, TextEncoding::Utf8, None, false);
        read.map(|read| read.rows.len()).map_err(|error| in_full(&error))
    };
    let broken = b"id,name,amount\n1,x,\n2,\"cut off,3\n3,y,4";
    let said = read(broken, SourceForm::CSV).unwrap_err();
    assert!(said.contains("row 2"), "a half-copied file: {said}");
    let whole = b"id,name,amount\n1,x,\n2,\"whole\",\"3\"";
    assert_eq!(read(whole, SourceForm::CSV), Ok(2));
    let within = b"id,name,amount\n1,5\" pipe,";
    assert_eq!(read(within, SourceForm::CSV), Ok(1), "a quotation mark within a value");

    let said = read(b"{\"id\":\"1\",\"name\":\"a\"}\n{\"id\":", SourceForm::Jsonl);
    assert!(said.as_ref().is_err_and(|said| said.contains("row 2")), "{said:?}");
    let whole = b"{\"id\":\"1\",\"name\":\"a\"}\n{\"id\":\"2\",\"name\":\"b\"}";
    assert_eq!(read(whole, SourceForm::Jsonl), Ok(2));
}

#[test]
fn append_reading_stops_and_goes_on_at_every_byte() {
    let csv = "id,name,amount\n1,示例,\n2,\"a\nb\",2\r\n3,c,3\n";
    let jsonl = "{\"id\":\"1\",\"name\":\"示例\"}\n{\"id\":\"2\",\"name\":\"a\\nb\"}\r\n{\"id\":\"3\",\"name\":\"c\"}\n";
    for (text, format) in [(csv, SourceForm::CSV), (jsonl, SourceForm::Jsonl)] {
        let whole =
            read_from(text.as_bytes(), format.clone(), TextEncoding::Utf8, None, true).unwrap();
        assert_eq!(whole.rows.len(), 3);
        let header = if format == SourceForm::CSV { 15 } else { 0 };
        for cut in header..=text.len() {
            let part = &text.as_bytes()[..cut];
            let first = read_from(part, format.clone(), TextEncoding::Utf8, None, true).unwrap();
            assert!(first.refused.is_empty(), "cut at {cut}: {:?}", first.refused);
            let from = Some(first.position);
            let second =
                read_from(text.as_bytes(), format.clone(), TextEncoding::Utf8, from, true).unwrap();
            let both: Vec<_> = first.rows.iter().chain(&second.rows).cloned().collect();
            assert_eq!(both, whole.rows, "cut at {cut}");
            assert_eq!(second.position, whole.position);
        }
    }
}
