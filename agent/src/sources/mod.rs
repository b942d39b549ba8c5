//! Sources: files that yield rows, one at a time, in canonical form or rejected with a reason.
//!
//! Files are read in pieces of bounded size. Bytes are taken apart first and decoded afterwards,
//! value by value: in UTF-8 and GB 18030 no byte of a longer character looks like a comma, a quote or
//! a line end, so one wrong character costs its row and not the file.

mod csv;
mod decode;
mod input;
mod jsonl;
mod mapping;
mod mark;
mod row;
mod sql;
mod tuple;

use std::path::{Path, PathBuf};

use hutong_schema::catalogue::CatalogueEntry;

use crate::config::{FileFormat, TextEncoding};
use crate::sql::SqlError;

pub use input::RECORD_BYTES_MAX;
pub use mapping::Mapping;
pub use mark::{FileMark, Identity, Mark, QueryMark};
pub use row::{Refusal, Row};
pub use sql::SqlRows;
pub use tuple::{TupleRow, readable};

/// What a source yields next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// A row; it is in the [`Row`] given.
    Row,
    /// A row that cannot be published; what is known of it is in the [`Row`] given.
    Refused(Refusal),
    /// No more rows. In append mode, a last line without its end stays for the next time.
    End,
}

/// Why a source cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// The file is not there.
    #[error("the file {0} does not exist")]
    Missing(PathBuf),
    /// The system does not let us read it.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The file's form is wrong as a whole: nothing of it can be trusted.
    #[error("{path}: {detail}")]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The database.
    #[error(transparent)]
    Database(#[from] SqlError),
    /// What a query gives does not fit the entry.
    #[error("{place}: {detail}")]
    Query {
        /// The database.
        place: String,
        /// What is wrong and what to do.
        detail: String,
    },
}

/// Rows of a source, one at a time.
pub trait Rows {
    /// The next row.
    ///
    /// # Errors
    /// When the source cannot be read further.
    fn next(&mut self, row: &mut Row) -> Result<Next, SourceError>;

    /// The last row as it stands in the source, readable.
    fn raw(&self) -> Vec<u8>;

    /// Names of columns that the entry does not have.
    fn unknown_columns(&self) -> &[String];

    /// Whether the source is still what was marked: one that changes while it is read is neither the
    /// old one nor the new one.
    ///
    /// # Errors
    /// When it cannot be looked at.
    fn is_still(&self, mark: &Mark) -> Result<bool, SourceError>;
}

impl SourceError {
    pub(crate) fn of_open(path: &Path, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::NotFound {
            Self::Missing(path.to_owned())
        } else {
            Self::Read { path: path.to_owned(), source }
        }
    }
}

/// How a file is read.
#[derive(Clone, Copy, Debug)]
pub struct SourceOptions<'a> {
    /// The file.
    pub path: &'a Path,
    /// Its form.
    pub format: FileFormat,
    /// Its encoding unless it begins with a byte order mark.
    pub encoding: TextEncoding,
    /// Where to begin; `None` for the beginning.
    pub from: Option<Position>,
    /// Whether a last line without its end is left for later.
    pub whole_lines: bool,
}

/// A place between two rows of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Position {
    /// Bytes before it.
    pub offset: u64,
    /// Rows before it.
    pub rows: u64,
}

/// A file being read.
pub struct Source {
    path: PathBuf,
    mapping: Mapping,
    records: Records,
    encoding: TextEncoding,
    text: String,
}

enum Records {
    Csv(Box<csv::CsvRecords>),
    Jsonl(jsonl::JsonLines),
}

impl Source {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// When the file is missing, cannot be read, or its header lacks required items.
    pub fn open(options: SourceOptions<'_>, entry: &CatalogueEntry) -> Result<Self, SourceError> {
        let path = options.path;
        let read = |source| SourceError::Read { path: path.to_owned(), source };
        let form = |detail| SourceError::Form { path: path.to_owned(), detail };
        let mut input = input::Input::open(path)?;
        let (mark, encoding) = input.byte_order_mark(options.encoding).map_err(read)?;
        let encoding = encoding.ok_or_else(|| form(UTF16.to_owned()))?;
        input.skip(mark);
        let mut mapping = Mapping::by_name(entry);
        let records = match options.format {
            FileFormat::Csv => {
                let mut records = csv::CsvRecords::new(input, options.whole_lines);
                if records.next().map_err(read)? == csv::Step::Record {
                    let header = records.header(encoding).ok_or_else(|| form(HEADER.to_owned()))?;
                    mapping.take_header(&header, entry).map_err(form)?;
                }
                records.begin_rows(options.from).map_err(read)?;
                Records::Csv(Box::new(records))
            }
            FileFormat::Jsonl => Records::Jsonl(
                jsonl::JsonLines::new(input, options.whole_lines, options.from).map_err(read)?,
            ),
        };
        Ok(Self { path: path.to_owned(), mapping, records, encoding, text: String::new() })
    }

    /// Where the row after the last one begins.
    pub fn position(&self) -> Position {
        match &self.records {
            Records::Csv(records) => records.position(),
            Records::Jsonl(lines) => lines.position(),
        }
    }

    fn identity(&self) -> Result<Identity, SourceError> {
        let input = match &self.records {
            Records::Csv(records) => records.input(),
            Records::Jsonl(lines) => lines.input(),
        };
        input.identity().map_err(|source| SourceError::Read { path: self.path.clone(), source })
    }
}

impl Rows for Source {
    fn unknown_columns(&self) -> &[String] {
        self.mapping.unknown()
    }

    fn next(&mut self, row: &mut Row) -> Result<Next, SourceError> {
        let result = match &mut self.records {
            Records::Csv(records) => {
                records.row(&mut self.mapping, self.encoding, &mut self.text, row)
            }
            Records::Jsonl(lines) => {
                lines.row(&mut self.mapping, self.encoding, &mut self.text, row)
            }
        };
        result.map_err(|error| {
            let path = self.path.clone();
            if error.kind() == std::io::ErrorKind::InvalidData {
                SourceError::Form { path, detail: error.to_string() }
            } else {
                SourceError::Read { path, source: error }
            }
        })
    }

    fn raw(&self) -> Vec<u8> {
        match &self.records {
            Records::Csv(records) => records.raw(self.encoding),
            Records::Jsonl(lines) => lines.raw(self.encoding),
        }
    }

    fn is_still(&self, mark: &Mark) -> Result<bool, SourceError> {
        match mark {
            Mark::File(mark) => Ok(self.identity()? == mark.identity),
            Mark::Query(_) => Ok(false),
        }
    }
}

const UTF16: &str = "the file is UTF-16; save it as UTF-8 or GB 18030";
const HEADER: &str = "the header line cannot be read in the configured encoding";

#[cfg(test)]
mod tests;
