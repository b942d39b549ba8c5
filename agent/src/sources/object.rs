//! A row as a JSON object: values by machine name or label. Lines of a file are read so, and rows that
//! programs or people hand over.

use std::borrow::Cow;

use hutong_schema::catalogue::{CatalogueEntry, Item};
use hutong_schema::row::FieldId;
use hutong_schema::rules::RejectReason;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::{Mapping, Refusal, Row};

/// Rows that come one by one as JSON objects.
///
/// An object is a row, or an envelope of exactly these members: `{"op":"upsert","row":{…}}` or
/// `{"op":"delete","key":…}`. A key is a text, or its parts as a list or by name. Nothing else removes
/// a row: what cannot be read, or lacks its key, is refused. Where `op` is the name of an item, there are
/// no envelopes.
pub struct Objects {
    mapping: Mapping,
    /// Whether an envelope is one; not where `op` is the name of an item.
    envelopes: bool,
}

/// What an object says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Given {
    /// The row is there.
    Upsert,
    /// The row of this key is gone.
    Delete,
}

impl Objects {
    /// Objects with the values of an entry.
    pub fn new(entry: &CatalogueEntry) -> Self {
        let mapping = Mapping::by_name(entry);
        let envelopes = mapping.item_named("op").is_none();
        Self { mapping, envelopes }
    }

    /// As [`Objects::new`], but every object is a row.
    pub fn only_rows(entry: &CatalogueEntry) -> Self {
        Self { envelopes: false, ..Self::new(entry) }
    }

    /// Takes the next object; what is known of it is in `row`, also when it is refused.
    ///
    /// # Errors
    /// When it cannot be published.
    pub fn take(&mut self, number: u64, text: &str, row: &mut Row) -> Result<Given, Refusal> {
        row.begin(number);
        match envelope(text).filter(|_| self.envelopes) {
            None => {
                self.fill(text, row)?;
                Ok(Given::Upsert)
            }
            Some(Envelope { op, row: Some(inner), .. }) if op == "upsert" => {
                self.fill(inner.get(), row)?;
                Ok(Given::Upsert)
            }
            Some(Envelope { op, key: Some(key), .. }) if op == "delete" => {
                self.take_key(key, row)?;
                Ok(Given::Delete)
            }
            Some(Envelope { .. }) => Err(Refusal::whole(RejectReason::Type)),
        }
    }

    fn fill(&mut self, text: &str, row: &mut Row) -> Result<(), Refusal> {
        let mut found: Found<'_> = vec![None; self.mapping.slots()];
        let read = find(text, &mut self.mapping, &mut found);
        read.map_err(|_| Refusal::whole(RejectReason::Type))?;
        fill(&found, &self.mapping, row)
    }

    /// Names that are no item of the entry.
    pub fn unknown(&self) -> &[String] {
        self.mapping.unknown()
    }

    /// The item that a name of a column stands for: machine name, label, or the one before the other.
    pub fn item(&self, column: &str) -> Option<&Item> {
        let named = |name| self.mapping.item_named(name);
        let first = || column.split_whitespace().next().and_then(named);
        named(column).or_else(first).map(|at| &self.mapping.items()[at])
    }

    fn take_key(&mut self, key: &RawValue, row: &mut Row) -> Result<(), Refusal> {
        let keys = &self.mapping.items()[..self.mapping.keys()];
        let wrong = |_| Refusal::whole(RejectReason::Type);
        let missing = |at: usize| {
            let field = keys.get(at).map_or(FieldId(0), |item| item.id);
            Refusal { field, reason: RejectReason::Missing }
        };
        let parts: Vec<Option<&RawValue>> = match key.get().as_bytes().first() {
            Some(b'{') => {
                let mut found: Found<'_> = vec![None; self.mapping.slots()];
                find(key.get(), &mut self.mapping.clone(), &mut found).map_err(wrong)?;
                found
            }
            Some(b'[') => {
                let parts: Vec<&RawValue> = serde_json::from_str(key.get()).map_err(wrong)?;
                if parts.len() > keys.len() {
                    return Err(Refusal::whole(RejectReason::UnknownField));
                }
                parts.into_iter().map(Some).collect()
            }
            Some(_) | None => vec![Some(key)],
        };
        if parts.len() < keys.len() {
            return Err(missing(parts.len()));
        }
        let mapping = &self.mapping;
        row.fill_key(mapping, &mut |slot: usize, take: &mut Take<'_>| {
            offer(mapping, slot, parts[slot], take)
        })
    }
}

/// Takes the text of a slot.
type Take<'t> = dyn FnMut(Option<&str>) -> Result<(), Refusal> + 't;

/// Per slot its value as it stands in the text.
pub(super) type Found<'a> = Vec<Option<&'a RawValue>>;

/// Finds the values of an object, which is all of the text. Order in the object is free, order in a row
/// is not: values are found first, then taken.
pub(super) fn find<'a>(
    object: &'a str,
    mapping: &mut Mapping,
    found: &mut Found<'a>,
) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Object { mapping, found })?;
    reader.end()
}

/// Takes the values that were found.
pub(super) fn fill(found: &Found<'_>, mapping: &Mapping, row: &mut Row) -> Result<(), Refusal> {
    row.fill(mapping, |slot, take| offer(mapping, slot, found[slot], take))
}

/// Hands over the text of a value.
fn offer(
    mapping: &Mapping,
    slot: usize,
    value: Option<&RawValue>,
    take: &mut dyn FnMut(Option<&str>) -> Result<(), Refusal>,
) -> Result<(), Refusal> {
    match value.map(RawValue::get) {
        None | Some("null") => take(Some("")),
        Some(raw) if raw.starts_with('"') => match serde_json::from_str::<Text<'_>>(raw) {
            Ok(text) => take(Some(&text.0)),
            // Half of a surrogate pair, for example.
            Err(_) => take(None),
        },
        Some(raw) if raw.starts_with(['{', '[']) => {
            if mapping.takes_objects(slot) {
                take(Some(raw))
            } else {
                Err(Refusal { field: mapping.field(slot), reason: RejectReason::Type })
            }
        }
        Some(raw) => take(Some(raw)),
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Envelope<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow, default)]
    key: Option<&'a RawValue>,
    #[serde(borrow, default)]
    row: Option<&'a RawValue>,
}

/// Only the exact members make an envelope.
fn envelope(text: &str) -> Option<Envelope<'_>> {
    if !text.contains("\"op\"") {
        return None;
    }
    let read: Envelope<'_> = serde_json::from_str(text).ok()?;
    (read.key.is_some() || read.row.is_some()).then_some(read)
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Notes where the values of known names stand.
struct Object<'m, 'a> {
    mapping: &'m mut Mapping,
    found: &'m mut [Option<&'a RawValue>],
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with the values of a row")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(name)) = map.next_key::<Text<'a>>()? {
            let value: &'a RawValue = map.next_value()?;
            match self.mapping.item_named(&name) {
                Some(item) => self.found[item] = Some(value),
                None => self.mapping.note_unknown(&name),
            }
        }
        Ok(())
    }
}
