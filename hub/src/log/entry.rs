//! Entries: what is given to the log, what it stores, what is read back.
//!
//! Stored form: chain hash (32 bytes) ‖ length of the envelope (u32 LE) ‖ envelope ‖ payload. With the
//! top bit of the length set, the engine's own words on where the payload is take its place.

use bytes::Bytes;
use hutong_schema::wire::codec;

use super::{EntryKind, Envelope, Hash, Offset, Position, payload_hash};

const CHAIN_BYTES: usize = 32;
const HEAD_BYTES: usize = CHAIN_BYTES + 4;

/// In the length of the envelope: the payload is elsewhere.
const ELSEWHERE: u32 = 1 << 31;

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
    /// Its bytes. Shares one allocation with nothing but, at most, its own envelope.
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

    /// Takes an entry apart; `fetch` gets a payload that is elsewhere, by the engine's words on where
    /// it is and its hash. The error says in words what is wrong.
    pub(super) fn parse(
        position: Position,
        stored: &[u8],
        fetch: impl FnOnce(&[u8], &Hash) -> Result<Bytes, String>,
    ) -> Result<Self, String> {
        let parts = Parts::of(stored)?;
        let envelope = parts.envelope()?;
        let chain = parts.chain;
        match parts.body {
            Body::Elsewhere(place) => {
                let payload = fetch(place, &envelope.payload_hash)?;
                let envelope_bytes = Bytes::copy_from_slice(parts.envelope_bytes);
                Ok(Self { position, chain, envelope, payload, envelope_bytes })
            }
            Body::Here(_) => {
                let end = HEAD_BYTES + parts.envelope_bytes.len();
                let stored = Bytes::copy_from_slice(stored);
                let (envelope_bytes, payload) =
                    (stored.slice(HEAD_BYTES..end), stored.slice(end..));
                Ok(Self { position, chain, envelope, payload, envelope_bytes })
            }
        }
    }
}

/// Where the payload of a stored entry is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body<'a> {
    /// These are its bytes.
    Here(&'a [u8]),
    /// The engine's own words on where it is.
    Elsewhere(&'a [u8]),
}

/// A stored entry, taken apart but not read.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parts<'a> {
    pub(super) chain: Hash,
    pub(super) envelope_bytes: &'a [u8],
    pub(super) body: Body<'a>,
}

impl<'a> Parts<'a> {
    pub(super) fn of(stored: &'a [u8]) -> Result<Self, String> {
        let (chain, rest) = stored.split_first_chunk::<CHAIN_BYTES>().ok_or("it is cut short")?;
        let (length, rest) = rest.split_first_chunk::<4>().ok_or("it is cut short")?;
        let length = u32::from_le_bytes(*length);
        let elsewhere = length & ELSEWHERE != 0;
        let length = usize::try_from(length & !ELSEWHERE).unwrap_or(usize::MAX);
        let (envelope_bytes, body) = rest
            .split_at_checked(length)
            .ok_or_else(|| format!("its envelope of {length} bytes is cut short"))?;
        let body = if elsewhere { Body::Elsewhere(body) } else { Body::Here(body) };
        Ok(Self { chain: *chain, envelope_bytes, body })
    }

    pub(super) fn envelope(&self) -> Result<Envelope, String> {
        codec::decode(self.envelope_bytes)
            .map_err(|error| format!("its envelope is unreadable: {error}"))
    }
}

/// Appends an entry's stored form to `out`.
pub(super) fn write_stored(out: &mut Vec<u8>, chain: &Hash, envelope: &[u8], body: Body<'_>) {
    let (flag, bytes) = match body {
        Body::Here(payload) => (0, payload),
        Body::Elsewhere(place) => (ELSEWHERE, place),
    };
    // The writer checks payloads against a limit far below 2 GiB, and envelopes are smaller still.
    let length = u32::try_from(envelope.len()).unwrap_or(!ELSEWHERE) | flag;
    out.reserve(HEAD_BYTES + envelope.len() + bytes.len());
    out.extend_from_slice(chain);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(envelope);
    out.extend_from_slice(bytes);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::log::PartitionId;

    const AT: Position = Position { partition: PartitionId::META, offset: Offset(1) };

    fn stored(body: Body<'_>) -> Vec<u8> {
        let envelope = Envelope {
            kind: EntryKind::Event,
            meta_seen: Offset::NONE,
            log_time_ms: 1,
            payload_hash: payload_hash(b"payload"),
        };
        let envelope = codec::encode(&envelope).expect("encodes");
        let mut out = Vec::new();
        write_stored(&mut out, &[9; 32], &envelope, body);
        out
    }

    fn fetch(place: &[u8], hash: &Hash) -> Result<Bytes, String> {
        assert_eq!(*hash, payload_hash(b"payload"));
        match place {
            b"there" => Ok(Bytes::from_static(b"payload")),
            _ => Err("it is not there".to_owned()),
        }
    }

    #[test]
    fn what_is_written_is_read() {
        for body in [Body::Here(b"payload"), Body::Elsewhere(b"there")] {
            let stored = stored(body);
            let entry = StoredEntry::parse(AT, &stored, fetch).expect("parses");
            assert_eq!(entry.chain, [9; 32]);
            assert_eq!(&entry.payload[..], b"payload");
            assert_eq!(entry.envelope.kind, EntryKind::Event);
            assert_eq!(entry.envelope_bytes(), Parts::of(&stored).expect("parses").envelope_bytes);
        }
        assert!(StoredEntry::parse(AT, &stored(Body::Elsewhere(b"gone")), fetch).is_err());
    }

    #[test]
    fn no_cut_and_no_flip_panics() {
        let whole = stored(Body::Here(b"payload"));
        for cut in 0..whole.len() - b"payload".len() {
            assert!(StoredEntry::parse(AT, &whole[..cut], |_, _| Err(String::new())).is_err());
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0xff;
            let _ = StoredEntry::parse(AT, &bytes, |_, _| Err(String::new()));
        }
    }
}
