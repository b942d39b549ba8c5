//! The column block: the rows of one batch, parsed in place.
//!
//! Layout, little endian, no padding:
//!
//! ```text
//! magic 'H' 'B' · version u8 = 1 · flags u8 (bit 0: has deletes) · rows u32 · columns u16
//! deletes       bitmap of ceil(rows/8) bytes, only with flag bit 0; bit set = the key is deleted
//! keys          ends: rows × u32 · area
//! per column    field u16 · presence u8 (0 none absent, 1 bitmap, 2 all absent)
//!               [bitmap] · ends: rows × u32 (unless all absent) · area
//! ```
//!
//! `ends[i]` is the end of value `i` in the area that follows; the area's length is the last end.
//! An absent value has the length 0 and its presence bit clear. Columns are in ascending field id.
//! A deleted row has every column absent. Trailing bytes are an error.

use crate::{
    limits::{BATCH_BYTES_MAX, BATCH_ROWS_MAX, COLUMNS_MAX, FIELD_BYTES_MAX, KEY_BYTES_MAX},
    row::FieldId,
};

const MAGIC: [u8; 2] = *b"HB";
const VERSION: u8 = 1;
const HAS_DELETES: u8 = 1;
const ALL_PRESENT: u8 = 0;
const BITMAP: u8 = 1;
const ALL_ABSENT: u8 = 2;

/// Why bytes are not a column block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BlockError {
    /// Not a block, or of a version this software does not read.
    #[error("not a column block of version 1")]
    Magic,
    /// The bytes end too early.
    #[error("the block ends inside {0}")]
    Truncated(&'static str),
    /// Bytes follow the last column.
    #[error("{0} bytes follow the last column")]
    Trailing(usize),
    /// More than a limit allows.
    #[error("{what} is {found}, at most {limit} is allowed")]
    Limit {
        /// What was counted.
        what: &'static str,
        /// The count found.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// End offsets decrease.
    #[error("end offsets of {0} decrease")]
    Offsets(&'static str),
    /// Columns not in ascending order of field id, or id 0.
    #[error("column of field {0} is out of order")]
    Order(FieldId),
    /// A flag or presence byte that this version does not define.
    #[error("unknown flag {0}")]
    Flag(u8),
}

/// A parsed block: borrows the bytes, owns only its table of columns.
#[derive(Clone, Debug)]
pub struct Block<'a> {
    rows: usize,
    deletes: Option<&'a [u8]>,
    keys: Values<'a>,
    columns: Vec<Column<'a>>,
}

#[derive(Clone, Copy, Debug)]
struct Column<'a> {
    field: FieldId,
    presence: Presence<'a>,
    values: Values<'a>,
}

#[derive(Clone, Copy, Debug)]
enum Presence<'a> {
    All,
    None,
    Bitmap(&'a [u8]),
}

#[derive(Clone, Copy, Debug)]
struct Values<'a> {
    ends: &'a [u8],
    area: &'a [u8],
}

impl<'a> Values<'a> {
    const EMPTY: Self = Values { ends: &[], area: &[] };

    fn end(&self, index: usize) -> usize {
        let at = index * 4;
        let mut raw = [0u8; 4];
        raw.copy_from_slice(&self.ends[at..at + 4]);
        u32::from_le_bytes(raw) as usize
    }

    fn place(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.end(index - 1) };
        start..self.end(index)
    }

    fn get(&self, index: usize) -> &'a [u8] {
        &self.area[self.place(index)]
    }
}

