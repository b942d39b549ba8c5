use hutong_schema::block::{Block, BlockBuilder};
use hutong_schema::row::FieldId;
use proptest::prelude::*;

use super::super::testing::view;
use super::*;

/// Values of `mc` and `geom`.
type Row = Option<(Option<String>, Option<Vec<u8>>)>;

fn parse(format: LineFormat, record: &str) -> Result<Option<Said>, String> {
    let lines = Lines::new(&view(1), format);
    Parser::new(&lines).said(record.as_bytes(), |_| true)
}

fn rows() -> impl Strategy<Value = Vec<(String, Row)>> {
    let point = (-179i32..179, -90i32..90).prop_map(|(x, y)| {
        let text = format!(r#"{{"type":"Point","coordinates":[{x}.5,{y}]}}"#);
        geometry::from_geojson(&text).unwrap()
    });
    let text = "\\PC{0,10}[\\x20-\\x7e\r\n]{1,6}";
    let row = (proptest::option::of(text), proptest::option::of(point));
    let key = ("\\PC{1,6}", "[a-c,\"]{1,2}").prop_map(|(a, b)| format!("{a}\u{1f}{b}"));
    proptest::collection::vec((key, proptest::option::of(row)), 1..8)
}

proptest! {
    #[test]
    fn what_is_written_reads_back_as_the_same_leaf(rows in rows(), csv in any::<bool>()) {
        let format = if csv { LineFormat::Csv } else { LineFormat::Jsonl };
        let lines = Lines::new(&view(1), format);
        let mut builder = BlockBuilder::new(&[FieldId(3), FieldId(5)]);
        for (key, row) in &rows {
            match row {
                Some((mc, geom)) => {
                    builder.upsert(key.as_bytes(), [mc.as_deref().map(str::as_bytes), geom.as_deref()]);
                }
                None => builder.delete(key.as_bytes()),
            }
        }
        let raw = builder.finish();
        let block = Block::parse(&raw).unwrap();
        let layout = lines.layout(&block).unwrap();
        let mut parser = Parser::new(&lines);
        for index in 0..block.rows() {
            let mut line = Vec::new();
            lines.change(&block, &layout, index, &mut line).unwrap();
            let record = line.strip_suffix(b"\n").unwrap();
            let key = block.key(index);
            let fields = (0..block.columns())
                .filter_map(|column| Some((block.field(column), block.value(column, index)?)));
            let leaf = (!block.is_delete(index)).then(|| leaf_of(key, fields, &mut Vec::new()));
            let expected = Said { hash: key_hash(key), key: key.into(), leaf };
            prop_assert_eq!(parser.said(record, |_| true), Ok(Some(expected)));
            prop_assert_eq!(parser.said(record, |_| false), Ok(None));
            if format == LineFormat::Jsonl {
                let quick = quick_key(record).unwrap();
                prop_assert_eq!(quick.as_bytes(), key);
            }
        }
    }
}

#[test]
fn what_the_sink_never_writes_is_refused() {
    for record in [
        "",
        "{",
        "[]",
        r#"{"op":"upsert","key":"a\u001f1"}"#,
        r#"{"op":"delete","key":"a\u001f1","row":{}}"#,
        r#"{"op":"insert","key":"a\u001f1","row":{"qh":"a","bh":"1"}}"#,
        r#"{"op":"upsert","key":"a","row":{"qh":"a","bh":"1"}}"#,
        r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1","nn":"x"}}"#,
        r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1","mc":5}}"#,
        r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1","mc":"x","mc":"y"}}"#,
        r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1","geom":"POINT (1 2)"}}"#,
        r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1"}} x"#,
        r#"{"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1"},"more":1}"#,
    ] {
        assert!(parse(LineFormat::Jsonl, record).is_err(), "{record}");
    }
    for record in [
        "",
        "upsert,a,1,x",
        "upsert,a,1,x,,",
        "insert,a,1,x,",
        "delete,a,1,x,",
        "upsert,a,1,\"x,",
        "upsert,a,1,\"x\"y,",
        "upsert,a,1,x\"y,",
        "upsert,a,1,,POINT (1 2)",
    ] {
        assert!(parse(LineFormat::Csv, record).is_err(), "{record}");
    }
}

#[test]
fn a_row_that_contradicts_its_key_is_another_row() {
    let row = |qh: &str| {
        let record =
            format!(r#"{{"op":"upsert","key":"a\u001f1","row":{{"qh":"{qh}","bh":"1"}}}}"#);
        parse(LineFormat::Jsonl, &record).unwrap().unwrap()
    };
    assert_eq!(row("a").leaf, Some(leaf_of(b"a\x1f1", std::iter::empty(), &mut Vec::new())));
    assert_eq!(row("b").hash, row("a").hash);
    assert_ne!(row("b").leaf, row("a").leaf);
}
