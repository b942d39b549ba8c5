//! Searching libraries by their indexes. An index may name rows that no longer have the value, so
//! every row found is read and checked.

use std::collections::BTreeMap;

use hutong_schema::{
    geometry::{self, BoundingBox},
    library::{IndexKind, Library, LibraryId},
    row::{FieldId, RowBuf, RowRef},
};

use super::{ViewSnapshot, copy};
use crate::{
    numbers::SpaceNo,
    views::{
        error::{Result, ViewError},
        keys,
        spatial::{self, CELL_BYTES, Cell, FINEST, Window},
    },
};

/// A record that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its key.
    pub key: Vec<u8>,
    /// Its merged fields.
    pub row: RowBuf,
}

/// The widest search for neighbours, degrees in every direction: all of the earth.
const WIDEST: f64 = 360.0;

impl ViewSnapshot<'_> {
    /// Records of a library whose field has this value; for a field whose index is by prefix, whose
    /// value begins with it (a division code of six digits finds the streets within). In the order
    /// of value and key. The flag tells whether there are more.
    ///
    /// # Errors
    /// When the store fails or the field has no such index.
    pub fn by_index(
        &self,
        library: LibraryId,
        field: FieldId,
        value: &[u8],
        limit: usize,
    ) -> Result<(Vec<Found>, bool)> {
        let definition = self.core.library(library)?;
        let (number, kind) = index_of(definition, field)?;
        let whole = match kind {
            IndexKind::Exact => true,
            IndexKind::Prefix => false,
            IndexKind::Spatial => return Err(ViewError::NoSuchIndex),
        };
        let space = SpaceNo::library(library);
        let prefix = keys::index_prefix(space, number);
        let mut start = prefix.clone();
        start.extend_from_slice(keys::index_value(value));
        if whole {
            start.push(0);
        }
        let holds = |found: &[u8]| if whole { found == value } else { found.starts_with(value) };
        let mut out = Vec::new();
        let mut entries = self.groups().iterator(self.core.partition(space), &prefix)?;
        entries.seek(&start);
        while let Some(entry) = entries.key().filter(|entry| entry.starts_with(&start)) {
            let key = keys::row_of_index(entry).ok_or(ViewError::Damaged { what: "index key" })?;
            let said = &entry[prefix.len()..entry.len() - key.len() - 1];
            // A key with an older value under the same prefix stands there twice; only the entry
            // of its present value counts.
            if let Some(row) = self.record_if(library, definition, key, |row| {
                row.get(field).is_some_and(|now| holds(now) && keys::index_value(now) == said)
            })? {
                if out.len() == limit {
                    return Ok((out, true));
                }
                out.push(Found { key: key.to_vec(), row });
            }
            entries.next();
        }
        entries.status().map_err(ViewError::engine("read"))?;
        Ok((out, false))
    }

    /// Features whose box meets a box, in no particular order. The flag tells whether there are more.
    ///
    /// # Errors
    /// When the store fails or the library has no geometry.
    pub fn in_box(
        &self,
        library: LibraryId,
        bounds: &BoundingBox,
        limit: usize,
    ) -> Result<(Vec<Found>, bool)> {
        let mut out = Vec::new();
        let mut more = false;
        self.visit_box(library, bounds, |key, row, _| {
            more = out.len() == limit;
            if !more {
                out.push(Found { key: key.to_vec(), row: copy(row) });
            }
            !more
        })?;
        Ok((out, more))
    }

    /// The features nearest to a point, nearest first, with their distances in metres.
    ///
    /// # Errors
    /// When the store fails or the library has no geometry.
    pub fn nearest(
        &self,
        library: LibraryId,
        longitude: f64,
        latitude: f64,
        limit: usize,
    ) -> Result<Vec<(f64, Found)>> {
        let mut degrees = 360.0 / f64::from(1u32 << FINEST);
        loop {
            let mut found: BTreeMap<Vec<u8>, (f64, RowBuf)> = BTreeMap::new();
            self.visit_box(
                library,
                &spatial::around(longitude, latitude, degrees),
                |key, row, wkb| {
                    if let Ok(metres) = geometry::distance_to_point(wkb, longitude, latitude) {
                        found.insert(key.to_vec(), (metres, copy(row)));
                    }
                    true
                },
            )?;
            let widest = degrees >= WIDEST;
            let reach =
                if widest { f64::INFINITY } else { spatial::reach_metres(latitude, degrees) };
            // What lies further than the box surely reaches could be beaten by something outside.
            if widest || found.values().filter(|(metres, _)| *metres <= reach).count() >= limit {
                let mut found: Vec<_> = found
                    .into_iter()
                    .map(|(key, (metres, row))| (metres, Found { key, row }))
                    .collect();
                found.sort_by(|(a, left), (b, right)| {
                    a.total_cmp(b).then_with(|| left.key.cmp(&right.key))
                });
                found.truncate(limit);
                return Ok(found);
            }
            degrees *= 2.0;
        }
    }

    /// Visits each feature whose box meets the box: key, row, geometry. Until told to stop.
    fn visit_box(
        &self,
        library: LibraryId,
        bounds: &BoundingBox,
        mut visit: impl FnMut(&[u8], RowRef<'_>, &[u8]) -> bool,
    ) -> Result<()> {
        let definition = self.core.library(library)?;
        let spatial =
            (0u8..).zip(definition.indexes).find(|(_, index)| index.kind == IndexKind::Spatial);
        let (number, index) = spatial.ok_or(ViewError::NoSuchIndex)?;
        let space = SpaceNo::library(library);
        let prefix = keys::index_prefix(space, number);
        let mut entries = self.groups().iterator(self.core.partition(space), &prefix)?;
        let mut at = Cell { grid: 0, row: 0, column: 0 };
        let mut start = prefix.clone();
        loop {
            start.truncate(prefix.len());
            start.extend_from_slice(&at.to_bytes());
            entries.seek(&start);
            // Entries of cells outside of the window are jumped over.
            at = loop {
                let Some(entry) = entries.key() else {
                    return entries.status().map_err(ViewError::engine("read"));
                };
                let cell = Cell::from_bytes(&entry[prefix.len()..])
                    .ok_or(ViewError::Damaged { what: "cell" })?;
                let next = Window::around(bounds, cell.grid).next(cell);
                if next != Some(cell) {
                    break next.unwrap_or(Cell { grid: cell.grid + 1, row: 0, column: 0 });
                }
                let key = entry
                    .get(prefix.len() + CELL_BYTES + 1..)
                    .ok_or(ViewError::Damaged { what: "cell" })?;
                let meets = |row: RowRef<'_>| {
                    row.get(index.field).is_some_and(|wkb| {
                        Cell::of_geometry(wkb) == Some(cell)
                            && geometry::bbox(wkb).is_ok_and(|found| found.intersects(bounds))
                    })
                };
                if let Some(row) = self.record_if(library, definition, key, meets)? {
                    let row = row.as_ref();
                    if !visit(key, row, row.get(index.field).unwrap_or_default()) {
                        return Ok(());
                    }
                }
                entries.next();
            };
            if at.grid > FINEST {
                return Ok(());
            }
        }
    }

    fn record_if(
        &self,
        library: LibraryId,
        definition: &Library,
        key: &[u8],
        holds: impl FnOnce(RowRef<'_>) -> bool,
    ) -> Result<Option<RowBuf>> {
        let group = self.library_group(library, key)?;
        let mut scratch = RowBuf::new();
        let record = group.record(self.core, definition, &mut scratch)?;
        Ok(record.filter(|row| holds(*row)).map(copy))
    }
}

fn index_of(library: &Library, field: FieldId) -> Result<(u8, IndexKind)> {
    let found = (0u8..).zip(library.indexes).find(|(_, index)| index.field == field);
    found.map(|(number, index)| (number, index.kind)).ok_or(ViewError::NoSuchIndex)
}
