//! Receiving from a hub that cuts and withdraws.

use std::collections::BTreeMap;

use hutong_schema::{
    batch::Codec,
    grant::GrantId,
    wire::{
        frame,
        v1::{
            Json, RefusalCode,
            subscribe::{
                CheckpointMark, CheckpointReport, Credit, Cursor, DeliveryMode, Packed,
                SnapshotChunk, SnapshotEnd, SubscribeOpen, SubscribeReady, TailBatch, Withdrawn,
            },
        },
    },
};

use super::{
    peer::{Stream, refused},
    *,
};
use crate::sinks::testing::{block, cursor, view};

/// A setup whose department has grant 7, and the stream that asks for it.
pub(super) async fn granted() -> (Setup, Stream) {
    granted_to(Patience::default()).await
}

async fn granted_to(patience: Patience) -> (Setup, Stream) {
    let peer = Peer::start();
    {
        let mut lists = peer.lists.lock();
        lists.grants = vec![view(1)];
        // Without an entry nothing is published: the test sees subscribe streams only.
        lists.entries.clear();
    }
    let mut setup = Setup::with(peer, patience).await;
    let stream = setup.peer.stream().await;
    (setup, stream)
}

pub(super) fn packed(raw: &[u8], rows: u32) -> Packed<'_> {
    Packed { rows, raw_len: raw.len() as u32, codec: Codec::Plain, payload: raw }
}

pub(super) async fn begin(stream: &mut Stream, mode: DeliveryMode) {
    let view = Json::of(&view(1)).unwrap();
    stream.writer.send(&SubscribeReady { view, mode }).await.unwrap();
}

pub(super) async fn chunk(stream: &mut Stream, key: &str, value: &str) {
    let raw = block(&[(key, Some(value))]);
    let chunk = SnapshotChunk { at: cursor(5), last_key: key.as_bytes(), block: packed(&raw, 1) };
    stream.writer.send(&chunk).await.unwrap();
}

/// The next credit that tells a durable position, or any credit.
pub(super) async fn credit(stream: &mut Stream, of: Option<Cursor>) {
    loop {
        let content = stream.next().await;
        let credit: Credit = frame::expect(&content).unwrap();
        if credit.cursor == of {
            return;
        }
    }
}

fn held(setup: &Setup) -> BTreeMap<String, String> {
    let text = std::fs::read_to_string(setup.folder.path().join("out/7.jsonl")).unwrap();
    let mut held = BTreeMap::new();
    for line in text.lines() {
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = line["key"].as_str().unwrap().to_owned();
        match line["op"].as_str().unwrap() {
            "upsert" => held.insert(key, line["row"]["mc"].as_str().unwrap().to_owned()),
            _ => held.remove(&key),
        };
    }
    held
}

#[tokio::test]
async fn a_request_that_the_hub_leaves_unanswered_is_made_again() {
    let patience = Patience { answer: Duration::from_millis(300), ..Patience::default() };
    let (mut setup, unanswered) = granted_to(patience).await;
    let again = setup.peer.stream().await;
    let [first, second] =
        [&unanswered, &again].map(|stream| stream.opened::<SubscribeOpen>().grant);
    assert_eq!(first, second);
}

