//! Publishing against a hub that refuses, forgets, forks and cuts.

use hutong_schema::{
    batch,
    digest::Digest,
    wire::{
        codec, frame,
        v1::{
            RefusalCode,
            publish::{Batch, PublishClose, PublishOpen, PublishReady},
        },
    },
};

use super::{peer::refused, *};

fn ready(epoch: u32, last_seq: u64, chain: batch::ChainHash) -> PublishReady {
    PublishReady {
        epoch,
        last_seq,
        chain,
        settled_through: last_seq,
        has_rows: false,
        credit_bytes: 1 << 20,
    }
}

fn fresh(epoch: u32) -> PublishReady {
    ready(epoch, 0, batch::genesis(&entry().code, 0, epoch))
}

/// A setup whose publication is in epoch 1, with nothing to send.
async fn opened() -> Setup {
    let mut setup = Setup::new(Peer::start()).await;
    setup.scanned().await;
    let (open, mut stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!((open.epoch, open.schema_version), (0, 1));
    setup.scanned().await;
    frame::expect::<PublishClose>(&stream.next().await).unwrap();
    stream.writer.finish();
    setup.until("epoch 1", |setup| setup.state().epoch == 1).await;
    setup
}

#[tokio::test]
async fn batches_are_acknowledged_and_a_checkpoint_closes_the_work() {
    let mut setup = opened().await;
    setup.append("a").await;
    let (open, mut stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!(open.epoch, 1);
    assert_eq!(stream.acknowledge().await, 1);
    let content = stream.next().await;
    let checkpoint: Batch<'_> = frame::expect(&content).unwrap();
    assert_eq!((checkpoint.header.seq, checkpoint.header.kind), (2, batch::BatchKind::Checkpoint));
    let mut raw = Vec::new();
    let header = checkpoint.header;
    batch::decompress_into(checkpoint.payload, header.codec, header.raw_len as usize, &mut raw)
        .unwrap();
    let said: Digest = codec::decode(&raw).unwrap();
    assert_eq!(said.count, 1);
}

#[tokio::test]
async fn a_busy_hub_is_asked_again_and_nothing_stands_still() {
    let mut setup = opened().await;
    setup.append("a").await;
    for _ in 0..3 {
        setup.peer.refuse(refused(RefusalCode::Busy)).await;
        assert_eq!(setup.publication().troubles(), []);
    }
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!(stream.acknowledge().await, 1);
    setup.until("acknowledged", |setup| setup.state().stored_through == 1).await;
}

#[tokio::test]
async fn an_opening_that_the_hub_leaves_unanswered_is_made_again() {
    let patience = Patience { answer: Duration::from_millis(300), ..Patience::default() };
    let mut setup = Setup::with(Peer::start(), patience).await;
    setup.scanned().await;
    let unanswered = setup.peer.stream().await;
    let (open, _stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!(open.epoch, unanswered.opened::<PublishOpen>().epoch);
    setup.until("epoch 1", |setup| setup.state().epoch == 1).await;
}

#[tokio::test]
async fn a_fence_opens_a_new_epoch_once_and_then_waits_for_a_person() {
    let mut setup = opened().await;
    setup.append("a").await;
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    stream.next().await;
    stream.refuse(refused(RefusalCode::Fenced)).await;

    let (open, mut stream) = setup.peer.admit(PublishReady { has_rows: true, ..fresh(2) }).await;
    assert_eq!(open.epoch, 0, "a new epoch is asked for");
    setup.scanned().await;
    setup
        .until("the replacement is due", |setup| {
            let state = setup.state();
            state.epoch == 2 && state.replace == crate::spool::Replace::Due
        })
        .await;
    stream.refuse(refused(RefusalCode::Fenced)).await;
    setup.until("it stands still", |setup| !setup.publication().troubles().is_empty()).await;
    let (by, why) = setup.publication().troubles().remove(0);
    assert_eq!(by, Hindrance::Hub);
    assert!(why.contains("HT-1104") && why.contains("confirm"), "{why}");

    setup.node.confirm(&setup.publication().clone());
    // The first attempt is still in the old epoch; refused, it leads to a new one.
    let open = setup.peer.refuse(refused(RefusalCode::Fenced)).await;
    assert_eq!(open.epoch, 2);
    let (open, _stream) = setup.peer.admit(fresh(3)).await;
    assert_eq!(open.epoch, 0);
    setup.until("it goes on", |setup| setup.publication().troubles().is_empty()).await;
}

#[tokio::test]
async fn a_fork_waits_for_a_person_from_the_beginning() {
    let mut setup = opened().await;
    setup.append("a").await;
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    stream.next().await;
    stream.refuse(refused(RefusalCode::Forked)).await;
    setup.until("it stands still", |setup| !setup.publication().troubles().is_empty()).await;
    let why = setup.publication().troubles().remove(0).1;
    assert!(why.contains("HT-1105") && why.contains("hutong-agent confirm"), "{why}");

    setup.node.confirm(&setup.publication().clone());
    setup.peer.refuse(refused(RefusalCode::Forked)).await;
    let (open, _stream) = setup.peer.admit(fresh(2)).await;
    assert_eq!(open.epoch, 0, "a new epoch is asked for");
    setup.until("it goes on", |setup| setup.publication().troubles().is_empty()).await;
}

#[tokio::test]
async fn a_gap_is_closed_by_comparing_both_ends() {
    let mut setup = opened().await;
    setup.append("a").await;
    setup.append("b").await;
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    stream.next().await;
    stream.refuse(refused(RefusalCode::Gap).expecting(1)).await;
    let (open, mut stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!(open.epoch, 1);
    assert_eq!([stream.acknowledge().await, stream.acknowledge().await], [1, 2]);
    setup.until("acknowledged", |setup| setup.state().stored_through == 2).await;
}

#[tokio::test]
async fn a_cut_between_batch_and_acknowledgement_loses_nothing() {
    let mut setup = opened().await;
    setup.append("a").await;
    setup.append("b").await;
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    let content = stream.next().await;
    let stored = frame::expect::<Batch<'_>>(&content).unwrap().chain;
    setup.peer.cut();
    // The hub stored the first one; its acknowledgement was lost.
    let (open, mut stream) = setup.peer.admit(ready(1, 1, stored)).await;
    assert_eq!(open.epoch, 1);
    assert_eq!([stream.acknowledge().await, stream.acknowledge().await], [1, 2]);
    setup.until("acknowledged", |setup| setup.state().stored_through == 2).await;
}

#[tokio::test]
async fn a_hub_that_lost_settled_batches_gets_everything_again() {
    let mut setup = opened().await;
    setup.append("a").await;
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!(stream.acknowledge().await, 1);
    setup.until("acknowledged", |setup| setup.state().settled_through == 1).await;
    setup.peer.cut();
    setup.append("b").await;
    // Restored from a copy: the hub knows nothing of the epoch's batches.
    let (open, _stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!(open.epoch, 1);
    let (open, _stream) = setup.peer.admit(PublishReady { has_rows: true, ..fresh(2) }).await;
    assert_eq!(open.epoch, 0);
    setup.until("a new epoch", |setup| setup.state().epoch == 2).await;
}

#[tokio::test]
async fn an_unregistered_resource_stands_still_and_says_why() {
    let mut setup = Setup::new(Peer::start()).await;
    setup.scanned().await;
    setup.peer.refuse(refused(RefusalCode::NotRegistered)).await;
    setup.until("it stands still", |setup| !setup.publication().troubles().is_empty()).await;
    let why = setup.publication().troubles().remove(0).1;
    assert!(why.contains("HT-1101") && why.contains("catalogue apply"), "{why}");
    // It is tried again by itself.
    let (_, _stream) = setup.peer.admit(fresh(1)).await;
    setup.until("it goes on", |setup| setup.publication().troubles().is_empty()).await;
}

#[tokio::test]
async fn a_batch_that_waited_while_the_entry_changed_is_mapped_again() {
    let mut setup = opened().await;
    let mut newer = entry();
    (newer.version, newer.schema_version) = (2, 2);
    setup.append("a").await;
    // As when the department applies a new catalogue file.
    setup.publication().set_entry(newer.clone());
    setup.peer.lists.lock().entries = vec![newer];
    let (_, mut stream) = setup.peer.admit(fresh(1)).await;
    stream.next().await;
    stream.refuse(refused(RefusalCode::SchemaChanged).expecting(2)).await;
    setup.scanned().await;
    setup.until("what was not stored is dropped", |setup| setup.state().is_drained()).await;
    assert_eq!(setup.publication().troubles(), []);
}

#[tokio::test]
async fn a_changed_schema_is_fetched_and_the_source_is_mapped_again() {
    let mut setup = opened().await;
    setup.append("a").await;
    let mut newer = entry();
    (newer.version, newer.schema_version) = (2, 2);
    setup.peer.lists.lock().entries = vec![newer];
    setup.peer.refuse(refused(RefusalCode::SchemaChanged).expecting(2)).await;
    setup.scanned().await;
    assert_eq!(setup.publication().entry().unwrap().schema_version, 2);
    setup.until("what was not stored is dropped", |setup| setup.state().is_drained()).await;
    setup.append("b").await;
    let (open, mut stream) = setup.peer.admit(fresh(1)).await;
    assert_eq!((open.epoch, open.schema_version), (1, 2));
    assert_eq!(stream.acknowledge().await, 1);
}
