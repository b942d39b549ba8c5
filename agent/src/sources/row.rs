//! One row in canonical form, in buffers that are used again.

use std::borrow::Cow;

use hutong_schema::catalogue::{DataType, Item};
use hutong_schema::limits::{BATCH_BYTES_MAX, KEY_BYTES_MAX};
use hutong_schema::row::{FieldId, KEY_SEPARATOR};
use hutong_schema::rules::{RejectReason, canonicalise};

use super::Mapping;
use super::cleaning::{Cleaning, Taken, Texts, trim};

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
    removed: bool,
    /// More about why it is refused.
    note: String,
    /// What the source said, where rules make the values of it.
    texts: Texts,
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

    /// Whether the source says that the row of this key is gone; it then has no values.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// More about why the row is refused; mostly nothing.
    pub fn note(&self) -> &str {
        &self.note
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
        self.removed = false;
        self.note.clear();
    }

    /// Says more about why it is refused.
    pub(super) fn set_note(&mut self, note: impl Into<String>) {
        self.note = note.into();
    }

    /// Takes all values. `raw` gives the text of a slot, `None` if it is not valid text.
    pub(super) fn fill<'a>(
        &mut self,
        mapping: &Mapping,
        mut raw: impl FnMut(
            usize,
            &mut dyn FnMut(Option<&str>) -> Result<(), Refusal>,
        ) -> Result<(), Refusal>
        + 'a,
    ) -> Result<(), Refusal> {
        if let Some(slot) = mapping.op() {
            raw(slot, &mut |text| self.take_op(text))?;
        }
        if mapping.cleaning().is_some() {
            return self.fill_cleaned(mapping, raw);
        }
        self.fill_key(mapping, &mut raw)?;
        if self.removed {
            return Ok(());
        }
        let trims = mapping.trims();
        for (index, item) in mapping.items().iter().enumerate().skip(mapping.keys()) {
            raw(index, &mut |text| self.take_value(item, text, trims))?;
        }
        self.is_not_too_large()
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
        let trims = mapping.trims();
        let keys = &mapping.items()[..mapping.keys()];
        for (index, item) in keys.iter().enumerate() {
            raw(index, &mut |text| self.take_key(item, text, trims, index > 0))?;
        }
        self.key_is_complete(keys)
    }

    /// As [`Row::fill`], where rules make the values.
    fn fill_cleaned<'a>(
        &mut self,
        mapping: &Mapping,
        mut raw: impl FnMut(
            usize,
            &mut dyn FnMut(Option<&str>) -> Result<(), Refusal>,
        ) -> Result<(), Refusal>
        + 'a,
    ) -> Result<(), Refusal> {
        let Some(cleaning) = mapping.cleaning() else { return Ok(()) };
        let mut texts = std::mem::take(&mut self.texts);
        texts.clear();
        for slot in 0..mapping.slots() {
            let taken = raw(slot, &mut |text| {
                match text {
                    Some(text) => texts.push(if mapping.trims() { trim(text) } else { text }),
                    None => texts.push_none(Taken::NoText),
                }
                Ok(())
            });
            // It counts when an item is made of it: a row is read up to its key in any case.
            if let Err(refusal) = taken {
                texts.push_none(Taken::Refused(refusal));
            }
        }
        let filled = self.fill_from(mapping, cleaning, &texts);
        self.texts = texts;
        filled
    }

    fn fill_from(
        &mut self,
        mapping: &Mapping,
        cleaning: &Cleaning,
        texts: &Texts,
    ) -> Result<(), Refusal> {
        let slot = |slot: usize| texts.get(slot);
        let (keys, _) = mapping.items().split_at(mapping.keys());
        for (index, item) in mapping.items().iter().enumerate() {
            if index == keys.len() {
                self.key_is_complete(keys)?;
                if self.removed {
                    return Ok(());
                }
            }
            let refused = |reason| Refusal { field: item.id, reason };
            match cleaning.lacking(index, texts) {
                None | Some(Taken::Text) => {}
                Some(Taken::NoText) => return Err(refused(RejectReason::Encoding)),
                Some(Taken::Refused(refusal)) => return Err(refused(refusal.reason)),
            }
            let value = cleaning.value(index, &slot).map_err(|fault| {
                self.note = fault.note;
                refused(fault.reason)
            })?;
            if index < keys.len() {
                self.take_key(item, Some(&value), false, index > 0)?;
            } else {
                self.take_value(item, Some(&value), false)?;
            }
        }
        // Of an entry that has nothing but a key.
        if keys.len() == mapping.items().len() {
            self.key_is_complete(keys)?;
        }
        self.is_not_too_large()
    }

    fn key_is_complete(&mut self, keys: &[Item]) -> Result<(), Refusal> {
        if self.key.len() > KEY_BYTES_MAX {
            let field = keys.first().map_or(FieldId(0), |item| item.id);
            return Err(Refusal { field, reason: RejectReason::KeyTooLong });
        }
        self.key_known = true;
        Ok(())
    }

    fn is_not_too_large(&self) -> Result<(), Refusal> {
        // Offsets take four bytes per value: a row this large fills a batch of its own.
        if self.size() + 4 * self.ends.len() > BATCH_BYTES_MAX / 2 {
            return Err(Refusal::whole(RejectReason::FieldTooLong));
        }
        Ok(())
    }

    /// Takes the word that says what happened to the row.
    fn take_op(&mut self, text: Option<&str>) -> Result<(), Refusal> {
        let word = text.ok_or_else(|| Refusal::whole(RejectReason::Encoding))?.trim();
        let is = |words: &[&str]| words.iter().any(|each| each.eq_ignore_ascii_case(word));
        self.removed = is(&REMOVED);
        if self.removed || is(&CHANGED) {
            return Ok(());
        }
        self.note = format!(
            "操作列应为 {} 或 {} (the operation is one of these, not {})",
            CHANGED[1..].join("/"),
            REMOVED.join("/"),
            word.chars().take(40).collect::<String>()
        );
        Err(Refusal::whole(RejectReason::Type))
    }

    fn take_key(
        &mut self,
        item: &Item,
        text: Option<&str>,
        trims: bool,
        more: bool,
    ) -> Result<(), Refusal> {
        let refused = |reason| Refusal { field: item.id, reason };
        let text = text.ok_or_else(|| refused(RejectReason::Encoding))?;
        let value = canonical(item, text, trims).map_err(refused)?;
        let value = value.ok_or_else(|| refused(RejectReason::Missing))?;
        if more {
            self.key.push(KEY_SEPARATOR);
        }
        self.key.extend_from_slice(&value);
        Ok(())
    }

    fn take_value(&mut self, item: &Item, text: Option<&str>, trims: bool) -> Result<(), Refusal> {
        let refused = |reason| Refusal { field: item.id, reason };
        let text = text.ok_or_else(|| refused(RejectReason::Encoding))?;
        let value = canonical(item, text, trims).map_err(refused)?;
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

/// Words of a row that is there.
const CHANGED: [&str; 10] =
    ["", "upsert", "insert", "update", "u", "i", "新增", "增加", "修改", "更新"];
/// Words of a row that is gone.
const REMOVED: [&str; 4] = ["delete", "d", "删除", "注销"];

/// The canonical bytes of a text without the blanks around it, if they are to be dropped.
fn canonical<'t>(
    item: &Item,
    text: &'t str,
    trims: bool,
) -> Result<Option<Cow<'t, [u8]>>, RejectReason> {
    if matches!(item.data_type, DataType::Text | DataType::Memo) {
        return canonicalise(item, if trims { trim(text) } else { text });
    }
    // Around everything else plain blanks are dropped in any case; others are rare, and wrong there.
    canonicalise(item, text).or_else(|reason| match trim(text) {
        cut if trims && cut.len() < text.len() => canonicalise(item, cut),
        _ => Err(reason),
    })
}
