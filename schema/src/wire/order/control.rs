//! The hub's end of a control stream: the greeting first, then heartbeats, answers and news until one
//! side leaves.

use std::collections::BTreeMap;

use super::{Disorder, Place};
use crate::{
    limits::{CONTROL_FRAME_BYTES_MAX, GREETING_BYTES_MAX, ROOTS_MAX},
    wire::{
        frame::{self, FrameError, Message},
        v1::{
            control::{DigestAnswer, DigestFound, Goodbye, Heartbeat, Hello, RootsHeld},
            health::Health,
        },
        version::{self, Version},
    },
};

/// Most resources that a heartbeat tells of; further ones are not kept.
pub const RESOURCES_MAX: usize = 64;

/// Longest trouble that is kept, bytes: a sentence for the operator, and every node's last heartbeat is
/// kept.
pub const TROUBLE_BYTES_MAX: usize = 1024;

/// Most questions to one node that have no answer yet.
pub const QUESTIONS_MAX: usize = 256;

/// Longest reason of a goodbye that is kept, characters.
const REASON_CHARS: usize = 200;

/// The hub's end of a control stream. `A` is who waits for an answer.
#[derive(Debug)]
pub struct Control<A> {
    state: State,
    asked: BTreeMap<u64, A>,
    next: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The greeting is due.
    Greeting,
    /// It came; whether the node is let in is being decided.
    Judging,
    /// The node was let in.
    Open,
    /// Nothing more is taken.
    Over,
}

/// What came on a control stream.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard<A> {
    /// A sign of life; a reply is due.
    Heartbeat(Heartbeat),
    /// How the node and its machine are.
    Health(Health),
    /// An answer for who asked.
    Answer(A, DigestFound),
    /// An answer nobody waits for.
    Unasked,
    /// The roots that the node trusts.
    Roots(Vec<[u8; 32]>),
    /// The node leaves: why.
    Goodbye(String),
}

impl<A> Default for Control<A> {
    fn default() -> Self {
        Self { state: State::Greeting, asked: BTreeMap::new(), next: 1 }
    }
}

impl<A> Control<A> {
    /// How large the next frame may be, bytes; `None` while none is read.
    #[must_use]
    pub fn limit(&self) -> Option<usize> {
        match self.state {
            State::Greeting => Some(GREETING_BYTES_MAX),
            State::Open => Some(CONTROL_FRAME_BYTES_MAX),
            State::Judging | State::Over => None,
        }
    }

    /// Takes the greeting: who comes, and the newest version that both speak.
    ///
    /// # Errors
    /// When it is none, came before, or names no version that this side speaks.
    pub fn hello(&mut self, content: &[u8]) -> Result<(Hello, Version), Disorder> {
        let heard = self.greeting(content);
        self.state = if heard.is_ok() { State::Judging } else { State::Over };
        heard
    }

    /// Takes the content of a frame behind the greeting.
    ///
    /// # Errors
    /// When it has no place here now.
    pub fn on(&mut self, content: &[u8]) -> Result<Heard<A>, Disorder> {
        let heard = self.hear(content);
        if heard.is_err() {
            self.state = State::Over;
        }
        heard
    }

    /// The node was let in, and told so.
    pub fn let_in(&mut self) {
        if self.state == State::Judging {
            self.state = State::Open;
        }
    }

    /// The node is not let in, or the stream ends.
    pub fn close(&mut self) {
        self.state = State::Over;
        self.asked.clear();
    }

    /// Keeps who asks, and gives the number of the question; `None` when too many wait already, or the
    /// node is not there. `waits` tells of an earlier one whether it still waits.
    pub fn ask(&mut self, asker: A, waits: impl Fn(&A) -> bool) -> Option<u64> {
        if self.state != State::Open {
            return None;
        }
        self.asked.retain(|_, earlier| waits(earlier));
        if self.asked.len() >= QUESTIONS_MAX {
            return None;
        }
        let number = self.next;
        self.next = self.next.checked_add(1)?;
        self.asked.insert(number, asker);
        Some(number)
    }

