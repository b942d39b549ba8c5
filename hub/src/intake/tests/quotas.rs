//! A department that has used up its room is told so; others go on.

use super::*;

fn options(rows: u64, bytes: u64) -> IntakeOptions {
    let all = Quota { rows, bytes, entries: 0 };
    IntakeOptions { quotas: Quotas { all, own: HashMap::new() }, ..IntakeOptions::default() }
}

fn quota(result: Result<impl Sized, Refused>) -> Refused {
    let refused = result.err().expect("refused");
    assert_eq!(refused.reason(), Some(RefusalCode::Quota), "{refused}");
    assert!(refused.retry_after_ms.is_some_and(|wait| wait >= 1_000), "{refused:?}");
    refused
}

/// Lets the views hold so many rows.
fn holds(world: &World, rows: u64) {
    world.views.rows.lock().insert(ResourceNo(1), rows);
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_are_bounded_by_what_the_views_hold_and_deletes_always_pass() {
    let world = World::new(options(3, 0)).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    for rows in 1..=3 {
        store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("stored");
        holds(&world, rows);
    }
    let more = sender.rows(&[GOOD_KEY]);
    let refused = quota(submit(&world.intake, &lane, &more).await);
    assert!(refused.detail.contains("has 3 rows, 3 are allowed"), "{refused}");
    // The refused batch is not counted: its number comes again.
    sender = Sender { seq: sender.seq - 1, ..Sender::after(&ready) };
    sender.chain = world.open(1, 1).await.expect("opened again").1.chain;
    store(&world.intake, &lane, &sender.deletes(&[GOOD_KEY])).await.expect("makes room");
    holds(&world, 2);
    store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("there is room again");
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn updates_at_the_bound_are_no_new_rows() {
    let world = World::new(options(2, 0)).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    holds(&world, 1);
    for _ in 0..5 {
        store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("an update");
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_are_counted_from_what_is_stored_already_and_as_they_open() {
    let world = World::new(options(0, 1_000)).await;
    world.views.volumes.lock().insert(ResourceNo(1), 900);
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    let mut stored = 900;
    loop {
        let before = (sender.seq, sender.chain);
        let next = sender.rows(&[GOOD_KEY]);
        let bytes = u64::from(next.header.raw_len).max(next.payload.len() as u64);
        if stored + bytes > 1_000 {
            quota(submit(&world.intake, &lane, &next).await);
            (sender.seq, sender.chain) = before;
            break;
        }
        store(&world.intake, &lane, &next).await.expect("stored");
        stored += bytes;
    }
    assert!(stored > 900, "some were stored");
    let mut deletes = 0;
    while store(&world.intake, &lane, &sender.deletes(&[GOOD_KEY])).await.is_ok() {
        deletes += 1;
        assert!(deletes < 100, "deletes take room as well");
    }
    assert!(deletes > 0, "a tenth above the bound is for deletes");
    world.stop().await;
}
