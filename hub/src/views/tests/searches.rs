//! Searching the libraries.

use std::sync::Arc;

use hutong_schema::{
    block::BlockBuilder,
    geometry::{self, BoundingBox},
    library::LibraryId,
    row::FieldId,
};
use serde_json::json;

use super::{
    model::Change,
    random::small,
    world::{HEALTH, PARTITION, POLICE, World, header, police_reading},
};
use crate::{
    log::{BatchKind, EntryKind, Log, LogOptions, NewEntry, Offset, RocksLog, event::Event},
    numbers::{NodeNo, ResourceNo},
    views::{ReadOnlyViews, ViewError, ViewSnapshot, Views},
};

fn person(key: &str, name: &str, division: &str) -> Change {
    let row = [(2, name.as_bytes().to_vec()), (6, division.as_bytes().to_vec())];
    Change { key: key.into(), row: Some(row.into()), rejected: false }
}

fn keys(snapshot: &ViewSnapshot<'_>, field: u16, value: &str) -> Vec<String> {
    let (found, more) =
        snapshot.by_index(LibraryId::POPULATION, FieldId(field), value.as_bytes(), 10).unwrap();
    assert!(!more);
    found.into_iter().map(|found| String::from_utf8(found.key).unwrap()).collect()
}

#[test]
fn people_are_found_by_name_and_division_as_they_are_now() {
    let mut world = World::new(small());
    world.batch(
        POLICE,
        &[
            person("k1", "王示例", "211221001"),
            person("k2", "王示例", "211202"),
            person("k3", "王示例二", "211221"),
        ],
    );
    world.views().apply_all().unwrap();
    world.batch(POLICE, &[person("k2", "李示例", "211221")]);
    world.views().apply_all().unwrap();
    {
        let snapshot = world.views().snapshot();
        assert_eq!(keys(&snapshot, 2, "王示例"), ["k1"]);
        assert_eq!(keys(&snapshot, 2, "李示例"), ["k2"]);
        assert_eq!(
            keys(&snapshot, 6, "211221"),
            ["k2", "k3", "k1"],
            "by value, then key; streets within"
        );
        assert_eq!(keys(&snapshot, 6, "211202"), [""; 0]);
        let (first, more) =
            snapshot.by_index(LibraryId::POPULATION, FieldId(6), b"2112", 2).unwrap();
        assert_eq!((first.len(), more), (2, true));
        let phone = snapshot.by_index(LibraryId::POPULATION, FieldId(9), b"1", 2);
        assert!(matches!(phone, Err(ViewError::NoSuchIndex)));
    }
    // Another resource with more authority knows k3 under another name.
    let row = [(4u16, "赵示例".as_bytes().to_vec())];
    world.batch(HEALTH, &[Change { key: b"k3".to_vec(), row: Some(row.into()), rejected: false }]);
    world.views().apply_all().unwrap();
    let snapshot = world.views().snapshot();
    assert_eq!(keys(&snapshot, 2, "赵示例"), ["k3"]);
    assert_eq!(keys(&snapshot, 2, "王示例二"), [""; 0]);
    let record = snapshot.library_record(LibraryId::POPULATION, b"k3").unwrap().unwrap();
    assert_eq!(record.sources, [(FieldId(2), HEALTH), (FieldId(6), POLICE)]);
    assert_eq!(record.resources, [HEALTH, POLICE]);
    assert_eq!(snapshot.library_record(LibraryId::POPULATION, b"k9").unwrap(), None);
}

#[test]
fn an_entry_read_in_another_way_is_searched_in_the_new_way() {
    let mut world = World::new(small());
    world.batch(POLICE, &[person("k1", "王示例", "211221")]);
    world.views().apply_all().unwrap();
    let (authority, mut fields) = police_reading();
    fields.retain(|(item, _)| *item != 2);
    fields.push((2, 6));
    fields.retain(|pair| *pair != (6, 6));
    world.publish(POLICE, Some((authority, fields)));
    world.views().apply_all().unwrap();
    let snapshot = world.views().snapshot();
    assert_eq!(keys(&snapshot, 6, "王示例"), ["k1"]);
    assert_eq!(keys(&snapshot, 2, "王示例"), [""; 0]);
}

#[test]
fn another_process_reads_what_was_flushed() {
    let mut world = World::new(small());
    world.batch(POLICE, &[person("k1", "王示例", "211221")]);
    world.views().apply_all().unwrap();
    world.views().flush().unwrap();
    world.batch(POLICE, &[person("k2", "李示例", "211221")]);
    world.views().apply_all().unwrap();
    let other = ReadOnlyViews::open(world.views_dir()).unwrap();
    assert_eq!(keys(&other.snapshot(), 6, "211221"), ["k1"]);
    world.views().flush().unwrap();
    let other = ReadOnlyViews::open(world.views_dir()).unwrap();
    assert_eq!(keys(&other.snapshot(), 6, "211221"), ["k1", "k2"]);
}

