//! Excel workbooks (.xlsx, .xls): one sheet, read as a whole, values as a person sees them.
//!
//! A workbook can only be read whole, so its size is bounded. Excel keeps 15 digits of a number; a longer
//! one, such as a citizen identifier in a column that is not formatted as text, has lost digits and is
//! refused.

use std::cell::Cell;
use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::Path;

use calamine::{Data, DataRef, Reader, Xls, Xlsx};
use hutong_schema::row::FieldId;
use hutong_schema::rules::RejectReason;

use super::archive;
use super::sheet::{self, Problem};
use super::sql::named;
use super::{Identity, Mapping, Next, Position, Refusal, Row, SourceError};
use crate::config::Sheet;

/// Largest workbook, bytes: about a million cells.
pub const WORKBOOK_BYTES_MAX: u64 = 32 * 1024 * 1024;
/// Largest sum of texts of the sheet, and of the table of its texts, bytes.
const TEXT_BYTES_MAX: usize = 64 * 1024 * 1024;
/// Columns of the widest sheet.
const COLUMNS_MAX: usize = 16_384;

/// A sheet in memory.
pub(super) struct Workbook {
    file: File,
    cells: Cells,
    /// The row to be yielded next.
    next: usize,
    current: usize,
}

/// The cells of a sheet's rows.
#[derive(Default)]
struct Cells {
    header_row: u32,
    header: Option<Vec<String>>,
    texts: String,
    /// Ends of the cells in `texts`, row by row, as many per row as the header has columns.
    ends: Vec<u32>,
    /// Numbers of the rows as Excel shows them.
    numbers: Vec<u32>,
    problems: HashMap<usize, Problem>,
    /// The row that is being read, and its number from 0.
    row: Vec<(String, Option<Problem>)>,
    row_number: Option<u32>,
}

impl Workbook {
    /// Reads the sheet.
    pub(super) fn open(path: &Path, sheet: &Sheet) -> Result<Self, SourceError> {
        let form = |detail: String| SourceError::Form { path: path.to_owned(), detail };
        let file = File::open(path).map_err(|error| SourceError::of_open(path, error))?;
        let read = |source| SourceError::Read { path: path.to_owned(), source };
        let size = file.metadata().map_err(read)?.len();
        if size > WORKBOOK_BYTES_MAX {
            return Err(form(too_large("the workbook", size, WORKBOOK_BYTES_MAX)));
        }
        let kind = archive::kind(path).map_err(read)?;
        // The library was written for whole workbooks; a broken one must not end the agent's scan.
        let cells = std::panic::catch_unwind(|| match kind {
            archive::Kind::Zip => of_xlsx(path, sheet),
            archive::Kind::Compound => of_xls(path, sheet),
            archive::Kind::Other => Err("it is no Excel workbook (.xlsx or .xls)".to_owned()),
        });
        let cells = cells.unwrap_or_else(|_| Err("the workbook is damaged".to_owned()));
        let cells = cells.and_then(Cells::finished).map_err(form)?;
        Ok(Self { file, cells, next: 0, current: 0 })
    }

    pub(super) fn header(&self) -> &[String] {
        self.cells.header.as_deref().unwrap_or_default()
    }

    /// Passes over the rows up to a position.
    pub(super) fn begin_rows(&mut self, from: Option<Position>) {
        let through = from.map_or(0, |from| from.rows);
        self.next = self.cells.numbers.partition_point(|number| u64::from(*number) <= through);
    }

