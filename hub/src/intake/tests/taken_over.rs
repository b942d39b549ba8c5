//! A publication that is opened again leaves its older stream no say.

use super::*;

fn is_taken_over(refused: &Refused) {
    assert_eq!(refused.reason(), Some(RefusalCode::NotReady), "{refused}");
    assert!(refused.detail.contains("took over"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_of_an_older_stream_do_not_come_behind_what_a_newer_one_was_told() {
    let world = World::new(IntakeOptions::default()).await;
    let (older, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    let (first, second) = (sender.rows(&[GOOD_KEY]), sender.rows(&[GOOD_KEY]));
    store(&world.intake, &older, &first).await.expect("stored");

    let (newer, ready) = world.open(1, ready.epoch).await.expect("opened again");
    assert_eq!((ready.last_seq, ready.chain), (1, first.chain));
    for late in [&first, &second] {
        is_taken_over(&store(&world.intake, &older, late).await.expect_err("late"));
    }
    assert_eq!(world.batches().len(), 1, "the newer stream was told of one batch");
    let told = tokio::time::timeout(Duration::from_secs(10), older.taken_over()).await;
    is_taken_over(&told.expect("the older stream is told at once"));
    store(&world.intake, &newer, &second).await.expect("stored");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_opened_takes_nothing_over() {
    let world = World::new(IntakeOptions::default()).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    world.open(1, ready.epoch + 1).await.expect_err("never opened");
    world.enrol("n2").await;
    world.open(2, ready.epoch).await.expect_err("another node's");
    let mut sender = Sender::after(&ready);
    store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("stored");
    world.stop().await;
}
