//! The envelope: what the log itself says about an entry, beside its payload. Frozen: kinds and
//! reasons grow at their end only, golden bytes below.

use serde::{Deserialize, Serialize};

use super::{Hash, Offset, Position};

/// What the log says about an entry.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Envelope {
    /// What the payload is.
    pub kind: EntryKind,
    /// Last entry of the meta partition the writer had applied when it judged this one.
    pub meta_seen: Offset,
    /// Log time, Unix milliseconds: the clock, but never before an earlier entry's. The only time
    /// that applying an entry may use.
    pub log_time_ms: i64,
    /// BLAKE3 of the payload as it was appended (a redaction leaves it).
    pub payload_hash: Hash,
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum EntryKind {
    /// A batch of one resource's changes; the payload is the agent's, never re-encoded.
    Batch(BatchHeader),
    /// A governance event's copy in a data partition; the payload is the event.
    Barrier {
        /// Offset of the event in the meta partition.
        meta_offset: Offset,
    },
    /// A governance event.
    Event,
    /// An access record.
    Access,
    /// An earlier entry's payload was replaced.
    Redact(Redaction),
}

/// A batch's place in its source's numbering, and the verdict over its rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// The publishing node.
    pub node: u32,
    /// The resource.
    pub resource: u32,
    /// Shard of the library or resource.
    pub shard: u16,
    /// Epoch of the publication.
    pub epoch: u32,
    /// Number of the batch in its epoch, from 1.
    pub seq: u64,
    /// What the batch holds.
    pub content: BatchKind,
    /// Version of the entry's schema the rows follow.
    pub schema_version: u32,
    /// Version of the validation rules the verdict was made by.
    pub rules_version: u16,
    /// Changes in the batch, rejected ones included.
    pub rows: u32,
    /// Bytes of the column block before compression.
    pub raw_len: u32,
    /// How the payload is compressed (the wire protocol's number).
    pub codec: u8,
    /// The rows that are not valid and never become visible, ascending by index.
    pub rejected: Vec<RejectedRow>,
    /// The source's own chain hash after this batch.
    pub source_chain: Hash,
}

/// What a batch holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum BatchKind {
    /// Changes.
    Rows,
    /// From here on the source names all its keys again.
    ReplaceBegin,
    /// It has named them all: keys not named since the begin are deleted.
    ReplaceEnd,
    /// The source's count and digest at this point.
    Checkpoint,
}

/// One rejected row.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RejectedRow {
    /// Index of the row in its batch, from 0.
    pub index: u32,
    /// The field that is not valid.
    pub field: u16,
    /// Code of the reason.
    pub reason: u16,
}

/// Which payload was replaced, by what, on which ground.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Redaction {
    /// The entry whose payload was replaced.
    pub position: Position,
    /// Hash of the payload before.
    pub old_hash: Hash,
    /// Hash of the payload after.
    pub new_hash: Hash,
    /// The legal basis.
    pub basis: String,
}

#[cfg(test)]
mod tests {
    use data_encoding::HEXLOWER;
    use hutong_schema::wire::codec::{decode, encode};
    use proptest::prelude::*;

    use super::*;
    use crate::log::PartitionId;

    fn envelope(kind: EntryKind) -> Envelope {
        Envelope {
            kind,
            meta_seen: Offset(300),
            log_time_ms: 1_700_000_000_000,
            payload_hash: [0xab; 32],
        }
    }

    fn batch(content: BatchKind) -> BatchHeader {
        BatchHeader {
            node: 7,
            resource: 6_911,
            shard: 3,
            epoch: 2,
            seq: 70_000,
            content,
            schema_version: 1,
            rules_version: 1,
            rows: 4_096,
            raw_len: 1_000_000,
            codec: 1,
            rejected: vec![
                RejectedRow { index: 5, field: 1, reason: 4 },
                RejectedRow { index: 4_000, field: 2, reason: 1 },
            ],
            source_chain: [0xcd; 32],
        }
    }

    fn redaction() -> Redaction {
        Redaction {
            position: Position { partition: PartitionId::data(1), offset: Offset(9) },
            old_hash: [1; 32],
            new_hash: [2; 32],
            basis: "PIPL 47".to_owned(),
        }
    }

    /// Frozen: the bytes of every kind, as they stand in every log ever written.
    #[test]
    fn golden_bytes() {
        let kinds = [
            ("batch rows", EntryKind::Batch(batch(BatchKind::Rows))),
            ("batch replace begin", EntryKind::Batch(batch(BatchKind::ReplaceBegin))),
            ("batch replace end", EntryKind::Batch(batch(BatchKind::ReplaceEnd))),
            ("batch checkpoint", EntryKind::Batch(batch(BatchKind::Checkpoint))),
            ("barrier", EntryKind::Barrier { meta_offset: Offset(299) }),
            ("event", EntryKind::Event),
            ("access", EntryKind::Access),
            ("redact", EntryKind::Redact(redaction())),
        ];
        let mut seen = String::new();
        for (name, kind) in kinds {
            let envelope = envelope(kind);
            let bytes = encode(&envelope).expect("encodes");
            assert_eq!(decode::<Envelope>(&bytes).expect("decodes"), envelope);
            seen.push_str(&format!("{name}: {}\n", HEXLOWER.encode(&bytes)));
        }
        assert_eq!(seen, include_str!("envelope.golden"));
    }

    proptest! {
        #[test]
        fn no_mutated_byte_panics_or_reads_beyond(at in 0usize..120, flip in 1u8.., cut in 0usize..160) {
            let mut bytes = encode(&envelope(EntryKind::Batch(batch(BatchKind::Rows)))).expect("encodes");
            let at = at % bytes.len();
            bytes[at] ^= flip;
            bytes.truncate(cut.max(at + 1));
            // Only that it returns: a flipped byte inside a hash still decodes.
            let _ = decode::<Envelope>(&bytes);
        }
    }
}
