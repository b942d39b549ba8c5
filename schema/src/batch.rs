//! Batches: up to a few thousand changes of one resource, numbered, chained and compressed once.
//!
//! A batch is identified by `(node, resource, shard, epoch, seq)`. Within an epoch the sequence is
//! dense from 1, and every batch extends a hash chain that sender and hub both keep: equal chain
//! heads prove that both hold the same batches in the same order.

use serde::{Deserialize, Serialize};

use crate::{ids::ResourceCode, limits::BATCH_BYTES_MAX};

/// A hash of the batch chain.
pub type ChainHash = [u8; 32];

/// What a batch carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum BatchKind {
    /// A column block of changes.
    Rows,
    /// From here to the end marker the sender names every key it has.
    ReplaceBegin,
    /// Keys not named since the begin marker are deleted.
    ReplaceEnd,
    /// The sender's accepted image at this point; the payload is a [`Digest`](crate::digest::Digest)
    /// in the wire encoding.
    Checkpoint,
}

/// How a payload is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// Not at all.
    Plain,
    /// LZ4 block: the default.
    Lz4,
    /// Zstandard: for thin lines.
    Zstd,
}

impl Codec {
    /// The number used in chains and in the log.
    pub fn code(self) -> u8 {
        match self {
            Self::Plain => 0,
            Self::Lz4 => 1,
            Self::Zstd => 2,
        }
    }

    /// The codec of a number.
    pub fn from_code(code: u8) -> Option<Self> {
        [Self::Plain, Self::Lz4, Self::Zstd].into_iter().find(|codec| codec.code() == code)
    }
}

impl BatchKind {
    /// The number used in chains.
    pub fn code(self) -> u8 {
        match self {
            Self::Rows => 0,
            Self::ReplaceBegin => 1,
            Self::ReplaceEnd => 2,
            Self::Checkpoint => 3,
        }
    }
}

/// The facts of a batch that its chain hash covers besides the payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchHeader {
    /// Position in the epoch, dense from 1.
    pub seq: u64,
    /// What the payload is.
    pub kind: BatchKind,
    /// Version of the resource's schema that the rows follow.
    pub schema_version: u32,
    /// Number of changes.
    pub rows: u32,
    /// Payload size before compression, bytes.
    pub raw_len: u32,
    /// How the payload is compressed.
    pub codec: Codec,
}

/// The chain hash before the first batch of an epoch.
pub fn genesis(resource: &ResourceCode, shard: u16, epoch: u32) -> ChainHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"hutong/1 epoch");
    hasher.update(&(resource.as_str().len() as u32).to_le_bytes());
    hasher.update(resource.as_str().as_bytes());
    hasher.update(&shard.to_le_bytes());
    hasher.update(&epoch.to_le_bytes());
    *hasher.finalize().as_bytes()
}

