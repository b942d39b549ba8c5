//! One publication: a resource, its file, its stream.

use std::collections::HashMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::digest::{KeyHash, key_hash};
use hutong_schema::rules::RejectReason;
use tokio_util::sync::CancellationToken;

use super::folder::Settling;
use super::outbound::Outbound;
use super::record::{Scanned, SourceRecord, Waiting};
use super::whole::Whole;
use super::{append, folder, pushed, query, snapshot};
use crate::config::{FileSource, PublishConfig, SourceConfig, SourceMode};
use crate::quarantine::{Quarantine, QuarantineError, Rejection, Staged};
use crate::sources::{
    FileMark, Mark, Position, Refusal, Row, Rows, Shown, Source, SourceError, SourceOptions,
};
use crate::spool::{Area, Replace, Store, StoreError, StreamId, StreamState, WriteBatch};
use crate::sql::SqlError;

/// A resource that this agent publishes from a file.
#[derive(Clone, Debug)]
pub struct Publication {
    /// Its stream in the store.
    pub stream: StreamId,
    /// Its configuration.
    pub config: PublishConfig,
    /// Where refused rows go.
    pub quarantine: Quarantine,
    /// Files of a watched folder that may still be being written.
    pub settling: Settling,
}

/// How a scan ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ScanOutcome {
    /// The hub has not opened an epoch yet: batches cannot be numbered.
    NoEpoch,
    /// Batches appended before are not all acknowledged: compare later.
    NotDrained,
    /// The file is the one that was read last.
    Unchanged,
    /// The file changed while it was read: read it again soon.
    Unstable,
    /// What changed is in the outbox.
    Done(ScanReport),
    /// Inserts and updates are in the outbox, deletes wait for a person.
    Waiting(Waiting),
    /// The file cannot be read at all; the text says why.
    Trouble(String),
    /// The scan was cancelled, or its stream was begun anew meanwhile; the next one continues.
    Cancelled,
}

/// Figures of a scan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScanReport {
    /// Rows read.
    pub read: u64,
    /// Rows of them put into quarantine.
    pub rejected: u64,
    /// Inserts and updates in the outbox.
    pub upserts: u64,
    /// Deletes in the outbox.
    pub deletes: u64,
    /// Batches appended.
    pub batches: u64,
    /// Columns of the file that the entry does not have: ignored.
    pub unknown_columns: Vec<String>,
}

/// A scan failed for a reason that is not the file's.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// Refused rows could not be written; nothing was taken as read.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
}

impl Publication {
    /// Reads the source once and puts what changed into the outbox. Blocks, also while the outbox is
    /// full: call it from a thread that may, and not twice at a time for one stream.
    ///
    /// # Errors
    /// When the store fails or refused rows cannot be written. What is wrong with the file is an
    /// outcome, not an error.
    pub fn scan(
        &self,
        store: &Store,
        entry: &CatalogueEntry,
        cancel: &CancellationToken,
    ) -> Result<ScanOutcome, ScanError> {
        let state = store.stream(self.stream)?.state;
        if state.epoch == 0 {
            return Ok(ScanOutcome::NoEpoch);
        }
        let record = SourceRecord::load(store, self.stream)?;
        let scan = Scan { publication: self, store, entry, cancel, state, record };
        let result = match &self.config.source {
            SourceConfig::File(file) => match file.mode {
                SourceMode::Snapshot => snapshot::scan(scan, Whole::File(file)),
                SourceMode::Append => append::scan(scan, file),
            },
            SourceConfig::Folder(source) => folder::scan(scan, source),
            SourceConfig::Sql(source) => query::scan(scan, source),
            SourceConfig::Push => pushed::scan(self, store, entry, &scan.state, cancel),
        };
        match result {
            // A conflict: the stream was begun anew meanwhile, nothing of the rest was appended.
            Err(Stop::Store(StoreError::Cancelled | StoreError::Conflict { .. })) => {
                Ok(ScanOutcome::Cancelled)
            }
            Err(Stop::Store(error)) => Err(error.into()),
            Err(Stop::Quarantine(error)) => Err(error.into()),
            Err(Stop::Source(error)) => Ok(ScanOutcome::Trouble(error.to_string())),
            Err(Stop::Early(outcome)) | Ok(outcome) => Ok(outcome),
        }
    }

    /// Releases the deletes of the snapshot that waits; the next scan sends them if the file is still
    /// the same. `false` if nothing waits. Of a database, all rows are compared by the next scan.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn confirm(&self, store: &Store) -> Result<bool, StoreError> {
        let mut record = SourceRecord::load(store, self.stream)?;
        let waiting = record.waiting.take();
        let released = waiting.is_some();
        let mut writes = WriteBatch::new();
        if matches!(self.config.source, SourceConfig::Sql(_)) {
            query::wish(self.stream, &mut writes);
        } else if !released {
            return Ok(false);
        }
        if released {
            record.confirmed = waiting.map(|waiting| waiting.mark);
            record.scanned = None;
            record.save(self.stream, &mut writes)?;
        }
        store.commit(writes).await?;
        Ok(released)
    }
}

/// Everything a scan needs.
pub(super) struct Scan<'a> {
    pub(super) publication: &'a Publication,
    pub(super) store: &'a Store,
    pub(super) entry: &'a CatalogueEntry,
    pub(super) cancel: &'a CancellationToken,
    pub(super) state: StreamState,
    pub(super) record: SourceRecord,
}

