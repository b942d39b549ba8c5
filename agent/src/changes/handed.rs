//! Rows that somebody hands over outside of a scan: a program by HTTP, or a person who corrected rows
//! of quarantine. They are read, checked and appended as those of a source are.

use std::collections::HashSet;

use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::row::FieldId;
use hutong_schema::rules::RejectReason;
use tokio_util::sync::CancellationToken;

use super::outbound::Made;
use super::publication::Publication;
use crate::config::SourceConfig;
use crate::quarantine::{QuarantineError, Rejection};
use crate::sources::{Given, Objects, Refusal, Row};
use crate::spool::{Area, NewBatch, Replace, Store, StoreError, WriteBatch};

/// Rows on their way into the outbox.
pub struct HandedOver<'a> {
    publication: &'a Publication,
    store: &'a Store,
    entry: &'a CatalogueEntry,
    batches: Vec<NewBatch>,
    writes: WriteBatch,
    /// The texts of refused rows.
    kept: Vec<&'a str>,
    /// What became of the rows.
    pub report: HandReport,
}

/// What became of rows that were handed over.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HandReport {
    /// Rows that are there.
    pub upserts: u64,
    /// Rows that are gone.
    pub deletes: u64,
    /// Rows that were refused; they are in quarantine.
    pub refused: Vec<RefusedRow>,
    /// Names in them that are no item of the entry: ignored.
    pub unknown: Vec<String>,
}

/// A row that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefusedRow {
    /// Its place among the rows, from 0.
    pub index: u64,
    /// The item at fault; 0 for the row as a whole.
    pub field: FieldId,
    /// Why.
    pub reason: RejectReason,
}

/// One row as it is handed over: its text, a JSON object, and what is wrong with it already.
#[derive(Clone, Copy, Debug)]
pub struct HandedRow<'a> {
    /// The object.
    pub text: &'a str,
    /// Its text is not what was handed over, for this reason.
    pub wrong: Option<RejectReason>,
}

/// Rows cannot be taken at present; nothing of them was.
#[derive(Debug, thiserror::Error)]
pub enum HandError {
    /// No batch can be numbered yet.
    #[error("the hub has not opened an epoch for this resource yet; see: hutong-agent status")]
    NoEpoch,
    /// What stands before the begin of a replacement does not count at the hub.
    #[error("a new epoch has begun and the source is about to be named anew; try again soon")]
    NewEpoch,
    /// The outbox is full.
    #[error(
        "the outbox is full: the hub has not taken what was handed over before; try again later"
    )]
    Full,
    /// The stream was begun anew meanwhile.
    #[error("the publication was begun anew meanwhile; try again")]
    Overtaken,
    /// Refused rows could not be kept.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// The store.
    #[error(transparent)]
    Store(StoreError),
}

impl From<StoreError> for HandError {
    fn from(error: StoreError) -> Self {
        match error {
            StoreError::Cancelled => Self::Full,
            StoreError::Conflict { .. } => Self::Overtaken,
            StoreError::InUse { .. }
            | StoreError::Damaged { .. }
            | StoreError::Engine { .. }
            | StoreError::File { .. }
            | StoreError::Record(_)
            | StoreError::Closed
            | StoreError::Payload(_) => Self::Store(error),
        }
    }
}

impl Publication {
    /// Reads and checks rows; nothing is written yet.
    ///
    /// # Errors
    /// When nothing can be taken at present.
    pub fn hand_over<'a>(
        &'a self,
        store: &'a Store,
        entry: &'a CatalogueEntry,
        rows: impl IntoIterator<Item = HandedRow<'a>>,
    ) -> Result<HandedOver<'a>, HandError> {
        let state = store.stream(self.stream)?.state;
        if state.epoch == 0 {
            return Err(HandError::NoEpoch);
        }
        if state.replace == Replace::Due {
            return Err(HandError::NewEpoch);
        }
        let asked_again = self.asked_again(store)?;
        let mut made = Made::new(entry);
        // A person corrects rows and removes none; only the program that owns all rows does.
        let mut objects = if self.config.source == SourceConfig::Push {
            Objects::new(entry)
        } else {
            Objects::only_rows(entry)
        };
        let (mut batches, mut writes) = (Vec::new(), WriteBatch::new());
        let (mut report, mut row) = (HandReport::default(), Row::default());
        let (mut kept, mut read) = (Vec::new(), 0);
        for HandedRow { text, wrong } in rows {
            let index = read;
            read += 1;
            let taken = match wrong {
                Some(reason) => Err(Refusal { field: FieldId(0), reason }),
                None => objects.take(read, text, &mut row),
            };
            if taken.is_ok() && made.is_full(row.size()) {
                batches.extend(made.finish()?);
            }
            match taken {
                Ok(Given::Upsert) => made.upsert(&row),
                Ok(Given::Delete) => made.delete(row.key()),
                Err(Refusal { field, reason }) => {
                    report.refused.push(RefusedRow { index, field, reason });
                    kept.push(text);
                    continue;
                }
            }
            if asked_again.contains(row.key()) {
                writes.remove(Area::Resend, &self.resend_key(row.key()));
            }
        }
        batches.extend(made.finish()?);
        (report.upserts, report.deletes) = (made.upserts, made.deletes);
        report.unknown = objects.unknown().to_vec();
        writes.count(self.stream, read, kept.len() as u64);
        // What was begun anew meanwhile does not know these rows.
        writes.only_in(self.stream, state.generation);
        Ok(HandedOver { publication: self, store, entry, batches, writes, kept, report })
    }

    /// Keys that are to be sent again.
    pub(super) fn asked_again(&self, store: &Store) -> Result<HashSet<Vec<u8>>, StoreError> {
        let prefix = self.stream.0.to_be_bytes();
        let records = store.records(Area::Resend, &prefix)?;
        Ok(records.into_iter().map(|(key, _)| key[prefix.len()..].to_vec()).collect())
    }

    fn resend_key(&self, key: &[u8]) -> Vec<u8> {
        [&self.stream.0.to_be_bytes()[..], key].concat()
    }
}

impl HandedOver<'_> {
    /// Puts the rows into the outbox together with other writes, and refused ones into quarantine; both
    /// are durable when it returns. Blocks, also while the outbox is full.
    ///
    /// # Errors
    /// When the outbox is full until `cancel` is cancelled, the stream was begun anew, or refused rows
    /// or the store cannot be written. Then nothing was appended.
    pub fn commit(
        self,
        with: impl FnOnce(&HandReport, &mut WriteBatch),
        cancel: &CancellationToken,
    ) -> Result<HandReport, HandError> {
        let Self { publication, store, entry, batches, mut writes, kept, report } = self;
        with(&report, &mut writes);
        let quarantine = || -> Result<(), HandError> {
            let refused = report.refused.iter().zip(&kept);
            let rejections: Vec<_> = refused
                .map(|(refused, text)| Rejection {
                    row: refused.index + 1,
                    item: entry.item(refused.field),
                    reason: refused.reason,
                    note: "",
                    raw: text.as_bytes(),
                    values: "",
                })
                .collect();
            Ok(publication.quarantine.append(&entry.code, &rejections)?)
        };
        let ticket = store.append_all(publication.stream, batches, writes, quarantine, cancel)?;
        ticket.wait()?;
        Ok(report)
    }
}

#[cfg(test)]
#[path = "handed_tests.rs"]
mod tests;
