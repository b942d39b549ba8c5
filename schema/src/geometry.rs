//! Geometry: GeoJSON geometry text ⇄ canonical bytes, and the few questions the hub asks of them.
//!
//! Canonical bytes are well-known binary (OGC 06-103r4) in little-endian order with two ordinates:
//! longitude, then latitude, in degrees of CGCS2000. Point, line string, polygon and their multi
//! forms; no collections, so that nothing nests deeper than polygon parts. Coordinates are finite,
//! within ±180 and ±90, and never `-0`; lines have two positions or more; rings four or more, the
//! last equal to the first; nothing is empty; nothing follows the geometry.
//!
//! Boxes and distances take longitudes as they stand: a geometry across the 180th meridian must be
//! cut there, as RFC 7946 (3.1.9) asks.

use geojson::Geometry as GeoJson;
use geojson::GeometryValue;

use crate::limits::FIELD_BYTES_MAX;

mod measure;
mod wkb;

pub use measure::BoundingBox;
use measure::{Bounds, Nearest};
use wkb::{Assembly, Kind, Writer};

/// Longest GeoJSON text taken, in bytes: the positions of the largest field at their longest, with
/// room for blanks. Checked before it is parsed.
pub const GEOJSON_BYTES_MAX: usize = 8 * FIELD_BYTES_MAX;

/// Why a geometry cannot be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// The text is not a GeoJSON geometry.
    #[error("not a GeoJSON geometry")]
    Syntax,
    /// The text or the bytes are larger than a field may be.
    #[error("larger than a field may be")]
    TooLarge,
    /// A geometry collection, or a kind of well-known binary that is not stored.
    #[error("only points, lines, polygons and their multi forms are stored")]
    Kind,
    /// The bytes end too early, go on after the end, or are not in little-endian order.
    #[error("not canonical well-known binary")]
    Bytes,
    /// A position with fewer than two ordinates, or outside of ±180 and ±90 degrees.
    #[error("a position that is no longitude and latitude in degrees")]
    Position,
    /// A part with too few positions, an empty geometry, or a ring that is not closed.
    #[error("a line, ring or part that is empty, too short or not closed")]
    Parts,
}

/// The canonical bytes of a GeoJSON geometry (not of a feature). Further ordinates of a position are
/// dropped; nothing else is changed, not even the direction of rings.
pub fn from_geojson(text: &str) -> Result<Vec<u8>, GeometryError> {
    if text.len() > GEOJSON_BYTES_MAX {
        return Err(GeometryError::TooLarge);
    }
    let geometry: GeoJson = text.parse().map_err(|_| GeometryError::Syntax)?;
    let mut out = Writer::default();
    match &geometry.value {
        GeometryValue::Point { coordinates } => out.point(coordinates)?,
        GeometryValue::LineString { coordinates } => out.line(coordinates)?,
        GeometryValue::Polygon { coordinates } => out.polygon(coordinates)?,
        GeometryValue::MultiPoint { coordinates } => {
            out.multi(Kind::MultiPoint, coordinates, Writer::point)?;
        }
        GeometryValue::MultiLineString { coordinates } => {
            out.multi(Kind::MultiLineString, coordinates, |out, line| out.line(line))?;
        }
        GeometryValue::MultiPolygon { coordinates } => {
            out.multi(Kind::MultiPolygon, coordinates, |out, polygon| out.polygon(polygon))?;
        }
        GeometryValue::GeometryCollection { .. } => return Err(GeometryError::Kind),
    }
    let bytes = out.finish();
    validate(&bytes)?;
    Ok(bytes)
}

/// The GeoJSON geometry of canonical bytes.
pub fn to_geojson(wkb: &[u8]) -> Result<String, GeometryError> {
    Ok(GeoJson::from(&decode(wkb)?).to_string())
}

/// The geometry of canonical bytes, for calculations.
pub fn decode(wkb: &[u8]) -> Result<geo_types::Geometry<f64>, GeometryError> {
    let mut assembly = Assembly::default();
    let kind = wkb::walk(wkb, &mut assembly)?;
    assembly.finish(kind).ok_or(GeometryError::Parts)
}

/// Whether bytes are canonical. Never panics and never allocates.
pub fn validate(wkb: &[u8]) -> Result<(), GeometryError> {
    wkb::walk(wkb, &mut ()).map(|_| ())
}

/// The smallest box around canonical bytes.
pub fn bbox(wkb: &[u8]) -> Result<BoundingBox, GeometryError> {
    let mut bounds = Bounds::default();
    wkb::walk(wkb, &mut bounds)?;
    bounds.finish().ok_or(GeometryError::Parts)
}

/// Metres from a point (longitude, latitude in degrees) to the nearest place of a geometry; 0
/// within a polygon. For ordering by nearness, not for surveying: the earth is a sphere of mean
/// radius (error up to 0.5 %), and edges are straight on a plane around the point, which is good
/// to some hundred kilometres and away from the poles.
pub fn distance_to_point(wkb: &[u8], longitude: f64, latitude: f64) -> Result<f64, GeometryError> {
    if !wkb::is_position(longitude, latitude) {
        return Err(GeometryError::Position);
    }
    let mut nearest = Nearest::to(longitude, latitude);
    wkb::walk(wkb, &mut nearest)?;
    Ok(nearest.metres())
}

#[cfg(test)]
mod tests;
