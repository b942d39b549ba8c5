//! The message encoding: bincode's standard format (little endian, variable-length integers), with
//! a limit on what a decoder may allocate and no trailing bytes. The only file that names the
//! encoding's library.

use serde::{Deserialize, Serialize};

use crate::limits::FRAME_BYTES_MAX;

/// Why bytes are not a message.
#[derive(Debug, thiserror::Error)]
pub enum CodecError {
    /// The bytes do not decode.
    #[error("the message does not decode")]
    Decode(#[source] bincode::error::DecodeError),
    /// The message decodes, but bytes are left.
    #[error("{0} bytes follow the message")]
    Trailing(usize),
    /// The value cannot be encoded.
    #[error("the message does not encode")]
    Encode(#[source] bincode::error::EncodeError),
}

/// Encodes a message.
///
/// # Errors
/// When the type cannot be represented (maps of unknown length, for example).
pub fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(message, bincode::config::standard()).map_err(CodecError::Encode)
}

/// Encodes a message behind what `out` already holds.
///
/// # Errors
/// As [`encode`].
pub fn encode_into<T: Serialize>(message: &T, out: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(message, out, bincode::config::standard())
        .map(|_| ())
        .map_err(CodecError::Encode)
}

/// Decodes a message that must fill `bytes` exactly. What it may allocate is limited to the size of
/// a frame, whatever lengths the bytes claim.
///
/// # Errors
/// When the bytes are not exactly one message.
pub fn decode<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let config = bincode::config::standard().with_limit::<FRAME_BYTES_MAX>();
    let (message, used) =
        bincode::serde::borrow_decode_from_slice(bytes, config).map_err(CodecError::Decode)?;
    match bytes.len() - used {
        0 => Ok(message),
        extra => Err(CodecError::Trailing(extra)),
    }
}
