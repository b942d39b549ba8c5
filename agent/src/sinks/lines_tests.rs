use hutong_schema::block::BlockBuilder;
use proptest::prelude::*;

use super::super::testing::{self, view};
use super::*;

/// Values of `mc` and `geom`.
type Values<'v> = [Option<&'v [u8]>; 2];

fn written(format: LineFormat, rows: &[(&[u8], Option<Values<'_>>)]) -> String {
    let lines = Lines::new(&view(1), format);
    let mut builder = BlockBuilder::new(&[FieldId(3), FieldId(5)]);
    for (key, values) in rows {
        match values {
            Some(values) => builder.upsert(key, values.iter().copied()),
            None => builder.delete(key),
        }
    }
    let raw = builder.finish();
    let block = Block::parse(&raw).unwrap();
    let layout = lines.layout(&block).unwrap();
    let mut out = Vec::new();
    lines.header(&mut out);
    for index in 0..block.rows() {
        lines.change(&block, &layout, index, &mut out).unwrap();
    }
    String::from_utf8(out).unwrap()
}

#[test]
fn jsonl_has_operation_key_and_row() {
    let point = geometry::from_geojson(r#"{"type":"Point","coordinates":[123.5,42.25]}"#).unwrap();
    let found = written(
        LineFormat::Jsonl,
        &[
            (b"a\x1f1", Some([Some("示例\"\\\n".as_bytes()), Some(&point)])),
            (b"b\x1f2", Some([None, None])),
            (b"c\x1f3", None),
        ],
    );
    let expected = r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1","mc":"示例\"\\\n","geom":{"type":"Point","coordinates":[123.5,42.25]}}}
{"op":"upsert","key":"b\u001f2","row":{"qh":"b","bh":"2"}}
{"op":"delete","key":"c\u001f3"}
"#;
    let same = |a: &str, b: &str| -> bool {
        let read = |line: &str| -> serde_json::Value { serde_json::from_str(line).unwrap() };
        a.lines().map(read).eq(b.lines().map(read))
    };
    assert!(same(&found, expected), "{found}");
    assert_eq!(found.lines().nth(2), expected.lines().nth(2));
}

#[test]
fn csv_has_a_header_and_quotes_what_must_be() {
    let found = written(
        LineFormat::Csv,
        &[(b"a\x1f1", Some([Some(b"x, \"y\""), None])), (b"c\x1f3", None)],
    );
    assert_eq!(found, "op,qh,bh,mc,geom\nupsert,a,1,\"x, \"\"y\"\"\",\ndelete,c,3,,\n");
}

#[test]
fn a_field_outside_of_the_view_is_not_left_out_unseen() {
    let lines = Lines::new(&view(1), LineFormat::Jsonl);
    let mut builder = BlockBuilder::new(&[FieldId(9)]);
    builder.upsert(b"a\x1f1", [Some(&b"x"[..])]);
    let raw = builder.finish();
    assert!(matches!(lines.layout(&Block::parse(&raw).unwrap()), Err(SinkError::Delivery(_))));
}

#[test]
fn a_key_of_the_wrong_shape_is_refused() {
    let lines = Lines::new(&view(1), LineFormat::Csv);
    let raw = testing::block(&[("only-one-part", Some("x"))]);
    let block = Block::parse(&raw).unwrap();
    let layout = lines.layout(&block).unwrap();
    assert!(lines.change(&block, &layout, 0, &mut Vec::new()).is_err());
}

proptest! {
    #[test]
    fn every_text_reads_back(value in "\\PC{0,40}[\\x00-\\x1f\"\\\\,]{0,4}\\PC{0,10}") {
        let mut json = Vec::new();
        push_json(value.as_bytes(), &mut json).unwrap();
        prop_assert_eq!(serde_json::from_slice::<String>(&json).unwrap(), value.clone());

        let mut csv = Vec::new();
        push_csv(value.as_bytes(), &mut csv);
        csv.extend_from_slice(b",end\n");
        let mut reader = csv::ReaderBuilder::new().has_headers(false).from_reader(&csv[..]);
        let record = reader.records().next().unwrap().unwrap();
        prop_assert_eq!(record.get(0).unwrap(), value);
    }
}
