//! A publication whose rows programs hand over: there is nothing to read, and nothing to read again.
//!
//! After a lost outbox the hub asks for every row anew, and deletes what is not named by the end of
//! that. Nobody here knows the rows any more, so the end is never sent by itself: the hub keeps what it
//! has, the program hands everything over once more, and a person says when it has.

use hutong_schema::batch::BatchKind;
use hutong_schema::catalogue::CatalogueEntry;
use tokio_util::sync::CancellationToken;

use super::publication::{Publication, ScanOutcome, Stop};
use crate::spool::{NewBatch, Replace, Store, StoreError, StreamState, WriteBatch};

/// What a person's confirmation brought about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PushConfirmed {
    /// Rows that were not handed over since the epoch began are removed at the hub.
    Ended,
    /// Nothing was handed over since: that would remove every row.
    NothingNamed,
    /// Nothing waits.
    Nothing,
}

/// Instead of a scan: in a new epoch all that is handed over counts as named anew.
pub(super) fn scan(
    publication: &Publication,
    store: &Store,
    entry: &CatalogueEntry,
    state: &StreamState,
    cancel: &CancellationToken,
) -> Result<ScanOutcome, Stop> {
    if state.replace == Replace::Due {
        let marker = NewBatch::marker(BatchKind::ReplaceBegin, entry.schema_version)?;
        append(publication, store, state, marker, cancel)?;
    }
    Ok(ScanOutcome::Unchanged)
}

fn append(
    publication: &Publication,
    store: &Store,
    state: &StreamState,
    marker: NewBatch,
    cancel: &CancellationToken,
) -> Result<(), StoreError> {
    let mut writes = WriteBatch::new();
    writes.only_in(publication.stream, state.generation);
    store.append(publication.stream, marker, writes, cancel)?.wait().map(|_| ())
}

impl Publication {
    /// What a person should do for a publication whose rows are handed over, if anything.
    ///
    /// # Errors
    /// When the store fails.
    pub fn push_asks(&self, store: &Store) -> Result<Option<String>, StoreError> {
        let resource = &self.config.resource;
        let state = store.stream(self.stream)?.state;
        let mut asks = Vec::new();
        if state.replace != Replace::No {
            let named = self.named(store)?;
            asks.push(format!(
                "a new epoch began, and the agent cannot read pushed rows again: the hub keeps the rows it has, and new ones are taken, but their digests cannot be compared. Push every row once more (at most {named} so far), then run `hutong-agent confirm {resource}`: rows not pushed since then are removed at the hub"
            ));
        }
        let again = self.asked_again(store)?.len();
        if again > 0 {
            asks.push(format!(
                "the hub differs in {again} row(s) that the agent cannot read again; push them once more, GET /v1/resources/{resource}/wanted names their keys"
            ));
        }
        Ok((!asks.is_empty()).then(|| asks.join("; ")))
    }

    /// Keys that the hub asks for again, as they stand in the store.
    ///
    /// # Errors
    /// When the store fails.
    pub fn wanted(&self, store: &Store) -> Result<Vec<Vec<u8>>, StoreError> {
        let mut keys: Vec<_> = self.asked_again(store)?.into_iter().collect();
        keys.sort();
        Ok(keys)
    }

    /// A person says that every row was handed over since the epoch began. Blocks.
    ///
    /// # Errors
    /// When the store fails.
    pub fn confirm_pushed(
        &self,
        store: &Store,
        entry: &CatalogueEntry,
        cancel: &CancellationToken,
    ) -> Result<PushConfirmed, StoreError> {
        let state = store.stream(self.stream)?.state;
        if state.replace != Replace::Begun {
            return Ok(PushConfirmed::Nothing);
        }
        if self.named(store)? == 0 {
            return Ok(PushConfirmed::NothingNamed);
        }
        let marker = NewBatch::marker(BatchKind::ReplaceEnd, entry.schema_version)?;
        append(self, store, &state, marker, cancel)?;
        Ok(PushConfirmed::Ended)
    }

    /// How many rows the hub has accepted in this epoch, at most.
    fn named(&self, store: &Store) -> Result<u64, StoreError> {
        store.view()?.image_size_at_most(self.stream.into())
    }
}
