//! Geometry: points, lines and polygons in the city's area, as GeoJSON text.
//!
//! Coordinates are CGCS2000 degrees, longitude first, kept as whole micro-degrees until they are
//! printed: no floating point, so the same text on every machine.

use std::fmt::Write as _;

use super::names;
use super::rng::Rng;
use super::row::{Decimal, Row, decimal};

const SEED: u64 = 0x5A7E_0003;

/// Longitudes of the city in micro-degrees.
const WEST_EAST: (u64, u64) = (123_500_000, 125_200_000);
/// Latitudes of the city in micro-degrees.
const SOUTH_NORTH: (u64, u64) = (41_900_000, 43_500_000);
/// Shapes keep this far from the edge of the area, so that they lie within it as a whole.
const MARGIN: u64 = 40_000;

/// Fills row `index` of the geospatial resource; points, lines and polygons take turns.
pub fn fill(index: u64, row: &mut Row) {
    let rng = &mut Rng::of(SEED, index);
    let (kind, suffix) = match index % 3 {
        0 => ("地标", rng.pick(&["广场", "车站", "观测点", "大桥"])),
        1 => ("线路", rng.pick(&["公路", "河", "管线"])),
        _ => ("地块", rng.pick(&["水库", "公园", "工业园", "林场"])),
    };
    row.put(format_args!("TL-SL-{:05}", index + 1));
    names::place(row, rng, suffix);
    row.put_str(kind);
    row.put(names::any_division(rng).code);
    match index % 3 {
        0 => {
            point(row, rng);
            row.absent();
        }
        1 => {
            line(row, rng);
            row.absent();
        }
        _ => {
            let radius = rng.between(2_000, MARGIN - 8_000);
            polygon(row, rng, radius);
            // About π r²: a square degree has 9,090 km² at this latitude. In km², two decimals.
            row.put(decimal(radius * radius * 2_856 / 1_000_000_000, 2));
        }
    }
}

/// A point of the city as one value.
pub fn point(row: &mut Row, rng: &mut Rng) {
    let place = Place::any(rng);
    let _ = write!(row.text(), r#"{{"type":"Point","coordinates":{place}}}"#);
    row.end();
}

/// A line of 3 to 12 vertices that heads in one direction and wavers.
fn line(row: &mut Row, rng: &mut Rng) {
    let mut place = Place::any(rng);
    row.text().push_str(r#"{"type":"LineString","coordinates":["#);
    let vertices = rng.between(3, 12);
    let (east, north) = (step(rng), step(rng));
    for vertex in 0..vertices {
        let comma = if vertex == 0 { "" } else { "," };
        let _ = write!(row.text(), "{comma}{place}");
        place.longitude += east + step(rng) / 4 + 1;
        place.latitude += north + step(rng) / 4 + 1;
    }
    row.text().push_str("]}");
    row.end();
}

/// A polygon around a centre, counter-clockwise and closed; one in four has a hole.
///
/// `radius` is in micro-degrees and must be below [`MARGIN`].
pub fn polygon(row: &mut Row, rng: &mut Rng, radius: u64) {
    let centre = Place::any(rng);
    row.text().push_str(r#"{"type":"Polygon","coordinates":["#);
    ring(row, centre, COMPASS.iter().map(|(x, y)| (*x, *y, rng.between(radius * 3 / 4, radius))));
    if rng.chance(25) {
        row.text().push(',');
        let hole = COMPASS.iter().rev().map(|(x, y)| (*x, *y, radius / 4));
        ring(row, centre, hole);
    }
    row.text().push_str("]}");
    row.end();
}

/// Twelve directions in per mille of the radius, counter-clockwise from east.
const COMPASS: [(i64, i64); 12] = [
    (1_000, 0),
    (866, 500),
    (500, 866),
    (0, 1_000),
    (-500, 866),
    (-866, 500),
    (-1_000, 0),
    (-866, -500),
    (-500, -866),
    (0, -1_000),
    (500, -866),
    (866, -500),
];

fn ring(row: &mut Row, centre: Place, corners: impl Iterator<Item = (i64, i64, u64)>) {
    let mut first = None;
    row.text().push('[');
    for (x, y, radius) in corners {
        let corner = Place {
            longitude: centre.longitude + x * radius as i64 / 1_000,
            latitude: centre.latitude + y * radius as i64 / 1_000,
        };
        first.get_or_insert(corner);
        let _ = write!(row.text(), "{corner},");
    }
    if let Some(first) = first {
        let _ = write!(row.text(), "{first}]");
    }
}

/// A position in micro-degrees.
#[derive(Clone, Copy, Debug)]
struct Place {
    longitude: i64,
    latitude: i64,
}

impl Place {
    fn any(rng: &mut Rng) -> Self {
        let mut within = |(low, high): (u64, u64)| rng.between(low + MARGIN, high - MARGIN) as i64;
        Self { longitude: within(WEST_EAST), latitude: within(SOUTH_NORTH) }
    }
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let degrees = |units| Decimal { units, places: 6 };
        write!(f, "[{},{}]", degrees(self.longitude), degrees(self.latitude))
    }
}

/// A step of a line: at most 0.0022 degrees, so that 12 of them with wavering stay in the margin.
fn step(rng: &mut Rng) -> i64 {
    rng.below(4_400) as i64 - 2_200
}
