//! Random histories against the model: whatever happens in whatever order, in one range or many,
//! through batches or bulk files, with restarts and crashes in between.

use std::collections::BTreeMap;

use hutong_schema::{grant::CompiledFilter, row::FieldId};
use proptest::prelude::*;

use super::{
    super::{DigestSpec, FeedState, HubDigests, Place, ViewOptions, Views},
    model::{Change, Follower, Grantee, Row, covered, digest, read},
    world::{
        ADULTS, GRANTED, HEALTH, PARTITION, PEOPLE, PLACES, POLICE, RESOURCES, World, adults,
        health_reading, items,
    },
};
use crate::{log::Offset, numbers::ResourceNo};

#[derive(Clone, Debug)]
enum Action {
    Batch { resource: usize, changes: Vec<(u8, Option<u8>, bool)> },
    ReplaceBegin(usize),
    ReplaceEnd(usize),
    Checkpoint(usize),
    Clock(u32),
    Grant,
    Epoch(usize),
    Reading(bool),
    Apply,
    Watch,
    Reopen,
    BackUp,
    Crash,
}

fn action() -> impl Strategy<Value = Action> {
    let change = (0u8..12, prop::option::weighted(0.8, 0u8..250), prop::bool::weighted(0.1));
    let resource = 0usize..3;
    prop_oneof![
        12 => (resource.clone(), prop::collection::vec(change, 0..12))
            .prop_map(|(resource, changes)| Action::Batch { resource, changes }),
        2 => resource.clone().prop_map(Action::ReplaceBegin),
        2 => resource.clone().prop_map(Action::ReplaceEnd),
        2 => resource.clone().prop_map(Action::Checkpoint),
        2 => prop::sample::select(vec![20180101u32, 20220615, 20260301]).prop_map(Action::Clock),
        1 => Just(Action::Grant),
        1 => resource.prop_map(Action::Epoch),
        1 => any::<bool>().prop_map(Action::Reading),
        4 => Just(Action::Apply),
        3 => Just(Action::Watch),
        1 => Just(Action::Reopen),
        1 => Just(Action::BackUp),
        1 => Just(Action::Crash),
    ]
}

fn options() -> impl Strategy<Value = ViewOptions> {
    let ranges = prop::sample::select(vec![1usize, 9, 100_000]);
    let bulk = prop::sample::select(vec![0usize, 6, 100_000]);
    (ranges, bulk, prop::sample::select(vec![0usize, 1 << 20])).prop_map(
        |(range_rows, bulk_rows, feed_cache_bytes)| ViewOptions {
            range_rows,
            bulk_rows,
            feed_cache_bytes,
            step_rows: 2,
            ..small()
        },
    )
}

pub(super) fn small() -> ViewOptions {
    ViewOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        ..ViewOptions::default()
    }
}

/// A row that depends on the seed alone; few values, so that rows are often equal.
fn row(resource: ResourceNo, seed: u8) -> Row {
    let births = ["20000101", "20040615", "20080301", "20120229", "?"];
    let value = |item: u16| match (resource, item) {
        (POLICE, 5) => births[usize::from(seed) % births.len()].to_owned(),
        _ => format!("v{}", (u16::from(seed) / 7 + item) % 4),
    };
    let present = |item: &&u16| !(u16::from(seed) + **item).is_multiple_of(5);
    items(resource).iter().filter(present).map(|item| (*item, value(*item).into_bytes())).collect()
}

/// Those who follow from different moments on.
struct Followers {
    all: Vec<(Place, Follower)>,
    grantees: Vec<(Follower, Grantee)>,
}

impl Followers {
    /// One more of each, from what the views hold now.
    fn join(&mut self, views: &Views, granted: bool) {
        let snapshot = views.snapshot();
        for place in PLACES {
            let mut rows = BTreeMap::new();
            let _ = snapshot.scan(place, None, |key, row| {
                rows.insert(key.to_vec(), read(row));
                std::ops::ControlFlow::Continue(())
            });
            let follower = Follower { rows, seq: snapshot.feed_state(place).unwrap().seq };
            // Feeds tell what the date changes only for grants in force.
            if place == PEOPLE && granted {
                let filter = CompiledFilter::new(Some(&adults()), &[FieldId(1)]);
                let as_of = snapshot.as_of(place).unwrap();
                let mut grantee = Grantee { rows: follower.rows.clone(), filter: filter.clone() };
                grantee.rows.retain(|key, row| {
                    filter.matches(key, super::model::stored(row).as_ref(), as_of)
                });
                self.grantees.push((follower.clone(), grantee));
            }
            self.all.push((place, follower));
        }
    }

    fn catch_up(&mut self, views: &Views) {
        for (place, follower) in &mut self.all {
            loop {
                let items = views.feed_after(*place, follower.seq, 300).unwrap();
                items.iter().for_each(|item| follower.follow(item));
                if items.is_empty() {
                    break;
                }
                assert_eq!(
                    views.feed_hash(*place, follower.seq).unwrap(),
                    Some(items[items.len() - 1].hash)
                );
            }
        }
        for (follower, grantee) in &mut self.grantees {
            for item in views.feed_after(PEOPLE, follower.seq, usize::MAX).unwrap() {
                follower.follow(&item);
                grantee.follow(&item);
            }
        }
    }
}

