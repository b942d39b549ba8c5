//! The hub's end of a publish stream: how much may be under way, what is acknowledged when, and how the
//! stream ends.
//!
//! ```text
//!            batch                 taken
//!   Taking ─────────► Judging ─────────────► Taking
//!     │                  │ not taken
//!     │ close, end,      ▼
//!     └────────────► Draining ── all outcomes told ──► Over
//!       disorder
//! ```
//! An outcome that refuses a batch ends it from any state, behind the acknowledgements of the batches
//! before that one.

use std::collections::VecDeque;

use super::{Disorder, Place};
use crate::{
    batch::ChainHash,
    limits::{FRAME_BYTES_MAX, REJECTIONS_MAX},
    wire::{
        frame::{self, Message},
        v1::{
            Refused,
            publish::{Ack, Batch, PublishClose, RejectedRow},
        },
    },
};

/// Most batches under way, however small they are.
pub const UNDER_WAY_MAX: usize = 1_024;

/// The hub's end of a publish stream that was opened.
#[derive(Debug)]
pub struct Publish {
    state: State,
    /// Payload bytes that may be under way.
    credit: u64,
    /// Payload bytes of each batch that was taken and has no outcome yet.
    under_way: VecDeque<u64>,
    bytes: u64,
    /// The last batch acknowledged or about to be.
    through: Option<(u64, ChainHash)>,
    /// Rejected rows of the batches behind the acknowledgement before; present when one is due.
    due: Option<Vec<RejectedRow>>,
    /// An outcome that does not belong into the due acknowledgement: more rejections than one frame
    /// holds, or a refusal.
    held: Option<Result<Stored, Refused>>,
    /// What is told at the end.
    refusal: Option<Refused>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Taking,
    /// A batch of so many payload bytes came and is being judged.
    Judging(u64),
    Draining,
    Over,
}

/// What came on a publish stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<'a> {
    /// A batch: [`Publish::taken`] or [`Publish::not_taken`] is due.
    Batch(Batch<'a>),
    /// The node has nothing more.
    Close,
}

/// A batch that is durable and admitted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number.
    pub seq: u64,
    /// The chain hash after it.
    pub chain: ChainHash,
    /// Its rows that are not stored.
    pub rejected: Vec<RejectedRow>,
}

impl Publish {
    /// A stream that was answered with so much credit, payload bytes.
    #[must_use]
    pub fn new(credit: u64) -> Self {
        Self {
            state: State::Taking,
            credit,
            under_way: VecDeque::new(),
            bytes: 0,
            through: None,
            due: None,
            held: None,
            refusal: None,
        }
    }

