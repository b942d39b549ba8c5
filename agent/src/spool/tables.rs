//! The tables of one write transaction, and writing batches into them.

use std::time::{SystemTime, UNIX_EPOCH};

use redb::{Table, WriteTransaction};

use super::batch::NewBatch;
use super::keys::{Area, CHUNK_KEY, CHUNKS, HEADS, META, OUTBOX, RECORDS, RUNS, STREAMS};
use super::outbox::Head;
use super::stream::StreamRecord;
use super::{StoreError, StreamId};

/// Tables of one write transaction.
pub(super) struct Tables<'t> {
    pub(super) meta: Table<'t, &'static str, &'static [u8]>,
    pub(super) streams: Table<'t, u32, &'static [u8]>,
    pub(super) heads: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) outbox: Table<'t, (u32, u64), &'static [u8]>,
    pub(super) runs: Table<'t, u32, &'static [u8]>,
    pub(super) chunks: Table<'t, &'static [u8; CHUNK_KEY], &'static [u8]>,
    pub(super) records: Table<'t, &'static [u8], &'static [u8]>,
    /// Space of the outbox that is free once this transaction is committed.
    pub(super) freed: Vec<(StreamId, u64)>,
}

impl<'t> Tables<'t> {
    pub(super) fn open(transaction: &'t WriteTransaction) -> Result<Self, StoreError> {
        Ok(Self {
            meta: transaction.open_table(META).map_err(written)?,
            streams: transaction.open_table(STREAMS).map_err(written)?,
            heads: transaction.open_table(HEADS).map_err(written)?,
            outbox: transaction.open_table(OUTBOX).map_err(written)?,
            runs: transaction.open_table(RUNS).map_err(written)?,
            chunks: transaction.open_table(CHUNKS).map_err(written)?,
            records: transaction.open_table(RECORDS).map_err(written)?,
            freed: Vec::new(),
        })
    }

    /// Writes the batch that the state was just given. `run` is what it makes of the image.
    pub(super) fn append(
        &mut self,
        stream: StreamId,
        record: &StreamRecord,
        batch: &NewBatch,
        run: Option<u32>,
    ) -> Result<(), StoreError> {
        let facts = &batch.facts;
        let head = Head {
            header: hutong_schema::batch::BatchHeader {
                seq: record.state.last_seq(),
                kind: facts.kind,
                schema_version: facts.schema_version,
                rows: facts.rows,
                raw_len: facts.raw_len,
                codec: facts.codec,
            },
            chain: record.state.chain,
            payload_hash: facts.payload_hash,
            appended_ms: now_ms(),
            origins_len: batch.origins.len() as u32,
            stored_len: facts.stored_len,
            run,
        };
        let key = (stream.0, record.state.last_seq());
        self.heads.insert(key, &head.encode()?[..]).map_err(written)?;
        let length = batch.origins.len() + batch.payload.len();
        let mut place = self.outbox.insert_reserve(key, length).map_err(written)?;
        let (first, rest) = place.as_mut().split_at_mut(batch.origins.len());
        first.copy_from_slice(&batch.origins);
        rest.copy_from_slice(&batch.payload);
        Ok(())
    }

    /// Removes batches; how many there were, and their size as it was reserved.
    pub(super) fn remove_batches(
        &mut self,
        stream: StreamId,
        seqs: std::ops::RangeInclusive<u64>,
    ) -> Result<(u64, u64), StoreError> {
        let (mut batches, mut bytes, mut damaged) = (0, 0, None);
        let range = (stream.0, *seqs.start())..=(stream.0, *seqs.end());
        if seqs.is_empty() {
            return Ok((0, 0));
        }
        self.heads
            .retain_in(range.clone(), |_, stored| {
                batches += 1;
                match Head::decode(stored) {
                    Ok(head) => bytes += head.stored_len,
                    Err(error) => damaged = Some(error),
                }
                false
            })
            .map_err(written)?;
        self.outbox.retain_in(range, |_, _| false).map_err(written)?;
        self.freed.push((stream, bytes));
        damaged.map_or(Ok((batches, bytes)), Err)
    }

    /// Removes the records of an area whose key begins with `prefix`.
    pub(super) fn remove_records(&mut self, area: Area, prefix: &[u8]) -> Result<(), StoreError> {
        let first = area.key(prefix);
        let mut behind = first.clone();
        // The area's own byte is small, so that some byte can always be raised.
        while behind.last() == Some(&u8::MAX) {
            behind.pop();
        }
        if let Some(last) = behind.last_mut() {
            *last += 1;
        }
        let range = &first[..]..&behind[..];
        self.records.retain_in::<&[u8], _>(range, |_, _| false).map_err(written)
    }
}

pub(super) fn written(error: impl Into<redb::Error>) -> StoreError {
    StoreError::engine("wrote", error)
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
