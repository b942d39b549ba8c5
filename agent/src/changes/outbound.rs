//! From changes to batches in the outbox.

use std::collections::VecDeque;

use hutong_schema::batch::BatchKind;
use hutong_schema::block::BlockBuilder;
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::limits::{BATCH_BYTES_TARGET, BATCH_ROWS_TARGET};
use hutong_schema::row::FieldId;
use tokio_util::sync::CancellationToken;

use crate::sources::Row;
use crate::spool::{NewBatch, Origins, Store, StoreError, StreamId, Ticket, WriteBatch};

/// Batches on their way to the disk while the next one is made.
const UNDER_WAY: usize = 3;

/// Collects changes and makes batches of them.
pub(super) struct Made {
    schema_version: u32,
    builder: BlockBuilder,
    origins: Origins,
    pub(super) upserts: u64,
    pub(super) deletes: u64,
}

impl Made {
    pub(super) fn new(entry: &CatalogueEntry) -> Self {
        let columns: Vec<FieldId> = entry.columns().iter().map(|item| item.id).collect();
        Self {
            schema_version: entry.schema_version,
            builder: BlockBuilder::new(&columns),
            origins: Origins::default(),
            upserts: 0,
            deletes: 0,
        }
    }

    /// Whether a further row of this size would make the batch larger than it should be.
    pub(super) fn is_full(&self, next_row: usize) -> bool {
        !self.builder.is_empty()
            && (self.builder.rows() >= BATCH_ROWS_TARGET
                || self.builder.bytes() + next_row > BATCH_BYTES_TARGET)
    }

    pub(super) fn upsert(&mut self, row: &Row) {
        self.upsert_values(row.number, row.key(), row.values());
    }

    /// `values` in the order of the entry's columns.
    pub(super) fn upsert_values<'v>(
        &mut self,
        row: u64,
        key: &[u8],
        values: impl IntoIterator<Item = Option<&'v [u8]>>,
    ) {
        self.builder.upsert(key, values);
        self.origins.push(row);
        self.upserts += 1;
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.builder.delete(key);
        self.origins.push(0);
        self.deletes += 1;
    }

    /// The batch of what was collected since the last one, if anything.
    pub(super) fn finish(&mut self) -> Result<Option<NewBatch>, StoreError> {
        if self.builder.is_empty() {
            return Ok(None);
        }
        let rows = self.builder.rows();
        let block = self.builder.finish();
        NewBatch::rows(self.schema_version, &block, rows, self.origins.take()).map(Some)
    }
}

/// Collects changes and hands over full batches.
pub(super) struct Outbound<'a> {
    store: &'a Store,
    stream: StreamId,
    generation: u64,
    cancel: &'a CancellationToken,
    made: Made,
    tickets: VecDeque<Ticket>,
    pub(super) batches: u64,
}

impl<'a> Outbound<'a> {
    pub(super) fn new(
        store: &'a Store,
        stream: StreamId,
        generation: u64,
        entry: &CatalogueEntry,
        cancel: &'a CancellationToken,
    ) -> Self {
        let (made, tickets) = (Made::new(entry), VecDeque::new());
        Self { store, stream, generation, cancel, made, tickets, batches: 0 }
    }

    /// As [`Made::is_full`].
    pub(super) fn is_full(&self, next_row: usize) -> bool {
        self.made.is_full(next_row)
    }

    pub(super) fn upsert(&mut self, row: &Row) {
        self.made.upsert(row);
    }

    pub(super) fn delete(&mut self, key: &[u8]) {
        self.made.delete(key);
    }

    /// Inserts and updates so far.
    pub(super) fn upserts(&self) -> u64 {
        self.made.upserts
    }

    /// Deletes so far.
    pub(super) fn deletes(&self) -> u64 {
        self.made.deletes
    }

    /// Hands over what was collected, if anything, together with other writes. Blocks while the
    /// outbox is full.
    pub(super) fn flush(&mut self, with: WriteBatch) -> Result<(), StoreError> {
        if self.cancel.is_cancelled() {
            return Err(StoreError::Cancelled);
        }
        match self.made.finish()? {
            Some(batch) => self.hand_over(batch, with),
            None if with.is_empty() => Ok(()),
            None => {
                let mut with = with;
                with.only_in(self.stream, self.generation);
                let ticket = self.store.submit(with)?;
                self.enqueue(ticket)
            }
        }
    }

    /// Hands over a begin or end marker behind everything collected.
    pub(super) fn marker(&mut self, kind: BatchKind, with: WriteBatch) -> Result<(), StoreError> {
        self.flush(WriteBatch::new())?;
        self.hand_over(NewBatch::marker(kind, self.made.schema_version)?, with)
    }

    /// Waits until everything handed over is durable.
    pub(super) fn settle(&mut self) -> Result<(), StoreError> {
        while let Some(ticket) = self.tickets.pop_front() {
            ticket.wait()?;
        }
        Ok(())
    }

    fn hand_over(&mut self, batch: NewBatch, mut with: WriteBatch) -> Result<(), StoreError> {
        // The stream may have been begun anew since the scan began: what the scan compared with is gone.
        with.only_in(self.stream, self.generation);
        let ticket = self.store.append(self.stream, batch, with, self.cancel)?;
        self.batches += 1;
        self.enqueue(ticket)
    }

    fn enqueue(&mut self, ticket: Ticket) -> Result<(), StoreError> {
        self.tickets.push_back(ticket);
        if self.tickets.len() > UNDER_WAY
            && let Some(oldest) = self.tickets.pop_front()
        {
            oldest.wait()?;
        }
        Ok(())
    }
}
