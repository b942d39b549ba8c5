use proptest::prelude::*;

use super::*;

const SQUARE: &str = r#"{"type":"Polygon","coordinates":[[[123,42],[124,42],[124,43],[123,43],[123,42]],[[123.4,42.4],[123.6,42.4],[123.6,42.6],[123.4,42.6],[123.4,42.4]]]}"#;

const ALL_KINDS: [&str; 6] = [
    r#"{"type":"Point","coordinates":[123.8438,42.2906]}"#,
    r#"{"type":"LineString","coordinates":[[123.5,42.5],[124.5,42.25]]}"#,
    SQUARE,
    r#"{"type":"MultiPoint","coordinates":[[123.5,42.5],[124.5,42.25]]}"#,
    r#"{"type":"MultiLineString","coordinates":[[[123.5,42.5],[124.5,42.25]],[[1,2],[3,4],[5,6]]]}"#,
    r#"{"type":"MultiPolygon","coordinates":[[[[0,0],[1,0],[1,1],[0,0]]],[[[5,5],[6,5],[6,6],[5,5]]]]}"#,
];

fn wkb(text: &str) -> Vec<u8> {
    from_geojson(text).expect(text)
}

#[test]
fn a_point_has_the_bytes_of_the_standard() {
    let mut expected = vec![1, 1, 0, 0, 0];
    expected.extend(123.5f64.to_le_bytes());
    expected.extend(42.25f64.to_le_bytes());
    assert_eq!(wkb(r#"{"type":"Point","coordinates":[123.5,42.25,10]}"#), expected);
}

#[test]
fn every_kind_comes_back_from_its_text() {
    for text in ALL_KINDS {
        let bytes = wkb(text);
        let back = to_geojson(&bytes).expect(text);
        assert_eq!(wkb(&back), bytes, "{back}");
        let (a, b): (serde_json::Value, serde_json::Value) =
            (serde_json::from_str(text).expect("json"), serde_json::from_str(&back).expect("json"));
        assert_eq!(a["type"], b["type"]);
    }
}

#[test]
fn what_cannot_be_stored_is_refused() {
    for (text, error) in [
        ("", GeometryError::Syntax),
        ("x", GeometryError::Syntax),
        (
            r#"{"type":"Feature","geometry":{"type":"Point","coordinates":[1,2]},"properties":{}}"#,
            GeometryError::Syntax,
        ),
        (r#"{"type":"Circle","coordinates":[1,2]}"#, GeometryError::Syntax),
        (r#"{"type":"GeometryCollection","geometries":[]}"#, GeometryError::Kind),
        (r#"{"type":"Point","coordinates":[181,2]}"#, GeometryError::Position),
        (r#"{"type":"Point","coordinates":[42623112.5,4682311.5]}"#, GeometryError::Position),
        (r#"{"type":"LineString","coordinates":[[1,2]]}"#, GeometryError::Parts),
        (r#"{"type":"LineString","coordinates":[]}"#, GeometryError::Parts),
        (r#"{"type":"Polygon","coordinates":[]}"#, GeometryError::Parts),
        (r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[0,0]]]}"#, GeometryError::Parts),
        (r#"{"type":"Polygon","coordinates":[[[0,0],[1,0],[1,1],[0,1]]]}"#, GeometryError::Parts),
        (r#"{"type":"MultiPoint","coordinates":[]}"#, GeometryError::Parts),
    ] {
        assert_eq!(from_geojson(text), Err(error), "{text}");
    }
    for short in [
        r#"{"type":"Point","coordinates":[1]}"#,
        r#"{"type":"Point","coordinates":[]}"#,
        r#"{"type":"MultiPoint","coordinates":[[1]]}"#,
    ] {
        assert!(from_geojson(short).is_err(), "{short}");
    }
}

#[test]
fn a_geometry_has_a_bound() {
    let positions = vec!["[1.5,2.5]"; 5_000].join(",");
    let text = format!(r#"{{"type":"MultiPoint","coordinates":[{positions}]}}"#);
    assert_eq!(from_geojson(&text), Err(GeometryError::TooLarge));
    assert_eq!(from_geojson(&" ".repeat(GEOJSON_BYTES_MAX + 1)), Err(GeometryError::TooLarge));
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    assert!(from_geojson(&format!(r#"{{"type":"Point","coordinates":{deep}}}"#)).is_err());
}

#[test]
fn minus_zero_is_zero() {
    let bytes = wkb(r#"{"type":"Point","coordinates":[-0.0,-0]}"#);
    assert_eq!(bytes, wkb(r#"{"type":"Point","coordinates":[0,0]}"#));
    let mut negative = bytes;
    negative[12] = 0x80;
    assert_eq!(validate(&negative), Err(GeometryError::Position));
}

#[test]
fn a_false_count_is_refused_before_anything_is_reserved() {
    for kind in 2u8..=6 {
        let mut bytes = vec![1, kind, 0, 0, 0];
        bytes.extend(u32::MAX.to_le_bytes());
        assert_eq!(validate(&bytes), Err(GeometryError::Bytes));
        assert!(decode(&bytes).is_err());
    }
}

#[test]
fn a_box_holds_all_positions() {
    let outer = bbox(&wkb(SQUARE)).expect("valid");
    assert_eq!(outer, BoundingBox { west: 123.0, south: 42.0, east: 124.0, north: 43.0 });
    assert_eq!(outer.centre(), (123.5, 42.5));
    assert!(outer.contains(123.0, 43.0) && !outer.contains(122.9, 42.5));
    let point = bbox(&wkb(ALL_KINDS[0])).expect("valid");
    assert!(outer.intersects(&point) && point.intersects(&outer));
    assert!(!outer.intersects(&BoundingBox { west: 125.0, ..outer_of(126.0) }));
}

fn outer_of(east: f64) -> BoundingBox {
    BoundingBox { west: 0.0, south: 42.0, east, north: 43.0 }
}

fn metres(text: &str, longitude: f64, latitude: f64) -> f64 {
    distance_to_point(&wkb(text), longitude, latitude).expect("valid")
}

#[test]
fn within_a_polygon_the_distance_is_nothing_and_in_its_hole_it_is_not() {
    assert_eq!(metres(SQUARE, 123.2, 42.2), 0.0);
    // In the middle of the hole: 0.1 degrees of longitude at 42.5 degrees are about 8.2 km.
    let hole = metres(SQUARE, 123.5, 42.5);
    assert!((8_150.0..8_250.0).contains(&hole), "{hole}");
}

#[test]
fn distances_are_metres_on_the_earth() {
    // One degree of latitude on the mean sphere is 111,195 m.
    let south = metres(SQUARE, 123.5, 41.0);
    assert!((south - 111_195.0).abs() < 1.0, "{south}");
    let beside = metres(r#"{"type":"LineString","coordinates":[[123,42],[125,42]]}"#, 124.0, 42.01);
    assert!((beside - 1_112.0).abs() < 1.0, "the edge counts, not its ends: {beside}");
    assert_eq!(metres(ALL_KINDS[0], 123.8438, 42.2906), 0.0);
    assert!(metres(ALL_KINDS[0], 0.0, 90.0).is_finite());
    assert_eq!(distance_to_point(&wkb(SQUARE), f64::NAN, 0.0), Err(GeometryError::Position));
}

prop_compose! {
    fn position()(longitude in -180.0..=180.0f64, latitude in -90.0..=90.0f64) -> (f64, f64) {
        (longitude, latitude)
    }
}

proptest! {
    #[test]
    fn coordinates_come_back_exactly(places in proptest::collection::vec(position(), 2..20)) {
        let list: Vec<String> = places.iter().map(|(x, y)| format!("[{x},{y}]")).collect();
        let bytes = wkb(&format!(r#"{{"type":"LineString","coordinates":[{}]}}"#, list.join(",")));
        prop_assert_eq!(wkb(&to_geojson(&bytes).expect("valid")), bytes.clone());
        let geo_types::Geometry::LineString(line) = decode(&bytes).expect("valid") else {
            return Err(TestCaseError::fail("not a line string"));
        };
        let back: Vec<(f64, f64)> = line.0.iter().map(|c| (c.x, c.y)).collect();
        prop_assert_eq!(back, places);
    }

    #[test]
    fn a_changed_byte_never_panics(kind in 0usize..6, at in any::<prop::sample::Index>(), byte in any::<u8>(), keep in any::<prop::sample::Index>()) {
        let mut bytes = wkb(ALL_KINDS[kind]);
        let at = at.index(bytes.len());
        bytes[at] = byte;
        bytes.truncate(keep.index(bytes.len()) + 1);
        let valid = validate(&bytes).is_ok();
        prop_assert_eq!(valid, decode(&bytes).is_ok());
        prop_assert_eq!(valid, bbox(&bytes).is_ok());
        prop_assert_eq!(valid, distance_to_point(&bytes, 123.0, 42.0).is_ok());
        if valid {
            prop_assert_eq!(wkb(&to_geojson(&bytes).expect("valid")), bytes);
        }
    }

    #[test]
    fn arbitrary_input_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..100), text in ".{0,80}") {
        let _ = validate(&bytes);
        let _ = decode(&bytes);
        let _ = from_geojson(&text);
    }
}
