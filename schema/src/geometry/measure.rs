//! Boxes and distances, computed while the bytes are read.

use super::wkb::{Part, Visitor};

/// Mean radius of the earth, in metres.
const EARTH_RADIUS: f64 = 6_371_008.8;

/// A box in degrees of longitude and latitude; a point has a box without extent.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct BoundingBox {
    /// Least longitude.
    pub west: f64,
    /// Least latitude.
    pub south: f64,
    /// Greatest longitude.
    pub east: f64,
    /// Greatest latitude.
    pub north: f64,
}

impl BoundingBox {
    /// Whether the two boxes have a point in common; their edges belong to them.
    #[must_use]
    pub fn intersects(&self, other: &Self) -> bool {
        self.west <= other.east
            && other.west <= self.east
            && self.south <= other.north
            && other.south <= self.north
    }

    /// Whether a point lies in the box or on its edge.
    #[must_use]
    pub fn contains(&self, longitude: f64, latitude: f64) -> bool {
        (self.west..=self.east).contains(&longitude)
            && (self.south..=self.north).contains(&latitude)
    }

    /// Longitude and latitude of the middle.
    #[must_use]
    pub fn centre(&self) -> (f64, f64) {
        (f64::midpoint(self.west, self.east), f64::midpoint(self.south, self.north))
    }
}

#[derive(Default)]
pub(super) struct Bounds(Option<BoundingBox>);

impl Bounds {
    pub(super) fn finish(self) -> Option<BoundingBox> {
        self.0
    }
}

impl Visitor for Bounds {
    fn begin(&mut self, _: Part) {}

    fn position(&mut self, x: f64, y: f64) {
        let point = BoundingBox { west: x, south: y, east: x, north: y };
        let old = self.0.unwrap_or(point);
        self.0 = Some(BoundingBox {
            west: old.west.min(x),
            south: old.south.min(y),
            east: old.east.max(x),
            north: old.north.max(y),
        });
    }
}

/// Finds the place nearest to a point. Positions are taken to a plane around the point, in metres
/// east and north of it; what is found there is measured on the sphere.
pub(super) struct Nearest {
    longitude: f64,
    latitude: f64,
    east_per_degree: f64,
    north_per_degree: f64,
    part: Part,
    previous: Option<(f64, f64)>,
    best: f64,
    best_place: (f64, f64),
    inside: bool,
}

impl Nearest {
    pub(super) fn to(longitude: f64, latitude: f64) -> Self {
        let north_per_degree = EARTH_RADIUS.to_radians();
        Self {
            longitude,
            latitude,
            east_per_degree: north_per_degree * latitude.to_radians().cos(),
            north_per_degree,
            part: Part::Point,
            previous: None,
            best: f64::INFINITY,
            best_place: (0.0, 0.0),
            inside: false,
        }
    }

    pub(super) fn metres(&self) -> f64 {
        if self.inside {
            return 0.0;
        }
        let (east, north) = self.best_place;
        // At the poles all longitudes are one place.
        let degrees_east =
            if self.east_per_degree > 0.0 { east / self.east_per_degree } else { 0.0 };
        haversine(
            (self.longitude, self.latitude),
            (self.longitude + degrees_east, self.latitude + north / self.north_per_degree),
        )
    }

    fn consider(&mut self, place: (f64, f64)) {
        let distance = place.0.hypot(place.1);
        if distance < self.best {
            self.best = distance;
            self.best_place = place;
        }
    }
}

impl Visitor for Nearest {
    fn begin(&mut self, part: Part) {
        self.part = part;
        self.previous = None;
    }

    fn position(&mut self, x: f64, y: f64) {
        let here = (
            (x - self.longitude) * self.east_per_degree,
            (y - self.latitude) * self.north_per_degree,
        );
        self.consider(here);
        if let Some(before) = self.previous {
            self.consider(nearest_on_edge(before, here));
            let ring = matches!(self.part, Part::Exterior | Part::Interior);
            // Even-odd over all rings: each edge that a ray to the east meets changes sides, so
            // holes need no case of their own.
            if ring && crosses_ray_east(before, here) {
                self.inside = !self.inside;
            }
        }
        self.previous = Some(here);
    }
}

/// The place on the edge from `a` to `b` that is nearest to the origin.
fn nearest_on_edge(a: (f64, f64), b: (f64, f64)) -> (f64, f64) {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length_squared = dx * dx + dy * dy;
    if length_squared == 0.0 {
        return a;
    }
    let along = (-(a.0 * dx + a.1 * dy) / length_squared).clamp(0.0, 1.0);
    (a.0 + along * dx, a.1 + along * dy)
}

/// Whether the edge from `a` to `b` meets the ray from the origin to the east.
fn crosses_ray_east(a: (f64, f64), b: (f64, f64)) -> bool {
    (a.1 > 0.0) != (b.1 > 0.0) && a.0 - a.1 * (b.0 - a.0) / (b.1 - a.1) > 0.0
}

/// Metres between two positions (longitude, latitude in degrees) on a sphere.
fn haversine(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (lat_a, lat_b) = (a.1.to_radians(), b.1.to_radians());
    let half_lat = (lat_b - lat_a) / 2.0;
    let half_lon = (b.0 - a.0).to_radians() / 2.0;
    let h = half_lat.sin().powi(2) + lat_a.cos() * lat_b.cos() * half_lon.sin().powi(2);
    2.0 * EARTH_RADIUS * h.sqrt().min(1.0).asin()
}
