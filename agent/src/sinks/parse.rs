//! What a record of a delivered file says: the inverse of [`Lines`].
//!
//! Strict: a record that the sink would never write is refused, for whoever loads the file may stop
//! at it, and no line added behind it would help. A row that is merely another one is read as such.

use std::{borrow::Cow, collections::HashMap};

use hutong_schema::{
    digest::{KeyHash, Leaf, key_hash, leaf_of},
    geometry,
    limits::KEY_BYTES_MAX,
    row::key_parts,
};
use serde::{
    Deserialize,
    de::{Deserializer, Error, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{LineFormat, Lines, lines::Column};

/// Separates the parts of a key.
const PART: u8 = 0x1F;

/// A key, and what a record makes of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Said {
    pub(super) hash: KeyHash,
    pub(super) key: Box<[u8]>,
    /// The row's; `None` when the key is gone.
    pub(super) leaf: Option<Leaf>,
}

/// Reads the records of one subscription's file.
pub(super) struct Parser<'l> {
    lines: &'l Lines,
    names: HashMap<&'l str, usize>,
    /// Positions of the items in the order of their numbers, as leaves want them.
    order: Vec<usize>,
    scratch: Vec<u8>,
}

/// A value as it stands in the file.
type Values<'r> = Vec<Option<Cow<'r, [u8]>>>;

impl<'l> Parser<'l> {
    /// For a file that `lines` wrote.
    pub(super) fn new(lines: &'l Lines) -> Self {
        let columns = lines.keys.iter().chain(&lines.items);
        let names = columns.enumerate().map(|(at, column)| (column.name.as_str(), at)).collect();
        let mut order: Vec<usize> = (0..lines.items.len()).collect();
        order.sort_by_key(|at| lines.items[*at].field);
        Self { lines, names, order, scratch: Vec::new() }
    }

    /// What a record says, if its key is one of the wanted. The rest of a record whose key is not
    /// wanted may be passed over.
    pub(super) fn said(
        &mut self,
        record: &[u8],
        wanted: impl Fn(&KeyHash) -> bool,
    ) -> Result<Option<Said>, String> {
        match self.lines.format {
            LineFormat::Jsonl => {
                let passed_over =
                    quick_key(record).is_some_and(|key| !wanted(&key_hash(key.as_bytes())));
                if passed_over { Ok(None) } else { self.json(record, wanted) }
            }
            LineFormat::Csv => self.csv(record, wanted),
        }
    }

    fn json(
        &mut self,
        record: &[u8],
        wanted: impl Fn(&KeyHash) -> bool,
    ) -> Result<Option<Said>, String> {
        let line: Line<'_> = serde_json::from_slice(record)
            .map_err(|error| format!("no change as JSON: {error}"))?;
        let key = line.key.as_bytes();
        let hash = self.checked(key)?;
        if !wanted(&hash) {
            return Ok(None);
        }
        let leaf = match (&*line.op, line.row) {
            ("delete", None) => None,
            ("upsert", Some(row)) => Some(self.json_row(record, key, row)?),
            (op, _) => return Err(format!("operation {op:?} with or without a row")),
        };
        Ok(Some(Said { hash, key: key.into(), leaf }))
    }

    fn json_row(&mut self, record: &[u8], key: &[u8], row: &RawValue) -> Result<Leaf, String> {
        let mut json = serde_json::Deserializer::from_str(row.get());
        let found = json
            .deserialize_map(Row { names: &self.names })
            .map_err(|error| format!("no row: {error}"))?;
        let mut values = Values::with_capacity(found.len());
        for (column, raw) in self.columns().zip(&found) {
            values.push(raw.map(|raw| value(column, raw)).transpose()?);
        }
        let items = values.split_off(self.lines.keys.len());
        if !key_parts(key).map(Some).eq(values.iter().map(Option::as_deref)) {
            // No row that the hub knows: it differs, and is mended like any other.
            return Ok(*blake3::hash(record).as_bytes());
        }
        Ok(self.leaf(key, &items))
    }

    fn csv(
        &mut self,
        record: &[u8],
        wanted: impl Fn(&KeyHash) -> bool,
    ) -> Result<Option<Said>, String> {
        let text = std::str::from_utf8(record).map_err(|_| "text that is not UTF-8".to_owned())?;
        let mut values = fields(text)?;
        let (keys, items) = (self.lines.keys.len(), self.lines.items.len());
        if values.len() != 1 + keys + items {
            return Err(format!("{} columns where {} are due", values.len(), 1 + keys + items));
        }
        let mut rest = values.split_off(1 + keys);
        let key = values[1..].join(&(PART as char).to_string()[..]).into_bytes();
        let hash = self.checked(&key)?;
        if !wanted(&hash) {
            return Ok(None);
        }
        let leaf = match &*values[0] {
            "delete" if rest.iter().all(|field| field.is_empty()) => None,
            "upsert" => {
                let mut values = Values::with_capacity(rest.len());
                for (column, field) in self.lines.items.iter().zip(&mut rest) {
                    values.push(match std::mem::take(field) {
                        field if field.is_empty() => None,
                        field if column.geometry => Some(geometry_of(column, &field)?),
                        Cow::Borrowed(field) => Some(Cow::Borrowed(field.as_bytes())),
                        Cow::Owned(field) => Some(Cow::Owned(field.into_bytes())),
                    });
                }
                Some(self.leaf(&key, &values))
            }
            op => return Err(format!("operation {op:?} with these values")),
        };
        Ok(Some(Said { hash, key: key.into(), leaf }))
    }

