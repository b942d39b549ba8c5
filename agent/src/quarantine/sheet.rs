//! Quarantine as a sheet: a CSV that a person opens in a spreadsheet, corrects and hands back.
//!
//! `#编号 id` · one column per item, headed by machine name and label · columns of the reason, all of
//! which begin with `#` and are for the person only. A spreadsheet takes `110101…` for a number and
//! loses its last digits, and `1-2` for a date; so values that it would touch begin with a tab, which
//! is taken off again when the sheet is read.

use std::collections::{HashMap, HashSet};
use std::io::{self, Write};

use csv::{ByteRecord, ReaderBuilder, Writer};
use encoding_rs::GB18030;
use hutong_schema::catalogue::{CatalogueEntry, DataType, Item};
use hutong_schema::rules::RejectReason;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::MARK;
use super::records::{FaultId, Record};

const ID: &str = "#编号 id";
const EXPLAINING: [&str; 6] =
    ["#原因", "#reason", "#数据项 item", "#行号 row", "#说明 note", "#原始数据 raw"];

/// Writes a sheet, each fault once: a snapshot that is read every day refuses the same row every day.
pub struct SheetWriter<'e, W: Write> {
    writer: Writer<W>,
    items: Vec<&'e Item>,
    names: HashMap<&'e str, usize>,
    written: HashSet<FaultId>,
}

impl<'e, W: Write> SheetWriter<'e, W> {
    /// Begins a sheet with the columns of an entry.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn begin(mut to: W, entry: &'e CatalogueEntry) -> io::Result<Self> {
        to.write_all(MARK)?;
        let items: Vec<&Item> = entry.keys().into_iter().chain(entry.columns()).collect();
        let mut names = HashMap::new();
        for (at, item) in items.iter().enumerate() {
            names.insert(item.name.as_str(), at);
        }
        for (at, item) in items.iter().enumerate() {
            names.entry(item.label.as_str()).or_insert(at);
        }
        let mut writer = Writer::from_writer(to);
        writer.write_field(ID)?;
        for item in &items {
            writer.write_field(format!("{} {}", item.name, item.label).trim())?;
        }
        EXPLAINING.iter().try_for_each(|name| writer.write_field(name))?;
        writer.write_record(None::<&[u8]>)?;
        Ok(Self { writer, items, names, written: HashSet::new() })
    }

    /// Adds a row, unless its fault stands in the sheet already.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn push(&mut self, record: &Record) -> io::Result<()> {
        if !self.written.insert(record.id.clone()) {
            return Ok(());
        }
        let mut cells = vec![String::new(); self.items.len()];
        // The raw text is a row of JSON where the source was, or the hub refused it.
        let known = [&record.values, &record.raw];
        let known = known.into_iter().find_map(|text| serde_json::from_str::<Value>(text).ok());
        if let Some(Value::Object(values)) = known {
            for (name, value) in &values {
                if let Some(at) = self.names.get(name.as_str()) {
                    cells[*at] = guarded(self.items[*at], text_of(value));
                }
            }
        }
        self.writer.write_field(record.id.to_string())?;
        cells.iter().try_for_each(|cell| self.writer.write_field(cell))?;
        self.writer.write_field(record.reason.map_or("", RejectReason::zh))?;
        self.writer.write_field(record.reason.map_or(String::new(), |why| why.to_string()))?;
        for text in [&record.item, &record.row, &record.note] {
            self.writer.write_field(text)?;
        }
        self.writer.write_field(shielded(record.raw.clone()))?;
        self.writer.write_record(None::<&[u8]>)?;
        Ok(())
    }

    /// Ends the sheet; how many rows it has.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> io::Result<usize> {
        self.writer.flush()?;
        Ok(self.written.len())
    }
}

fn text_of(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) | Value::Array(_) | Value::Object(_) => value.to_string(),
    }
}

fn guarded(item: &Item, text: String) -> String {
    let is_number = matches!(
        item.data_type,
        DataType::Number
            | DataType::Money
            | DataType::Integer
            | DataType::Double
            | DataType::Float
            | DataType::Logical
    );
    if is_number && text.parse::<f64>().is_ok() { text } else { shielded(text) }
}

