//! Framed streams: the protocol's frames over one QUIC stream. Both ends use the same reader and
//! writer.

use std::time::Duration;

use bytes::{Bytes, BytesMut};
use hutong_schema::wire::frame::{self, FrameError, Message};
use quinn::{ReadError, RecvStream, SendStream, WriteError};
use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use crate::room::{Held, Room};

/// Chunks taken from the stream at once; more would only lengthen one poll.
const CHUNKS: usize = 32;

/// Memory reserved for a frame before any of it came: most frames are smaller.
const FIRST_BYTES: usize = 64 * 1024;

/// How much more is reserved than came so far: whoever wants memory taken must send a quarter of it.
const AHEAD: usize = 4;

/// How long a frame waits for room. What came of it already lies in the connection's window, where it is
/// in the way of the node's other streams: better to let the node try again.
const ROOM_WITHIN: Duration = Duration::from_secs(2);

/// Frames up to this size are not counted in a [`Room`]: a stream has one at a time, and streams are
/// bounded.
const UNCOUNTED_BYTES: usize = 1024;

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
    /// A frame was begun and did not come, or was not taken, in the time that even a slow line needs.
    #[error("a frame took longer than {} s", .0.as_secs())]
    Slow(Duration),
    /// There was no memory for a frame for too long.
    #[error("no room for a frame of {0} bytes")]
    NoRoom(usize),
}

/// How slow a peer may be once it has begun a frame, in either direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pace {
    /// Time for any frame, however small.
    pub patience: Duration,
    /// The slowest line that is served, bytes per second.
    pub bytes_per_second: u64,
}

/// What bounds a reader whose peer is not trusted.
#[derive(Clone, Debug)]
pub struct Guard {
    /// How slow the peer may be.
    pub pace: Pace,
    /// Where the memory of its frames is counted.
    pub room: Room,
}

/// Reads frames. Safe to drop mid-wait: what has arrived stays in the reader.
#[derive(Debug)]
pub struct FrameReader {
    stream: RecvStream,
    buffer: BytesMut,
    guard: Option<Guard>,
    /// Since when the frame in the buffer is under way.
    begun: Option<Instant>,
    /// The memory of the frame that is under way, or was handed out last.
    held: Option<Held>,
}

/// Writes frames.
#[derive(Debug)]
pub struct FrameWriter {
    stream: SendStream,
    pace: Option<Pace>,
}

impl Pace {
    /// How long a frame of so many bytes may take.
    #[must_use]
    pub fn within(&self, bytes: usize) -> Duration {
        let line = bytes as u64 / self.bytes_per_second.max(1);
        self.patience + Duration::from_secs(line)
    }
}

impl FrameReader {
    /// A reader of a fresh stream.
    pub fn new(stream: RecvStream) -> Self {
        Self { stream, buffer: BytesMut::new(), guard: None, begun: None, held: None }
    }

    /// The same, of a peer that may be slow on purpose or claim more memory than its share. What
    /// [`next`](Self::next) hands out counts until it is called again.
    #[must_use]
    pub fn guarded(stream: RecvStream, guard: Guard) -> Self {
        Self { guard: Some(guard), ..Self::new(stream) }
    }

    /// Bounds what comes from now on.
    pub fn guard(&mut self, guard: Guard) {
        self.guard = Some(guard);
    }

    /// The next frame's content (kind and body); `None` when the peer finished the stream between
    /// frames. A longer frame than `limit` bytes is refused before memory is reserved for it; for
    /// others memory is taken as they come.
    ///
    /// # Errors
    /// When the stream breaks, a frame does not follow the protocol, takes too long or finds no room.
    pub async fn next(&mut self, limit: usize) -> Result<Option<Bytes>, StreamError> {
        if self.begun.is_none() {
            self.held = None;
        }
        loop {
            let announced = self.announced(limit)?;
            if let Some(length) = announced {
                self.find_room(length).await?;
                if let Some(content) = self.take(length) {
                    self.begun = None;
                    return Ok(Some(content));
                }
            }
            let more = match self.deadline(announced) {
                None => self.fill().await?,
                Some((end, within)) => {
                    timeout_at(end, self.fill()).await.map_err(|_| StreamError::Slow(within))??
                }
            };
            match more {
                true => {}
                false if self.buffer.is_empty() => return Ok(None),
                false => return Err(StreamError::Ended),
            }
        }
    }

    /// Waits until the next frame begins to come, or the peer finished the stream.
    ///
    /// # Errors
    /// When the stream breaks.
    pub async fn begins(&mut self) -> Result<(), StreamError> {
        if self.buffer.is_empty() {
            self.fill().await?;
        }
        Ok(())
    }

