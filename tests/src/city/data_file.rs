//! Data files: the rows of a resource in the style that its department uses.

use std::io::Write;
use std::ops::Range;

use anyhow::{Context, Result};
use hutong_schema::catalogue::DataType;

use super::departmental::ItemSpec;
use super::plan::{FileStyle, Resource};
use super::registers::Registers;
use super::row::Row;

/// The byte order mark of UTF-8.
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Renders a resource's file piece by piece; each piece ends with a whole row, so that pieces can
/// be encoded one by one.
pub(super) struct Renderer<'a> {
    registers: &'a Registers,
    resource: &'a Resource,
    items: &'static [ItemSpec],
    row: Row,
    text: Vec<u8>,
}

impl<'a> Renderer<'a> {
    pub(super) fn new(registers: &'a Registers, resource: &'a Resource) -> Self {
        let items = resource.template.subject().items;
        Self { registers, resource, items, row: Row::default(), text: Vec::new() }
    }

    /// Writes these rows to `out`; row 0 brings mark and header with it.
    pub(super) fn render(&mut self, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        match self.resource.style {
            FileStyle::Csv => self.csv(rows, out),
            FileStyle::CsvWithMark => {
                if rows.start == 0 {
                    out.extend_from_slice(MARK);
                }
                self.csv(rows, out)
            }
            FileStyle::CsvGb18030 => {
                let mut text = std::mem::take(&mut self.text);
                text.clear();
                self.csv(rows, &mut text)?;
                let utf8 = std::str::from_utf8(&text).context("generated text is UTF-8")?;
                out.extend_from_slice(&encoding_rs::GB18030.encode(utf8).0);
                self.text = text;
                Ok(())
            }
            FileStyle::JsonLines => self.json_lines(rows, out),
        }
    }

    fn csv(&mut self, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        let style = self.resource.style;
        let ending = match style {
            FileStyle::CsvGb18030 => csv::Terminator::CRLF,
            FileStyle::Csv | FileStyle::CsvWithMark | FileStyle::JsonLines => {
                csv::Terminator::Any(b'\n')
            }
        };
        let mut writer = csv::WriterBuilder::new().terminator(ending).from_writer(out);
        if rows.start == 0 {
            let machine_names = style == FileStyle::Csv;
            let header =
                |item: &'static ItemSpec| if machine_names { item.name } else { item.label };
            writer.write_record(self.items.iter().map(header))?;
        }
        for index in rows {
            self.fill(index)?;
            writer.write_record(self.row.iter())?;
        }
        writer.flush()?;
        Ok(())
    }

    /// Absent values are left out; numbers, logical values and geometries have their JSON type.
    fn json_lines(&mut self, rows: Range<u64>, out: &mut Vec<u8>) -> Result<()> {
        for index in rows {
            self.fill(index)?;
            let mut separator = "{";
            let present =
                self.items.iter().zip(self.row.iter()).filter(|(_, value)| !value.is_empty());
            for (item, value) in present {
                write!(out, "{separator}\"{}\":", item.name)?;
                separator = ",";
                match item.data_type {
                    DataType::Logical => write!(out, "{}", value == "1")?,
                    // Their text is JSON already.
                    DataType::Geometry
                    | DataType::Number
                    | DataType::Money
                    | DataType::Integer
                    | DataType::Double
                    | DataType::Float => out.extend_from_slice(value.as_bytes()),
                    DataType::Text | DataType::Memo | DataType::Date | DataType::DateTime => {
                        serde_json::to_writer(&mut *out, value)?;
                    }
                }
            }
            out.extend_from_slice(b"}\n");
        }
        Ok(())
    }

    fn fill(&mut self, index: u64) -> Result<()> {
        let resource = self.resource;
        resource.template.fill(self.registers, resource.number, index, &mut self.row)
    }
}