impl<'a> Block<'a> {
    /// Checks the whole structure once; every accessor afterwards is a bounds-safe slice.
    ///
    /// # Errors
    /// When the bytes are not exactly one block within the limits.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BlockError> {
        within("block bytes", bytes.len(), BATCH_BYTES_MAX)?;
        let mut rest = Cursor(bytes);
        let header = rest.take(10, "the header")?;
        if header[..2] != MAGIC || header[2] != VERSION {
            return Err(BlockError::Magic);
        }
        let flags = header[3];
        if flags & !HAS_DELETES != 0 {
            return Err(BlockError::Flag(flags));
        }
        let rows = u32::from_le_bytes([header[4], header[5], header[6], header[7]]) as usize;
        let count = usize::from(u16::from_le_bytes([header[8], header[9]]));
        within("rows", rows, BATCH_ROWS_MAX)?;
        within("columns", count, COLUMNS_MAX)?;

        let deletes = match flags & HAS_DELETES {
            0 => None,
            _ => Some(rest.take(rows.div_ceil(8), "the deletes")?),
        };
        let keys = rest.values(rows, KEY_BYTES_MAX, "keys")?;
        let mut columns = Vec::with_capacity(count.min(rest.0.len() / 3));
        let mut last = FieldId(0);
        for _ in 0..count {
            let head = rest.take(3, "a column's head")?;
            let field = FieldId(u16::from_le_bytes([head[0], head[1]]));
            if field <= last {
                return Err(BlockError::Order(field));
            }
            last = field;
            let presence = match head[2] {
                ALL_PRESENT => Presence::All,
                BITMAP => Presence::Bitmap(rest.take(rows.div_ceil(8), "a presence bitmap")?),
                ALL_ABSENT => Presence::None,
                other => return Err(BlockError::Flag(other)),
            };
            let values = match presence {
                Presence::None => Values::EMPTY,
                Presence::All | Presence::Bitmap(_) => {
                    rest.values(rows, FIELD_BYTES_MAX, "a column")?
                }
            };
            columns.push(Column { field, presence, values });
        }
        match rest.0.len() {
            0 => Ok(Self { rows, deletes, keys, columns }),
            extra => Err(BlockError::Trailing(extra)),
        }
    }

    /// Number of changes.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether change `index` removes its key.
    pub fn is_delete(&self, index: usize) -> bool {
        self.deletes.is_some_and(|bits| bit(bits, index))
    }

    /// Whether any change may be a removal.
    pub fn has_deletes(&self) -> bool {
        self.deletes.is_some()
    }

    /// The key of change `index`.
    pub fn key(&self, index: usize) -> &'a [u8] {
        self.keys.get(index)
    }

    /// Number of columns.
    pub fn columns(&self) -> usize {
        self.columns.len()
    }

    /// The field of a column.
    pub fn field(&self, column: usize) -> FieldId {
        self.columns[column].field
    }

    /// The column of a field, if the block has it.
    pub fn column_of(&self, field: FieldId) -> Option<usize> {
        self.columns.binary_search_by_key(&field, |column| column.field).ok()
    }

    /// The value of a column in change `index`; `None` when absent.
    pub fn value(&self, column: usize, index: usize) -> Option<&'a [u8]> {
        let place = self.place(column, index)?;
        Some(&self.columns[column].values.area[place])
    }

    /// All values of a column, one behind the other.
    pub fn area(&self, column: usize) -> &'a [u8] {
        self.columns[column].values.area
    }

    /// Where in [`Block::area`] the value of change `index` lies; `None` when it is absent.
    pub fn place(&self, column: usize, index: usize) -> Option<std::ops::Range<usize>> {
        let column = &self.columns[column];
        let present = match column.presence {
            Presence::All => true,
            Presence::None => false,
            Presence::Bitmap(bits) => bit(bits, index),
        };
        present.then(|| column.values.place(index))
    }
}

/// Builds a block; reusable, so that its buffers are allocated once.
#[derive(Clone, Debug)]
pub struct BlockBuilder {
    deletes: Bits,
    keys: Area,
    columns: Vec<ColumnBuilder>,
    rows: usize,
    bytes: usize,
}

#[derive(Clone, Debug)]
struct ColumnBuilder {
    field: FieldId,
    present: Bits,
    values: Area,
}

