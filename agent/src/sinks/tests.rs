mod check;
mod edits;

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hutong_schema::{
    batch::Codec,
    digest::{DigestBuilder, key_hash, leaf},
    grant::GrantId,
    row::{FieldId, RowBuf},
    wire::v1::subscribe::{Cursor, DeliveryMode, Packed, SnapshotEnd, SubscribeReady},
};

use super::testing::{block, cursor, view_json};
use super::*;
use crate::spool::{Store, StoreOptions};

const OPTIONS: StoreOptions =
    StoreOptions { cache_bytes: 1 << 20, outbox_cap_bytes: 1 << 20, image_rest: Duration::ZERO };

fn key() -> SubscriptionKey {
    SubscriptionKey { node: "n1".parse().unwrap(), grant: GrantId(7) }
}

fn packed(raw: &[u8]) -> Packed<'_> {
    Packed { rows: 0, raw_len: raw.len() as u32, codec: Codec::Plain, payload: raw }
}

fn ready(mode: DeliveryMode) -> SubscribeReady {
    SubscribeReady { view: view_json(1), mode }
}

async fn open(folder: &Path, format: LineFormat) -> Sink {
    let store = Store::open(&folder.join("store"), OPTIONS).unwrap();
    let options = SinkOptions::Files { folder: folder.join("out"), format };
    Sink::open(store, key(), &options).await.unwrap()
}

async fn snapshot(sink: &mut Sink, start: u64, rows: &[(&str, Option<&str>)]) {
    let mode = DeliveryMode::Snapshot { start: cursor(start), because: None };
    assert_eq!(sink.begin(&ready(mode)).await.unwrap(), Begin::Fresh);
    if let Some((last, _)) = rows.last() {
        sink.chunk(cursor(start), last.as_bytes(), packed(&block(rows))).unwrap();
    }
    let end = SnapshotEnd { start: cursor(start), consistent_at: cursor(start) };
    sink.end_snapshot(&end).await.unwrap();
}

fn tail(sink: &mut Sink, from: u64, to: u64, rows: &[(&str, Option<&str>)]) {
    sink.tail(from, cursor(to), packed(&block(rows))).unwrap();
}

/// What a reader of the JSONL file holds: the last line per key.
fn held(path: &Path) -> BTreeMap<String, Option<String>> {
    let mut held = BTreeMap::new();
    for line in std::fs::read_to_string(path).unwrap().lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = line["key"].as_str().unwrap().to_owned();
        match line["op"].as_str().unwrap() {
            "upsert" => held.insert(key, line["row"]["mc"].as_str().map(str::to_owned)),
            _ => held.remove(&key),
        };
    }
    held
}

fn pairs(rows: &[(&str, Option<&str>)]) -> BTreeMap<String, Option<String>> {
    rows.iter().map(|(key, value)| ((*key).to_owned(), value.map(str::to_owned))).collect()
}

#[tokio::test]
async fn snapshot_and_tail_are_in_file_digest_and_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(folder.path(), LineFormat::Jsonl).await;
    snapshot(&mut sink, 3, &[("a\x1f1", Some("one")), ("a\x1f2", Some("two"))]).await;
    tail(&mut sink, 3, 4, &[("a\x1f2", None), ("a\x1f3", Some("three"))]);
    tail(&mut sink, 4, 6, &[]);
    sink.checkpoint(cursor(7)).unwrap();
    sink.commit().await.unwrap();
    assert_eq!(held(sink.path()), pairs(&[("a\x1f1", Some("one")), ("a\x1f3", Some("three"))]));
    assert_eq!(sink.record().resumption().cursor, Some(cursor(7)));
    assert!(sink.record().consistent());

    let mut expected = DigestBuilder::new();
    for (key, value) in [("a\x1f1", "one"), ("a\x1f3", "three")] {
        let mut row = RowBuf::new();
        row.push(FieldId(3), value.as_bytes());
        expected.push(&key_hash(key.as_bytes()), leaf(key.as_bytes(), row.as_ref()));
    }
    assert_eq!(sink.digest().await.unwrap(), expected.finish().0);
}

#[tokio::test]
async fn whatever_stands_behind_the_durable_length_is_cut_and_delivered_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(folder.path(), LineFormat::Jsonl).await;
    snapshot(&mut sink, 1, &[("a\x1f1", Some("one"))]).await;
    let path = sink.path().to_owned();
    drop(sink);
    let durable = std::fs::read(&path).unwrap();
    let unfinished = br#"{"op":"upsert","key":"b"#;
    for extra in (0..=unfinished.len()).step_by(5) {
        std::fs::write(&path, [&durable[..], &unfinished[..extra]].concat()).unwrap();
        let mut sink = open(folder.path(), LineFormat::Jsonl).await;
        assert_eq!(std::fs::read(&path).unwrap(), durable);
        assert_eq!(sink.begin(&ready(DeliveryMode::Tail)).await.unwrap(), Begin::Live);
    }
    for missing in [0, 1, durable.len() / 2, durable.len() - 1] {
        // Restore what the last round gave up.
        let mut sink = open(folder.path(), LineFormat::Jsonl).await;
        snapshot(&mut sink, 1, &[("a\x1f1", Some("one"))]).await;
        drop(sink);
        std::fs::write(&path, &durable[..missing]).unwrap();
        let sink = open(folder.path(), LineFormat::Jsonl).await;
        assert_eq!(
            sink.record().resumption(),
            Resumption::default(),
            "a shorter file is delivered anew"
        );
    }
}