/// Views over features at these places; a feature is a point, or a square of this many degrees.
fn features(places: &[(f64, f64, f64)]) -> (tempfile::TempDir, Views) {
    let dir = tempfile::tempdir().unwrap();
    let options = LogOptions { data_partitions: 1, ..LogOptions::default() };
    let log = Arc::new(RocksLog::open(dir.path().join("log"), options).unwrap().0);
    let item = |id: u16, kind: char| {
        json!({ "id": id, "name": format!("f{id}"), "label": format!("示例{id}"), "data_type": kind.to_string(),
                "required": id == 1, "key": id == 1 })
    };
    let entry = serde_json::from_value(json!({
        "code": "300003/000001", "name": "示例", "provider": "11100000000013338W", "provider_name": "示例局",
        "format": 3, "items": [item(1, 'C'), item(2, 'G')], "sharing": { "kind": 1 }, "update_cycle": 2,
        "binding": { "library": 3, "fields": [[1, 1], [2, 5]], "authority": 1 },
        "version": 1, "schema_version": 1
    }))
    .unwrap();
    let resource = ResourceNo(1);
    let events = [
        Event::EntryPublished { resource, entry },
        Event::EpochOpened { resource, shard: 0, epoch: 1, node: NodeNo(1) },
    ];
    let mut entries: Vec<_> = (1..)
        .zip(&events)
        .map(|(at, event)| {
            let kind = EntryKind::Barrier { meta_offset: Offset(at) };
            (PARTITION, NewEntry::new(kind, Offset(at), event.encode().unwrap()))
        })
        .collect();
    let mut block = BlockBuilder::new(&[FieldId(2)]);
    for (number, (x, y, size)) in places.iter().enumerate() {
        let (east, north) = (x + size, y + size);
        let text = match *size > 0.0 {
            false => format!(r#"{{"type":"Point","coordinates":[{x},{y}]}}"#),
            true => format!(
                r#"{{"type":"Polygon","coordinates":[[[{x},{y}],[{east},{y}],[{east},{north}],[{x},{north}],[{x},{y}]]]}}"#
            ),
        };
        let wkb = geometry::from_geojson(&text).unwrap();
        block.upsert(format!("f{number:03}").as_bytes(), [Some(&wkb[..])]);
    }
    let raw = block.finish();
    let (head, payload) = header(resource, (1, 1), BatchKind::Rows, places.len(), &raw, Vec::new());
    entries.push((PARTITION, NewEntry::new(EntryKind::Batch(head), Offset(2), payload)));
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(log.append(entries)).unwrap();
    let views = Views::open(dir.path().join("views"), small(), log).unwrap();
    views.apply_all().unwrap();
    (dir, views)
}

#[test]
fn features_are_found_by_box_and_by_nearness_as_by_looking_at_all() {
    let mut places =
        vec![(123.0, 42.0, 0.0), (123.001, 42.0, 0.0), (-179.9, -89.0, 0.0), (100.0, 10.0, 60.0)];
    for n in 0..60 {
        let (x, y) = (f64::from(n % 10), f64::from(n / 10));
        places.push((120.0 + x * 0.7, 40.0 + y * 0.9, f64::from(n % 4) * 0.11));
    }
    let (_dir, views) = features(&places);
    let snapshot = views.snapshot();
    let meets = |bounds: &BoundingBox| -> Vec<usize> {
        let of = |(x, y, size): (f64, f64, f64)| BoundingBox {
            west: x,
            south: y,
            east: x + size,
            north: y + size,
        };
        (0..places.len()).filter(|at| of(places[*at]).intersects(bounds)).collect()
    };
    let number = |key: &[u8]| std::str::from_utf8(&key[1..]).unwrap().parse::<usize>().unwrap();
    for (west, south, size) in
        [(122.9, 41.9, 0.2), (120.0, 40.0, 3.0), (-180.0, -90.0, 360.0), (0.0, 0.0, 1.0)]
    {
        let bounds = BoundingBox { west, south, east: west + size, north: south + size };
        let (found, more) = snapshot.in_box(LibraryId::GEOSPATIAL, &bounds, 1_000).unwrap();
        let mut found: Vec<_> = found.iter().map(|found| number(&found.key)).collect();
        found.sort_unstable();
        assert_eq!((found, more), (meets(&bounds), false));
    }
    for (x, y) in [(123.0, 42.0), (121.3, 43.3), (0.0, 0.0), (-179.0, -89.9)] {
        let found = snapshot.nearest(LibraryId::GEOSPATIAL, x, y, 5).unwrap();
        let mut all = snapshot.nearest(LibraryId::GEOSPATIAL, x, y, 1_000).unwrap();
        assert_eq!(all.len(), places.len());
        assert!(all.is_sorted_by(|a, b| a.0 <= b.0));
        all.truncate(5);
        assert_eq!(found, all);
    }
    let people = snapshot.nearest(LibraryId::POPULATION, 0.0, 0.0, 1);
    assert!(matches!(people, Err(ViewError::NoSuchIndex)));
}
