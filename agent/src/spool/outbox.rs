//! Batches in the outbox: stored form, reading, and the row numbers that go with them.

use hutong_schema::batch::{BatchHeader, ChainHash};
use hutong_schema::wire::codec;
use redb::ReadableTable;
use serde::{Deserialize, Serialize};

use super::{StoreError, StreamId};

/// A batch of the outbox, as it is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxBatch {
    /// Its numbers.
    pub header: BatchHeader,
    /// Chain hash after it.
    pub chain: ChainHash,
    /// When it was appended, milliseconds since 1970 UTC.
    pub appended_ms: i64,
    /// Compressed payload.
    pub payload: Vec<u8>,
    /// Row numbers in the source, see [`OutboxBatch::origin`].
    pub(super) origins: Vec<u8>,
}

/// The facts of a batch.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub(super) struct Head {
    pub(super) header: BatchHeader,
    pub(super) chain: ChainHash,
    pub(super) payload_hash: [u8; 32],
    pub(super) appended_ms: i64,
    pub(super) origins_len: u32,
    /// Bytes of row numbers and payload.
    pub(super) stored_len: u64,
    /// The run that is the image's once the batch is accepted; none if nothing would change.
    pub(super) run: Option<u32>,
}

impl Head {
    pub(super) fn encode(&self) -> Result<Vec<u8>, StoreError> {
        codec::encode(self).map_err(|_| StoreError::Record("the facts of a batch"))
    }

    pub(super) fn decode(stored: &[u8]) -> Result<Self, StoreError> {
        codec::decode(stored).map_err(|_| StoreError::Record("the facts of a batch"))
    }
}

impl OutboxBatch {
    pub(super) fn decode(head: &Head, stored: &[u8]) -> Result<Self, StoreError> {
        let damaged = StoreError::Record("the payload of a batch of the outbox");
        let Some((origins, payload)) = stored.split_at_checked(head.origins_len as usize) else {
            return Err(damaged);
        };
        if *blake3::hash(payload).as_bytes() != head.payload_hash {
            return Err(damaged);
        }
        Ok(Self {
            header: head.header,
            chain: head.chain,
            appended_ms: head.appended_ms,
            payload: payload.to_vec(),
            origins: origins.to_vec(),
        })
    }

    /// Number of a change's row in its source, from 1; 0 if it has none (a delete).
    pub fn origin(&self, index: usize) -> u64 {
        origins_of(&self.origins).nth(index).unwrap_or(0)
    }
}

/// The facts of the batches after the start and up to the end of a range, as many as fit into
/// `max_bytes` of the outbox, at least one.
pub(super) fn heads(
    heads: &impl ReadableTable<(u32, u64), &'static [u8]>,
    stream: StreamId,
    seqs: std::ops::Range<u64>,
    max_bytes: usize,
) -> Result<Vec<Head>, StoreError> {
    let (mut found, mut bytes) = (Vec::new(), 0);
    if seqs.is_empty() {
        return Ok(found);
    }
    for stored in heads.range((stream.0, seqs.start + 1)..=(stream.0, seqs.end)).map_err(engine)? {
        let head = Head::decode(stored.map_err(engine)?.1.value())?;
        bytes += head.stored_len;
        if !found.is_empty() && bytes > max_bytes as u64 {
            break;
        }
        found.push(head);
    }
    Ok(found)
}

/// The batch with these facts.
pub(super) fn read(
    outbox: &impl ReadableTable<(u32, u64), &'static [u8]>,
    stream: StreamId,
    head: &Head,
) -> Result<OutboxBatch, StoreError> {
    let stored = outbox.get((stream.0, head.header.seq)).map_err(engine)?;
    let stored = stored.ok_or(StoreError::Record("a batch of the outbox that is missing"))?;
    OutboxBatch::decode(head, stored.value())
}

fn engine(error: redb::StorageError) -> StoreError {
    StoreError::engine("read the outbox", error)
}

/// Writes row numbers of a batch: usually one byte per row, because numbers mostly rise by one.
#[derive(Clone, Debug, Default)]
pub struct Origins {
    bytes: Vec<u8>,
    last: u64,
}

impl Origins {
    /// Adds the number of the next change's row, from 1; 0 for a change that stands in no row.
    pub fn push(&mut self, row: u64) {
        // 0 = no row; otherwise the distance to the row before, zigzag, plus one.
        if row == 0 {
            return self.bytes.push(0);
        }
        let distance = row.wrapping_sub(self.last) as i64;
        let mut value = (((distance << 1) ^ (distance >> 63)) as u64).wrapping_add(1);
        while value >= 0x80 {
            self.bytes.push((value & 0x7F) as u8 | 0x80);
            value >>= 7;
        }
        self.bytes.push(value as u8);
        self.last = row;
    }

    /// The numbers so far; empty again.
    pub fn take(&mut self) -> Vec<u8> {
        self.last = 0;
        std::mem::take(&mut self.bytes)
    }
}

fn origins_of(bytes: &[u8]) -> impl Iterator<Item = u64> {
    let (mut rest, mut last) = (bytes, 0u64);
    std::iter::from_fn(move || {
        let (mut value, mut shift) = (0u64, 0u32);
        loop {
            let (byte, after) = rest.split_first()?;
            rest = after;
            value |= u64::from(byte & 0x7F).checked_shl(shift)?;
            shift += 7;
            if byte & 0x80 == 0 {
                break;
            }
        }
        if value == 0 {
            return Some(0);
        }
        let zigzag = value - 1;
        let distance = (zigzag >> 1) as i64 ^ -((zigzag & 1) as i64);
        last = last.wrapping_add(distance as u64);
        Some(last)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn row_numbers_round_trip(rows in prop::collection::vec(0u64..1 << 40, 0..200)) {
            let mut origins = Origins::default();
            rows.iter().for_each(|row| origins.push(*row));
            prop_assert_eq!(origins_of(&origins.take()).collect::<Vec<_>>(), rows);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            let _ = origins_of(&bytes).count();
            if let Ok(head) = Head::decode(&bytes) {
                let _ = OutboxBatch::decode(&head, &bytes);
            }
        }
    }
}
