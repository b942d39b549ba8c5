//! Frames: `length: u32 LE · kind: u8 · body`, where the length counts kind and body.

use serde::Serialize;

use super::codec::{self, CodecError};

/// Bytes of the length prefix.
pub const PREFIX: usize = 4;

/// A message that travels in a frame of its own kind.
pub trait Message {
    /// The frame's kind; see PROTOCOL.md for the register of kinds.
    const KIND: u8;
}

/// Why a frame cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The length is over what is allowed at this point.
    #[error("a frame of {length} bytes is announced, at most {limit} are allowed here")]
    TooLarge {
        /// Announced length, bytes.
        length: usize,
        /// Limit, bytes.
        limit: usize,
    },
    /// A frame holds at least its kind.
    #[error("an empty frame")]
    Empty,
    /// Another kind of message was due.
    #[error("a frame of kind {found} came where kind {expected} was due")]
    Kind {
        /// Kind found.
        found: u8,
        /// Kind expected.
        expected: u8,
    },
    /// The body does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// Encodes one message as a frame.
///
/// # Errors
/// When the message does not encode.
pub fn encode<M: Message + Serialize>(message: &M) -> Result<Vec<u8>, FrameError> {
    let mut out = Vec::with_capacity(64);
    encode_into(message, &mut out)?;
    Ok(out)
}

/// Encodes one message as a frame behind what `out` already holds.
///
/// # Errors
/// When the message does not encode or is larger than a length can say.
pub fn encode_into<M: Message + Serialize>(
    message: &M,
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let start = out.len();
    out.extend_from_slice(&[0; PREFIX]);
    out.push(M::KIND);
    codec::encode_into(message, out)?;
    let length = out.len() - start - PREFIX;
    let prefix = u32::try_from(length)
        .map_err(|_| FrameError::TooLarge { length, limit: u32::MAX as usize })?;
    out[start..start + PREFIX].copy_from_slice(&prefix.to_le_bytes());
    Ok(())
}

/// The length that a prefix announces, checked against the limit of this place before anything is
/// allocated for it.
///
/// # Errors
/// When it is zero or over the limit.
pub fn length(prefix: [u8; PREFIX], limit: usize) -> Result<usize, FrameError> {
    match u32::from_le_bytes(prefix) as usize {
        0 => Err(FrameError::Empty),
        length if length > limit => Err(FrameError::TooLarge { length, limit }),
        length => Ok(length),
    }
}

/// Splits a frame's content into kind and body.
///
/// # Errors
/// When it is empty.
pub fn split(content: &[u8]) -> Result<(u8, &[u8]), FrameError> {
    content.split_first().map(|(kind, body)| (*kind, body)).ok_or(FrameError::Empty)
}

/// Decodes a frame's content as the one message that is due here.
///
/// # Errors
/// When the kind differs or the body does not decode.
pub fn expect<'a, M: Message + serde::Deserialize<'a>>(content: &'a [u8]) -> Result<M, FrameError> {
    let (found, body) = split(content)?;
    if found != M::KIND {
        return Err(FrameError::Kind { found, expected: M::KIND });
    }
    Ok(codec::decode(body)?)
}
