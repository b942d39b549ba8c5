//! JSON lines: one object per line, values by machine name or label; blank lines are skipped.

use std::io;

use hutong_schema::rules::RejectReason;

use super::input::{Input, RECORD_BYTES_MAX};
use super::object::{self, Found};
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
        let mut found: Found<'_> = vec![None; mapping.slots()];
        let read = object::find(line, mapping, &mut found);
        if !self.ended && read.as_ref().is_err_and(serde_json::Error::is_eof) {
            return Err(io::Error::new(
                io::ErrorKind::UnexpectedEof,
                format!("the file ends inside row {}", self.rows),
            ));
        }
        if read.is_err() {
            return refused(RejectReason::Type);
        }
        Ok(match object::fill(&found, mapping, row) {
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
