//! CSV and TSV files (RFC 4180; lines end with LF, CR or CRLF; blank lines are skipped).

use std::io;

use csv_core::{ReadRecordResult, Reader, ReaderBuilder};
use hutong_schema::row::FieldId;
use hutong_schema::rules::RejectReason;

use super::input::{Input, RECORD_BYTES_MAX};
use super::{Mapping, Next, Position, Refusal, Row, decode};
use crate::config::TextEncoding;

/// Reads records with the tokenizer of the csv crate. Not its `Reader`: that takes the end of the
/// file for the end of a record, and so cannot tell a line that is still being written.
pub(super) struct CsvRecords {
    input: Input,
    core: Reader,
    delimiter: u8,
    output: Vec<u8>,
    ends: Vec<usize>,
    fields: usize,
    rows: u64,
    /// Behind the last complete record.
    complete: u64,
    whole_lines: bool,
    ended: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Record,
    End,
}

impl CsvRecords {
    pub(super) fn new(input: Input, delimiter: u8, whole_lines: bool) -> Self {
        let complete = input.offset();
        Self {
            input,
            core: ReaderBuilder::new().delimiter(delimiter).build(),
            delimiter,
            output: vec![0; 4 * 1024],
            ends: vec![0; 32],
            fields: 0,
            rows: 0,
            complete,
            whole_lines,
            ended: false,
        }
    }

    /// The next record.
    pub(super) fn next(&mut self) -> io::Result<Step> {
        let (mut written, mut fields) = (0, 0);
        if self.ended {
            return Ok(Step::End);
        }
        loop {
            let at_end = self.input.available().is_empty() && !self.input.more()?;
            if at_end && self.whole_lines {
                self.ended = true;
                return Ok(Step::End);
            }
            // The end of the file ends its last line too. (Given no input, the tokenizer would take
            // it for the end of a quotation as well.)
            let input = if at_end { b"\n" } else { self.input.available() };
            let (result, read, wrote, ended) =
                self.core.read_record(input, &mut self.output[written..], &mut self.ends[fields..]);
            self.input.skip(if at_end { 0 } else { read });
            written += wrote;
            fields += ended;
            match result {
                ReadRecordResult::InputEmpty if at_end && wrote == 0 => {
                    self.ended = true;
                    return Ok(Step::End);
                }
                ReadRecordResult::InputEmpty if at_end => {
                    let row = self.rows + 1;
                    return Err(io::Error::new(
                        io::ErrorKind::UnexpectedEof,
                        format!(
                            "the file ends inside a quotation that begins in or before row {row}"
                        ),
                    ));
                }
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull if self.output.len() >= RECORD_BYTES_MAX => {
                    let row = self.rows + 1;
                    return Err(io::Error::new(
                        io::ErrorKind::InvalidData,
                        format!(
                            "row {row} is over {RECORD_BYTES_MAX} bytes: probably a quotation mark in \
                             it is never closed"
                        ),
                    ));
                }
                ReadRecordResult::OutputFull => self.output.resize(self.output.len() * 2, 0),
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    self.fields = fields;
                    self.complete = self.input.offset();
                    return Ok(Step::Record);
                }
                ReadRecordResult::End => {
                    self.ended = true;
                    return Ok(Step::End);
                }
            }
        }
    }

    /// The current record as a header.
    pub(super) fn header(&self, encoding: TextEncoding) -> Option<Vec<String>> {
        let mut buffer = String::new();
        let field =
            |index| decode::text(self.field(index), encoding, &mut buffer).map(str::to_owned);
        (0..self.fields).map(field).collect()
    }

    /// Goes to where rows begin: behind the header, or where reading stopped last time.
    pub(super) fn begin_rows(&mut self, from: Option<Position>) -> io::Result<()> {
        self.rows = 0;
        if let Some(from) = from {
            self.input.seek(from.offset)?;
            self.core.reset();
            self.rows = from.rows;
            self.complete = from.offset;
            self.ended = false;
        }
        Ok(())
    }

    pub(super) fn row(
        &mut self,
        mapping: &mut Mapping,
        encoding: TextEncoding,
        text: &mut String,
        row: &mut Row,
    ) -> io::Result<Next> {
        if self.next()? == Step::End {
            return Ok(Next::End);
        }
        self.rows += 1;
        row.begin(self.rows);
        // A short record can still be read up to its key, so that it is not taken for a delete.
        let whole = str::from_utf8(self.record()).ok().filter(|_| encoding == TextEncoding::Utf8);
        let filled = row.fill(mapping, |item, take| {
            let Some(column) = mapping.column_of(item) else { return take(Some("")) };
            if column >= self.fields {
                let field = mapping.field(item);
                return Err(Refusal { field, reason: RejectReason::Missing });
            }
            match whole {
                Some(whole) => take(whole.get(self.span(column))),
                None => take(decode::text(self.field(column), encoding, text)),
            }
        });
        Ok(match filled {
            Err(refusal) => Next::Refused(refusal),
            Ok(()) if self.fields > mapping.width() => {
                Next::Refused(Refusal { field: FieldId(0), reason: RejectReason::UnknownField })
            }
            Ok(()) if self.fields < mapping.width() => {
                Next::Refused(Refusal { field: FieldId(0), reason: RejectReason::Missing })
            }
            Ok(()) => Next::Row,
        })
    }

    /// The current record, written again.
    pub(super) fn raw(&self, encoding: TextEncoding) -> Vec<u8> {
        let mut writer = ::csv::WriterBuilder::new()
            .flexible(true)
            .delimiter(self.delimiter)
            .from_writer(Vec::new());
        let fields = (0..self.fields).map(|index| decode::readable(self.field(index), encoding));
        // Writing into memory does not fail; a record that cannot be shown is shown as nothing.
        let _ = writer.write_record(fields);
        let mut raw = writer.into_inner().unwrap_or_default();
        raw.truncate(raw.trim_ascii_end().len());
        raw
    }

    /// The texts of the current record by the machine names of their items; empty ones are left out.
    pub(super) fn values(&self, mapping: &Mapping, encoding: TextEncoding) -> String {
        let mut values = serde_json::Map::new();
        for (at, item) in mapping.items().iter().enumerate() {
            if let Some(column) = mapping.column_of(at).filter(|column| *column < self.fields) {
                let text = decode::readable(self.field(column), encoding);
                if !text.is_empty() {
                    let text = String::from_utf8_lossy(&text).into_owned();
                    values.insert(item.name.clone(), text.into());
                }
            }
        }
        serde_json::Value::Object(values).to_string()
    }

    pub(super) fn position(&self) -> Position {
        Position { offset: self.complete, rows: self.rows }
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    fn record(&self) -> &[u8] {
        let end = if self.fields == 0 { 0 } else { self.ends[self.fields - 1] };
        &self.output[..end]
    }

    fn span(&self, index: usize) -> std::ops::Range<usize> {
        let start = if index == 0 { 0 } else { self.ends[index - 1] };
        start..self.ends[index]
    }

    fn field(&self, index: usize) -> &[u8] {
        &self.output[self.span(index)]
    }
}