#[tokio::test]
async fn an_unfinished_snapshot_goes_on_and_the_old_file_stays_until_it_is_complete() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(folder.path(), LineFormat::Csv).await;
    snapshot(&mut sink, 1, &[("a\x1f1", Some("old"))]).await;
    let path = sink.path().to_owned();
    let old = std::fs::read_to_string(&path).unwrap();
    assert_eq!(old, "op,qh,bh,mc,geom\nupsert,a,1,old,\n");

    let mode = DeliveryMode::Snapshot { start: cursor(5), because: Some("generation".to_owned()) };
    sink.begin(&ready(mode)).await.unwrap();
    sink.chunk(
        cursor(6),
        b"a\x1f2",
        packed(&block(&[("a\x1f1", Some("new")), ("a\x1f2", Some("x"))])),
    )
    .unwrap();
    sink.commit().await.unwrap();
    // Not committed: lost with the process.
    sink.chunk(cursor(6), b"a\x1f3", packed(&block(&[("a\x1f3", Some("lost"))]))).unwrap();
    drop(sink);

    let mut sink = open(folder.path(), LineFormat::Csv).await;
    assert_eq!(std::fs::read_to_string(&path).unwrap(), old);
    let Resumption { cursor: none, consistent_at, resume } = sink.record().resumption();
    assert_eq!((none, &resume.unwrap().last_key.0[..]), (None, &b"a\x1f2"[..]));
    assert_eq!(consistent_at, Some(cursor(6)));
    let mode = DeliveryMode::Resume { start: cursor(5) };
    assert_eq!(sink.begin(&ready(mode)).await.unwrap(), Begin::Staged);
    sink.chunk(cursor(6), b"a\x1f3", packed(&block(&[("a\x1f3", Some("again"))]))).unwrap();
    let end = SnapshotEnd { start: cursor(5), consistent_at: cursor(6) };
    sink.end_snapshot(&end).await.unwrap();
    assert!(!sink.record().consistent());
    tail(&mut sink, 5, 6, &[("a\x1f2", None)]);
    sink.commit().await.unwrap();
    assert!(sink.record().consistent());
    assert_eq!(
        std::fs::read_to_string(&path).unwrap(),
        "op,qh,bh,mc,geom\nupsert,a,1,new,\nupsert,a,2,x,\nupsert,a,3,again,\ndelete,a,2,,\n"
    );
    assert_eq!(sink.digest().await.unwrap().count, 2);
    assert!(!path.with_extension("csv.new").exists());
}

#[tokio::test]
async fn a_swap_that_was_interrupted_is_ended_at_start() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(folder.path(), LineFormat::Jsonl).await;
    snapshot(&mut sink, 1, &[("a\x1f1", Some("old"))]).await;
    snapshot(&mut sink, 2, &[("a\x1f1", Some("new"))]).await;
    let path = sink.path().to_owned();
    let record = sink.record().clone();
    drop(sink);
    // As if the machine had stopped between the commit and the renaming.
    let staged = path.with_extension("jsonl.new");
    std::fs::rename(&path, &staged).unwrap();
    std::fs::write(&path, "{\"op\":\"upsert\",\"key\":\"old\",\"row\":{}}\n").unwrap();
    let due = Record { rename_due: true, ..record };
    let store = Store::open(&folder.path().join("store"), OPTIONS).unwrap();
    let mut writes = crate::spool::WriteBatch::new();
    writes.put(crate::spool::Area::Subscriptions, &key().bytes(), due.encode().unwrap());
    store.commit(writes).await.unwrap();
    drop(store);

    let mut sink = open(folder.path(), LineFormat::Jsonl).await;
    assert!(!staged.exists());
    assert_eq!(held(&path), pairs(&[("a\x1f1", Some("new"))]));
    assert_eq!(sink.begin(&ready(DeliveryMode::Tail)).await.unwrap(), Begin::Live);
    tail(&mut sink, 2, 3, &[("b\x1f1", Some("next"))]);
    sink.commit().await.unwrap();
    assert_eq!(sink.digest().await.unwrap().count, 2);
}

#[tokio::test]
async fn a_withdrawn_grants_data_are_kept_aside_or_deleted() {
    let now = jiff::Timestamp::from_second(1_795_262_400).unwrap();
    for disposal in [Disposal::KeepAside, Disposal::Delete] {
        let folder = tempfile::tempdir().unwrap();
        let mut sink = open(folder.path(), LineFormat::Jsonl).await;
        snapshot(&mut sink, 1, &[("a\x1f1", Some("one"))]).await;
        let path = sink.path().to_owned();
        let aside = sink.dispose("ended", disposal, now).await.unwrap();
        assert!(!path.exists());
        match disposal {
            Disposal::KeepAside => {
                let Some(Kept::File(name)) = aside else { panic!("{aside:?}") };
                assert!(
                    name.to_str().unwrap().ends_with("7.jsonl.withdrawn-20261121T120000Z"),
                    "{name:?}"
                );
                assert_eq!(held(&name).len(), 1);
            }
            Disposal::Delete => assert_eq!(aside, None),
        }
        let sink = open(folder.path(), LineFormat::Jsonl).await;
        assert_eq!(sink.record().ended.as_deref(), Some("ended"));
        assert_eq!(sink.record().resumption(), Resumption::default());
    }
}

#[tokio::test]
async fn what_is_out_of_order_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut sink = open(folder.path(), LineFormat::Jsonl).await;
    assert!(sink.chunk(cursor(6), b"a", packed(&block(&[]))).is_err());
    assert!(sink.tail(0, cursor(1), packed(&block(&[]))).is_err());
    snapshot(&mut sink, 5, &[]).await;
    assert!(sink.tail(6, cursor(7), packed(&block(&[]))).is_err());
    assert!(sink.checkpoint(Cursor { seq: 4, ..cursor(4) }).is_err());
    assert!(sink.chunk(cursor(6), b"a", packed(&block(&[]))).is_err());
    tail(&mut sink, 5, 6, &[("a\x1f1", Some("x"))]);
}