#[derive(Clone, Debug, Default)]
struct Area {
    ends: Vec<u8>,
    area: Vec<u8>,
}

#[derive(Clone, Debug, Default)]
struct Bits {
    bytes: Vec<u8>,
    set: usize,
}

impl BlockBuilder {
    /// A builder for these columns, which must be in ascending field id.
    pub fn new(columns: &[FieldId]) -> Self {
        debug_assert!(columns.windows(2).all(|pair| pair[0] < pair[1]), "columns ascend");
        let column = |field: &FieldId| ColumnBuilder {
            field: *field,
            present: Bits::default(),
            values: Area::default(),
        };
        Self {
            deletes: Bits::default(),
            keys: Area::default(),
            columns: columns.iter().map(column).collect(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Adds an upsert; `values` are in the order of the columns, missing ones at the end are absent.
    pub fn upsert<'v>(&mut self, key: &[u8], values: impl IntoIterator<Item = Option<&'v [u8]>>) {
        let mut values = values.into_iter();
        self.start(key, false);
        for column in &mut self.columns {
            let value = values.next().flatten();
            column.present.push(self.rows, value.is_some());
            column.values.push(value.unwrap_or_default());
            self.bytes += 4 + value.map_or(0, <[u8]>::len);
        }
        self.rows += 1;
    }

    /// Adds a removal.
    pub fn delete(&mut self, key: &[u8]) {
        self.start(key, true);
        for column in &mut self.columns {
            column.present.push(self.rows, false);
            column.values.push(&[]);
            self.bytes += 4;
        }
        self.rows += 1;
    }

    /// Changes so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Whether nothing was added since the last block.
    pub fn is_empty(&self) -> bool {
        self.rows == 0
    }

    /// Size of the block so far, bytes, to within its bitmaps.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// The block's bytes; the builder is empty again.
    pub fn finish(&mut self) -> Vec<u8> {
        let rows = self.rows;
        let mut out = Vec::with_capacity(self.bytes + 64 + self.columns.len() * (8 + rows / 8));
        out.extend_from_slice(&MAGIC);
        out.push(VERSION);
        out.push(if self.deletes.set > 0 { HAS_DELETES } else { 0 });
        out.extend_from_slice(&(rows as u32).to_le_bytes());
        out.extend_from_slice(&(self.columns.len() as u16).to_le_bytes());
        if self.deletes.set > 0 {
            out.extend_from_slice(&self.deletes.bytes);
        }
        self.keys.drain_into(&mut out);
        for column in &mut self.columns {
            out.extend_from_slice(&column.field.0.to_le_bytes());
            if column.present.set == rows {
                out.push(ALL_PRESENT);
                column.values.drain_into(&mut out);
            } else if column.present.set == 0 {
                out.push(ALL_ABSENT);
                column.values.clear();
            } else {
                out.push(BITMAP);
                out.extend_from_slice(&column.present.bytes);
                column.values.drain_into(&mut out);
            }
            column.present.clear();
        }
        self.deletes.clear();
        self.rows = 0;
        self.bytes = 0;
        out
    }

    fn start(&mut self, key: &[u8], delete: bool) {
        self.deletes.push(self.rows, delete);
        self.keys.push(key);
        self.bytes += 4 + key.len();
    }
}

impl Area {
    fn push(&mut self, value: &[u8]) {
        self.area.extend_from_slice(value);
        self.ends.extend_from_slice(&(self.area.len() as u32).to_le_bytes());
    }

    fn drain_into(&mut self, out: &mut Vec<u8>) {
        out.extend_from_slice(&self.ends);
        out.extend_from_slice(&self.area);
        self.clear();
    }

    fn clear(&mut self) {
        self.ends.clear();
        self.area.clear();
    }
}

impl Bits {
    fn push(&mut self, index: usize, set: bool) {
        if index.is_multiple_of(8) {
            self.bytes.push(0);
        }
        if set {
            self.bytes[index / 8] |= 1 << (index % 8);
            self.set += 1;
        }
    }

    fn clear(&mut self) {
        self.bytes.clear();
        self.set = 0;
    }
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, length: usize, what: &'static str) -> Result<&'a [u8], BlockError> {
        let (head, rest) = self.0.split_at_checked(length).ok_or(BlockError::Truncated(what))?;
        self.0 = rest;
        Ok(head)
    }

    fn values(
        &mut self,
        rows: usize,
        longest: usize,
        what: &'static str,
    ) -> Result<Values<'a>, BlockError> {
        let ends = self.take(rows * 4, what)?;
        let mut last = 0usize;
        let mut widest = 0usize;
        for end in ends.as_chunks::<4>().0 {
            let end = u32::from_le_bytes(*end) as usize;
            let width = end.checked_sub(last).ok_or(BlockError::Offsets(what))?;
            widest = widest.max(width);
            last = end;
        }
        within(what, widest, longest)?;
        Ok(Values { ends, area: self.take(last, what)? })
    }
}

fn within(what: &'static str, found: usize, limit: usize) -> Result<(), BlockError> {
    if found > limit { Err(BlockError::Limit { what, found, limit }) } else { Ok(()) }
}

fn bit(bits: &[u8], index: usize) -> bool {
    bits[index / 8] & (1 << (index % 8)) != 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    type Model = Vec<(Vec<u8>, Option<Vec<Option<Vec<u8>>>>)>;

    fn changes() -> impl Strategy<Value = Model> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..40));
        let row = prop::option::weighted(0.8, prop::collection::vec(value, 3));
        prop::collection::vec((prop::collection::vec(any::<u8>(), 0..20), row), 0..50)
    }

    fn build(model: &Model) -> Vec<u8> {
        let mut builder = BlockBuilder::new(&[FieldId(2), FieldId(3), FieldId(9)]);
        for (key, row) in model {
            match row {
                Some(values) => builder.upsert(key, values.iter().map(Option::as_deref)),
                None => builder.delete(key),
            }
        }
        builder.finish()
    }

    proptest! {
        #[test]
        fn blocks_round_trip(model in changes()) {
            let bytes = build(&model);
            let block = Block::parse(&bytes).unwrap();
            prop_assert_eq!(block.rows(), model.len());
            for (index, (key, row)) in model.iter().enumerate() {
                prop_assert_eq!(block.key(index), &key[..]);
                prop_assert_eq!(block.is_delete(index), row.is_none());
                for column in 0..3 {
                    let expected = row.as_ref().and_then(|values| values[column].as_deref());
                    prop_assert_eq!(block.value(column, index), expected);
                }
            }
        }

        #[test]
        fn mutated_blocks_never_panic(model in changes(), at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
            let mut bytes = build(&model);
            let at = at.index(bytes.len());
            bytes[at] = byte;
            bytes.truncate(cut.index(bytes.len()) + 1);
            if let Ok(block) = Block::parse(&bytes) {
                for index in 0..block.rows() {
                    let _ = (block.key(index), block.is_delete(index));
                    for column in 0..block.columns() {
                        let _ = block.value(column, index);
                    }
                }
            }
        }
    }

    #[test]
    fn a_claimed_row_count_reserves_nothing() {
        let mut bytes = build(&vec![]);
        bytes[4..8].copy_from_slice(&(BATCH_ROWS_MAX as u32).to_le_bytes());
        assert_eq!(Block::parse(&bytes).unwrap_err(), BlockError::Truncated("keys"));
        bytes[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(matches!(Block::parse(&bytes), Err(BlockError::Limit { what: "rows", .. })));
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = build(&vec![(b"k".to_vec(), None)]);
        bytes.push(0);
        assert_eq!(Block::parse(&bytes).unwrap_err(), BlockError::Trailing(1));
    }
}
