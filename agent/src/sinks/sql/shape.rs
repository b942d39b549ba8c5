//! The columns of a subscription's table: how canonical values are written to them and read back.

use std::borrow::Cow;

use hutong_schema::{
    catalogue::{DataType, Item},
    digest::{Leaf, leaf_of},
    geometry,
    grant::GrantView,
    row::{KEY_SEPARATOR, key_parts},
    rules,
};

use super::{super::SinkError, kind::Kind};
use crate::{
    config::Dialect,
    sql::{Param, identifier},
};

/// One column.
#[derive(Clone, Debug)]
pub(super) struct Column {
    pub(super) item: Item,
    pub(super) kind: Kind,
    /// Its name in quotes.
    pub(super) quoted: String,
}

/// The columns of a table: the key's first, in the order of the key, then the others.
#[derive(Clone, Debug)]
pub(super) struct Shape {
    pub(super) dialect: Dialect,
    pub(super) columns: Vec<Column>,
    /// How many of them are the key's.
    pub(super) keys: usize,
    /// Positions of the others in ascending number, as leaves want them.
    order: Vec<usize>,
}

/// A row read back: its key and what the row makes the image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ReadBack {
    pub(super) key: Vec<u8>,
    pub(super) leaf: Leaf,
}

impl Shape {
    /// For what a grant delivers; `kind` says what each column holds.
    pub(super) fn new(dialect: Dialect, view: &GrantView, kind: impl Fn(&Item) -> Kind) -> Self {
        let column = |item: &Item| Column {
            item: item.clone(),
            kind: kind(item),
            quoted: identifier(dialect, &item.name),
        };
        let columns: Vec<Column> = view.keys.iter().chain(&view.items).map(column).collect();
        let keys = view.keys.len();
        let mut order: Vec<usize> = (keys..columns.len()).collect();
        order.sort_by_key(|at| columns[*at].item.id);
        Self { dialect, columns, keys, order }
    }

    /// The key's columns.
    pub(super) fn key_columns(&self) -> &[Column] {
        &self.columns[..self.keys]
    }

    /// The other columns.
    pub(super) fn item_columns(&self) -> &[Column] {
        &self.columns[self.keys..]
    }

    /// What is written to the key's columns.
    ///
    /// # Errors
    /// When the key has other parts, or a part is not canonical.
    pub(super) fn written_key(&self, key: &[u8]) -> Result<Vec<String>, SinkError> {
        let parts = key_parts(key).count();
        if parts != self.keys {
            return Err(SinkError::Delivery(format!(
                "a key of {parts} parts where {} are due",
                self.keys
            )));
        }
        self.key_columns()
            .iter()
            .zip(key_parts(key))
            .map(|(column, part)| column.written(part))
            .collect()
    }

    /// What a row of the table says; its cells stand in the order of the columns.
    pub(super) fn read_back(&self, cells: &[Option<String>], scratch: &mut Vec<u8>) -> ReadBack {
        let value = |at: usize| {
            cells.get(at).and_then(Option::as_deref).and_then(|text| self.columns[at].read(text))
        };
        let mut key = Vec::new();
        for at in 0..self.keys {
            if at > 0 {
                key.push(KEY_SEPARATOR);
            }
            key.extend_from_slice(value(at).as_deref().unwrap_or_default());
        }
        let values: Vec<_> = self
            .order
            .iter()
            .filter_map(|at| Some((self.columns[*at].item.id, value(*at)?)))
            .collect();
        let leaf = leaf_of(&key, values.iter().map(|(field, value)| (*field, &**value)), scratch);
        ReadBack { key, leaf }
    }
}

impl Column {
    /// The text that is written for a canonical value.
    ///
    /// # Errors
    /// When the value is not canonical.
    pub(super) fn written(&self, value: &[u8]) -> Result<String, SinkError> {
        if self.item.data_type == DataType::Geometry {
            return geometry::to_geojson(value)
                .map_err(|error| SinkError::Delivery(format!("a geometry: {error}")));
        }
        let text = std::str::from_utf8(value)
            .map_err(|_| SinkError::Delivery("a value that is not UTF-8".to_owned()))?;
        let day = self.item.data_type == DataType::Date && text.len() == 8;
        Ok(match (&self.kind, day.then(|| (text.get(..4), text.get(4..6), text.get(6..)))) {
            (Kind::Date | Kind::DateTime, Some((Some(year), Some(month), Some(day)))) => {
                format!("{year}-{month}-{day}")
            }
            _ => text.to_owned(),
        })
    }

    /// The parameter for a text of [`written`](Self::written). A floating-point number is given as one:
    /// SQLite does not read the last digits of a text exactly.
    pub(super) fn param(&self, text: Option<String>) -> Param {
        match (&self.kind, text.as_deref().and_then(|text| text.parse().ok())) {
            (Kind::Double, Some(number)) => Param::Real(number),
            _ => Param::Text(text),
        }
    }

    /// The canonical value of what the database tells. What is none by the rules stands as it is: it
    /// differs from what was delivered.
    fn read<'t>(&self, text: &'t str) -> Option<Cow<'t, [u8]>> {
        if rules::check(&self.item, text.as_bytes()).is_ok() {
            return Some(Cow::Borrowed(text.as_bytes()));
        }
        match rules::canonicalise(&self.item, text) {
            Ok(value) => value,
            Err(_) => Some(Cow::Borrowed(text.as_bytes())),
        }
    }
}