    /// How large the next frame may be, bytes; `None` while none is read.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        let room = self.bytes < self.credit && self.under_way.len() < UNDER_WAY_MAX;
        (self.state == State::Taking && room).then_some(FRAME_BYTES_MAX)
    }

    /// Whether batches are taken; also while there is no room for the next.
    #[must_use]
    pub fn takes(&self) -> bool {
        matches!(self.state, State::Taking | State::Judging(_))
    }

    /// Takes a frame's content.
    ///
    /// # Errors
    /// When it has no place here now: nothing more is taken, and the refusal is told at the end, behind
    /// what is under way.
    pub fn on<'a>(&mut self, content: &'a [u8]) -> Result<Heard<'a>, Disorder> {
        let heard = self.hear(content);
        if let Err(disorder) = &heard {
            self.stop(disorder.into());
        }
        heard
    }

    /// Nothing can be read any more, for this reason: what is under way is told first.
    pub fn stop(&mut self, refused: Refused) {
        if self.state != State::Over {
            self.refusal.get_or_insert(refused);
            self.drain();
        }
    }

    /// The batch that came waits for its outcome.
    pub fn taken(&mut self) {
        if let State::Judging(bytes) = self.state {
            self.under_way.push_back(bytes);
            self.bytes += bytes;
            self.state = State::Taking;
        }
    }

    /// The batch that came is refused. A node that drops what is refused must not use a number again that
    /// is stored: so what is under way is told first.
    pub fn not_taken(&mut self, refused: Refused) {
        if let State::Judging(_) = self.state {
            self.stop(refused);
        }
    }

    /// No batch is taken any more: the node finished the stream, or the hub leaves.
    pub fn end(&mut self) {
        if self.state != State::Over {
            self.drain();
        }
    }

    /// Whether the oldest batch's outcome can be taken now. Acknowledge what is due first if not.
    #[must_use]
    pub fn has_room(&self) -> bool {
        self.held.is_none() && !self.under_way.is_empty()
    }

    /// What became of the oldest batch under way.
    pub fn outcome(&mut self, outcome: Result<Stored, Refused>) {
        if !self.has_room() {
            return;
        }
        self.bytes -= self.under_way.pop_front().unwrap_or_default();
        let fits = |due: &Vec<RejectedRow>, more: &Stored| {
            due.len() + more.rejected.len() <= REJECTIONS_MAX
        };
        match (&self.due, outcome) {
            (Some(due), Ok(stored)) if !fits(due, &stored) => self.held = Some(Ok(stored)),
            (Some(_), Err(refused)) => self.held = Some(Err(refused)),
            (None, Err(refused)) => self.refuse(refused),
            (_, Ok(stored)) => self.store(stored),
        }
        self.settle();
    }

    /// The acknowledgement that is due: of all outcomes that were taken. Send it before asking again.
    pub fn ack(&mut self) -> Option<Ack> {
        let (rejected, (seq, chain)) = (self.due.take()?, self.through?);
        match self.held.take() {
            Some(Ok(stored)) => self.store(stored),
            Some(Err(refused)) => self.refuse(refused),
            None => {}
        }
        self.settle();
        Some(Ack { stored_through: seq, chain, settled_through: seq, rejected })
    }

    /// Whether the stream is over, once no acknowledgement is due; with the refusal that is told at its
    /// end, if there is one.
    #[must_use]
    pub fn ended(&self) -> Option<Result<(), Refused>> {
        let over = self.state == State::Over && self.due.is_none();
        over.then(|| self.refusal.clone().map_or(Ok(()), Err))
    }

    /// Batches under way, and their payload bytes.
    #[must_use]
    pub fn under_way(&self) -> (usize, u64) {
        (self.under_way.len(), self.bytes)
    }

    fn hear<'a>(&mut self, content: &'a [u8]) -> Result<Heard<'a>, Disorder> {
        let (kind, _) = frame::split(content)?;
        match self.state {
            State::Taking if kind == PublishClose::KIND => {
                let PublishClose {} = frame::expect(content)?;
                self.drain();
                Ok(Heard::Close)
            }
            State::Taking => {
                let batch: Batch<'_> = frame::expect(content)?;
                self.state = State::Judging(batch.payload.len() as u64);
                Ok(Heard::Batch(batch))
            }
            State::Judging(_) => Err(Disorder::Misplaced { kind, place: Place::Publish }),
            State::Draining | State::Over => Err(Disorder::Over(Place::Publish)),
        }
    }

    /// Acknowledgements are cumulative: a repeat of an older batch does not take one back.
    fn store(&mut self, stored: Stored) {
        if self.through.is_none_or(|(seq, _)| seq < stored.seq) {
            self.through = Some((stored.seq, stored.chain));
        }
        self.due.get_or_insert_default().extend(stored.rejected);
    }

    /// An older batch was refused than any that is still to be told.
    fn refuse(&mut self, refused: Refused) {
        self.over();
        self.refusal = Some(refused);
    }

    fn drain(&mut self) {
        self.state = State::Draining;
        self.settle();
    }

    fn settle(&mut self) {
        let told = self.under_way.is_empty() && self.held.is_none();
        if self.state == State::Draining && told {
            self.state = State::Over;
        }
    }

    fn over(&mut self) {
        self.state = State::Over;
        self.under_way.clear();
        self.bytes = 0;
        self.held = None;
    }
}