/// A tab before what a spreadsheet would take for a number, a date or a formula.
fn shielded(text: String) -> String {
    match text.bytes().next() {
        Some(b'0'..=b'9' | b'=' | b'+' | b'-' | b'@' | b'\t') => format!("\t{text}"),
        Some(_) | None => text,
    }
}

/// A corrected sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sheet {
    /// Names of the columns that are items, as they stand there.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<SheetRow>,
}

/// A row of a corrected sheet.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SheetRow {
    /// Its number as a spreadsheet shows it: the header is 1.
    pub number: u64,
    /// The fault that it corrects.
    pub id: Option<FaultId>,
    /// Its values in the order of the header.
    pub cells: Vec<String>,
    /// Whether it has fewer or more cells than the header.
    pub misfit: Option<RejectReason>,
}

/// A sheet that cannot be read as a whole.
#[derive(Debug, thiserror::Error)]
pub enum SheetError {
    /// The header cannot be read.
    #[error("the sheet has no header line; hand in the file that `quarantine export` wrote")]
    NoHeader,
    /// It is not CSV.
    #[error("the sheet cannot be read as CSV (save it as CSV, not as a workbook): {0}")]
    Form(#[from] csv::Error),
    /// Two bytes a character.
    #[error("the sheet is UTF-16; save it as CSV UTF-8")]
    Utf16,
}

impl Sheet {
    /// Reads what a person saved: UTF-8 with or without byte order mark, or GB 18030 as spreadsheets
    /// save in Chinese. Rows without any value are left out.
    ///
    /// # Errors
    /// When it is not CSV with a header.
    pub fn read(bytes: &[u8]) -> Result<Self, SheetError> {
        if bytes.starts_with(b"\xFF\xFE") || bytes.starts_with(b"\xFE\xFF") {
            return Err(SheetError::Utf16);
        }
        let bytes = bytes.strip_prefix(MARK).unwrap_or(bytes);
        let text = match str::from_utf8(bytes) {
            Ok(text) => text.into(),
            Err(_) => GB18030.decode_without_bom_handling(bytes).0,
        };
        let mut reader =
            ReaderBuilder::new().flexible(true).has_headers(false).from_reader(text.as_bytes());
        let mut record = ByteRecord::new();
        if !reader.read_byte_record(&mut record)? {
            return Err(SheetError::NoHeader);
        }
        let cell = |record: &ByteRecord, at: usize| {
            let bytes = record.get(at).unwrap_or_default();
            String::from_utf8_lossy(bytes.strip_prefix(b"\t").unwrap_or(bytes)).into_owned()
        };
        let names: Vec<String> =
            (0..record.len()).map(|at| cell(&record, at).trim().to_owned()).collect();
        let id = names.iter().position(|name| name == ID);
        let is_item = |at: &usize| !names[*at].is_empty() && !names[*at].starts_with('#');
        let items: Vec<usize> = (0..names.len()).filter(is_item).collect();
        let mut sheet =
            Self { header: items.iter().map(|at| names[*at].clone()).collect(), rows: Vec::new() };
        let mut number = 1;
        while reader.read_byte_record(&mut record)? {
            number += 1;
            if record.iter().all(|cell| cell.trim_ascii().is_empty()) {
                continue;
            }
            sheet.rows.push(SheetRow {
                number,
                id: id.and_then(|at| FaultId::from_text(&cell(&record, at))),
                cells: items.iter().map(|at| cell(&record, *at)).collect(),
                misfit: match record.len().cmp(&names.len()) {
                    std::cmp::Ordering::Less => Some(RejectReason::Missing),
                    std::cmp::Ordering::Equal => None,
                    std::cmp::Ordering::Greater => Some(RejectReason::UnknownField),
                },
            });
        }
        Ok(sheet)
    }
}

#[cfg(test)]
#[path = "sheet_tests.rs"]
mod tests;
