//! Rows of a query.

use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::rules::RejectReason;

use super::{Mapping, Mark, Next, Refusal, Row, Rows, SourceError};
use crate::config::{Rules, SqlFrom, SqlSource};
use crate::sql::{Access, Cell, SqlError, TextRows, connect, table};

/// What stands behind FROM.
pub fn from(source: &SqlSource) -> String {
    match &source.from {
        SqlFrom::Table(name) => table(source.database.url.dialect(), name),
        SqlFrom::Query(query) => format!("(\n{query}\n) AS hutong_source"),
    }
}

/// The rows of a statement as text. Within the runtime, on a thread that may block.
///
/// # Errors
/// When the database does not let us in. What is wrong with the statement is told by the first row.
pub fn text(source: &SqlSource, statement: String) -> Result<TextRows, SourceError> {
    let runtime = tokio::runtime::Handle::try_current().map_err(|_| SqlError::Interrupted)?;
    let connection = runtime.block_on(connect(&source.database, Access::Read))?;
    let place = source.database.url.to_string();
    Ok(TextRows::start(&runtime, connection, place, statement, source.patience))
}

/// The rows of a query, by the names of its columns.
pub struct SqlRows {
    rows: TextRows,
    entry: CatalogueEntry,
    mapping: Mapping,
    /// A column that is read beside the items, and where it stands.
    beside: Option<(String, Option<usize>)>,
    number: u64,
}

impl SqlRows {
    /// Reads what `rows` gives. `beside` is a column that need not be an item.
    pub fn new(
        rows: TextRows,
        entry: &CatalogueEntry,
        rules: &Rules,
        beside: Option<&str>,
    ) -> Self {
        Self {
            rows,
            mapping: Mapping::new(entry, rules),
            entry: entry.clone(),
            beside: beside.map(|name| (name.to_owned(), None)),
            number: 0,
        }
    }

    /// The present rows of a source.
    ///
    /// # Errors
    /// As [`text`].
    pub fn all(
        source: &SqlSource,
        entry: &CatalogueEntry,
        rules: &Rules,
    ) -> Result<Self, SourceError> {
        let rows = text(source, format!("SELECT * FROM {}", from(source)))?;
        Ok(Self::new(rows, entry, rules, None))
    }

    /// The present row's value in the column beside the items; `None` for NULL.
    pub fn beside(&self) -> Option<&str> {
        let (_, column) = self.beside.as_ref()?;
        match self.rows.cell((*column)?) {
            Cell::Text(text) => Some(text),
            Cell::Null | Cell::Bytes => None,
        }
    }

    fn take_names(&mut self) -> Result<(), SourceError> {
        let names = self.rows.names();
        let wrong = |detail| SourceError::Query { place: self.rows.place().to_owned(), detail };
        if let Some((name, at)) = &mut self.beside {
            *at = names.iter().position(|each| each == name);
            if at.is_none() {
                return Err(wrong(format!(
                    "the query has no column {name}; it has {}",
                    names.join(", ")
                )));
            }
        }
        if let Some(fault) = self.mapping.fault() {
            return Err(wrong(fault));
        }
        self.mapping.take_header(names, &self.entry).map_err(wrong)?;
        if let Some((name, _)) = &self.beside {
            self.mapping.know(name);
        }
        Ok(())
    }
}

impl Rows for SqlRows {
    fn next(&mut self, row: &mut Row) -> Result<Next, SourceError> {
        if !self.rows.advance()? {
            return Ok(Next::End);
        }
        if self.number == 0 {
            self.take_names()?;
        }
        self.number += 1;
        row.begin(self.number);
        let (mapping, rows) = (&self.mapping, &self.rows);
        let filled = row.fill(mapping, |item, take| {
            let Some(column) = mapping.column_of(item) else { return take(Some("")) };
            match rows.cell(column) {
                Cell::Null => take(Some("")),
                Cell::Text(text) => take(Some(text)),
                Cell::Bytes => {
                    Err(Refusal { field: mapping.field(item), reason: RejectReason::Encoding })
                }
            }
        });
        Ok(filled.map_or_else(Next::Refused, |()| Next::Row))
    }

    fn raw(&self) -> Vec<u8> {
        let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        let cells = (0..self.rows.names().len()).map(|column| match self.rows.cell(column) {
            Cell::Text(text) => text,
            Cell::Null | Cell::Bytes => "",
        });
        // Writing into memory does not fail; a record that cannot be shown is shown as nothing.
        let _ = writer.write_record(cells);
        let mut raw = writer.into_inner().unwrap_or_default();
        raw.truncate(raw.trim_ascii_end().len());
        raw
    }

    fn values(&self) -> String {
        let text = |column| match self.rows.cell(column) {
            Cell::Text(text) => Some(text),
            Cell::Null | Cell::Bytes => None,
        };
        named(&self.mapping, text)
    }

    fn unknown_columns(&self) -> &[String] {
        self.mapping.unknown()
    }

    /// One statement sees one state of the database.
    fn is_still(&self, _mark: &Mark) -> Result<bool, SourceError> {
        Ok(true)
    }
}

/// Texts by the machine names of their items, a JSON object.
pub(super) fn named<'t>(mapping: &Mapping, text: impl Fn(usize) -> Option<&'t str>) -> String {
    let mut values = serde_json::Map::new();
    for (at, item) in mapping.items().iter().enumerate() {
        if let Some(text) = mapping.column_of(at).and_then(&text) {
            values.insert(item.name.clone(), text.into());
        }
    }
    serde_json::Value::Object(values).to_string()
}