/// The chain hash after a batch. Resource, shard and epoch are in it through the genesis hash.
pub fn extend(previous: &ChainHash, header: &BatchHeader, payload_hash: &[u8; 32]) -> ChainHash {
    let mut bytes = [0u8; 32 + 8 + 1 + 4 + 4 + 4 + 1 + 32];
    let mut at = 0;
    let mut put = |part: &[u8]| {
        bytes[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    };
    put(previous);
    put(&header.seq.to_le_bytes());
    put(&[header.kind.code()]);
    put(&header.schema_version.to_le_bytes());
    put(&header.rows.to_le_bytes());
    put(&header.raw_len.to_le_bytes());
    put(&[header.codec.code()]);
    put(payload_hash);
    *blake3::hash(&bytes).as_bytes()
}

/// Why a payload cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum PayloadError {
    /// The announced size is over the limit.
    #[error("a payload of {0} bytes is announced, at most {BATCH_BYTES_MAX} are allowed")]
    TooLarge(usize),
    /// The compressed bytes are damaged or do not give the announced size.
    #[error("the {codec:?} payload does not open to the announced {raw_len} bytes")]
    Damaged {
        /// Codec named in the batch.
        codec: Codec,
        /// Size named in the batch, bytes.
        raw_len: usize,
    },
    /// The compressor refused.
    #[error("the payload could not be compressed")]
    Compress(#[source] std::io::Error),
}

/// Compresses a payload. LZ4 and Zstandard fall back to plain when they would make it larger.
///
/// # Errors
/// When the payload is over the limit, or the compressor fails.
pub fn compress(raw: &[u8], codec: Codec) -> Result<(Codec, Vec<u8>), PayloadError> {
    if raw.len() > BATCH_BYTES_MAX {
        return Err(PayloadError::TooLarge(raw.len()));
    }
    let packed = match codec {
        Codec::Plain => return Ok((Codec::Plain, raw.to_vec())),
        Codec::Lz4 => lz4_flex::block::compress(raw),
        Codec::Zstd => zstd::bulk::compress(raw, ZSTD_LEVEL).map_err(PayloadError::Compress)?,
    };
    if packed.len() < raw.len() { Ok((codec, packed)) } else { Ok((Codec::Plain, raw.to_vec())) }
}

/// Opens a payload into `out`, which is overwritten; never allocates more than the limit.
///
/// # Errors
/// When the announced size is over the limit or the bytes do not give exactly that size.
pub fn decompress_into(
    payload: &[u8],
    codec: Codec,
    raw_len: usize,
    out: &mut Vec<u8>,
) -> Result<(), PayloadError> {
    if raw_len > BATCH_BYTES_MAX {
        return Err(PayloadError::TooLarge(raw_len));
    }
    let damaged = || PayloadError::Damaged { codec, raw_len };
    out.clear();
    out.resize(raw_len, 0);
    let written = match codec {
        Codec::Plain if payload.len() == raw_len => {
            out.copy_from_slice(payload);
            raw_len
        }
        Codec::Plain => return Err(damaged()),
        Codec::Lz4 => lz4_flex::block::decompress_into(payload, out).map_err(|_| damaged())?,
        Codec::Zstd => zstd::bulk::decompress_to_buffer(payload, out).map_err(|_| damaged())?,
    };
    if written == raw_len { Ok(()) } else { Err(damaged()) }
}

/// Zstandard's own default: about twice the ratio of LZ4 at a tenth of its speed.
const ZSTD_LEVEL: i32 = 3;

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn payloads_round_trip(raw in prop::collection::vec(0u8..4, 0..5_000)) {
            for codec in [Codec::Plain, Codec::Lz4, Codec::Zstd] {
                let (used, packed) = compress(&raw, codec).unwrap();
                let mut out = vec![9; 7];
                decompress_into(&packed, used, raw.len(), &mut out).unwrap();
                prop_assert_eq!(&out, &raw);
                prop_assert!(decompress_into(&packed, used, raw.len() + 1, &mut out).is_err());
            }
        }

        #[test]
        fn garbage_never_panics(raw in prop::collection::vec(any::<u8>(), 0..500), len in 0usize..10_000) {
            let mut out = Vec::new();
            for codec in [Codec::Plain, Codec::Lz4, Codec::Zstd] {
                let _ = decompress_into(&raw, codec, len, &mut out);
                prop_assert!(out.len() <= len);
            }
        }
    }

    #[test]
    fn a_bomb_is_refused_before_memory_is_reserved() {
        let mut out = Vec::new();
        let result = decompress_into(&[0; 9], Codec::Lz4, usize::MAX, &mut out);
        assert!(matches!(result, Err(PayloadError::TooLarge(_))));
        assert_eq!(out.capacity(), 0);
    }

    #[test]
    fn every_header_field_is_in_the_chain() {
        let header = BatchHeader {
            seq: 1,
            kind: BatchKind::Rows,
            schema_version: 1,
            rows: 1,
            raw_len: 1,
            codec: Codec::Lz4,
        };
        let variants = [
            BatchHeader { seq: 2, ..header },
            BatchHeader { kind: BatchKind::ReplaceEnd, ..header },
            BatchHeader { schema_version: 2, ..header },
            BatchHeader { rows: 2, ..header },
            BatchHeader { raw_len: 2, ..header },
            BatchHeader { codec: Codec::Plain, ..header },
        ];
        let base = extend(&[0; 32], &header, &[0; 32]);
        for variant in variants {
            assert_ne!(base, extend(&[0; 32], &variant, &[0; 32]), "{variant:?}");
        }
        assert_ne!(base, extend(&[1; 32], &header, &[0; 32]));
        assert_ne!(base, extend(&[0; 32], &header, &[1; 32]));
    }
}
