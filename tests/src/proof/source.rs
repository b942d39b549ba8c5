//! Rows of source files, by the rules of the schema and nothing else.

use std::borrow::Cow;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result, bail};
use hutong_schema::grant::AsOf;

use hutong_schema::row::RowBuf;

use super::inventory::ResourceRecord;
use super::json_row::{Members, RowReader};
use super::schema::{ResourceSchema, Scratch, Subjects, Take};

const BUFFER: usize = 1 << 18;
const MARK: &[u8] = b"\xEF\xBB\xBF";

/// Counts all rows of a resource's file, and under its grants. What is no row is reported and
/// passed over: its key will be missing.
pub(super) fn read(
    subjects: &Subjects,
    schema: &ResourceSchema,
    record: &ResourceRecord,
    as_of: AsOf,
    to: &mut impl Take,
) -> Result<()> {
    let place = || format!("{}", record.path.display());
    let file = File::open(&record.path).with_context(place)?;
    // Most files are small; a large buffer for each would cost more than reading it.
    let buffer = BUFFER.min(file.metadata()?.len() as usize + 1);
    let mut file = BufReader::with_capacity(buffer, file);
    if file.fill_buf()?.starts_with(MARK) {
        file.consume(MARK.len());
    }
    let scratch = Scratch::default();
    let mut rows = Rows { subjects, schema, record, as_of, buffer, scratch };
    match (record.format.as_str(), record.encoding.as_str()) {
        ("csv", "utf-8") => rows.csv(file, to),
        ("csv", "gb18030") => {
            let mut bytes = Vec::new();
            file.read_to_end(&mut bytes)?;
            // What does not decode becomes a replacement character, and so differs.
            let (text, _) = encoding_rs::GB18030.decode_without_bom_handling(&bytes);
            rows.csv(text.as_bytes(), to)
        }
        ("jsonl", "utf-8") => rows.json_lines(file, to),
        (format, encoding) => bail!("{format} in {encoding} is not read here"),
    }
    .with_context(place)
}

struct Rows<'a> {
    subjects: &'a Subjects,
    schema: &'a ResourceSchema,
    record: &'a ResourceRecord,
    as_of: AsOf,
    buffer: usize,
    scratch: Scratch,
}

impl Rows<'_> {
    fn csv(&mut self, file: impl Read, to: &mut impl Take) -> Result<()> {
        let mut reader = RowReader::new(&self.schema.entry.items);
        let mut csv = csv::ReaderBuilder::new().buffer_capacity(self.buffer).from_reader(file);
        let header = csv.byte_headers()?.clone();
        let position =
            |name: &[u8]| std::str::from_utf8(name).ok().and_then(|name| reader.position(name));
        let columns: Vec<Option<usize>> = (0..self.schema.entry.items.len())
            .map(|item| header.iter().position(|name| position(name) == Some(item)))
            .collect();
        let mut record = csv::ByteRecord::new();
        let mut line = 1;
        loop {
            match csv.read_byte_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                // A row with too few or too many values; reading goes on behind it.
                Err(error) => {
                    to.unreadable(format!("{}: {error}", self.record.path.display()));
                    continue;
                }
            }
            line = record.position().map_or(line, csv::Position::line);
            let text = |item: usize| {
                let bytes = columns[item].and_then(|at| record.get(at)).unwrap_or_default();
                Ok(Some(Cow::Borrowed(std::str::from_utf8(bytes)?)))
            };
            self.count(line, reader.read(text), to);
        }
    }

    fn json_lines(&mut self, mut file: impl BufRead, to: &mut impl Take) -> Result<()> {
        let mut reader = RowReader::new(&self.schema.entry.items);
        let (mut line, mut number) = (Vec::new(), 0);
        loop {
            line.clear();
            number += 1;
            if file.read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.trim_ascii().is_empty() {
                continue;
            }
            let members = serde_json::from_slice::<Members<'_>>(&line).map_err(Into::into);
            self.count(number, members.and_then(|members| reader.object(&members)), to);
        }
    }

    fn count(&mut self, line: u64, row: Result<(&[u8], &RowBuf)>, to: &mut impl Take) {
        let Self { subjects, schema, record, as_of, scratch, .. } = self;
        match row {
            Ok((key, row)) => {
                subjects.class_row(schema, key, row.as_ref(), scratch, to);
                subjects.granted_rows(schema, *as_of, key, row.as_ref(), scratch, to);
            }
            Err(error) => {
                to.unreadable(format!("{}, line {line}: {error:#}", record.path.display()));
            }
        }
    }
}
