//! Acknowledgements: the image follows what the hub accepted, rejected rows go to quarantine, and
//! what is settled leaves the outbox, in one commit.

use std::collections::HashMap;

use hutong_schema::batch::{BatchKind, decompress_into};
use hutong_schema::block::Block;
use hutong_schema::catalogue::{CatalogueEntry, DataType};
use hutong_schema::geometry;
use hutong_schema::row::{FieldId, key_parts};
use hutong_schema::rules::RejectReason;
use hutong_schema::wire::v1::publish::{Ack, RejectedRow};

use super::batch::{Operation, Taken};
use super::outbox::{Head, OutboxBatch};
use super::stream::Acknowledged;
use super::{Conflict, ImageDelta, Store, StoreError, StreamId, WriteBatch};
use crate::quarantine::{Quarantine, QuarantineError, Rejection};

/// What an acknowledgement brought about.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct AckOutcome {
    /// Batches acknowledged for the first time.
    pub batches: u64,
    /// Changes accepted in them.
    pub accepted: u64,
    /// Rows of them written to quarantine.
    pub rejected: u64,
    /// Whether nothing is left to be acknowledged.
    pub drained: bool,
}

/// An acknowledgement cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum AckError {
    /// The chain hashes differ: the hub stored something else under this number.
    #[error("the hub acknowledges other content for batch {0} than this agent sent")]
    Forked(u64),
    /// The rejected rows could not be written; nothing of the acknowledgement was taken.
    #[error(transparent)]
    Quarantine(#[from] QuarantineError),
    /// The store failed or refused.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Batches handled with one commit: bounds how long others wait for it.
const SLICE_BYTES: usize = 16 * 1024 * 1024;

impl Store {
    /// Takes an acknowledgement; durable when it returns. Taking one again changes nothing. Blocks:
    /// call it from a thread that may.
    ///
    /// # Errors
    /// When the hub's chain differs, rejected rows cannot be written, or the store fails.
    pub fn acknowledge(
        &self,
        stream: StreamId,
        ack: &Ack,
        entry: &CatalogueEntry,
        quarantine: &Quarantine,
    ) -> Result<AckOutcome, AckError> {
        let appended = self.stream(stream)?.state.last_seq();
        if ack.stored_through > appended {
            let conflict = Conflict::NeverSent { acknowledged: ack.stored_through, appended };
            return Err(StoreError::Conflict { stream, conflict }.into());
        }
        let known = self.chain_at(stream, ack.stored_through)?;
        if known.is_some_and(|chain| chain != ack.chain) {
            return Err(AckError::Forked(ack.stored_through));
        }
        let mut rejected: HashMap<u64, Vec<&RejectedRow>> = HashMap::new();
        for row in &ack.rejected {
            rejected.entry(row.seq).or_default().push(row);
        }
        let mut outcome = AckOutcome::default();
        loop {
            let state = self.stream(stream)?.state;
            let due = state.stored_through..ack.stored_through;
            let slice = self.heads(stream, due, SLICE_BYTES)?;
            let (stored_through, chain) =
                slice.last().map_or((state.stored_through, state.stored_chain), |batch| {
                    (batch.header.seq, batch.chain)
                });
            let settled_through = ack.settled_through.min(stored_through);
            if slice.is_empty() && settled_through <= state.settled_through {
                outcome.drained = state.is_drained();
                return Ok(outcome);
            }
            let mut accepted = Accepted::default();
            for head in &slice {
                match rejected.get(&head.header.seq) {
                    None => accepted.whole(head),
                    Some(refused) => {
                        let batch = self.batch(stream, head)?;
                        accepted.without(head, &batch, refused, entry, quarantine)?;
                    }
                }
            }
            let step = Acknowledged {
                epoch: state.epoch,
                stored_before: state.stored_through,
                stored_through,
                chain,
                settled_through,
                accepted: accepted.rows,
                rejected: accepted.rejected,
            };
            outcome.batches += slice.len() as u64;
            outcome.accepted += accepted.rows;
            outcome.rejected += accepted.rejected;
            let mut writes = WriteBatch::new();
            writes.push(Operation::Acknowledge { stream, ack: step, taken: accepted.taken });
            self.commit_blocking(writes)?;
        }
    }
}

/// What the batches of a slice add up to.
#[derive(Default)]
struct Accepted {
    taken: Vec<Taken>,
    rows: u64,
    rejected: u64,
}

impl Accepted {
    fn whole(&mut self, head: &Head) {
        self.rows += u64::from(head.header.rows);
        self.taken.extend(head.run.map(Taken::Prepared));
    }

    /// A batch of which rows were rejected.
    fn without(
        &mut self,
        head: &Head,
        batch: &OutboxBatch,
        refused: &[&RejectedRow],
        entry: &CatalogueEntry,
        quarantine: &Quarantine,
    ) -> Result<(), AckError> {
        let header = &batch.header;
        if header.kind != BatchKind::Rows {
            return Ok(());
        }
        let mut raw = Vec::new();
        decompress_into(&batch.payload, header.codec, header.raw_len as usize, &mut raw)
            .map_err(StoreError::from)?;
        let block = Block::parse(&raw)
            .map_err(|_| StoreError::Record("the column block of a batch of the outbox"))?;
        let mut skip: Vec<usize> = refused.iter().map(|row| row.index as usize).collect();
        skip.retain(|index| *index < block.rows());
        skip.sort_unstable();
        skip.dedup();
        let delta = ImageDelta::of_block(&block, &skip);
        self.taken.push(Taken::Changes { prepared: head.run, delta });
        self.rows += (block.rows() - skip.len()) as u64;
        self.rejected += skip.len() as u64;
        let mut rows = Vec::with_capacity(refused.len());
        for row in refused.iter().filter(|row| (row.index as usize) < block.rows()) {
            rows.push((row, row_as_json(&block, row.index as usize, entry)));
        }
        let rejections: Vec<_> = rows
            .iter()
            .map(|(row, raw)| Rejection {
                row: batch.origin(row.index as usize),
                item: entry.item(row.field),
                reason: RejectReason::from_code(row.reason).unwrap_or(RejectReason::Type),
                note: "rejected by the hub",
                raw,
                values: "",
            })
            .collect();
        Ok(quarantine.append(&entry.code, &rejections)?)
    }
}

/// A row of a block as JSON, where its source line is gone; a delete as an envelope.
pub fn row_as_json(block: &Block<'_>, index: usize, entry: &CatalogueEntry) -> Vec<u8> {
    let mut row = serde_json::Map::new();
    let mut put = |field: FieldId, value: &[u8]| {
        let item = entry.item(field);
        let name = item.map_or_else(|| field.to_string(), |item| item.name.clone());
        let text = || String::from_utf8_lossy(value).into_owned().into();
        let value = match item.map(|item| item.data_type) {
            Some(DataType::Geometry) => geometry::to_geojson(value)
                .ok()
                .and_then(|text| serde_json::from_str(&text).ok())
                .unwrap_or_else(text),
            Some(_) | None => text(),
        };
        row.insert(name, value);
    };
    for (item, part) in entry.keys().iter().zip(key_parts(block.key(index))) {
        put(item.id, part);
    }
    if block.is_delete(index) {
        return serde_json::json!({ "op": "delete", "key": row }).to_string().into_bytes();
    }
    for column in 0..block.columns() {
        if let Some(value) = block.value(column, index) {
            put(block.field(column), value);
        }
    }
    serde_json::Value::Object(row).to_string().into_bytes()
}