fn play(world: &mut World, followers: &mut Followers, action: &Action) {
    match action {
        Action::Batch { resource, changes } => {
            let resource = RESOURCES[*resource];
            let change = |(key, seed, rejected): &(u8, Option<u8>, bool)| Change {
                key: format!("k{key:02}").into_bytes(),
                row: seed.map(|seed| row(resource, seed)),
                rejected: *rejected,
            };
            let changes: Vec<_> = changes.iter().map(change).collect();
            world.batch(resource, &changes);
        }
        Action::ReplaceBegin(resource) => world.replace_begin(RESOURCES[*resource]),
        Action::ReplaceEnd(resource) => world.replace_end(RESOURCES[*resource]),
        Action::Checkpoint(resource) => world.checkpoint(RESOURCES[*resource]),
        Action::Clock(date) => world.clock(*date),
        Action::Grant => world.grant_adults(),
        Action::Epoch(resource) => world.epoch(RESOURCES[*resource]),
        Action::Reading(first) => world.publish(HEALTH, Some(health_reading(*first))),
        Action::Apply => world.views().apply_all().unwrap(),
        Action::Watch => {
            world.views().apply_all().unwrap();
            followers.join(world.views(), world.granted);
        }
        Action::Reopen => world.reopen(),
        Action::BackUp => world.back_up(),
        Action::Crash => world.crash(),
    }
}

fn check(world: &World, followers: &mut Followers) {
    let views = world.views();
    let snapshot = views.snapshot();
    followers.catch_up(views);
    for place in PLACES {
        let expected = world.model.place(place);
        let mut found = BTreeMap::new();
        let _ = snapshot
            .scan(place, None, |key, row| {
                found.insert(key.to_vec(), read(row));
                std::ops::ControlFlow::Continue(())
            })
            .unwrap();
        assert_eq!(found, expected, "{place:?}");
        let digests = snapshot.digests(place, &[DigestSpec::default()], world.model.as_of).unwrap();
        assert_eq!(digests[0].digest, digest(&expected));
        for (key, row) in &expected {
            assert_eq!(
                snapshot.row(place, key).unwrap().map(|row| read(row.as_ref())).as_ref(),
                Some(row)
            );
        }
        if let Place::Resource(resource) = place {
            assert_eq!(snapshot.resource_state(resource).unwrap().rows, expected.len() as u64);
        }
    }
    for (place, follower) in &followers.all {
        assert_eq!(follower.rows, world.model.place(*place), "follower of {place:?}");
    }
    for (_, grantee) in &followers.grantees {
        let fields: Vec<u16> = (0..20).collect();
        let expected =
            covered(&world.model.place(PEOPLE), &grantee.filter, world.model.as_of, &fields);
        assert_eq!(grantee.rows, expected, "grantee");
    }
    check_checkpoints(world);
}

/// Without a background task every checkpoint is counted before the next entry is applied.
fn check_checkpoints(world: &World) {
    let snapshot = world.views().snapshot();
    for resource in RESOURCES {
        let found = snapshot.checkpoints(Place::Resource(resource), usize::MAX).unwrap();
        let found: Vec<_> = found.iter().rev().map(|(_, record)| record.hub.clone()).collect();
        let expected: Vec<_> = world
            .checkpoints
            .iter()
            .filter(|(of, _)| *of == resource)
            .map(|(_, digest)| HubDigests::Found { full: Some(*digest), grants: Vec::new() })
            .collect();
        assert_eq!(found, expected, "checkpoints of {resource:?}");
    }
    let last = snapshot.checkpoints(PEOPLE, 1).unwrap();
    if let Some((seq, record)) = last.first()
        && snapshot.feed_state(PEOPLE).unwrap().seq == *seq
        && let HubDigests::Found { grants, .. } = &record.hub
        && let [(grant, _, found)] = grants[..]
    {
        assert_eq!(grant, ADULTS);
        let filter = CompiledFilter::new(Some(&adults()), &[FieldId(1)]);
        assert_eq!(
            found,
            digest(&covered(&world.model.place(PEOPLE), &filter, record.as_of, &GRANTED))
        );
    }
}

fn feeds(views: &Views) -> Vec<FeedState> {
    let snapshot = views.snapshot();
    PLACES.iter().map(|place| snapshot.feed_state(*place).unwrap()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, max_shrink_iters: 400, ..ProptestConfig::default() })]

    #[test]
    fn the_views_are_what_the_entries_say(
        options in options(),
        other in options(),
        actions in prop::collection::vec(action(), 1..60),
    ) {
        let mut world = World::new(options);
        let mut followers = Followers { all: Vec::new(), grantees: Vec::new() };
        world.views().apply_all().unwrap();
        followers.join(world.views(), world.granted);
        for action in &actions {
            play(&mut world, &mut followers, action);
        }
        world.views().apply_all().unwrap();
        check(&world, &mut followers);
        for finding in world.views().snapshot().findings(PARTITION, Offset::NONE, usize::MAX).unwrap() {
            prop_assert!(finding.reason.contains("did not begin"), "{}", finding.reason);
        }
        // Another way through the same log leads to the same feeds.
        let dir = world.dir.path().join("others");
        let again = Views::open(dir, other, world.log.clone()).unwrap();
        again.apply_all().unwrap();
        prop_assert_eq!(feeds(&again), feeds(world.views()));
    }
}
