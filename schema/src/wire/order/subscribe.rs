//! The hub's end of a subscribe stream: how much may be sent, and what the receiver may say meanwhile.

use super::{Disorder, Place};
use crate::{
    limits::{CONTROL_FRAME_BYTES_MAX, KEY_BYTES_MAX},
    wire::{
        frame::{self, Message},
        v1::subscribe::{CheckpointReport, Credit, Cursor, SubscribeOpen},
    },
};

/// The hub's end of a subscribe stream that was opened.
#[derive(Clone, Debug)]
pub struct Subscribe {
    /// Payload bytes that the receiver was ready for, in all.
    given: u64,
    /// Payload bytes sent, in all.
    sent: u64,
    over: bool,
}

/// What came on a subscribe stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Heard {
    /// More is welcome. With what the receiver holds durably, once its snapshot is complete.
    Credit(Option<Cursor>),
    /// The receiver's digest at a checkpoint.
    Report(CheckpointReport),
}

impl Subscribe {
    /// A stream that begins so.
    ///
    /// # Errors
    /// When it names a key that nobody can hold.
    pub fn new(open: &SubscribeOpen) -> Result<Self, Disorder> {
        if open.resume.as_ref().is_some_and(|resume| resume.last_key.0.len() > KEY_BYTES_MAX) {
            return Err(Disorder::Key);
        }
        Ok(Self { given: open.credit_bytes, sent: 0, over: false })
    }

    /// How large the next frame may be, bytes; `None` while none is read.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        (!self.over).then_some(CONTROL_FRAME_BYTES_MAX)
    }

    /// Takes a frame's content.
    ///
    /// # Errors
    /// When it has no place here now.
    pub fn on(&mut self, content: &[u8]) -> Result<Heard, Disorder> {
        let heard = self.hear(content);
        self.over |= heard.is_err();
        heard
    }

    /// Whether a message may be begun: while the payload sent has not reached the credit. What the last
    /// one went beyond it counts against the credit that is given next.
    #[must_use]
    pub fn may_send(&self) -> bool {
        !self.over && self.sent < self.given
    }

    /// So many payload bytes are sent.
    pub fn sent(&mut self, payload: u64) {
        self.sent = self.sent.saturating_add(payload);
    }

    /// The grant ended, or one side leaves.
    pub fn end(&mut self) {
        self.over = true;
    }

    fn hear(&mut self, content: &[u8]) -> Result<Heard, Disorder> {
        if self.over {
            return Err(Disorder::Over(Place::Subscribe));
        }
        match frame::split(content)?.0 {
            Credit::KIND => {
                let credit: Credit = frame::expect(content)?;
                self.given = self.given.saturating_add(credit.bytes);
                Ok(Heard::Credit(credit.cursor))
            }
            CheckpointReport::KIND => Ok(Heard::Report(frame::expect(content)?)),
            kind => Err(Disorder::Misplaced { kind, place: Place::Subscribe }),
        }
    }
}
