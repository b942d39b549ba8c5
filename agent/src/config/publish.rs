//! What is published: `[[node.publish]]`.

use std::path::PathBuf;
use std::time::Duration;

use hutong_schema::ids::ResourceCode;

use super::DatabaseConfig;

/// `[[node.publish]]`: one resource and where its rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishConfig {
    /// Code of the catalogue entry.
    pub resource: ResourceCode,
    /// Where its rows come from.
    pub source: SourceConfig,
    /// Time between two looks at the source.
    pub rescan: Duration,
    /// A snapshot that would delete more than this share of the accepted rows waits for
    /// confirmation. Percent, 0 to 100; 100 never waits for the number of deletes.
    pub max_delete_percent: u8,
}

/// Where rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SourceConfig {
    /// `path`: one file that stays where it is.
    File(FileSource),
    /// `sql`: a query of a database.
    Sql(Box<SqlSource>),
}

impl SourceConfig {
    /// Where the source is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::File(file) => file.path.display().to_string(),
            Self::Sql(sql) => sql.database.url.to_string(),
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// The file.
    pub path: PathBuf,
    /// How rows stand in it.
    pub format: FileFormat,
    /// Its character encoding; a byte order mark in the file has precedence.
    pub encoding: TextEncoding,
    /// What the file means.
    pub mode: SourceMode,
}

/// A query, or a table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlSource {
    /// The database.
    pub database: DatabaseConfig,
    /// What is read from it.
    pub from: SqlFrom,
    /// How changes are found.
    pub mode: SqlMode,
    /// A query from which nothing came for so long is given up.
    pub patience: Duration,
}

/// What is read from a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlFrom {
    /// A table or view, with its schema before a point if it has one.
    Table(String),
    /// A SELECT.
    Query(String),
}

/// How the changes of a database are found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SqlMode {
    /// All rows are read and compared: sees every change and delete, and costs a whole reading.
    Snapshot,
    /// Rows above a watermark are read; all of them now and then, to see deletes.
    Watermark(Watermark),
    /// PostgreSQL tells its changes from a replication slot.
    Replication(Replication),
}

/// A column that grows with every change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Watermark {
    /// The column: a time, or a whole number.
    pub column: String,
    /// Rows so far below the highest value are read again, since transactions commit late: seconds
    /// for a time, a difference for a number.
    pub overlap: u64,
    /// All rows are compared after this time; `None` for never.
    pub compare: Option<Duration>,
}

/// A replication slot of PostgreSQL.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Replication {
    /// Its name; it is created when it is not there.
    pub slot: String,
    /// The publication that names the table.
    pub publication: String,
}

/// Form of a data file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FileFormat {
    /// Comma-separated values with a header line.
    Csv,
    /// One JSON object per line.
    Jsonl,
}

impl FileFormat {
    /// The usual suffix, without a dot.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::Csv => "csv",
            Self::Jsonl => "jsonl",
        }
    }
}

/// Character encoding of a source file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TextEncoding {
    /// With or without byte order mark.
    Utf8,
    /// GB 18030, which contains GBK and GB 2312.
    Gb18030,
}

/// What a source file means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SourceMode {
    /// The file holds all rows; what is missing in it was deleted.
    Snapshot,
    /// Rows are added at the end; a later row replaces an earlier one of the same key.
    Append,
}
