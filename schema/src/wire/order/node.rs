//! A node's end of its streams: what a hub may say, also one that means harm.

use super::{Disorder, Place};
use crate::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        frame::{self, Message},
        v1::{
            Refused,
            control::{DigestAsk, Goodbye, GrantsChanged, HeartbeatReply, Republish, TrustedRoots},
            publish::Ack,
        },
    },
};

/// Most questions of the hub that are being answered. Further frames stay in the connection's window until
/// one is.
pub const QUESTIONS_MAX: usize = 16;

/// The node's end of a control stream, behind the greeting.
#[derive(Clone, Debug, Default)]
pub struct Attending {
    questions: usize,
    over: bool,
}

/// What the hub says on a control stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Said {
    /// The answer to a heartbeat.
    Reply(HeartbeatReply),
    /// Ask for the grants again.
    GrantsChanged,
    /// A question: [`Attending::answered`] is due some time.
    Ask(DigestAsk),
    /// The roots of the exchange.
    Roots(TrustedRoots),
    /// Send these keys again.
    Republish(Republish),
    /// The hub leaves: why.
    Goodbye(String),
    /// The hub goes no further.
    Refused(Refused),
}

impl Attending {
    /// How large the next frame may be, bytes; `None` while none is read.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        (!self.over && self.questions < QUESTIONS_MAX).then_some(CONTROL_FRAME_BYTES_MAX)
    }

    /// Takes a frame's content.
    ///
    /// # Errors
    /// When it has no place here now.
    pub fn on(&mut self, content: &[u8]) -> Result<Said, Disorder> {
        let said = self.hear(content);
        self.over |= matches!(said, Err(_) | Ok(Said::Goodbye(_) | Said::Refused(_)));
        said
    }

    /// A question was answered.
    pub fn answered(&mut self) {
        self.questions = self.questions.saturating_sub(1);
    }

    fn hear(&mut self, content: &[u8]) -> Result<Said, Disorder> {
        if self.over {
            return Err(Disorder::Over(Place::Control));
        }
        let (kind, _) = frame::split(content)?;
        Ok(match kind {
            HeartbeatReply::KIND => Said::Reply(frame::expect(content)?),
            GrantsChanged::KIND => {
                let GrantsChanged {} = frame::expect(content)?;
                Said::GrantsChanged
            }
            DigestAsk::KIND if self.questions >= QUESTIONS_MAX => {
                let (what, found) = ("questions at once", self.questions + 1);
                return Err(Disorder::TooMany { what, found, limit: QUESTIONS_MAX });
            }
            DigestAsk::KIND => {
                let ask = frame::expect(content)?;
                self.questions += 1;
                Said::Ask(ask)
            }
            TrustedRoots::KIND => Said::Roots(frame::expect(content)?),
            Republish::KIND => Said::Republish(frame::expect(content)?),
            Goodbye::KIND => Said::Goodbye(frame::expect::<Goodbye>(content)?.reason),
            Refused::KIND => Said::Refused(frame::expect(content)?),
            kind => return Err(Disorder::Misplaced { kind, place: Place::Control }),
        })
    }
}

/// The acknowledgements of a publish stream as its node takes them: of what was sent, and never back.
#[derive(Clone, Debug)]
pub struct Acknowledged {
    sent: u64,
    through: u64,
}

impl Acknowledged {
    /// A stream on which batches are sent that follow this one.
    #[must_use]
    pub fn new(after: u64) -> Self {
        Self { sent: after, through: after }
    }

    /// A batch was sent.
    pub fn sent(&mut self, seq: u64) {
        self.sent = self.sent.max(seq);
    }

    /// Takes an acknowledgement.
    ///
    /// # Errors
    /// When it goes back, or beyond what was sent.
    pub fn on(&mut self, ack: &Ack) -> Result<(), Disorder> {
        let found = ack.stored_through;
        if found < self.through {
            return Err(Disorder::Backwards { found, before: self.through });
        }
        if found > self.sent {
            return Err(Disorder::Unsent { found, sent: self.sent });
        }
        self.through = found;
        Ok(())
    }
}
