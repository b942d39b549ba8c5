//! Single behaviours of the views.

use std::{sync::Arc, time::Duration};

use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    super::{HubDigests, Place, ViewError, ViewOptions, Views, rebuild},
    model::{Change, digest},
    random::small,
    world::{ALONE, HEALTH, PARTITION, PEOPLE, POLICE, World, header, health_reading},
};
use crate::log::{BatchKind, EntryKind, Log, Offset};

fn row(key: &str, value: &str) -> Change {
    Change { key: key.into(), row: Some([(2, value.as_bytes().to_vec())].into()), rejected: false }
}

fn gone(key: &str) -> Change {
    Change { key: key.into(), row: None, rejected: false }
}

fn rows(views: &Views, place: Place) -> Vec<String> {
    let mut keys = Vec::new();
    let _ = views
        .snapshot()
        .scan(place, None, |key, _| {
            keys.push(String::from_utf8(key.to_vec()).unwrap());
            std::ops::ControlFlow::Continue(())
        })
        .unwrap();
    keys
}

fn reasons(world: &World) -> Vec<String> {
    let findings = world.views().snapshot().findings(PARTITION, Offset::NONE, 100).unwrap();
    findings.into_iter().map(|finding| finding.reason).collect()
}

#[test]
fn a_repeated_batch_takes_effect_once_and_is_found() {
    let mut world = World::new(small());
    world.batch(ALONE, &[row("k1", "a")]);
    world.batch(ALONE, &[gone("k1")]);
    let stored = world.log.read(PARTITION, Offset(1), 100, usize::MAX).unwrap();
    let first =
        stored.iter().find(|entry| matches!(entry.envelope.kind, EntryKind::Batch(_))).unwrap();
    world.append(first.envelope.kind.clone(), first.payload.to_vec());
    world.views().apply_all().unwrap();
    assert_eq!(rows(world.views(), Place::Resource(ALONE)), [""; 0]);
    assert_eq!(reasons(&world), ["a batch that was applied before"]);
}

#[test]
fn what_cannot_be_applied_is_parked_and_the_rest_goes_on() {
    let mut world = World::new(small());
    let batch = |world: &World, resource, at, raw: &[u8]| {
        let (head, payload) = header(resource, at, BatchKind::Rows, 1, raw, Vec::new());
        world.append(EntryKind::Batch(head), payload);
    };
    world.append(EntryKind::Event, b"{}".to_vec());
    world.append(EntryKind::Barrier { meta_offset: Offset(900) }, b"not an event".to_vec());
    batch(&world, crate::numbers::ResourceNo(77), (1, 1), b"x");
    batch(&world, ALONE, (9, 1), b"x");
    world.batch(ALONE, &[row("k1", "a")]);
    batch(&world, POLICE, (1, 1), b"no block");
    world.batch(HEALTH, &[row("k2", "b")]);
    world.replace_end(HEALTH);
    world.views().apply_all().unwrap();
    assert_eq!(rows(world.views(), Place::Resource(ALONE)), ["k1"]);
    assert_eq!(rows(world.views(), PEOPLE), ["k2"]);
    let found = reasons(&world);
    for expected in [
        "does not belong",
        "not a governance event",
        "no event made known",
        "another epoch",
        "the block ends",
        "did not begin",
    ] {
        assert!(found.iter().any(|reason| reason.contains(expected)), "{expected}: {found:?}");
    }
    assert_eq!(found.len(), 6, "{found:?}");
    assert_eq!(*world.views().applied(PARTITION).borrow(), world.log.head(PARTITION));
}

#[test]
fn a_key_named_only_by_a_rejected_row_is_not_a_delete() {
    let mut world = World::new(small());
    world.batch(ALONE, &[row("k1", "a"), row("k2", "b"), row("k3", "c")]);
    world.replace_begin(ALONE);
    world.batch(ALONE, &[Change { rejected: true, ..row("k2", "?") }]);
    world.views().apply_all().unwrap();
    world.crash();
    world.batch(ALONE, &[row("k3", "c")]);
    world.replace_end(ALONE);
    world.views().apply_all().unwrap();
    assert_eq!(rows(world.views(), Place::Resource(ALONE)), ["k2", "k3"]);
    let snapshot = world.views().snapshot();
    assert_eq!(snapshot.resource_state(ALONE).unwrap().rejected, 1);
    assert_eq!(snapshot.lane(ALONE, 0).unwrap().unwrap().last_seq, 5);
}

#[test]
fn views_of_a_log_that_was_lost_are_made_anew() {
    let mut world = World::new(small());
    world.batch(ALONE, &[row("k1", "a")]);
    world.views().apply_all().unwrap();
    world.views().flush().unwrap();
    let other = World::new(small());
    world.views = None;
    let views = Views::open(world.views_dir(), small(), Arc::clone(&other.log)).unwrap();
    views.apply_all().unwrap();
    assert_eq!(rows(&views, Place::Resource(ALONE)), [""; 0]);
}

