//! A row from one JSON object, read without intermediate values.

use std::borrow::Cow;
use std::fmt;

use anyhow::{Context, Result, bail};
use hutong_schema::catalogue::{DataType, Item};
use hutong_schema::row::{KEY_SEPARATOR, RowBuf};
use hutong_schema::rules::canonicalise;
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

/// Name and raw JSON value of each member, in the order of the text.
pub(super) struct Members<'a>(pub(super) Vec<(Cow<'a, str>, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visit;

        impl<'de> Visitor<'de> for Visit {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Members<'de>, A::Error> {
                let mut members = Vec::with_capacity(12);
                while let Some(Name(name)) = map.next_key()? {
                    members.push((name, map.next_value()?));
                }
                Ok(Members(members))
            }
        }

        deserializer.deserialize_map(Visit)
    }
}

/// A text that borrows where nothing is escaped.
#[derive(Deserialize)]
struct Name<'a>(#[serde(borrow)] Cow<'a, str>);

/// Builds rows from named values.
pub(super) struct RowReader<'a> {
    items: &'a [Item],
    /// Positions in `items`, keys first and both in ascending id.
    keys: Vec<usize>,
    columns: Vec<usize>,
    key: Vec<u8>,
    row: RowBuf,
}

impl<'a> RowReader<'a> {
    pub(super) fn new(items: &'a [Item]) -> Self {
        let chosen = |key: bool| -> Vec<usize> {
            let mut chosen: Vec<_> = (0..items.len()).filter(|at| items[*at].key == key).collect();
            chosen.sort_by_key(|at| items[*at].id);
            chosen
        };
        Self {
            items,
            keys: chosen(true),
            columns: chosen(false),
            key: Vec::new(),
            row: RowBuf::new(),
        }
    }

    /// The position of the item of this name or label.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let by_name = self.items.iter().position(|item| item.name == name);
        by_name.or_else(|| self.items.iter().position(|item| item.label == name))
    }

    /// Canonical key and row of texts, one for each item; an absent text is an absent value.
    pub(super) fn read<'t>(
        &mut self,
        text: impl Fn(usize) -> Result<Option<Cow<'t, str>>>,
    ) -> Result<(&[u8], &RowBuf)> {
        self.key.clear();
        for (part, at) in self.keys.iter().enumerate() {
            if part > 0 {
                self.key.push(KEY_SEPARATOR);
            }
            let item = &self.items[*at];
            let text = text(*at)?.with_context(|| format!("{} is missing", item.name))?;
            match canonicalise(item, &text) {
                Ok(Some(value)) => self.key.extend_from_slice(&value),
                Ok(None) => bail!("{} is empty", item.name),
                Err(reason) => bail!("{} {reason}: {text:?}", item.name),
            }
        }
        self.row.clear();
        for at in &self.columns {
            let item = &self.items[*at];
            let Some(text) = text(*at)? else { continue };
            match canonicalise(item, &text) {
                Ok(Some(value)) => self.row.push(item.id, &value),
                Ok(None) => {}
                Err(reason) => bail!("{} {reason}: {text:?}", item.name),
            }
        }
        Ok((&self.key, &self.row))
    }

    /// Canonical key and row of an object's members.
    pub(super) fn object(&mut self, members: &Members<'_>) -> Result<(&[u8], &RowBuf)> {
        let mut texts: Vec<Option<Cow<'_, str>>> = vec![None; self.items.len()];
        for (name, value) in &members.0 {
            let at = self.position(name).with_context(|| format!("{name} is no item"))?;
            texts[at] = scalar(self.items[at].data_type, value)?;
        }
        self.read(|at| Ok(texts[at].clone()))
    }
}

/// The text of a JSON value; a geometry is its own text.
fn scalar<'a>(data_type: DataType, value: &'a RawValue) -> Result<Option<Cow<'a, str>>> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => {
            let Name(text) = serde_json::from_str(text)?;
            Some(text)
        }
        Some(b'n') => None,
        Some(b'{') if data_type != DataType::Geometry => {
            bail!("an object where a value is expected")
        }
        _ => Some(Cow::Borrowed(text)),
    })
}