    pub(super) fn row(&mut self, mapping: &Mapping, row: &mut Row) -> Next {
        let Some(number) = self.cells.numbers.get(self.next) else { return Next::End };
        self.current = self.next;
        self.next += 1;
        row.begin(u64::from(*number));
        let seen: Cell<Option<Problem>> = Cell::new(None);
        let filled = row.fill(mapping, |slot, take| {
            let Some(column) = mapping.column_of(slot) else { return take(Some("")) };
            match self.cells.get(self.current, column) {
                Ok(text) => take(Some(text)),
                Err(problem) => {
                    seen.set(Some(problem));
                    let field: FieldId = mapping.field(slot);
                    Err(Refusal { field, reason: RejectReason::Type })
                }
            }
        });
        match filled {
            Ok(()) => Next::Row,
            Err(refusal) => {
                if let Some(problem) = seen.get().filter(|_| row.note().is_empty()) {
                    row.set_note(problem.in_words());
                }
                Next::Refused(refusal)
            }
        }
    }

    /// The current row as a line of a CSV.
    pub(super) fn raw(&self) -> Vec<u8> {
        let mut writer = ::csv::WriterBuilder::new().flexible(true).from_writer(Vec::new());
        let columns = 0..self.header().len();
        let cells = columns.map(|column| self.cells.get(self.current, column).unwrap_or("?"));
        // Writing into memory does not fail; a record that cannot be shown is shown as nothing.
        let _ = writer.write_record(cells);
        let mut raw = writer.into_inner().unwrap_or_default();
        raw.truncate(raw.trim_ascii_end().len());
        raw
    }

    /// The texts of the current row by the machine names of their items.
    pub(super) fn values(&self, mapping: &Mapping) -> String {
        named(mapping, |column| self.cells.get(self.current, column).ok())
    }

    pub(super) fn position(&self) -> Position {
        let read = self.next.checked_sub(1).and_then(|last| self.cells.numbers.get(last));
        let rows = u64::from(read.copied().unwrap_or(0));
        Position { offset: rows, rows }
    }

    pub(super) fn identity(&self) -> std::io::Result<Identity> {
        Identity::of(&self.file)
    }
}

fn of_xlsx(path: &Path, sheet: &Sheet) -> Result<Cells, String> {
    let shared = archive::unpacked(path, "xl/sharedStrings.xml").map_err(|e| e.to_string())?;
    if shared > TEXT_BYTES_MAX as u64 {
        return Err(too_large("the table of texts", shared, TEXT_BYTES_MAX as u64));
    }
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut book = Xlsx::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let name = chosen(sheet, &book.sheet_names())?;
    let mut reader = book.worksheet_cells_reader(&name).map_err(|error| error.to_string())?;
    let mut cells = Cells::new(sheet);
    while let Some(cell) = reader.next_cell().map_err(|error| error.to_string())? {
        cells.add(cell.get_position(), cell.get_value())?;
    }
    Ok(cells)
}

fn of_xls(path: &Path, sheet: &Sheet) -> Result<Cells, String> {
    let file = File::open(path).map_err(|error| error.to_string())?;
    let mut book = Xls::new(BufReader::new(file)).map_err(|error| error.to_string())?;
    let name = chosen(sheet, &book.sheet_names())?;
    let range = book.worksheet_range(&name).map_err(|error| error.to_string())?;
    let (first_row, first_column) = range.start().unwrap_or((0, 0));
    let mut cells = Cells::new(sheet);
    for (row, column, value) in range.used_cells() {
        let at = (first_row + row as u32, first_column + column as u32);
        cells.add(at, &borrowed(value))?;
    }
    Ok(cells)
}

fn borrowed(value: &Data) -> DataRef<'_> {
    match value {
        Data::Int(number) => DataRef::Int(*number),
        Data::Float(number) => DataRef::Float(*number),
        Data::String(text) => DataRef::SharedString(text),
        Data::Bool(yes) => DataRef::Bool(*yes),
        Data::DateTime(time) => DataRef::DateTime(*time),
        Data::DateTimeIso(text) => DataRef::DateTimeIso(text.clone()),
        Data::DurationIso(text) => DataRef::DurationIso(text.clone()),
        Data::Error(error) => DataRef::Error(error.clone()),
        Data::Empty => DataRef::Empty,
    }
}

