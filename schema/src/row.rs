//! Rows: a key and the canonical values of the other fields.
//!
//! A value is its canonical bytes (see [`crate::rules`]); an absent value is null. The stored form
//! of a row is the sequence of its present non-key fields in ascending field id, each as
//! `id: u16 LE · length: LEB128 · bytes`, so that it can be read in place.

use serde::{Deserialize, Serialize};

use crate::block::Block;

/// The number of a field within its catalogue entry or library: stable over versions, never 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FieldId(pub u16);

impl std::fmt::Display for FieldId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// Joins the values of a composite key (U+001F, unit separator). Key values may hold no byte
/// below 0x20, so the parts can always be told apart.
pub const KEY_SEPARATOR: u8 = 0x1F;

/// The parts of a key, in the order of the entry's key items.
pub fn key_parts(key: &[u8]) -> impl Iterator<Item = &[u8]> {
    key.split(|byte| *byte == KEY_SEPARATOR)
}

/// One change of a resource: a row under its key, or the key's removal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change<'a> {
    /// The key now has these fields.
    Upsert {
        /// Canonical key.
        key: &'a [u8],
        /// All present non-key fields.
        row: RowRef<'a>,
    },
    /// The key is gone.
    Delete {
        /// Canonical key.
        key: &'a [u8],
    },
}

/// Why stored row bytes cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RowError {
    /// The bytes end inside a field.
    #[error("row bytes end inside a field")]
    Truncated,
    /// Field ids are not strictly ascending.
    #[error("field {0} is out of order")]
    Order(FieldId),
}

/// A row's stored bytes, already checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRef<'a>(&'a [u8]);

impl<'a> RowRef<'a> {
    /// A row without fields.
    pub const EMPTY: RowRef<'static> = RowRef(&[]);

    /// Checks the bytes once, so that reading them afterwards cannot fail.
    ///
    /// # Errors
    /// When the bytes are not a row's stored form.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, RowError> {
        let mut rest = bytes;
        let mut last = None;
        while !rest.is_empty() {
            let (field, _, after) = split_field(rest).ok_or(RowError::Truncated)?;
            if last.is_some_and(|last| last >= field) {
                return Err(RowError::Order(field));
            }
            last = Some(field);
            rest = after;
        }
        Ok(Self(bytes))
    }

    /// The stored bytes.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.0
    }

    /// The value of a field; `None` when it is absent.
    pub fn get(&self, field: FieldId) -> Option<&'a [u8]> {
        self.iter()
            .take_while(|(id, _)| *id <= field)
            .find(|(id, _)| *id == field)
            .map(|(_, value)| value)
    }

    /// Present fields in ascending id.
    pub fn iter(&self) -> Fields<'a> {
        Fields(self.0)
    }
}

/// Iterator over the present fields of a row.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Iterator for Fields<'a> {
    type Item = (FieldId, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let (field, value, rest) = split_field(self.0)?;
        self.0 = rest;
        Some((field, value))
    }
}

/// A row under construction; reuse one buffer for many rows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RowBuf(Vec<u8>);

impl RowBuf {
    /// An empty row.
    pub fn new() -> Self {
        Self::default()
    }

    /// Forgets all fields, keeps the memory.
    pub fn clear(&mut self) {
        self.0.clear();
    }

    /// Adds a field. Fields must come in ascending id: the stored form is canonical only then.
    pub fn push(&mut self, field: FieldId, value: &[u8]) {
        debug_assert!(
            self.as_ref().iter().last().is_none_or(|(last, _)| last < field),
            "fields are pushed in ascending id"
        );
        self.0.extend_from_slice(&field.0.to_le_bytes());
        push_leb128(&mut self.0, value.len());
        self.0.extend_from_slice(value);
    }

    /// Replaces the content by row `index` of a block whose columns are in ascending field id.
    pub fn fill_from_block(&mut self, block: &Block<'_>, index: usize) {
        self.clear();
        for column in 0..block.columns() {
            if let Some(value) = block.value(column, index) {
                self.0.extend_from_slice(&block.field(column).0.to_le_bytes());
                push_leb128(&mut self.0, value.len());
                self.0.extend_from_slice(value);
            }
        }
    }

    /// The row, readable.
    pub fn as_ref(&self) -> RowRef<'_> {
        RowRef(&self.0)
    }

    /// The stored bytes.
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

fn push_leb128(out: &mut Vec<u8>, mut value: usize) {
    while value >= 0x80 {
        out.push((value & 0x7F) as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn split_field(bytes: &[u8]) -> Option<(FieldId, &[u8], &[u8])> {
    let (id, rest) = bytes.split_first_chunk::<2>()?;
    let mut length = 0usize;
    let mut used = 0usize;
    loop {
        let byte = *rest.get(used)?;
        // A field is at most 64 KiB: three groups of seven bits hold every permitted length.
        if used >= 4 {
            return None;
        }
        length |= usize::from(byte & 0x7F) << (7 * used);
        used += 1;
        if byte & 0x80 == 0 {
            break;
        }
    }
    let value = rest.get(used..used.checked_add(length)?)?;
    Some((FieldId(u16::from_le_bytes(*id)), value, &rest[used + length..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_field_is_found_or_absent() {
        let mut row = RowBuf::new();
        row.push(FieldId(2), "示例".as_bytes());
        row.push(FieldId(7), b"");
        let row = row.as_ref();
        assert_eq!(row.get(FieldId(2)), Some("示例".as_bytes()));
        assert_eq!(row.get(FieldId(7)), Some(&b""[..]));
        assert_eq!(row.get(FieldId(3)), None);
    }

    #[test]
    fn a_repeated_field_is_refused() {
        let mut bytes = Vec::new();
        for _ in 0..2 {
            bytes.extend_from_slice(&[1, 0, 1, b'x']);
        }
        assert_eq!(RowRef::parse(&bytes), Err(RowError::Order(FieldId(1))));
    }

    proptest! {
        #[test]
        fn rows_round_trip(fields in prop::collection::btree_map(1u16.., prop::collection::vec(any::<u8>(), 0..300), 0..20)) {
            let mut row = RowBuf::new();
            for (id, value) in &fields {
                row.push(FieldId(*id), value);
            }
            let bytes = row.into_bytes();
            let read: Vec<_> = RowRef::parse(&bytes).unwrap().iter().map(|(id, v)| (id.0, v.to_vec())).collect();
            prop_assert_eq!(read, fields.into_iter().collect::<Vec<_>>());
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(row) = RowRef::parse(&bytes) {
                prop_assert!(row.iter().count() * 3 <= bytes.len());
            }
        }
    }
}
