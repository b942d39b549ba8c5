//! Where geometries are: a pyramid of grids over longitude and latitude.
//!
//! A geometry stands in one cell: that of its south-west corner, in the finest grid whose cells are
//! a little wider and higher than its box. So it reaches at most into the neighbours to the east and
//! north, and a search looks one cell further to the west and south than its box.

use hutong_schema::geometry::{self, BoundingBox};

/// Grids 0..=16: grid n has cells of 360°/2^n; the finest is about 600 m at the equator.
pub(super) const FINEST: u8 = 16;

/// Bytes of a cell in an index.
pub(super) const CELL_BYTES: usize = 1 + 4 + 4;

/// A cell of a grid: row and column counted from the south-west.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Cell {
    pub(super) grid: u8,
    pub(super) row: u32,
    pub(super) column: u32,
}

/// Rows and columns of one grid, both ends included.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Window {
    pub(super) rows: (u32, u32),
    pub(super) columns: (u32, u32),
}

fn size(grid: u8) -> f64 {
    360.0 / f64::from(1u32 << grid)
}

/// Counted from -180 in both directions; out of range goes to the edge.
fn place(degrees: f64, grid: u8) -> u32 {
    let at = ((degrees + 180.0) / size(grid)).floor();
    at.clamp(0.0, f64::from((1u32 << grid) - 1)) as u32
}

impl Cell {
    /// The cell of a stored geometry; `None` when it is not one.
    pub(super) fn of_geometry(wkb: &[u8]) -> Option<Self> {
        geometry::bbox(wkb).ok().map(|bounds| Self::of(&bounds))
    }

    pub(super) fn of(bounds: &BoundingBox) -> Self {
        let extent = (bounds.east - bounds.west).max(bounds.north - bounds.south);
        let grid = (0..=FINEST).rev().find(|grid| size(*grid) > extent * 1.001).unwrap_or(0);
        Self { grid, row: place(bounds.south, grid), column: place(bounds.west, grid) }
    }

    /// Bytes that sort by grid, row, column. They may hold zeros, which an index value may not; an
    /// index entry of this kind is read by its fixed length instead.
    pub(super) fn to_bytes(self) -> [u8; CELL_BYTES] {
        let mut out = [self.grid; CELL_BYTES];
        out[1..5].copy_from_slice(&self.row.to_be_bytes());
        out[5..].copy_from_slice(&self.column.to_be_bytes());
        out
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let row = bytes.get(1..5)?.try_into().ok()?;
        let column = bytes.get(5..CELL_BYTES)?.try_into().ok()?;
        Some(Self {
            grid: *bytes.first()?,
            row: u32::from_be_bytes(row),
            column: u32::from_be_bytes(column),
        })
    }
}

impl Window {
    /// The cells of a grid in which a geometry that meets the box can stand.
    pub(super) fn around(bounds: &BoundingBox, grid: u8) -> Self {
        Self {
            rows: (place(bounds.south, grid).saturating_sub(1), place(bounds.north, grid)),
            columns: (place(bounds.west, grid).saturating_sub(1), place(bounds.east, grid)),
        }
    }

    /// The first cell of the window at or behind a cell of its grid; `None` behind the last.
    pub(super) fn next(&self, cell: Cell) -> Option<Cell> {
        let (mut row, mut column) = (cell.row, cell.column);
        if row < self.rows.0 {
            (row, column) = (self.rows.0, self.columns.0);
        } else if column < self.columns.0 {
            column = self.columns.0;
        } else if column > self.columns.1 {
            (row, column) = (row + 1, self.columns.0);
        }
        (row <= self.rows.1).then_some(Cell { grid: cell.grid, row, column })
    }
}

/// A box around a point, `degrees` in every direction.
pub(super) fn around(longitude: f64, latitude: f64, degrees: f64) -> BoundingBox {
    BoundingBox {
        west: longitude - degrees,
        south: latitude - degrees,
        east: longitude + degrees,
        north: latitude + degrees,
    }
}

/// A distance within which everything surely lies in [`around`] the point with these degrees, metres:
/// degrees of longitude shrink towards the poles.
pub(super) fn reach_metres(latitude: f64, degrees: f64) -> f64 {
    let far = (latitude.abs() + degrees).min(90.0);
    METRES_PER_DEGREE * degrees * far.to_radians().cos().max(0.0)
}

/// On a sphere of mean radius.
const METRES_PER_DEGREE: f64 = 111_195.0;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bounds() -> impl Strategy<Value = BoundingBox> {
        (-180.0..180.0f64, -90.0..90.0f64, 0.0..1.0f64, 0.0..1.0f64, 0..14i32).prop_map(
            |(west, south, w, h, shrink)| {
                let scale = 0.5f64.powi(shrink);
                let east = (west + w * 180.0 * scale).min(180.0);
                BoundingBox { west, south, east, north: (south + h * 90.0 * scale).min(90.0) }
            },
        )
    }

    proptest! {
        #[test]
        fn what_meets_a_box_stands_in_its_window(geometry in bounds(), asked in bounds()) {
            let cell = Cell::of(&geometry);
            prop_assert_eq!(Cell::from_bytes(&cell.to_bytes()), Some(cell));
            if geometry.intersects(&asked) {
                prop_assert_eq!(Window::around(&asked, cell.grid).next(cell), Some(cell));
            }
        }

        #[test]
        fn the_next_cell_is_in_the_window_and_not_before(asked in bounds(), row in 0u32..64, column in 0u32..64) {
            let window = Window::around(&asked, 6);
            let cell = Cell { grid: 6, row, column };
            if let Some(next) = window.next(cell) {
                prop_assert!(next >= cell);
                prop_assert_eq!(window.next(next), Some(next));
            }
        }
    }
}
