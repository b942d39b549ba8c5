//! The schema changed while rows wait that nobody can read again: they are brought into the new form.

use hutong_schema::batch::{BatchKind, decompress_into};
use hutong_schema::block::Block;
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::row::FieldId;
use hutong_schema::rules::{RejectReason, check_key, check_optional};

use super::handed::HandError;
use super::outbound::Made;
use crate::quarantine::{Quarantine, Rejection};
use crate::spool::{Conflict, NewBatch, OutboxBatch, Store, StoreError, StreamId, row_as_json};

/// How often it is tried while more rows are handed over.
const TRIES: usize = 20;

/// Brings the batches that the hub has not stored into the form of `entry`. A row that does not fit it
/// goes to quarantine. Blocks.
///
/// # Errors
/// When the store fails or refused rows cannot be kept; then the outbox is as it was.
pub fn remap(
    store: &Store,
    stream: StreamId,
    old: &CatalogueEntry,
    entry: &CatalogueEntry,
    quarantine: &Quarantine,
) -> Result<u64, HandError> {
    let mut refused = Vec::new();
    for _ in 0..TRIES {
        refused.clear();
        let state = store.stream(stream)?.state;
        let mut batches = Vec::new();
        for batch in store.pending(stream, state.stored_through, usize::MAX)? {
            match batch.header.kind {
                BatchKind::Rows => {
                    batches.extend(rows(&batch, old, entry, &mut refused)?);
                }
                kind @ (BatchKind::ReplaceBegin | BatchKind::ReplaceEnd) => {
                    batches.push(NewBatch::marker(kind, entry.schema_version)?);
                }
                BatchKind::Checkpoint => {}
            }
        }
        let rejections: Vec<_> = refused.iter().map(|row| row.rejection(entry)).collect();
        let moved = |error: &StoreError| {
            matches!(error, StoreError::Conflict { conflict: Conflict::Moved { .. }, .. })
        };
        // Rows that are dropped from the outbox are in quarantine before.
        quarantine.append(&entry.code, &rejections)?;
        match store.replace_pending(stream, (state.generation, state.next_seq), batches) {
            Ok(()) => return Ok(refused.len() as u64),
            Err(error) if moved(&error) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(HandError::Overtaken)
}

struct Unfit {
    row: u64,
    field: FieldId,
    reason: RejectReason,
    raw: Vec<u8>,
}

impl Unfit {
    fn rejection<'a>(&'a self, entry: &'a CatalogueEntry) -> Rejection<'a> {
        Rejection {
            row: self.row,
            item: entry.item(self.field),
            reason: self.reason,
            note: "does not fit the changed catalogue entry",
            raw: &self.raw,
            values: "",
        }
    }
}

fn rows(
    batch: &OutboxBatch,
    old: &CatalogueEntry,
    entry: &CatalogueEntry,
    refused: &mut Vec<Unfit>,
) -> Result<Vec<NewBatch>, StoreError> {
    let header = &batch.header;
    let mut raw = Vec::new();
    decompress_into(&batch.payload, header.codec, header.raw_len as usize, &mut raw)?;
    let block = Block::parse(&raw)
        .map_err(|_| StoreError::Record("the column block of a batch of the outbox"))?;
    let (keys, columns) = (entry.keys(), entry.columns());
    let places: Vec<_> = columns.iter().map(|item| block.column_of(item.id)).collect();
    let mut made = Made::new(entry);
    let mut batches = Vec::new();
    for index in 0..block.rows() {
        let key = block.key(index);
        let values =
            || places.iter().map(|place| place.and_then(|column| block.value(column, index)));
        let fits = check_key(&keys, key).and_then(|()| {
            if block.is_delete(index) {
                return Ok(());
            }
            let mut all = columns.iter().zip(values());
            all.try_for_each(|(item, value)| {
                check_optional(item, value).map_err(|reason| (item.id, reason))
            })
        });
        if let Err((field, reason)) = fits {
            let row = batch.origin(index);
            refused.push(Unfit { row, field, reason, raw: row_as_json(&block, index, old) });
            continue;
        }
        let size = key.len() + values().flatten().map(<[u8]>::len).sum::<usize>();
        if made.is_full(size) {
            batches.extend(made.finish()?);
        }
        if block.is_delete(index) {
            made.delete(key);
        } else {
            made.upsert_values(batch.origin(index), key, values());
        }
    }
    batches.extend(made.finish()?);
    Ok(batches)
}
