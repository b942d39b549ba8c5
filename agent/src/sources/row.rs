//! One row in canonical form, in buffers that are used again.

use hutong_schema::catalogue::Item;
use hutong_schema::limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX};
use hutong_schema::row::{FieldId, KEY_SEPARATOR};
use hutong_schema::rules::{RejectReason, canonicalise};

use super::Mapping;

/// A row: its number in the file, key and canonical values.
#[derive(Clone, Debug, Default)]
pub struct Row {
    /// Number in the file, from 1; the header line of a CSV is not counted.
    pub number: u64,
    key: Vec<u8>,
    key_known: bool,
    bytes: Vec<u8>,
    /// End of each value in `bytes`, and whether it is present.
    ends: Vec<(usize, bool)>,
}

/// Why a row is not published.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The item at fault; 0 for the row as a whole.
    pub field: FieldId,
    /// Why.
    pub reason: RejectReason,
}

impl Refusal {
    /// The row as a whole is at fault.
    pub(super) fn whole(reason: RejectReason) -> Self {
        Self { field: FieldId(0), reason }
    }
}

impl Row {
    /// The canonical key.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Whether the key could be read; also of a refused row.
    pub fn key_known(&self) -> bool {
        self.key_known
    }

    /// Values of the columns in the order of [`Mapping::items`] behind the key items.
    pub fn values(&self) -> impl Iterator<Item = Option<&[u8]>> {
        let mut start = 0;
        self.ends.iter().map(move |(end, present)| {
            let value = &self.bytes[start..*end];
            start = *end;
            present.then_some(value)
        })
    }

    /// Bytes of key and values.
    pub fn size(&self) -> usize {
        self.key.len() + self.bytes.len()
    }

    /// Begins a row of which nothing is known.
    pub(super) fn begin(&mut self, number: u64) {
        self.number = number;
        self.key.clear();
        self.key_known = false;
        self.bytes.clear();
        self.ends.clear();
    }

    /// Takes all values. `raw` gives the text of an item, `None` if it is not valid text.
    pub(super) fn fill<'a>(
        &mut self,
        mapping: &Mapping,
        mut raw: impl FnMut(
            usize,
            &mut dyn FnMut(Option<&str>) -> Result<(), Refusal>,
        ) -> Result<(), Refusal>
        + 'a,
    ) -> Result<(), Refusal> {
        self.fill_key(mapping, &mut raw)?;
        for (index, item) in mapping.items().iter().enumerate().skip(mapping.keys()) {
            raw(index, &mut |text| self.take_value(item, text))?;
        }
        // Offsets take four bytes per value: a row this large fills a batch of its own.
        if self.size() + 4 * self.ends.len() > BATCH_BYTES_MAX / 2 {
            return Err(Refusal::whole(RejectReason::FieldTooLong));
        }
        Ok(())
    }

    /// Takes the key alone, as [`Row::fill`] takes it.
    pub(super) fn fill_key(
        &mut self,
        mapping: &Mapping,
        raw: &mut impl FnMut(
            usize,
            &mut dyn FnMut(Option<&str>) -> Result<(), Refusal>,
        ) -> Result<(), Refusal>,
    ) -> Result<(), Refusal> {
        let keys = &mapping.items()[..mapping.keys()];
        for (index, item) in keys.iter().enumerate() {
            raw(index, &mut |text| self.take_key(item, text, index > 0))?;
        }
        if self.key.len() > KEY_BYTES_MAX {
            let field = keys.first().map_or(FieldId(0), |item| item.id);
            return Err(Refusal { field, reason: RejectReason::KeyTooLong });
        }
        self.key_known = true;
        Ok(())
    }

    fn take_key(&mut self, item: &Item, text: Option<&str>, more: bool) -> Result<(), Refusal> {
        let refused = |reason| Refusal { field: item.id, reason };
        let text = text.ok_or_else(|| refused(RejectReason::Encoding))?;
        let value = canonicalise(item, text).map_err(refused)?;
        let value = value.ok_or_else(|| refused(RejectReason::Missing))?;
        if more {
            self.key.push(KEY_SEPARATOR);
        }
        self.key.extend_from_slice(&value);
        Ok(())
    }

    fn take_value(&mut self, item: &Item, text: Option<&str>) -> Result<(), Refusal> {
        let refused = |reason| Refusal { field: item.id, reason };
        let text = text.ok_or_else(|| refused(RejectReason::Encoding))?;
        let value = canonicalise(item, text).map_err(refused)?;
        if value.is_none() && item.required {
            return Err(refused(RejectReason::Missing));
        }
        if let Some(value) = &value {
            self.bytes.extend_from_slice(value);
        }
        self.ends.push((self.bytes.len(), value.is_some()));
        Ok(())
    }
}
