//! A delivered file cut into its records again, line by line, in bounded memory.

use std::io::{self, BufRead, Read};

use super::LineFormat;

/// Longest record read: several times the largest row that is delivered, in its longest writing.
const RECORD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// What no added line can mend.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Broken {
    /// Where, if it is one place.
    pub(super) line: Option<u64>,
    /// What was found.
    pub(super) what: String,
}

/// Why reading stopped.
#[derive(Debug)]
pub(super) enum Stop {
    Io(io::Error),
    Broken(Broken),
}

impl From<io::Error> for Stop {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// The records of a file. Blank lines are none.
pub(super) struct Records<R> {
    input: R,
    format: LineFormat,
    record: Vec<u8>,
    /// Lines read.
    lines: u64,
    /// The line on which the record begins.
    begins: u64,
}

impl<R: BufRead> Records<R> {
    /// From a file's beginning.
    pub(super) fn new(input: R, format: LineFormat) -> Self {
        Self { input, format, record: Vec::new(), lines: 0, begins: 0 }
    }

    /// The next record, without its line end.
    pub(super) fn next(&mut self) -> Result<Option<&[u8]>, Stop> {
        loop {
            if !self.read()? {
                return Ok(None);
            }
            if !self.record.trim_ascii().is_empty() {
                let end = self.record.strip_suffix(b"\n").unwrap_or(&self.record);
                return Ok(Some(end.strip_suffix(b"\r").unwrap_or(end)));
            }
        }
    }

    /// The present record is none.
    pub(super) fn broken(&self, what: impl Into<String>) -> Stop {
        Stop::Broken(Broken { line: Some(self.begins), what: what.into() })
    }

    /// What the records are read from.
    pub(super) fn into_input(self) -> R {
        self.input
    }

    /// Reads a record with its line end; whether there is one.
    fn read(&mut self) -> Result<bool, Stop> {
        self.record.clear();
        self.begins = self.lines + 1;
        let mut quotes = 0;
        loop {
            let before = self.record.len();
            let room = (RECORD_BYTES_MAX - before) as u64;
            let read = self.input.by_ref().take(room).read_until(b'\n', &mut self.record)?;
            if self.record.last() != Some(&b'\n') || read == 0 {
                return match self.record.len() {
                    0 => Ok(false),
                    RECORD_BYTES_MAX => {
                        Err(self.broken(format!("a record of more than {RECORD_BYTES_MAX} bytes")))
                    }
                    _ => Err(self.broken("a record that does not end")),
                };
            }
            self.lines += 1;
            // A line end between quotation marks belongs to the value.
            if self.format == LineFormat::Jsonl {
                return Ok(true);
            }
            quotes += self.record[before..].iter().filter(|byte| **byte == b'"').count();
            if quotes % 2 == 0 {
                return Ok(true);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn all(text: &str, format: LineFormat) -> Result<Vec<(u64, String)>, Broken> {
        let mut records = Records::new(text.as_bytes(), format);
        let mut found = Vec::new();
        loop {
            let record = match records.next() {
                Ok(Some(record)) => String::from_utf8(record.to_vec()).unwrap(),
                Ok(None) => return Ok(found),
                Err(Stop::Broken(broken)) => return Err(broken),
                Err(Stop::Io(error)) => panic!("{error}"),
            };
            found.push((records.begins, record));
        }
    }

    fn pairs(of: &[(u64, &str)]) -> Vec<(u64, String)> {
        of.iter().map(|(line, text)| (*line, (*text).to_owned())).collect()
    }

    #[test]
    fn records_know_their_lines() {
        let found = all("{}\r\n\n \n{\"\"\n", LineFormat::Jsonl).unwrap();
        assert_eq!(found, pairs(&[(1, "{}"), (4, "{\"\"")]));
        let found = all("a,b\n\"x\n\"\"y\"\"\n\",2\n3,4\n", LineFormat::Csv).unwrap();
        assert_eq!(found, pairs(&[(1, "a,b"), (2, "\"x\n\"\"y\"\"\n\",2"), (5, "3,4")]));
    }

    #[test]
    fn what_does_not_end_is_broken() {
        assert_eq!(all("{}\n{}", LineFormat::Jsonl).unwrap_err().line, Some(2));
        assert_eq!(all("a\n\"b\nc\n", LineFormat::Csv).unwrap_err().line, Some(2));
        assert_eq!(all("", LineFormat::Csv).unwrap(), pairs(&[]));
    }
}
