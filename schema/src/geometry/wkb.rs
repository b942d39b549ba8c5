//! Canonical well-known binary: a writer, and a reader that hands positions to a visitor.

use geo_types::{
    Coord, Geometry, LineString, MultiLineString, MultiPoint, MultiPolygon, Point, Polygon,
};
use geojson::Position;

use super::GeometryError;

const LITTLE_ENDIAN: u8 = 1;

/// The kinds that are stored, with their codes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Point = 1,
    LineString = 2,
    Polygon = 3,
    MultiPoint = 4,
    MultiLineString = 5,
    MultiPolygon = 6,
}

/// What a run of positions is.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Point,
    Line,
    Exterior,
    Interior,
}

/// Receives the positions of a geometry in their order.
pub(super) trait Visitor {
    fn begin(&mut self, part: Part);
    fn position(&mut self, longitude: f64, latitude: f64);
}

impl Visitor for () {
    fn begin(&mut self, _: Part) {}
    fn position(&mut self, _: f64, _: f64) {}
}

pub(super) fn is_position(longitude: f64, latitude: f64) -> bool {
    // Written so that a NaN is refused.
    longitude.abs() <= 180.0 && latitude.abs() <= 90.0
}

/// Reads canonical bytes, refusing all others. What was visited before an error is to be discarded.
pub(super) fn walk(bytes: &[u8], visitor: &mut impl Visitor) -> Result<Kind, GeometryError> {
    if bytes.len() > crate::limits::FIELD_BYTES_MAX {
        return Err(GeometryError::TooLarge);
    }
    let mut reader = Reader(bytes);
    let kind = reader.header()?;
    match kind {
        Kind::Point => reader.point(visitor)?,
        Kind::LineString => reader.line(visitor)?,
        Kind::Polygon => reader.polygon(visitor)?,
        Kind::MultiPoint => reader.parts(Kind::Point, visitor, Reader::point)?,
        Kind::MultiLineString => reader.parts(Kind::LineString, visitor, Reader::line)?,
        Kind::MultiPolygon => reader.parts(Kind::Polygon, visitor, Reader::polygon)?,
    }
    if reader.0.is_empty() { Ok(kind) } else { Err(GeometryError::Bytes) }
}

/// The bytes not yet read. Counts are never trusted: every loop reads bytes, and ends with them.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn header(&mut self) -> Result<Kind, GeometryError> {
        let [order] = self.take::<1>()?;
        if order != LITTLE_ENDIAN {
            return Err(GeometryError::Bytes);
        }
        match self.count()? {
            1 => Ok(Kind::Point),
            2 => Ok(Kind::LineString),
            3 => Ok(Kind::Polygon),
            4 => Ok(Kind::MultiPoint),
            5 => Ok(Kind::MultiLineString),
            6 => Ok(Kind::MultiPolygon),
            _ => Err(GeometryError::Kind),
        }
    }

    fn point<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), GeometryError> {
        visitor.begin(Part::Point);
        self.position(visitor).map(|_| ())
    }

    fn line<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), GeometryError> {
        visitor.begin(Part::Line);
        let count = self.count()?;
        if count < 2 {
            return Err(GeometryError::Parts);
        }
        for _ in 0..count {
            self.position(visitor)?;
        }
        Ok(())
    }

    fn polygon<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), GeometryError> {
        let rings = self.count()?;
        if rings == 0 {
            return Err(GeometryError::Parts);
        }
        for ring in 0..rings {
            visitor.begin(if ring == 0 { Part::Exterior } else { Part::Interior });
            self.ring(visitor)?;
        }
        Ok(())
    }

    fn ring<V: Visitor>(&mut self, visitor: &mut V) -> Result<(), GeometryError> {
        let count = self.count()?;
        if count < 4 {
            return Err(GeometryError::Parts);
        }
        let first = self.position(visitor)?;
        let mut last = first;
        for _ in 1..count {
            last = self.position(visitor)?;
        }
        if first == last { Ok(()) } else { Err(GeometryError::Parts) }
    }

    fn parts<V: Visitor>(
        &mut self,
        kind: Kind,
        visitor: &mut V,
        read: fn(&mut Self, &mut V) -> Result<(), GeometryError>,
    ) -> Result<(), GeometryError> {
        let count = self.count()?;
        if count == 0 {
            return Err(GeometryError::Parts);
        }
        for _ in 0..count {
            if self.header()? != kind {
                return Err(GeometryError::Kind);
            }
            read(self, visitor)?;
        }
        Ok(())
    }

    /// Returns the bytes of the position, to compare by.
    fn position<V: Visitor>(&mut self, visitor: &mut V) -> Result<&'a [u8], GeometryError> {
        let bytes = self.0;
        let longitude = f64::from_le_bytes(self.take()?);
        let latitude = f64::from_le_bytes(self.take()?);
        let minus_zero = |v: f64| v == 0.0 && v.is_sign_negative();
        if !is_position(longitude, latitude) || minus_zero(longitude) || minus_zero(latitude) {
            return Err(GeometryError::Position);
        }
        visitor.position(longitude, latitude);
        Ok(&bytes[..16])
    }

    fn count(&mut self) -> Result<u32, GeometryError> {
        Ok(u32::from_le_bytes(self.take()?))
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], GeometryError> {
        let (taken, rest) = self.0.split_first_chunk::<N>().ok_or(GeometryError::Bytes)?;
        self.0 = rest;
        Ok(*taken)
    }
}