    /// Questions without an answer.
    #[must_use]
    pub fn questions(&self) -> usize {
        self.asked.len()
    }

    fn greeting(&self, content: &[u8]) -> Result<(Hello, Version), Disorder> {
        let (kind, _) = frame::split(content)?;
        match self.state {
            State::Greeting => {
                let hello: Hello = frame::expect(content)?;
                let version = version::negotiate(hello.min, hello.max)?;
                Ok((hello, version))
            }
            State::Judging | State::Open => {
                Err(Disorder::Misplaced { kind, place: Place::Control })
            }
            State::Over => Err(Disorder::Over(Place::Control)),
        }
    }

    fn hear(&mut self, content: &[u8]) -> Result<Heard<A>, Disorder> {
        let (kind, _) = frame::split(content)?;
        let misplaced = Disorder::Misplaced { kind, place: Place::Control };
        match (self.state, kind) {
            (State::Greeting, found) => {
                Err(FrameError::Kind { found, expected: Hello::KIND }.into())
            }
            (State::Open, Heartbeat::KIND) => {
                Ok(Heard::Heartbeat(bounded(frame::expect(content)?)))
            }
            (State::Open, Health::KIND) => {
                let health: Health = frame::expect(content)?;
                Ok(Heard::Health(health.bounded()))
            }
            (State::Open, DigestAnswer::KIND) => {
                let answer: DigestAnswer = frame::expect(content)?;
                // The asker may have given up waiting.
                let asker = self.asked.remove(&answer.ask);
                Ok(asker.map_or(Heard::Unasked, |asker| Heard::Answer(asker, answer.found)))
            }
            (State::Open, RootsHeld::KIND) => {
                let RootsHeld { fingerprints } = frame::expect(content)?;
                match fingerprints.len() {
                    0..=ROOTS_MAX => Ok(Heard::Roots(fingerprints)),
                    found => Err(Disorder::TooMany { what: "roots", found, limit: ROOTS_MAX }),
                }
            }
            (State::Open, Goodbye::KIND) => {
                let goodbye: Goodbye = frame::expect(content)?;
                self.close();
                Ok(Heard::Goodbye(goodbye.reason.chars().take(REASON_CHARS).collect()))
            }
            (State::Open | State::Judging, _) => Err(misplaced),
            (State::Over, _) => Err(Disorder::Over(Place::Control)),
        }
    }
}

/// What is kept of a heartbeat.
fn bounded(mut heartbeat: Heartbeat) -> Heartbeat {
    heartbeat.resources.truncate(RESOURCES_MAX);
    heartbeat.resources.shrink_to_fit();
    for trouble in heartbeat.resources.iter_mut().filter_map(|report| report.trouble.as_mut()) {
        trouble.truncate(trouble.floor_char_boundary(TROUBLE_BYTES_MAX));
        trouble.shrink_to_fit();
    }
    heartbeat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::v1::control::ResourceReport;

    #[test]
    fn of_a_heartbeat_no_more_is_kept_than_an_operator_reads() {
        let report = ResourceReport {
            resource: "300001/1".parse().unwrap(),
            read: 1,
            accepted: 1,
            rejected: 0,
            trouble: Some("长".repeat(100_000)),
        };
        let heartbeat = bounded(Heartbeat {
            clock_ms: 0,
            queued_batches: 0,
            queued_bytes: 0,
            oldest_unacked_ms: 0,
            resources: vec![report; 1_000],
        });
        assert_eq!(heartbeat.resources.len(), RESOURCES_MAX);
        let kept = |report: &ResourceReport| report.trouble.as_ref().unwrap().capacity();
        assert!(heartbeat.resources.iter().map(kept).all(|bytes| bytes <= TROUBLE_BYTES_MAX));
    }
}
