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

/// Lets the views apply what is in the log; they hold so many rows then.
fn holds(world: &World, rows: u64) {
    world.views.rows.lock().insert(ResourceNo(1), rows);
    let partition = world.partition();
    world.views.applied[&partition].send_replace(world.log.head(partition));
}

/// What becomes of a batch that is judged so many looks at the views from now.
fn judged(world: &World, lane: &Lane, load: Load, looks: u32) -> Fits {
    let known = (&world.registry, &*world.views as &dyn Standing);
    let now = Instant::now() + Duration::from_secs(10) * looks;
    lane.account.fits(load, known, now).expect("the views can be read")
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
    let (lane, again) = world.open(1, 1).await.expect("opened again");
    sender.chain = again.chain;
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
    for _ in 0..5 {
        store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("an update");
        holds(&world, 1);
    }
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_are_stored_and_not_applied_count_however_often_the_views_are_looked_at() {
    let world = World::new(options(3, 0)).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    for _ in 0..2 {
        store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.expect("stored");
    }
    // Let in where there is room for one, and the bound is reached.
    store(&world.intake, &lane, &sender.rows(&[GOOD_KEY, BAD_KEY])).await.expect("stored");
    let load = Load { rows: 1, bytes: 1 };
    for looks in 1..20 {
        let fits = judged(&world, &lane, load, looks);
        assert!(matches!(fits, Fits::Later(_)), "{looks}: {fits:?}");
    }
    let refused = submit(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.err();
    let refused = refused.expect("whoever sends more is told to come again");
    assert_eq!(refused.reason(), Some(RefusalCode::Busy), "{refused}");
    // They were new rows, or they were not.
    holds(&world, 4);
    assert!(matches!(judged(&world, &lane, load, 20), Fits::IfItDeletes(..)));
    holds(&world, 2);
    assert!(matches!(judged(&world, &lane, load, 21), Fits::Yes(_)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_let_in_counts_until_it_is_given_back() {
    let world = World::new(options(3, 1_000)).await;
    let (lane, _ready) = world.open(1, 0).await.expect("opened");
    let judge = |rows, bytes| judged(&world, &lane, Load { rows, bytes }, 1);
    let one = judge(1, 900);
    assert!(matches!(one, Fits::Yes(_)), "{one:?}");
    assert!(matches!(judge(0, 150), Fits::IfItDeletes(..)), "1,050 bytes");
    assert!(matches!(judge(0, 250), Fits::No(_)), "1,150 bytes");
    drop(one);
    let many = judge(8_000, 10);
    assert!(matches!(many, Fits::Yes(_)), "a batch that reaches the bound: {many:?}");
    assert!(matches!(judge(1, 10), Fits::Later(_)));
    drop(many);
    assert!(matches!(judge(1, 1_000), Fits::Yes(_)));
    world.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeat_and_a_refused_batch_take_no_place() {
    let world = World::new(options(0, 1_000_000)).await;
    let (lane, ready) = world.open(1, 0).await.expect("opened");
    let mut sender = Sender::after(&ready);
    let first = sender.rows(&[GOOD_KEY]);
    let bytes = u64::from(first.header.raw_len).max(first.payload.len() as u64);
    for _ in 0..3 {
        store(&world.intake, &lane, &first).await.expect("stored once");
    }
    sender.seq += 1;
    assert!(store(&world.intake, &lane, &sender.rows(&[GOOD_KEY])).await.is_err(), "a gap");
    let left = Load { rows: 0, bytes: 1_000_000 - bytes };
    assert!(matches!(judged(&world, &lane, left, 1), Fits::Yes(_)));
    let more = Load { bytes: left.bytes + 1, ..left };
    assert!(!matches!(judged(&world, &lane, more, 1), Fits::Yes(_)));
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
