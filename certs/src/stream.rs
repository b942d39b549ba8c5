//! Framed streams: the protocol's frames over one QUIC stream. Both ends use the same reader and
//! writer.

use bytes::{Bytes, BytesMut};
use hutong_schema::wire::frame::{self, FrameError, Message};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use serde::Serialize;

/// Chunks taken from the stream at once; more would only lengthen one poll.
const CHUNKS: usize = 32;

/// Why a framed stream cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum StreamError {
    /// The peer reset the stream or the connection is gone.
    #[error("the stream cannot be read")]
    Read(#[from] ReadError),
    /// The peer stopped the stream or the connection is gone.
    #[error("the stream cannot be written")]
    Write(#[from] WriteError),
    /// A frame breaks the protocol.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// The stream ended inside a frame, or where an answer was due.
    #[error("the stream ended early")]
    Ended,
}

/// Reads frames. Safe to drop mid-wait: what has arrived stays in the reader.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
}

impl FrameReader {
    /// A reader of a fresh stream.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new() }
    }

    /// The next frame's content (kind and body); `None` when the peer finished the stream between
    /// frames. A longer frame than `limit` bytes is refused before memory is reserved for it.
    ///
    /// # Errors
    /// When the stream breaks or a frame does not follow the protocol.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        loop {
            if let Some(content) = self.take(limit)? {
                return Ok(Some(content));
            }
            let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
            match self.stream.read_chunks(&mut chunks).await? {
                Some(count) => {
                    chunks[..count].iter().for_each(|c| self.buffer.extend_from_slice(c))
                }
                None if self.buffer.is_empty() => return Ok(None),
                None => return Err(StreamError::Ended),
            }
        }
    }

    /// The next frame, where one is due.
    ///
    /// # Errors
    /// As [`next`](Self::next), and when the stream ends instead.
    pub async fn due(&mut self, limit: usize) -> Result<Bytes, StreamError> {
        self.next(limit).await?.ok_or(StreamError::Ended)
    }

    /// Tells the peer to send no more.
    pub fn stop(mut self) {
        // An already finished stream needs no stopping.
        let _ = self.stream.stop(0u32.into());
    }

    fn take(&mut self, limit: usize) -> Result<Option<Bytes>, FrameError> {
        let Some(prefix) = self.buffer.first_chunk::<{ frame::PREFIX }>() else {
            return Ok(None);
        };
        let whole = frame::PREFIX + frame::length(*prefix, limit)?;
        if self.buffer.len() < whole {
            self.buffer.reserve(whole - self.buffer.len());
            return Ok(None);
        }
        Ok(Some(self.buffer.split_to(whole).freeze().slice(frame::PREFIX..)))
    }
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter {
    stream: SendStream,
}

impl FrameWriter {
    /// A writer of a fresh stream.
    pub fn new(stream: SendStream) -> Self {
        Self { stream }
    }

    /// Sends one message; waits while the peer's flow control does not take it.
    ///
    /// # Errors
    /// When the message does not encode or the stream breaks.
    pub async fn send<M: Message + Serialize>(&mut self, message: &M) -> Result<(), StreamError> {
        let frame = frame::encode(message)?;
        Ok(self.stream.write_chunk(frame.into()).await?)
    }

    /// Ends the stream in good order.
    pub fn finish(&mut self) {
        // A stream that the peer stopped, or that is finished, is ended already.
        let _ = self.stream.finish();
    }

    /// Waits until the peer has everything, or wants no more.
    pub async fn delivered(&mut self) {
        // Whether it was all taken or stopped: there is nothing left to do either way.
        let _ = self.stream.stopped().await;
    }
}
