//! A row that a database's log tells: named texts, one at a time.

use hutong_schema::catalogue::CatalogueEntry;

use super::{Mapping, Next, Row};

/// A row by the names of its columns.
pub struct TupleRow {
    mapping: Mapping,
    names: Vec<String>,
    number: u64,
}

impl TupleRow {
    /// For tables with these columns.
    ///
    /// # Errors
    /// When required items are missing; says which.
    pub fn new(names: Vec<String>, entry: &CatalogueEntry) -> Result<Self, String> {
        let mut mapping = Mapping::by_name(entry);
        mapping.take_header(&names, entry)?;
        Ok(Self { mapping, names, number: 0 })
    }

    /// Names of the columns.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Names of columns that the entry does not have.
    pub fn unknown_columns(&self) -> &[String] {
        self.mapping.unknown()
    }

    /// Of each key item its name and the column that it is read from.
    pub fn key_columns(&self) -> impl Iterator<Item = Option<usize>> {
        (0..self.mapping.keys()).map(|item| self.mapping.column_of(item))
    }

    /// Takes a row's texts, one of each column.
    pub fn take(&mut self, values: &[Option<String>], row: &mut Row) -> Next {
        self.number += 1;
        row.begin(self.number);
        let mapping = &self.mapping;
        let filled = row.fill(mapping, |item, take| {
            let value = mapping.column_of(item).and_then(|column| values.get(column));
            take(Some(value.and_then(Option::as_deref).unwrap_or_default()))
        });
        filled.map_or_else(Next::Refused, |()| Next::Row)
    }
}

/// A row's texts as a person reads them.
pub fn readable(values: &[Option<String>]) -> Vec<u8> {
    let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
    // Writing into memory does not fail; a record that cannot be shown is shown as nothing.
    let _ = writer.write_record(values.iter().map(|value| value.as_deref().unwrap_or_default()));
    let mut raw = writer.into_inner().unwrap_or_default();
    raw.truncate(raw.trim_ascii_end().len());
    raw
}
