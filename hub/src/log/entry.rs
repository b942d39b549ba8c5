//! Entries: what is given to the log, what it stores, what is read back.
//!
//! Stored form: chain hash (32 bytes) ‖ length of the envelope (u32 LE) ‖ envelope ‖ payload.

use bytes::Bytes;
use hutong_schema::wire::codec;

use super::{EntryKind, Envelope, Hash, Offset, Position, payload_hash};

const CHAIN_BYTES: usize = 32;
const HEAD_BYTES: usize = CHAIN_BYTES + 4;

/// An entry to append.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// What it is.
    pub kind: EntryKind,
    /// Last meta entry applied when it was judged.
    pub meta_seen: Offset,
    /// Its bytes.
    pub payload: Bytes,
    /// BLAKE3 of the payload, trusted: the log does not hash it again.
    pub payload_hash: Hash,
}

impl NewEntry {
    /// An entry whose payload is hashed here.
    #[must_use]
    pub fn new(kind: EntryKind, meta_seen: Offset, payload: impl Into<Bytes>) -> Self {
        let payload = payload.into();
        let payload_hash = payload_hash(&payload);
        Self { kind, meta_seen, payload, payload_hash }
    }

    /// An entry whose payload was hashed already, when the sender's chain was checked.
    #[must_use]
    pub fn verified(
        kind: EntryKind,
        meta_seen: Offset,
        payload: Bytes,
        payload_hash: Hash,
    ) -> Self {
        Self { kind, meta_seen, payload, payload_hash }
    }
}

/// An entry of the log.
#[derive(Clone, Debug)]
pub struct StoredEntry {
    /// Where it is.
    pub position: Position,
    /// Chain hash up to and with it.
    pub chain: Hash,
    /// What the log says about it.
    pub envelope: Envelope,
    /// Its bytes. Shares one allocation with nothing but its own envelope.
    pub payload: Bytes,
    envelope_bytes: Bytes,
}

impl StoredEntry {
    /// The envelope's bytes as they are in the log: what the chain is made of.
    #[must_use]
    pub fn envelope_bytes(&self) -> &[u8] {
        &self.envelope_bytes
    }

    /// Bytes it occupies in memory and, compression aside, on disk.
    #[must_use]
    pub fn stored_bytes(&self) -> usize {
        HEAD_BYTES + self.envelope_bytes.len() + self.payload.len()
    }

    /// Takes an entry apart; the error says in words what is wrong.
    pub(super) fn parse(position: Position, stored: Bytes) -> Result<Self, String> {
        let (chain, envelope_end) = split(&stored)?;
        let envelope_bytes = stored.slice(HEAD_BYTES..envelope_end);
        let envelope = codec::decode(&envelope_bytes)
            .map_err(|error| format!("its envelope is unreadable: {error}"))?;
        let payload = stored.slice(envelope_end..);
        Ok(Self { position, chain, envelope, payload, envelope_bytes })
    }
}

/// Appends an entry's stored form to `out`.
pub(super) fn write_stored(out: &mut Vec<u8>, chain: &Hash, envelope: &[u8], payload: &[u8]) {
    // The writer checks payloads against a limit far below 4 GiB, and envelopes are smaller still.
    let length = u32::try_from(envelope.len()).unwrap_or(u32::MAX);
    out.reserve(HEAD_BYTES + envelope.len() + payload.len());
    out.extend_from_slice(chain);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(envelope);
    out.extend_from_slice(payload);
}

/// Chain hash, and where the envelope ends.
fn split(stored: &[u8]) -> Result<(Hash, usize), String> {
    let (chain, rest) = stored.split_first_chunk::<CHAIN_BYTES>().ok_or("it is cut short")?;
    let (length, rest) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    if length > rest.len() {
        return Err(format!("its envelope of {length} bytes is cut short"));
    }
    Ok((*chain, HEAD_BYTES + length))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::PartitionId;

    const AT: Position = Position { partition: PartitionId::META, offset: Offset(1) };

    fn stored() -> Vec<u8> {
        let envelope = Envelope {
            kind: EntryKind::Event,
            meta_seen: Offset::NONE,
            log_time_ms: 1,
            payload_hash: payload_hash(b"payload"),
        };
        let envelope = codec::encode(&envelope).expect("encodes");
        let mut out = Vec::new();
        write_stored(&mut out, &[9; 32], &envelope, b"payload");
        out
    }

    #[test]
    fn what_is_written_is_read() {
        let entry = StoredEntry::parse(AT, Bytes::from(stored())).expect("parses");
        assert_eq!(entry.chain, [9; 32]);
        assert_eq!(&entry.payload[..], b"payload");
        assert_eq!(entry.envelope.kind, EntryKind::Event);
        assert_eq!(entry.stored_bytes(), stored().len());
    }

    #[test]
    fn no_cut_and_no_flip_panics() {
        let whole = stored();
        for cut in 0..whole.len() - b"payload".len() {
            assert!(StoredEntry::parse(AT, Bytes::copy_from_slice(&whole[..cut])).is_err());
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _ = StoredEntry::parse(AT, Bytes::from(bytes));
        }
    }
}