/// Why a scan does not go on.
pub(super) enum Stop {
    Store(StoreError),
    Quarantine(QuarantineError),
    Source(SourceError),
    Early(ScanOutcome),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

impl From<QuarantineError> for Stop {
    fn from(error: QuarantineError) -> Self {
        Self::Quarantine(error)
    }
}

impl From<SqlError> for Stop {
    fn from(error: SqlError) -> Self {
        Self::Source(error.into())
    }
}

impl From<SourceError> for Stop {
    fn from(error: SourceError) -> Self {
        Self::Source(error)
    }
}

impl<'a> Scan<'a> {
    pub(super) fn outbound(&self) -> Outbound<'a> {
        let generation = self.state.generation;
        Outbound::new(self.store, self.stream(), generation, self.entry, self.cancel)
    }

    pub(super) fn stream(&self) -> StreamId {
        self.publication.stream
    }

    pub(super) fn replacing(&self) -> bool {
        self.state.replace != Replace::No
    }

    /// The mark of the whole file.
    pub(super) fn mark(&self, file: &FileSource) -> Result<FileMark, Stop> {
        let path = &file.path;
        FileMark::whole(path).map_err(|source| SourceError::of_open(path, source).into())
    }

    pub(super) fn open(
        &self,
        file: &FileSource,
        from: Option<Position>,
        whole_lines: bool,
    ) -> Result<Source, Stop> {
        let options = SourceOptions {
            path: &file.path,
            form: &file.form,
            encoding: file.encoding,
            rules: &self.publication.config.rules,
            from,
            whole_lines,
        };
        let source = Source::open(options, self.entry)?;
        self.tell_unknown(source.unknown_columns());
        Ok(source)
    }

    pub(super) fn tell_unknown(&self, columns: &[String]) {
        if !columns.is_empty() {
            tracing::warn!(resource = %self.entry.code, ?columns,
                "columns that the catalogue entry does not have are ignored");
        }
    }

    /// Whether the file is the one that was read last, and nothing else asks for reading it.
    pub(super) fn unchanged(&self, mark: &Mark) -> bool {
        let same = |scanned: &Scanned| {
            scanned.settled
                && scanned.entry_version == self.entry.version
                && scanned.rules == self.publication.config.rules.fingerprint()
                && scanned.mark.same_content(mark)
        };
        self.state.replace != Replace::Due && self.record.scanned.as_ref().is_some_and(same)
    }

    pub(super) fn scanned(&self, mark: Mark, rows: u64, rejected: u64) -> Scanned {
        let modified = match mark {
            Mark::File(file) => u64::try_from(file.identity.modified_ns).ok(),
            Mark::Query(_) => None,
        };
        let age = modified.map(Duration::from_nanos).and_then(|modified| {
            SystemTime::now().duration_since(UNIX_EPOCH).ok()?.checked_sub(modified)
        });
        let settled = age.is_some_and(|age| age > TIME_STEP);
        let rules = self.publication.config.rules.fingerprint();
        Scanned { mark, settled, entry_version: self.entry.version, rules, rows, rejected }
    }

    /// Puts a row into quarantine.
    pub(super) fn refuse(
        &self,
        staged: &mut Staged,
        shown: &Shown,
        row: &Row,
        refusal: Refusal,
        note: &str,
    ) -> Result<(), QuarantineError> {
        let Refusal { field, reason } = refusal;
        let item = self.entry.item(field);
        let Shown { raw, values } = shown;
        let note = [note, row.note()].into_iter().filter(|part| !part.is_empty());
        let note = &note.collect::<Vec<_>>().join("; ");
        staged.push(&Rejection { row: row.number, item, reason, note, raw, values })
    }

    /// Keys that are to be sent again whatever the image says.
    pub(super) fn resend(&self) -> Result<Resend, StoreError> {
        let prefix = self.stream().0.to_be_bytes();
        let records = self.store.records(Area::Resend, &prefix)?;
        let keys = records.into_iter().map(|(key, _)| key[prefix.len()..].to_vec());
        Ok(Resend(keys.map(|key| (key_hash(&key), (key, false))).collect()))
    }
}

/// Steps in which some systems count file times.
const TIME_STEP: Duration = Duration::from_secs(2);

/// Keys to be sent again, and whether the source has them.
pub(super) struct Resend(HashMap<KeyHash, (Vec<u8>, bool)>);

impl Resend {
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether the key is to be sent; notes that the source has it.
    pub(super) fn take(&mut self, hash: &KeyHash) -> bool {
        self.0.get_mut(hash).is_some_and(|(_, found)| {
            *found = true;
            true
        })
    }

    /// Keys that the source does not have.
    pub(super) fn missing(&self) -> impl Iterator<Item = (&KeyHash, &[u8])> {
        self.0.iter().filter(|(_, (_, found))| !found).map(|(hash, (key, _))| (hash, &key[..]))
    }

    /// Forgets them with a write.
    pub(super) fn forget(&self, stream: StreamId, writes: &mut WriteBatch) {
        for (key, _) in self.0.values() {
            writes.remove(Area::Resend, &[&stream.0.to_be_bytes()[..], key].concat());
        }
    }
}

/// The refusal of a second row with the same key.
pub(super) fn duplicate() -> Refusal {
    Refusal { field: hutong_schema::row::FieldId(0), reason: RejectReason::DuplicateKey }
}