/// Writes canonical bytes. What makes no valid geometry is found when the result is validated.
#[derive(Default)]
pub(super) struct Writer(Vec<u8>);

impl Writer {
    pub(super) fn finish(self) -> Vec<u8> {
        self.0
    }

    pub(super) fn point(&mut self, position: &Position) -> Result<(), GeometryError> {
        self.header(Kind::Point);
        self.position(position)
    }

    pub(super) fn line(&mut self, positions: &[Position]) -> Result<(), GeometryError> {
        self.header(Kind::LineString);
        self.positions(positions)
    }

    pub(super) fn polygon(&mut self, rings: &[Vec<Position>]) -> Result<(), GeometryError> {
        self.header(Kind::Polygon);
        self.count(rings.len())?;
        rings.iter().try_for_each(|ring| self.positions(ring))
    }

    pub(super) fn multi<T>(
        &mut self,
        kind: Kind,
        parts: &[T],
        write: impl Fn(&mut Self, &T) -> Result<(), GeometryError>,
    ) -> Result<(), GeometryError> {
        self.header(kind);
        self.count(parts.len())?;
        parts.iter().try_for_each(|part| write(self, part))
    }

    fn header(&mut self, kind: Kind) {
        self.0.push(LITTLE_ENDIAN);
        self.0.extend_from_slice(&(kind as u32).to_le_bytes());
    }

    fn positions(&mut self, positions: &[Position]) -> Result<(), GeometryError> {
        self.count(positions.len())?;
        positions.iter().try_for_each(|position| self.position(position))
    }

    fn position(&mut self, position: &Position) -> Result<(), GeometryError> {
        let [longitude, latitude, ..] = position.as_slice() else {
            return Err(GeometryError::Position);
        };
        // Adding zero turns -0 into 0.
        self.0.extend_from_slice(&(longitude + 0.0).to_le_bytes());
        self.0.extend_from_slice(&(latitude + 0.0).to_le_bytes());
        Ok(())
    }

    fn count(&mut self, count: usize) -> Result<(), GeometryError> {
        let count = u32::try_from(count).map_err(|_| GeometryError::TooLarge)?;
        self.0.extend_from_slice(&count.to_le_bytes());
        Ok(())
    }
}

/// Puts the visited parts together.
#[derive(Default)]
pub(super) struct Assembly(Vec<(Part, Vec<Coord<f64>>)>);

impl Visitor for Assembly {
    fn begin(&mut self, part: Part) {
        self.0.push((part, Vec::new()));
    }

    fn position(&mut self, x: f64, y: f64) {
        if let Some((_, positions)) = self.0.last_mut() {
            positions.push(Coord { x, y });
        }
    }
}

impl Assembly {
    pub(super) fn finish(self, kind: Kind) -> Option<Geometry<f64>> {
        let mut points = Vec::new();
        let mut lines = Vec::new();
        let mut polygons: Vec<(LineString<f64>, Vec<LineString<f64>>)> = Vec::new();
        for (part, positions) in self.0 {
            match part {
                Part::Point => points.extend(positions.into_iter().map(Point)),
                Part::Line => lines.push(LineString(positions)),
                Part::Exterior => polygons.push((LineString(positions), Vec::new())),
                Part::Interior => polygons.last_mut()?.1.push(LineString(positions)),
            }
        }
        let mut polygons: Vec<Polygon<f64>> =
            polygons.into_iter().map(|(exterior, holes)| Polygon::new(exterior, holes)).collect();
        Some(match kind {
            Kind::Point => points.pop()?.into(),
            Kind::LineString => lines.pop()?.into(),
            Kind::Polygon => polygons.pop()?.into(),
            Kind::MultiPoint => MultiPoint(points).into(),
            Kind::MultiLineString => MultiLineString(lines).into(),
            Kind::MultiPolygon => MultiPolygon(polygons).into(),
        })
    }
}