    /// Takes what has come, or waits for it; `false` when the peer finished the stream.
    async fn fill(&mut self) -> Result<bool, StreamError> {
        let mut chunks: [Bytes; CHUNKS] = std::array::from_fn(|_| Bytes::new());
        let Some(count) = self.stream.read_chunks(&mut chunks).await? else { return Ok(false) };
        chunks[..count].iter().for_each(|chunk| self.buffer.extend_from_slice(chunk));
        Ok(true)
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

    /// The length of the frame in the buffer, once it can be read.
    fn announced(&self, limit: usize) -> Result<Option<usize>, FrameError> {
        let prefix = self.buffer.first_chunk::<{ frame::PREFIX }>();
        prefix.map(|prefix| frame::length(*prefix, limit)).transpose()
    }

    /// Until when the frame under way must be there.
    fn deadline(&mut self, announced: Option<usize>) -> Option<(Instant, Duration)> {
        let pace = self.guard.as_ref()?.pace;
        if self.buffer.is_empty() {
            return None;
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let within = pace.within(announced.unwrap_or_default());
        Some((begun + within, within))
    }

    /// Counts the frame's memory, all of it at once: who waits holds nothing that others wait for.
    async fn find_room(&mut self, length: usize) -> Result<(), StreamError> {
        let Some(guard) = &self.guard else { return Ok(()) };
        if self.held.is_some() || length <= UNCOUNTED_BYTES {
            return Ok(());
        }
        let begun = *self.begun.get_or_insert_with(Instant::now);
        let held = match guard.room.try_take(length) {
            Some(held) => Some(held),
            None => {
                let found = timeout_at(begun + ROOM_WITHIN, guard.room.take(length)).await;
                // The time that was waited for room is not the peer's.
                self.begun = Some(Instant::now());
                found.map_err(|_| StreamError::NoRoom(length))?
            }
        };
        self.held = held;
        Ok(())
    }

    fn take(&mut self, length: usize) -> Option<Bytes> {
        let whole = frame::PREFIX + length;
        let here = self.buffer.len();
        if here < whole {
            self.buffer.reserve(reserved(here, whole).saturating_sub(here));
            return None;
        }
        let content = self.buffer.split_to(whole).freeze().slice(frame::PREFIX..);
        if self.buffer.len() <= FIRST_BYTES {
            // What came behind the frame must not keep the frame's memory.
            self.buffer = BytesMut::from(&self.buffer[..]);
        }
        Some(content)
    }
}

impl FrameWriter {
    /// A writer of a fresh stream.
    pub fn new(stream: SendStream) -> Self {
        Self { stream, pace: None }
    }

    /// The same, to a peer that may read slowly on purpose.
    #[must_use]
    pub fn paced(stream: SendStream, pace: Pace) -> Self {
        Self { stream, pace: Some(pace) }
    }

    /// Sends one message; waits while the peer's flow control does not take it.
    ///
    /// # Errors
    /// When the message does not encode, the stream breaks, or the peer takes it too slowly: then it
    /// is half sent, and nothing can follow.
    pub async fn send<M: Message + Serialize>(&mut self, message: &M) -> Result<(), StreamError> {
        let frame = frame::encode(message)?;
        let within = self.pace.map(|pace| pace.within(frame.len()));
        let writing = self.stream.write_chunk(frame.into());
        match within {
            None => Ok(writing.await?),
            Some(within) => match tokio::time::timeout(within, writing).await {
                Ok(written) => Ok(written?),
                Err(_) => {
                    // What is buffered for it is let go; an already finished stream needs no reset.
                    let _ = self.stream.reset(0u32.into());
                    Err(StreamError::Slow(within))
                }
            },
        }
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

/// Memory for a frame of `whole` bytes of which `here` came.
fn reserved(here: usize, whole: usize) -> usize {
    here.saturating_mul(AHEAD).max(FIRST_BYTES).min(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_reserved_as_bytes_come() {
        let whole = 4 << 20;
        assert_eq!(reserved(frame::PREFIX, whole), FIRST_BYTES);
        assert_eq!(reserved(100_000, whole), 400_000);
        assert_eq!(reserved(2 << 20, whole), whole);
        assert_eq!(reserved(frame::PREFIX, 100), 100);
    }

    #[test]
    fn a_thin_line_has_time_for_a_large_frame() {
        let pace = Pace { patience: Duration::from_secs(30), bytes_per_second: 1_024 };
        assert_eq!(pace.within(10), Duration::from_secs(30));
        assert_eq!(pace.within(4 << 20), Duration::from_secs(30 + 4_096));
        assert_eq!(Pace { bytes_per_second: 0, ..pace }.within(5), Duration::from_secs(35));
    }
}
