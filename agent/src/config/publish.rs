//! What is published: `[[node.publish]]`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use hutong_schema::ids::ResourceCode;

use super::{FolderSource, Rules, SourceForm};

/// `[[node.publish]]`: one resource and where its rows come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublishConfig {
    /// Code of the catalogue entry.
    pub resource: ResourceCode,
    /// Where its rows come from.
    pub source: SourceConfig,
    /// What is done to its values before they are checked.
    pub rules: Arc<Rules>,
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
    /// `folder`: files that are dropped into a folder.
    Folder(FolderSource),
}

impl SourceConfig {
    /// Where the source is, for people.
    pub fn place(&self) -> String {
        match self {
            Self::File(file) => file.path.display().to_string(),
            Self::Folder(folder) => folder.folder.join(folder.pattern.text()).display().to_string(),
        }
    }
}

/// One file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileSource {
    /// The file.
    pub path: PathBuf,
    /// How rows stand in it.
    pub form: SourceForm,
    /// Its character encoding; a byte order mark in the file has precedence.
    pub encoding: TextEncoding,
    /// What the file means.
    pub mode: SourceMode,
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