#[tokio::test]
async fn an_interrupted_snapshot_resumes_behind_its_last_durable_key() {
    let (mut setup, mut stream) = granted().await;
    let open: SubscribeOpen = stream.opened();
    assert_eq!((open.grant, open.cursor, &open.resume), (GrantId(7), None, &None));
    begin(&mut stream, DeliveryMode::Snapshot { start: cursor(5), because: None }).await;
    chunk(&mut stream, "a\x1f1", "one").await;
    credit(&mut stream, None).await;
    setup.peer.cut();

    let mut stream = setup.peer.stream().await;
    let open: SubscribeOpen = stream.opened();
    let resume = open.resume.unwrap();
    assert_eq!((resume.start, &resume.last_key.0[..]), (cursor(5), &b"a\x1f1"[..]));
    begin(&mut stream, DeliveryMode::Resume { start: cursor(5) }).await;
    chunk(&mut stream, "a\x1f2", "two").await;
    let end = SnapshotEnd { start: cursor(5), consistent_at: cursor(6) };
    stream.writer.send(&end).await.unwrap();
    credit(&mut stream, Some(cursor(5))).await;
    let raw = block(&[("a\x1f1", None), ("a\x1f3", Some("three"))]);
    let tail = TailBatch { cursor: cursor(6), from_seq: 5, block: packed(&raw, 2) };
    stream.writer.send(&tail).await.unwrap();
    stream.writer.send(&CheckpointMark { cursor: cursor(7) }).await.unwrap();
    let report = loop {
        let content = stream.next().await;
        if let Ok(report) = frame::expect::<CheckpointReport>(&content) {
            break report;
        }
    };
    assert_eq!((report.cursor, report.digest.count), (cursor(7), 2));
    let found = held(&setup);
    assert_eq!(found.keys().collect::<Vec<_>>(), ["a\x1f2", "a\x1f3"]);
    let shown = setup.node.subscriptions()[0].state();
    assert_eq!((shown.phase, shown.consistent, shown.rows), (Phase::Tail, true, Some(2)));
    setup.peer.cut();

    let stream = setup.peer.stream().await;
    assert_eq!(
        stream.opened::<SubscribeOpen>().cursor,
        Some(cursor(7)),
        "the durable position is told"
    );
}

#[tokio::test]
async fn a_grant_that_ends_during_delivery_has_its_file_put_aside() {
    let (setup, mut stream) = granted().await;
    begin(&mut stream, DeliveryMode::Snapshot { start: cursor(5), because: None }).await;
    chunk(&mut stream, "a\x1f1", "one").await;
    let end = SnapshotEnd { start: cursor(5), consistent_at: cursor(5) };
    stream.writer.send(&end).await.unwrap();
    credit(&mut stream, Some(cursor(5))).await;
    stream.writer.send(&Withdrawn { reason: "purpose ended".to_owned() }).await.unwrap();
    let ended = Phase::Ended("purpose ended".to_owned());
    setup.until("put aside", |setup| setup.node.subscriptions()[0].state().phase == ended).await;
    let names: Vec<_> = std::fs::read_dir(setup.folder.path().join("out"))
        .unwrap()
        .map(|file| file.unwrap().file_name().into_string().unwrap())
        .collect();
    assert!(names.len() == 1 && names[0].starts_with("7.jsonl.withdrawn-"), "{names:?}");
}

#[tokio::test]
async fn a_grant_that_ended_while_the_node_was_away_is_noticed() {
    let (mut setup, mut stream) = granted().await;
    begin(&mut stream, DeliveryMode::Snapshot { start: cursor(5), because: None }).await;
    chunk(&mut stream, "a\x1f1", "one").await;
    let end = SnapshotEnd { start: cursor(5), consistent_at: cursor(5) };
    stream.writer.send(&end).await.unwrap();
    credit(&mut stream, Some(cursor(5))).await;
    setup.peer.lists.lock().grants.clear();
    setup.peer.cut();
    let mut stream = setup.peer.stream().await;
    assert_eq!(stream.opened::<SubscribeOpen>().grant, GrantId(7), "it is asked what became of it");
    stream.refuse(refused(RefusalCode::NotGranted)).await;
    setup.until("put aside", |setup| !setup.folder.path().join("out/7.jsonl").exists()).await;
    setup
        .until("ended", |setup| {
            matches!(setup.node.subscriptions()[0].state().phase, Phase::Ended(_))
        })
        .await;
}

#[tokio::test]
async fn half_a_snapshot_of_a_grant_that_ended_meanwhile_is_removed() {
    let (mut setup, mut stream) = granted().await;
    begin(&mut stream, DeliveryMode::Snapshot { start: cursor(5), because: None }).await;
    chunk(&mut stream, "a\x1f1", "one").await;
    let staged = setup.folder.path().join("out/7.jsonl.new");
    let holds_it =
        |_: &Setup| std::fs::read_to_string(&staged).is_ok_and(|text| text.contains("one"));
    setup.until("the first part is written", holds_it).await;
    setup.peer.lists.lock().grants.clear();
    setup.peer.cut();
    let mut stream = setup.peer.stream().await;
    stream.refuse(refused(RefusalCode::NotGranted)).await;
    setup.until("removed", |_| !staged.exists()).await;
    let ended =
        |setup: &Setup| matches!(setup.node.subscriptions()[0].state().phase, Phase::Ended(_));
    setup.until("ended", ended).await;
}