#[test]
fn a_rebuild_tells_what_was_different() {
    let mut world = World::new(small());
    world.batch(ALONE, &[row("k1", "a"), row("k2", "b")]);
    world.views().apply_all().unwrap();
    let log = Arc::clone(&world.log);
    world.views = None;
    let report = rebuild(world.views_dir(), small(), Arc::clone(&log), |_| {}).unwrap();
    assert_eq!((report.rows, report.different.len()), (2, 0));
    // A row goes missing in the store, past everything that would notice.
    let mut key = Vec::new();
    super::super::keys::row_into(&mut key, ALONE.space(None), b"k2", ALONE);
    {
        let store = super::super::Store::open(&world.views_dir(), &small(), 1).unwrap();
        store.db.delete_cf(store.family(PARTITION).unwrap(), key).unwrap();
    }
    let report = rebuild(world.views_dir(), small(), log, |_| {}).unwrap();
    let expected = digest(&world.model.place(Place::Resource(ALONE)));
    assert_eq!(report.different.len(), 1);
    assert_eq!((report.different[0].0, report.different[0].2), (ALONE, expected));
    world.reopen();
    assert_eq!(rows(world.views(), Place::Resource(ALONE)), ["k1", "k2"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn started_views_follow_the_log_count_checkpoints_and_drain() {
    let mut world =
        tokio::task::block_in_place(|| World::new(ViewOptions { bulk_rows: 2, ..small() }));
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    let views = world.views().clone();
    views.start(&tracker, &cancel);
    let mut counted = views.digests_counted();
    let world = tokio::task::spawn_blocking(move || {
        world.batch(POLICE, &[row("k1", "a"), row("k2", "b"), row("k3", "c")]);
        world.checkpoint(POLICE);
        world.batch(POLICE, &[gone("k1")]);
        world
    })
    .await
    .unwrap();
    let patience = Duration::from_secs(60);
    tokio::time::timeout(patience, views.caught_up()).await.unwrap().unwrap();
    let moved = tokio::time::timeout(patience, views.feeds_moved()).await.unwrap();
    assert!(moved.iter().any(|(feed, _)| *feed == PEOPLE.feed()), "{moved:?}");
    tokio::time::timeout(patience, counted.wait_for(|counted| *counted > 0))
        .await
        .unwrap()
        .unwrap();
    let (_, record) = views.snapshot().checkpoints(Place::Resource(POLICE), 1).unwrap().remove(0);
    let HubDigests::Found { full, .. } = record.hub else { panic!("{:?}", record.hub) };
    assert_eq!(full, Some(record.source), "counted as of the checkpoint, not of now");
    cancel.cancel();
    tracker.close();
    tokio::time::timeout(patience, tracker.wait()).await.unwrap();
    assert!(views.fatal().borrow().is_none());
    tokio::task::spawn_blocking(move || drop((views, world))).await.unwrap();
}

#[test]
fn a_feed_is_read_by_an_entry_that_was_replaced_before_it_was_written() {
    let mut world = World::new(small());
    world.publish(HEALTH, Some(health_reading(true)));
    world.batch(HEALTH, &[row("k1", "a")]);
    world.publish(HEALTH, Some(health_reading(true)));
    world.views().apply_all().unwrap();
    world.reopen();
    let items = world.views().feed_after(PEOPLE, 0, usize::MAX).unwrap();
    assert_eq!(items.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_was_filled_is_merged_when_nothing_comes_any_more() {
    let options = ViewOptions { flush_interval: Duration::from_millis(200), ..small() };
    let world = tokio::task::block_in_place(|| {
        let mut world = World::new(options);
        for step in 0..20 {
            world.batch(POLICE, &[row("k1", &format!("value {step}"))]);
            world.views().apply_all().unwrap();
            world.views().flush().unwrap();
        }
        world
    });
    let views = world.views().clone();
    let files = || views.inner.core.store.unmerged_files(PARTITION).unwrap();
    assert!(files() >= 20, "{} files: they were merged while they came", files());
    let (tracker, cancel) = (TaskTracker::new(), CancellationToken::new());
    views.start(&tracker, &cancel);
    let merged = async {
        while files() >= 8 {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    let merged = tokio::time::timeout(Duration::from_secs(20), merged).await;
    cancel.cancel();
    tracker.close();
    tracker.wait().await;
    assert!(merged.is_ok(), "{} files are not merged", files());
    tokio::task::spawn_blocking(move || drop((views, world))).await.unwrap();
}

#[test]
fn memory_says_so_when_it_does_not_hold_a_row() {
    // Many, or what is read when the views are opened would hold them all.
    let many = |value| (0..4_000).map(|n| row(&format!("k{n:04}"), value)).collect::<Vec<_>>();
    let mut world = World::new(small());
    world.batch(POLICE, &many("a"));
    world.views().apply_all().unwrap();
    for place in [Place::Resource(POLICE), PEOPLE] {
        let here = world.views().snapshot().in_memory().row(place, b"k2000").unwrap();
        assert!(here.is_some(), "{place:?}: what was just applied is in memory");
        world.views().flush().unwrap();
        world.reopen();
        let cold = world.views().snapshot().in_memory().row(place, b"k2000");
        assert!(matches!(cold, Err(ViewError::NotInMemory)), "{place:?}: {cold:?}");
        let read = world.views().snapshot().row(place, b"k2000").unwrap();
        assert_eq!(read, here, "{place:?}");
        let warm = world.views().snapshot().in_memory().row(place, b"k2000").unwrap();
        assert_eq!(warm, here, "{place:?}");
        // For the next place: in memory, not in a file.
        world.batch(POLICE, &many("b"));
        world.views().apply_all().unwrap();
    }
}
