//! What is remembered of a source between scans.

use serde::{Deserialize, Serialize};

use super::folder::FolderRecord;
use crate::sources::{FileMark, Mark, Position};
use crate::spool::{Area, Store, StoreError, StreamId, WriteBatch};

/// What is remembered of a source. Written with the batches that it speaks of, in one commit.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SourceRecord {
    /// The file as it was when it was last read to its end.
    pub scanned: Option<Scanned>,
    /// Where reading of an append file goes on.
    pub position: Option<Position>,
    /// The part of an append file that was there when reading began: it must not change.
    pub mark: Option<FileMark>,
    /// Why deletes are held back.
    pub waiting: Option<Waiting>,
    /// What a person confirmed the deletes of.
    pub confirmed: Option<Mark>,
    /// Where the changes of a database go on: a watermark, or a position in its log.
    pub database: Option<DatabasePosition>,
    /// Where a watched folder stands whose files are changes.
    pub folder: Option<FolderRecord>,
}

/// Where the changes of a database go on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabasePosition {
    /// What identifies the place: a watermark's text, or a log position.
    pub at: String,
    /// Since when it stands there, seconds since 1970 UTC.
    pub since: i64,
    /// Whether what committed late was read, too: nothing below it can come any more.
    pub rested: bool,
    /// When all rows were compared last, seconds since 1970 UTC.
    pub compared: i64,
}

/// A completed scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scanned {
    /// What was read.
    pub mark: Mark,
    /// Whether the file was old enough for its time to tell a later change: many systems count in
    /// steps of up to two seconds.
    pub settled: bool,
    /// Version of the entry that the rows were checked against.
    pub entry_version: u32,
    /// Fingerprint of the rules that its values were cleaned by.
    #[serde(default)]
    pub rules: u64,
    /// Rows read.
    pub rows: u64,
    /// Rows of them in quarantine.
    pub rejected: u64,
}

/// A snapshot whose deletes wait for a person.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Waiting {
    /// Why.
    pub reason: WaitingReason,
    /// Deletes held back.
    pub deletes: u64,
    /// Rows that the hub holds.
    pub of: u64,
    /// What was read, to be recognised when it is confirmed.
    pub mark: Mark,
    /// More, such as the read error.
    pub detail: String,
}

/// Why a snapshot waits for confirmation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WaitingReason {
    /// The file has no rows.
    Empty,
    /// Reading ended in an error.
    Broken,
    /// More would be deleted than the setting allows.
    TooManyDeletes,
    /// Rows whose key cannot be read might be the ones that seem deleted.
    UnreadableKeys,
    /// The hub is to forget all rows not named, and some rows were refused.
    RefusedInReplacement,
    /// Everything is to be sent anew, and files of a watched folder that were taken are no longer kept.
    FilesGone,
}

impl std::fmt::Display for Waiting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (deletes, of) = (self.deletes, self.of);
        match self.reason {
            WaitingReason::Empty => write!(f, "the snapshot is empty; {of} rows would be deleted")?,
            WaitingReason::Broken => write!(f, "the snapshot could not be read to its end")?,
            WaitingReason::TooManyDeletes => {
                write!(f, "the snapshot would delete {deletes} of {of} rows")?;
            }
            WaitingReason::UnreadableKeys => write!(
                f,
                "{deletes} rows seem to be deleted, but the keys of some rows cannot be read"
            )?,
            WaitingReason::RefusedInReplacement => write!(
                f,
                "everything was sent anew, but some rows were refused: the hub would delete them"
            )?,
            WaitingReason::FilesGone if of == 0 => write!(
                f,
                "everything is to be sent anew, but no file is known that was taken before: rows at the \
                 hub that no file has would be deleted"
            )?,
            WaitingReason::FilesGone => write!(
                f,
                "everything is to be sent anew, but {deletes} of {of} files that were taken are no longer \
                 in the folder of done files: rows that only they had would be missing at the hub"
            )?,
        }
        if !self.detail.is_empty() {
            write!(f, " ({})", self.detail)?;
        }
        f.write_str("; look at the file, then correct it or run `hutong-agent confirm`")
    }
}

impl SourceRecord {
    /// What is remembered of the source of a stream.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn load(store: &Store, stream: StreamId) -> Result<Self, StoreError> {
        let stored = store.get(Area::Sources, &stream.0.to_be_bytes())?;
        stored.map_or(Ok(Self::default()), |stored| {
            serde_json::from_slice(&stored)
                .map_err(|_| StoreError::Record("what is known of a source"))
        })
    }

    /// Adds the record to a write.
    pub(super) fn save(&self, stream: StreamId, writes: &mut WriteBatch) -> Result<(), StoreError> {
        let stored = serde_json::to_vec(self)
            .map_err(|_| StoreError::Record("what is known of a source"))?;
        writes.put(Area::Sources, &stream.0.to_be_bytes(), stored);
        Ok(())
    }
}