    fn leaf(&mut self, key: &[u8], items: &Values<'_>) -> Leaf {
        let present = self
            .order
            .iter()
            .filter_map(|at| Some((self.lines.items[*at].field, items[*at].as_deref()?)));
        leaf_of(key, present, &mut self.scratch)
    }

    fn checked(&self, key: &[u8]) -> Result<KeyHash, String> {
        let (parts, due) = (key_parts(key).count(), self.lines.keys.len());
        if parts != due {
            return Err(format!("a key of {parts} parts where {due} are due"));
        }
        if key.len() > KEY_BYTES_MAX {
            return Err(format!("a key of more than {KEY_BYTES_MAX} bytes"));
        }
        Ok(key_hash(key))
    }

    fn columns(&self) -> impl Iterator<Item = &'l Column> + use<'l> {
        self.lines.keys.iter().chain(&self.lines.items)
    }
}

/// The key of a record in the form in which it is written, without reading its row: that takes most
/// of the time, and each row is wanted once.
fn quick_key(record: &[u8]) -> Option<Cow<'_, str>> {
    let rest = record
        .strip_prefix(br#"{"op":"upsert","key":"#)
        .or_else(|| record.strip_prefix(br#"{"op":"delete","key":"#))?;
    let mut at = 1;
    loop {
        match rest.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    serde_json::from_slice::<Text<'_>>(&rest[..=at]).ok().map(|text| text.0)
}

fn value<'r>(column: &Column, raw: &'r RawValue) -> Result<Cow<'r, [u8]>, String> {
    if column.geometry {
        return geometry_of(column, raw.get());
    }
    let text: Text<'r> = serde_json::from_str(raw.get())
        .map_err(|_| format!("{} is not a text: {}", column.name, shown(raw.get())))?;
    Ok(match text.0 {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    })
}

fn geometry_of(column: &Column, text: &str) -> Result<Cow<'static, [u8]>, String> {
    let bytes = geometry::from_geojson(text);
    bytes.map(Cow::Owned).map_err(|error| format!("{}: {error}", column.name))
}

/// The beginning of a value, for a message.
fn shown(value: &str) -> String {
    value.chars().take(40).collect()
}

/// The fields of a CSV record.
fn fields(record: &str) -> Result<Vec<Cow<'_, str>>, String> {
    let mut fields = Vec::new();
    let mut rest = record;
    loop {
        let behind = if let Some(quoted) = rest.strip_prefix('"') {
            let end = quoted_end(quoted).ok_or("a quotation mark that is not closed")?;
            let field = &quoted[..end];
            fields.push(if field.contains('"') {
                Cow::Owned(field.replace("\"\"", "\""))
            } else {
                Cow::Borrowed(field)
            });
            &quoted[end + 1..]
        } else {
            let end = rest.find(',').unwrap_or(rest.len());
            if rest[..end].contains(['"', '\r']) {
                return Err("a field that ought to be in quotation marks".to_owned());
            }
            fields.push(Cow::Borrowed(&rest[..end]));
            &rest[end..]
        };
        if behind.is_empty() {
            return Ok(fields);
        }
        rest = behind.strip_prefix(',').ok_or("text behind a quotation mark")?;
    }
}

/// Where a quoted field ends: at the first quotation mark that is not doubled.
fn quoted_end(field: &str) -> Option<usize> {
    let mut at = 0;
    loop {
        at += field[at..].find('"')?;
        if !field[at + 1..].starts_with('"') {
            return Some(at);
        }
        at += 2;
    }
}

/// A JSON string, borrowed where it has no escapes.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    #[serde(borrow)]
    op: Cow<'a, str>,
    #[serde(borrow)]
    key: Cow<'a, str>,
    #[serde(borrow)]
    row: Option<&'a RawValue>,
}

/// Finds the values of a row, key items first.
struct Row<'n, 'l> {
    names: &'n HashMap<&'l str, usize>,
}

impl<'r> Visitor<'r> for Row<'_, '_> {
    type Value = Vec<Option<&'r RawValue>>;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with the values of a row")
    }

    fn visit_map<M: MapAccess<'r>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = vec![None; self.names.len()];
        while let Some(Text(name)) = map.next_key::<Text<'r>>()? {
            let Some(place) = self.names.get(&*name).and_then(|at| found.get_mut(*at)) else {
                return Err(M::Error::custom(format_args!("{name:?} was not granted")));
            };
            if place.replace(map.next_value()?).is_some() {
                return Err(M::Error::custom(format_args!("{name:?} stands there twice")));
            }
        }
        Ok(found)
    }
}

#[cfg(test)]
#[path = "parse_tests.rs"]
mod tests;
