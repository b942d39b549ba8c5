//! Verdicts over batches.

use hutong_schema::{batch::Codec, block::BlockBuilder};
use proptest::prelude::*;

use super::{sample::entry, *};

const COLUMNS: [FieldId; 3] = [FieldId(2), FieldId(3), FieldId(5)];
const GOOD_KEY: &[u8] = b"11010519491231002X";

type Row<'a> = (&'a [u8], [Option<&'a [u8]>; 3]);

fn block(rows: &[Row<'_>]) -> Vec<u8> {
    let mut builder = BlockBuilder::new(&COLUMNS);
    for (key, values) in rows {
        builder.upsert(key, values.iter().copied());
    }
    builder.finish()
}

fn header(rows: usize, raw: &[u8], codec: Codec) -> BatchHeader {
    BatchHeader {
        seq: 7,
        kind: BatchKind::Rows,
        schema_version: 1,
        rows: rows as u32,
        raw_len: raw.len() as u32,
        codec,
    }
}

fn judge(rows: usize, raw: &[u8]) -> Result<Vec<RejectedRow>, Refused> {
    let (codec, payload) = batch::compress(raw, Codec::Lz4).expect("compresses");
    Validator::new(Arc::new(entry())).judge(&header(rows, raw, codec), &payload)
}

/// (index, field, reason) of every rejection.
fn faults(rows: &[Row<'_>]) -> Vec<(u32, u16, RejectReason)> {
    let rejected = judge(rows.len(), &block(rows)).expect("a whole batch");
    assert!(rejected.iter().all(|row| row.seq == 7));
    let known = |code| RejectReason::from_code(code).expect("a known reason");
    rejected.iter().map(|row| (row.index, row.field.0, known(row.reason))).collect()
}

#[test]
fn good_rows_pass_and_bad_ones_are_named_with_field_and_reason() {
    let name: Option<&[u8]> = Some("张示例".as_bytes());
    let rows: [Row<'_>; 8] = [
        (GOOD_KEY, [name, Some(b"20200131"), Some(b"-12.5")]),
        (b"110105194912310021", [name, None, None]),
        (GOOD_KEY, [None, None, None]),
        (GOOD_KEY, [Some(b"01234567890"), None, None]),
        (GOOD_KEY, [Some(b"\xff"), None, None]),
        (GOOD_KEY, [name, Some(b"20200231"), None]),
        (GOOD_KEY, [name, None, Some(b"1e3")]),
        (GOOD_KEY, [name, Some(b"20200231"), Some(b"x")]),
    ];
    use RejectReason::{CheckDigit, Date, Encoding, Length, Missing, Type};
    assert_eq!(
        faults(&rows),
        [
            (1, 1, CheckDigit),
            (2, 2, Missing),
            (3, 2, Length),
            (4, 2, Encoding),
            (5, 3, Date),
            (6, 5, Type),
            (7, 3, Date),
        ],
        "one reason per row: the first in the order of the items"
    );
}

#[test]
fn a_delete_needs_a_good_key_and_nothing_else() {
    let mut builder = BlockBuilder::new(&COLUMNS);
    builder.delete(GOOD_KEY);
    builder.delete(b"110105194912310021");
    let rejected = judge(2, &builder.finish()).expect("a whole batch");
    assert_eq!(rejected.iter().map(|row| row.index).collect::<Vec<_>>(), [1]);
}

#[test]
fn a_missing_column_rejects_rows_only_where_its_item_is_required() {
    let mut builder = BlockBuilder::new(&[FieldId(2)]);
    builder.upsert(GOOD_KEY, [Some(&b"x"[..])]);
    assert_eq!(judge(1, &builder.finish()).expect("a whole batch"), []);
    let mut builder = BlockBuilder::new(&[FieldId(3)]);
    builder.upsert(GOOD_KEY, [None]);
    builder.delete(GOOD_KEY);
    assert_eq!(judge(2, &builder.finish()).expect("a whole batch").len(), 1);
}

#[test]
fn a_batch_that_is_not_what_it_says_is_refused_as_a_whole() {
    let raw = block(&[(GOOD_KEY, [Some(b"x"), None, None])]);
    let code = |result: Result<Vec<RejectedRow>, Refused>| result.expect_err("refused").reason();
    let damaged = Some(RefusalCode::Damaged);
    assert_eq!(code(judge(2, &raw)), damaged, "another number of rows");
    assert_eq!(code(judge(1, &raw[..raw.len() - 1])), damaged, "cut short");
    let mut builder = BlockBuilder::new(&[FieldId(4)]);
    builder.upsert(GOOD_KEY, [None]);
    assert_eq!(code(judge(1, &builder.finish())), damaged, "an item the entry has not");

    let validator = Validator::new(Arc::new(entry()));
    let mut lying = header(1, &raw, Codec::Plain);
    lying.raw_len += 1;
    assert_eq!(code(validator.judge(&lying, &raw)), damaged, "another size");
    lying.raw_len = u32::MAX;
    lying.codec = Codec::Lz4;
    assert_eq!(code(validator.judge(&lying, &raw)), damaged, "a bomb");
}

#[test]
fn markers_carry_what_they_say() {
    let validator = Validator::new(Arc::new(entry()));
    let of = |kind, rows, payload: &[u8]| {
        let header = BatchHeader { kind, ..header(rows, payload, Codec::Plain) };
        validator.judge(&header, payload).map_err(|refused| refused.reason())
    };
    let damaged = Err(Some(RefusalCode::Damaged));
    assert_eq!(of(BatchKind::ReplaceBegin, 0, b""), Ok(vec![]));
    assert_eq!(of(BatchKind::ReplaceEnd, 1, b""), damaged);
    assert_eq!(of(BatchKind::ReplaceEnd, 0, b"x"), damaged);
    let digest = codec::encode(&Digest::empty()).expect("encodes");
    assert_eq!(of(BatchKind::Checkpoint, 0, &digest), Ok(vec![]));
    assert_eq!(of(BatchKind::Checkpoint, 0, b"x"), damaged);
}

proptest! {
    /// Whatever arrives: no panic, and rejections are ascending, once per row and within the batch.
    #[test]
    fn any_bytes_get_a_verdict(
        rows in prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), prop::option::of(prop::collection::vec(any::<u8>(), 0..12))), 0..40),
        flip in any::<prop::sample::Index>(),
        mask in any::<u8>(),
    ) {
        let mut builder = BlockBuilder::new(&COLUMNS);
        for (key, value) in &rows {
            builder.upsert(key, [value.as_deref(), value.as_deref(), None]);
        }
        let mut raw = builder.finish();
        let at = flip.index(raw.len());
        raw[at] ^= mask;
        if let Ok(rejected) = judge(rows.len(), &raw) {
            prop_assert!(rejected.windows(2).all(|pair| pair[0].index < pair[1].index));
            prop_assert!(rejected.iter().all(|row| (row.index as usize) < rows.len()));
        }
    }
}
