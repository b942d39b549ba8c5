//! Rows from texts and from JSON objects, read without values in between.

use std::borrow::Cow;
use std::fmt;

use anyhow::{Context, Result, bail};
use hutong_schema::catalogue::{DataType, Item};
use hutong_schema::row::{KEY_SEPARATOR, RowBuf};
use hutong_schema::rules::canonicalise;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, Visitor};
use serde_json::value::RawValue;

/// The text of each item, by its position; an absent one is an absent value.
pub(super) type Texts<'t> = Vec<Option<Cow<'t, str>>>;

/// A text that borrows where nothing is escaped.
#[derive(Deserialize)]
pub(super) struct Name<'a>(#[serde(borrow)] pub(super) Cow<'a, str>);

/// What is known of the rows of a file.
pub(super) struct Form<'a> {
    items: &'a [Item],
    /// Positions in `items`, in ascending id.
    keys: Vec<usize>,
    columns: Vec<usize>,
}

/// A row under construction, reused from row to row.
#[derive(Default)]
pub(super) struct Row {
    pub(super) key: Vec<u8>,
    pub(super) fields: RowBuf,
}

impl<'a> Form<'a> {
    pub(super) fn new(items: &'a [Item]) -> Self {
        let chosen = |key: bool| -> Vec<usize> {
            let mut chosen: Vec<_> = (0..items.len()).filter(|at| items[*at].key == key).collect();
            chosen.sort_by_key(|at| items[*at].id);
            chosen
        };
        Self { items, keys: chosen(true), columns: chosen(false) }
    }

    /// The position of the item of this name or label.
    pub(super) fn position(&self, name: &str) -> Option<usize> {
        let by_name = self.items.iter().position(|item| item.name == name);
        by_name.or_else(|| self.items.iter().position(|item| item.label == name))
    }

    /// Fills a row with the canonical values of texts.
    pub(super) fn fill<'t>(
        &self,
        text: impl Fn(usize) -> Option<&'t str>,
        row: &mut Row,
    ) -> Result<()> {
        row.key.clear();
        for (part, at) in self.keys.iter().enumerate() {
            if part > 0 {
                row.key.push(KEY_SEPARATOR);
            }
            let item = &self.items[*at];
            let text = text(*at).with_context(|| format!("{} is missing", item.name))?;
            match canonicalise(item, text) {
                Ok(Some(value)) => row.key.extend_from_slice(&value),
                Ok(None) => bail!("{} is empty", item.name),
                Err(reason) => bail!("{} {reason}: {text:?}", item.name),
            }
        }
        row.fields.clear();
        for at in &self.columns {
            let item = &self.items[*at];
            let Some(text) = text(*at) else { continue };
            match canonicalise(item, text) {
                Ok(Some(value)) => row.fields.push(item.id, &value),
                Ok(None) => {}
                Err(reason) => bail!("{} {reason}: {text:?}", item.name),
            }
        }
        Ok(())
    }

    /// Fills a row from the texts of an object.
    pub(super) fn fill_from(&self, texts: &Texts<'_>, row: &mut Row) -> Result<()> {
        self.fill(|at| texts[at].as_deref(), row)
    }

    /// Reads a JSON object.
    pub(super) fn object<'t>(&self, line: &'t [u8]) -> Result<Texts<'t>> {
        let mut json = serde_json::Deserializer::from_slice(line);
        let texts = self.deserialize(&mut json)?;
        json.end()?;
        Ok(texts)
    }
}

impl<'de> DeserializeSeed<'de> for &Form<'_> {
    type Value = Texts<'de>;

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<Texts<'de>, D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for &Form<'_> {
    type Value = Texts<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Texts<'de>, A::Error> {
        let mut texts = vec![None; self.items.len()];
        while let Some(Name(name)) = map.next_key()? {
            let at = self.position(&name);
            let at = at.ok_or_else(|| A::Error::custom(format_args!("{name} is no item")))?;
            texts[at] = match self.items[at].data_type {
                DataType::Text | DataType::Memo | DataType::Date | DataType::DateTime => {
                    map.next_value::<Option<Name<'de>>>()?.map(|Name(text)| text)
                }
                // Numbers may stand as such, and a geometry is its own text.
                DataType::Number
                | DataType::Money
                | DataType::Logical
                | DataType::Geometry
                | DataType::Double
                | DataType::Integer
                | DataType::Float => raw(map.next_value()?).map_err(A::Error::custom)?,
            };
        }
        Ok(texts)
    }
}

/// The text of a JSON value that may be no string.
fn raw(value: &RawValue) -> Result<Option<Cow<'_, str>>, serde_json::Error> {
    let text = value.get();
    Ok(match text.as_bytes().first() {
        Some(b'"') => {
            let Name(text) = serde_json::from_str(text)?;
            Some(text)
        }
        Some(b'n') => None,
        _ => Some(Cow::Borrowed(text)),
    })
}
