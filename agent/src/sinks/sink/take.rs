//! What each message of a subscribe stream means for what is held.

use hutong_schema::wire::{
    frame::{self, FrameError, Message},
    v1::{
        Refused,
        subscribe::{
            CheckpointMark, Cursor, Repair, SnapshotChunk, SnapshotEnd, TailBatch, Withdrawn,
        },
    },
};

use super::{super::SinkError, Sink};

/// What a message brought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    /// A part of the snapshot.
    Chunk {
        /// Payload bytes, which count against the credit.
        payload: u64,
    },
    /// Changes, or rows sent again.
    Changes {
        /// Payload bytes, which count against the credit.
        payload: u64,
        /// Changes in them; without any only the position moved.
        rows: u32,
        /// The position after them; rows sent again do not move it.
        cursor: Option<Cursor>,
    },
    /// The snapshot is complete, and durable.
    Complete,
    /// A checkpoint was reached: the digest of what is held may be told.
    Mark(Cursor),
    /// The grant ended: why. Nothing was disposed of yet.
    Withdrawn(String),
    /// The hub goes no further.
    Refused(Refused),
}

/// Why a message cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum TakeError {
    /// It does not decode.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It belongs elsewhere.
    #[error("a message of kind {0:#04x} has no place on a subscribe stream")]
    Kind(u8),
    /// It does not fit what is held, or file or store failed.
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl Sink {
    /// Takes one message that came after the stream was answered with
    /// [`SubscribeReady`](hutong_schema::wire::v1::subscribe::SubscribeReady), a frame's content. Rows and
    /// positions are not durable before [`commit`](Sink::commit).
    ///
    /// # Errors
    /// When it does not decode, has no place here or does not fit what is held, or file or store fail.
    pub async fn take(&mut self, content: &[u8]) -> Result<Taken, TakeError> {
        let (kind, _) = frame::split(content)?;
        Ok(match kind {
            SnapshotChunk::<'_>::KIND => {
                let chunk: SnapshotChunk<'_> = frame::expect(content)?;
                self.chunk(chunk.at, chunk.last_key, chunk.block)?;
                Taken::Chunk { payload: chunk.block.payload.len() as u64 }
            }
            SnapshotEnd::KIND => {
                self.end_snapshot(&frame::expect(content)?).await?;
                Taken::Complete
            }
            TailBatch::<'_>::KIND => {
                let TailBatch { cursor, from_seq, block } = frame::expect(content)?;
                self.tail(from_seq, cursor, block)?;
                let payload = block.payload.len() as u64;
                Taken::Changes { payload, rows: block.rows, cursor: Some(cursor) }
            }
            Repair::<'_>::KIND => {
                let Repair { at, block } = frame::expect(content)?;
                self.repair(at, block)?;
                let payload = block.payload.len() as u64;
                Taken::Changes { payload, rows: block.rows, cursor: None }
            }
            CheckpointMark::KIND => {
                let mark: CheckpointMark = frame::expect(content)?;
                self.checkpoint(mark.cursor)?;
                Taken::Mark(mark.cursor)
            }
            Withdrawn::KIND => {
                let withdrawn: Withdrawn = frame::expect(content)?;
                Taken::Withdrawn(withdrawn.reason)
            }
            Refused::KIND => Taken::Refused(frame::expect(content)?),
            other => return Err(TakeError::Kind(other)),
        })
    }
}
