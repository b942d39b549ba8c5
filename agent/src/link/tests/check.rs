//! A hub that asks whether the delivered file still holds what was delivered.

use hutong_schema::{
    grant::GrantId,
    wire::{
        frame,
        v1::{
            control::{Depth, DigestAnswer, DigestAsk, DigestFound, Standing, Subject},
            subscribe::{DeliveryMode, Repair, SnapshotEnd, SubscribeOpen},
        },
    },
};

use super::{
    deliver::{begin, chunk, credit, granted, packed},
    peer::{Control, Stream, refused},
    *,
};
use crate::sinks::testing::{block, cursor};

/// A subscription whose snapshot of two rows is complete.
async fn delivered() -> (Setup, Control, Stream) {
    let (mut setup, mut stream) = granted().await;
    let control = setup.peer.control().await;
    complete(&mut stream).await;
    (setup, control, stream)
}

async fn complete(stream: &mut Stream) {
    begin(stream, DeliveryMode::Snapshot { start: cursor(5), because: None }).await;
    chunk(stream, "a\x1f1", "one").await;
    chunk(stream, "a\x1f2", "two").await;
    let end = SnapshotEnd { start: cursor(5), consistent_at: cursor(5) };
    stream.writer.send(&end).await.unwrap();
    credit(stream, Some(cursor(5))).await;
}

/// What the node answers; its heartbeats are passed over.
async fn ask(control: &mut Control, depth: Depth) -> DigestFound {
    let subject = Subject::Subscription(GrantId(7));
    control.writer.send(&DigestAsk { ask: 1, subject, depth }).await.unwrap();
    loop {
        let content = within(control.reader.due(1 << 20)).await.unwrap();
        if let Ok(answer) = frame::expect::<DigestAnswer>(&content) {
            return answer.found;
        }
    }
}

async fn root(control: &mut Control) -> DigestFound {
    ask(control, Depth::Root).await
}

fn edit(setup: &Setup, from: &str, to: &str) {
    let path = setup.folder.path().join("out/7.jsonl");
    let text = std::fs::read_to_string(&path).unwrap();
    std::fs::write(path, text.replace(from, to)).unwrap();
}

#[tokio::test]
async fn the_answer_is_about_the_file_and_delivery_goes_on() {
    let (setup, mut control, mut stream) = delivered().await;
    let right = root(&mut control).await;
    assert!(matches!(right, DigestFound::Root { at: Standing::Subscribed(Some(_)), .. }));
    edit(&setup, "\"two\"", "\"three\"");
    let DigestFound::Buckets { .. } = ask(&mut control, Depth::Buckets).await else {
        panic!("the image is told")
    };
    let changed = root(&mut control).await;
    assert_ne!(changed, right);
    assert_eq!(root(&mut control).await, changed, "it is read once and remembered");

    let raw = block(&[("a\x1f2", Some("two"))]);
    stream.writer.send(&Repair { at: cursor(5), block: packed(&raw, 1) }).await.unwrap();
    credit(&mut stream, Some(cursor(5))).await;
    within(async { while root(&mut control).await != right {} }).await;
}

#[tokio::test]
async fn a_broken_file_is_delivered_anew_at_once() {
    let (mut setup, mut control, mut stream) = delivered().await;
    let right = root(&mut control).await;
    edit(&setup, "\"two\"", "two");
    let lost = root(&mut control).await;
    assert!(matches!(lost, DigestFound::Root { at: Standing::Subscribed(None), .. }), "{lost:?}");
    while stream.reader.next(1 << 20).await.unwrap().is_some() {}
    let mut stream = setup.peer.stream().await;
    assert_eq!(stream.opened::<SubscribeOpen>().cursor, None, "a snapshot is asked for");
    complete(&mut stream).await;
    within(async { while root(&mut control).await != right {} }).await;
}

#[tokio::test]
async fn a_file_that_nobody_writes_to_is_checked_too() {
    let (mut setup, control, _stream) = delivered().await;
    drop(control);
    setup.peer.cut();
    let mut control = setup.peer.control().await;
    let mut stream = setup.peer.stream().await;
    // The node waits before it asks for the stream again.
    stream.refuse(refused(hutong_schema::wire::v1::RefusalCode::NotReady)).await;
    let right = root(&mut control).await;
    edit(&setup, "\"two\"", "two");
    let lost = root(&mut control).await;
    assert_ne!(lost, right);
    assert!(matches!(lost, DigestFound::Root { at: Standing::Subscribed(None), .. }), "{lost:?}");
}