fn chosen(sheet: &Sheet, names: &[String]) -> Result<String, String> {
    let found = match &sheet.name {
        Some(name) => names.iter().find(|each| *each == name),
        None => names.first(),
    };
    found.cloned().ok_or_else(|| match &sheet.name {
        Some(name) => format!("there is no sheet {name:?}; there are: {}", names.join(", ")),
        None => "the workbook has no sheet".to_owned(),
    })
}

fn too_large(what: &str, size: u64, most: u64) -> String {
    let mib = |bytes: u64| bytes.div_ceil(1024 * 1024);
    format!(
        "{what} is {} MiB large and a workbook can only be read as a whole, up to {} MiB; save the sheet \
         as CSV, or split it",
        mib(size),
        mib(most)
    )
}

impl Cells {
    fn new(sheet: &Sheet) -> Self {
        Self { header_row: sheet.header_row - 1, ..Self::default() }
    }

    /// Takes a cell; they come row by row.
    fn add(&mut self, (row, column): (u32, u32), value: &DataRef<'_>) -> Result<(), String> {
        if row < self.header_row || matches!(value, DataRef::Empty) {
            return Ok(());
        }
        if self.row_number != Some(row) {
            if self.row_number.is_some_and(|last| row < last) {
                return Err("the rows of the sheet are not in order; save it with Excel".to_owned());
            }
            self.end_row()?;
            self.row_number = Some(row);
        }
        let column = column as usize;
        let width = self.header.as_ref().map_or(COLUMNS_MAX, Vec::len);
        if column >= width {
            // Notes beside the table.
            return Ok(());
        }
        if self.row.len() <= column {
            self.row.resize(column + 1, (String::new(), None));
        }
        self.row[column] = match sheet::text(value) {
            Ok(text) => (text.into_owned(), None),
            Err(problem) => (String::new(), Some(problem)),
        };
        Ok(())
    }

    /// Stores the row that was read, unless it is blank.
    fn end_row(&mut self) -> Result<(), String> {
        let Some(number) = self.row_number.take() else { return Ok(()) };
        let mut row = std::mem::take(&mut self.row);
        let blank = |(text, problem): &(String, Option<Problem>)| {
            problem.is_none() && text.trim().is_empty()
        };
        let Some(header) = &self.header else {
            if number == self.header_row {
                while row.last().is_some_and(blank) {
                    row.pop();
                }
                self.header = Some(row.drain(..).map(|(text, _)| text).collect());
            }
            self.row = row;
            return Ok(());
        };
        if !row.iter().all(blank) {
            self.numbers.push(number + 1);
            for column in 0..header.len() {
                if let Some((text, problem)) = row.get(column) {
                    self.texts.push_str(text);
                    if let Some(problem) = problem {
                        self.problems.insert(self.ends.len(), *problem);
                    }
                }
                self.ends.push(self.texts.len() as u32);
            }
            if self.texts.len() > TEXT_BYTES_MAX {
                let size = self.texts.len() as u64;
                return Err(too_large("the text of the sheet", size, TEXT_BYTES_MAX as u64));
            }
        }
        row.clear();
        self.row = row;
        Ok(())
    }

    fn finished(mut self) -> Result<Self, String> {
        self.end_row()?;
        if self.header.as_ref().is_none_or(Vec::is_empty) {
            return Err(format!(
                "row {} of the sheet, which is to name the columns, is empty; see header_row",
                self.header_row + 1
            ));
        }
        Ok(self)
    }

    fn get(&self, row: usize, column: usize) -> Result<&str, Problem> {
        let width = self.header.as_ref().map_or(0, Vec::len);
        let at = row * width + column;
        if let Some(problem) = self.problems.get(&at) {
            return Err(*problem);
        }
        let start = if at == 0 { 0 } else { self.ends.get(at - 1).map_or(0, |end| *end as usize) };
        let end = self.ends.get(at).map_or(start, |end| *end as usize);
        Ok(self.texts.get(start..end).unwrap_or_default())
    }
}

#[cfg(test)]
#[path = "workbook_tests.rs"]
mod tests;
