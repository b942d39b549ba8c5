//! What nobody can read again stays in the outbox: rows that a program handed over and was told to be
//! safe. When an epoch begins, or the schema changes, they are numbered anew instead of dropped.

use std::collections::VecDeque;

use hutong_schema::batch::{BatchKind, decompress_into};
use hutong_schema::block::Block;
use hutong_schema::wire::v1::publish::PublishReady;
use tokio_util::sync::CancellationToken;

use super::batch::Operation;
use super::outbox::{self, Head, OutboxBatch};
use super::space::Space;
use super::stream::{StreamRecord, Unnumbered};
use super::tables::{Tables, written};
use super::{
    Conflict, ImageDelta, NewBatch, Replace, Store, StoreError, StreamId, Ticket, WriteBatch, image,
};

impl Store {
    /// As [`Store::begin_epoch`], but rows of the outbox are kept and numbered in the new epoch. If the
    /// hub holds rows of an earlier one, `begin`, the marker of a replacement, stands before them.
    ///
    /// # Errors
    /// When the store failed or there is no such stream.
    pub async fn begin_epoch_keeping(
        &self,
        stream: StreamId,
        ready: &PublishReady,
        begin: NewBatch,
    ) -> Result<(), StoreError> {
        let mut batch = WriteBatch::new();
        let (epoch, has_rows) = (ready.epoch, ready.has_rows);
        batch.push(Operation::BeginEpoch { stream, epoch, has_rows, keep: Some(begin) });
        self.commit(batch).await.map(|_| ())
    }

    /// Appends batches together with other writes, all or nothing; blocks while the outbox is full.
    /// `first` is done once there is room for them.
    ///
    /// # Errors
    /// When waiting was cancelled, `first` or the store failed.
    pub fn append_all<E: From<StoreError>>(
        &self,
        stream: StreamId,
        batches: Vec<NewBatch>,
        mut with: WriteBatch,
        first: impl FnOnce() -> Result<(), E>,
        cancel: &CancellationToken,
    ) -> Result<Ticket, E> {
        let bytes = batches.iter().map(NewBatch::stored_len).sum();
        if bytes > 0 {
            self.0.space.reserve(stream, bytes, cancel)?;
        }
        if let Err(error) = first() {
            self.0.space.release(stream, bytes);
            return Err(error);
        }
        for batch in batches {
            with.append(stream, batch, None);
        }
        Ok(self.submit(with)?)
    }

    /// Replaces the batches that the hub has not stored by others, if the outbox still ends where they
    /// were made from: `generation` and `next_seq` as they were then.
    ///
    /// # Errors
    /// [`Conflict::Moved`] if something was appended meanwhile; when the store failed.
    pub fn replace_pending(
        &self,
        stream: StreamId,
        (generation, next_seq): (u64, u64),
        batches: Vec<NewBatch>,
    ) -> Result<(), StoreError> {
        let replace = self.replace_when_stored(stream)?;
        let mut writes = WriteBatch::new();
        writes.only_in(stream, generation);
        writes.push(Operation::OnlyAt { stream, next_seq });
        writes.push(Operation::DropPending { stream, replace });
        for batch in batches {
            // It takes the place of what is dropped, whose space is freed with the same commit.
            self.0.space.reserve_always(stream, batch.stored_len());
            writes.append(stream, batch, None);
        }
        self.commit_blocking(writes).map(|_| ())
    }
}

/// Numbers the rows of the outbox anew for the epoch that the state has just begun.
pub(super) fn over(
    tables: &mut Tables<'_>,
    space: &Space,
    stream: StreamId,
    record: &mut StreamRecord,
    begin: &NewBatch,
) -> Result<(), StoreError> {
    let mut heads: VecDeque<Head> =
        outbox::heads(&tables.heads, stream, 0..u64::MAX, usize::MAX)?.into();
    tables.freed.push((stream, heads.iter().map(|head| head.stored_len).sum()));
    heads.retain(|head| head.header.kind == BatchKind::Rows);
    // A batch's new number is at most the old one of the batch behind it: one is read ahead.
    let mut next = read_next(tables, stream, &mut heads)?;
    if record.state.replace == Replace::Due {
        space.reserve_always(stream, begin.stored_len());
        number(record, stream, &begin.facts)?;
        tables.append(stream, record, begin, None)?;
    }
    let mut raw = Vec::new();
    while let Some((head, batch)) = next {
        next = read_next(tables, stream, &mut heads)?;
        let header = &head.header;
        decompress_into(&batch.payload, header.codec, header.raw_len as usize, &mut raw)?;
        let block = Block::parse(&raw)
            .map_err(|_| StoreError::Record("the column block of a batch of the outbox"))?;
        let facts = Unnumbered {
            kind: header.kind,
            schema_version: header.schema_version,
            rows: header.rows,
            raw_len: header.raw_len,
            codec: header.codec,
            payload_hash: head.payload_hash,
            stored_len: head.stored_len,
        };
        let image = ImageDelta::of_block(&block, &[]);
        let kept = NewBatch { facts, payload: batch.payload, origins: batch.origins, image };
        space.reserve_always(stream, kept.stored_len());
        number(record, stream, &kept.facts)?;
        let delta = kept.image.clone();
        let run = image::prepare(&mut tables.runs, &mut tables.chunks, stream.into(), delta)?;
        tables.append(stream, record, &kept, run)?;
    }
    let behind = (stream.0, record.state.next_seq)..=(stream.0, u64::MAX);
    tables.heads.retain_in(behind.clone(), |_, _| false).map_err(written)?;
    tables.outbox.retain_in(behind, |_, _| false).map_err(written)
}

fn read_next(
    tables: &Tables<'_>,
    stream: StreamId,
    heads: &mut VecDeque<Head>,
) -> Result<Option<(Head, OutboxBatch)>, StoreError> {
    let Some(head) = heads.pop_front() else { return Ok(None) };
    let batch = outbox::read(&tables.outbox, stream, &head)?;
    Ok(Some((head, batch)))
}

fn number(
    record: &mut StreamRecord,
    stream: StreamId,
    facts: &Unnumbered,
) -> Result<(), StoreError> {
    let conflict = |conflict: Conflict| StoreError::Conflict { stream, conflict };
    record.state.append(facts).map(|_| ()).map_err(conflict)
}
