//! Rows of a query.

use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::row::FieldId;
use hutong_schema::rules::RejectReason;

use super::{Mapping, Mark, Next, Refusal, Row, Rows, SourceError};
use crate::sql::{Cell, TextRows};

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
    pub fn new(rows: TextRows, entry: &CatalogueEntry, beside: Option<&str>) -> Self {
        Self {
            rows,
            mapping: Mapping::by_name(entry),
            entry: entry.clone(),
            beside: beside.map(|name| (name.to_owned(), None)),
            number: 0,
        }
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
                    let field = mapping.items().get(item).map_or(FieldId(0), |item| item.id);
                    Err(Refusal { field, reason: RejectReason::Encoding })
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

    fn unknown_columns(&self) -> &[String] {
        self.mapping.unknown()
    }

    /// One statement sees one state of the database.
    fn is_still(&self, _mark: &Mark) -> Result<bool, SourceError> {
        Ok(true)
    }
}
