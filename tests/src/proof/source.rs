//! Rows of source files, by the rules of the schema and nothing else.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use anyhow::{Context, Result, bail};
use hutong_schema::digest::key_hash;
use hutong_schema::grant::AsOf;

use super::inventory::ResourceRecord;
use super::json_row::{Form, Row};
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
    let form = Form::new(&schema.entry.items);
    let (row, scratch) = (Row::default(), Scratch::default());
    let mut rows = Rows { subjects, schema, record, as_of, buffer, form, row, scratch };
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
    form: Form<'a>,
    row: Row,
    scratch: Scratch,
}

impl Rows<'_> {
    fn csv(&mut self, file: impl Read, to: &mut impl Take) -> Result<()> {
        let mut csv = csv::ReaderBuilder::new().buffer_capacity(self.buffer).from_reader(file);
        let columns: Vec<Option<usize>> = {
            let header = csv.headers()?;
            (0..self.schema.entry.items.len())
                .map(|item| header.iter().position(|name| self.form.position(name) == Some(item)))
                .collect()
        };
        let mut record = csv::StringRecord::new();
        loop {
            match csv.read_record(&mut record) {
                Ok(true) => {}
                Ok(false) => return Ok(()),
                Err(error) if error.is_io_error() => return Err(error.into()),
                // Wrong characters, too few or too many values; reading goes on behind it.
                Err(error) => {
                    to.unreadable(format!("{}: {error}", self.record.path.display()));
                    continue;
                }
            }
            let line = record.position().map_or(0, csv::Position::line);
            let text = |item: usize| columns[item].and_then(|at| record.get(at));
            let filled = self.form.fill(text, &mut self.row);
            self.count(line, filled, to);
        }
    }

    fn json_lines(&mut self, mut file: impl BufRead, to: &mut impl Take) -> Result<()> {
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
            let texts = self.form.object(&line);
            let filled = texts.and_then(|texts| self.form.fill_from(&texts, &mut self.row));
            self.count(number, filled, to);
        }
    }

    /// Counts the row, if it could be filled.
    fn count(&mut self, line: u64, filled: Result<()>, to: &mut impl Take) {
        let Self { subjects, schema, record, as_of, row, scratch, .. } = self;
        if let Err(error) = filled {
            to.unreadable(format!("{}, line {line}: {error:#}", record.path.display()));
            return;
        }
        let (key, hash, fields) = (&row.key, key_hash(&row.key), row.fields.as_ref());
        subjects.class_row(schema, key, hash, fields, scratch, to);
        subjects.granted_rows(schema, *as_of, (key, hash), fields, scratch, to);
    }
}
