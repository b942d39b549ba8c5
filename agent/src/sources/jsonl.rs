//! JSON lines: one object per line, values by machine name or label; blank lines are skipped.

use std::borrow::Cow;
use std::io;

use hutong_schema::rules::RejectReason;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::input::{Input, RECORD_BYTES_MAX};
use super::{Mapping, Next, Position, Refusal, Row, decode};
use crate::config::TextEncoding;

pub(super) struct JsonLines {
    input: Input,
    line: Vec<u8>,
    rows: u64,
    /// Behind the last complete line.
    complete: u64,
    whole_lines: bool,
    /// Whether the current line has its line end.
    ended: bool,
}

impl JsonLines {
    pub(super) fn new(
        mut input: Input,
        whole_lines: bool,
        from: Option<Position>,
    ) -> io::Result<Self> {
        let mut rows = 0;
        if let Some(from) = from {
            input.seek(from.offset)?;
            rows = from.rows;
        }
        let complete = input.offset();
        Ok(Self { input, line: Vec::new(), rows, complete, whole_lines, ended: false })
    }

    pub(super) fn row(
        &mut self,
        mapping: &mut Mapping,
        encoding: TextEncoding,
        text: &mut String,
        row: &mut Row,
    ) -> io::Result<Next> {
        let too_long = match self.next_line()? {
            None => return Ok(Next::End),
            Some(Line::Fits) => false,
            Some(Line::TooLong) => true,
        };
        self.rows += 1;
        row.begin(self.rows);
        let refused = |reason| Ok(Next::Refused(Refusal::whole(reason)));
        if too_long {
            return refused(RejectReason::FieldTooLong);
        }
        let Some(line) = decode::text(&self.line, encoding, text) else {
            return refused(RejectReason::Encoding);
        };
        // Order in the object is free, order in a row is not: values are found first, then taken.
        let mut found: Found<'_> = vec![None; mapping.slots()];
        let read = find(line, mapping, &mut found);
        if !self.ended && read.as_ref().is_err_and(serde_json::Error::is_eof) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ends inside row {}", self.rows),
            ));
        }
        if read.is_err() {
            return refused(RejectReason::Type);
        }
        Ok(match fill(&found, mapping, row) {
            Ok(()) => Next::Row,
            Err(refusal) => Next::Refused(refusal),
        })
    }

    pub(super) fn raw(&self, encoding: TextEncoding) -> Vec<u8> {
        decode::readable(&self.line, encoding)
    }

    pub(super) fn position(&self) -> Position {
        Position { offset: self.complete, rows: self.rows }
    }

    pub(super) fn input(&self) -> &Input {
        &self.input
    }

    /// The next line that is not blank.
    fn next_line(&mut self) -> io::Result<Option<Line>> {
        loop {
            let line = self.read_line()?;
            if line.is_none() || !self.line.trim_ascii().is_empty() {
                return Ok(line);
            }
        }
    }

    /// Reads up to the next line end. Of a line that is too long the beginning is kept.
    fn read_line(&mut self) -> io::Result<Option<Line>> {
        self.line.clear();
        let mut length = 0usize;
        loop {
            if self.input.available().is_empty() && !self.input.more()? {
                if self.whole_lines || length == 0 {
                    return Ok(None);
                }
                break;
            }
            let available = self.input.available();
            let end = available.iter().position(|byte| *byte == b'\n');
            let part = &available[..end.unwrap_or(available.len())];
            length += part.len();
            if length <= RECORD_BYTES_MAX {
                self.line.extend_from_slice(part);
            }
            let consumed = part.len() + usize::from(end.is_some());
            self.input.skip(consumed);
            self.ended = end.is_some();
            if self.ended {
                break;
            }
        }
        self.complete = self.input.offset();
        Ok(Some(if length > RECORD_BYTES_MAX { Line::TooLong } else { Line::Fits }))
    }
}

#[derive(Clone, Copy)]
enum Line {
    Fits,
    TooLong,
}

/// Per slot its value as it stands in the text.
pub(super) type Found<'a> = Vec<Option<&'a RawValue>>;

/// Finds the values of an object, which is all of the text.
pub(super) fn find<'a>(
    object: &'a str,
    mapping: &mut Mapping,
    found: &mut Found<'a>,
) -> serde_json::Result<()> {
    let mut reader = serde_json::Deserializer::from_str(object);
    reader.deserialize_map(Object { mapping, found })?;
    reader.end()
}

/// Takes the values that were found.
pub(super) fn fill(found: &Found<'_>, mapping: &Mapping, row: &mut Row) -> Result<(), Refusal> {
    row.fill(mapping, |slot, take| match found[slot].map(RawValue::get) {
        None | Some("null") => take(Some("")),
        Some(raw) if raw.starts_with('"') => match serde_json::from_str::<Text<'_>>(raw) {
            Ok(text) => take(Some(&text.0)),
            // Half of a surrogate pair, for example.
            Err(_) => take(None),
        },
        Some(raw) if raw.starts_with(['{', '[']) => {
            if mapping.takes_objects(slot) {
                take(Some(raw))
            } else {
                Err(Refusal { field: mapping.field(slot), reason: RejectReason::Type })
            }
        }
        Some(raw) => take(Some(raw)),
    })
}

/// A JSON string, borrowed where it has no escapes.
#[derive(serde::Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

/// Notes where the values of known names stand.
struct Object<'m, 'a> {
    mapping: &'m mut Mapping,
    found: &'m mut [Option<&'a RawValue>],
}

impl<'a> Visitor<'a> for Object<'_, 'a> {
    type Value = ();

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an object with the values of a row")
    }

    fn visit_map<M: MapAccess<'a>>(self, mut map: M) -> Result<(), M::Error> {
        while let Some(Text(name)) = map.next_key::<Text<'a>>()? {
            let value: &'a RawValue = map.next_value()?;
            match self.mapping.item_named(&name) {
                Some(item) => self.found[item] = Some(value),
                None => self.mapping.note_unknown(&name),
            }
        }
        Ok(())
    }
}
