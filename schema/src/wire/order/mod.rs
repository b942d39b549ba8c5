//! Which message may come when: the rules of each kind of stream as a state machine, for the end that
//! listens. The loops of hub and agent ask these machines about every frame that comes, and add only what
//! the message brings about.
//!
//! A machine takes a frame's content and says what it means here, or why it has no place. It reads no
//! clock and waits for nothing; what it keeps is bounded by its own constants. Once it has refused
//! something it refuses everything. The tables of states are in `PROTOCOL.md` §11.

pub mod control;
pub mod node;
pub mod opening;
pub mod publish;
pub mod subscribe;

use super::{
    frame::FrameError,
    v1::{RefusalCode, Refused},
    version::NoCommonVersion,
};

pub use control::Control;
pub use opening::Opening;
pub use publish::Publish;
pub use subscribe::Subscribe;

/// A kind of stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Place {
    /// The first stream of a connection.
    Control,
    /// A stream that carries batches.
    Publish,
    /// A stream that carries a delivery.
    Subscribe,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Control => "the control stream",
            Self::Publish => "a publish stream",
            Self::Subscribe => "a subscribe stream",
        })
    }
}

/// Why a message is not taken.
#[derive(Debug, thiserror::Error)]
pub enum Disorder {
    /// It does not decode, or is not the one that was due.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// It belongs elsewhere, or to another time.
    #[error("a message of kind {kind:#04x} has no place on {place}")]
    Misplaced {
        /// Its kind.
        kind: u8,
        /// Where it came.
        place: Place,
    },
    /// A stream cannot begin with it.
    #[error("no stream starts with a message of kind {0:#04x}")]
    NoOpening(u8),
    /// The greeting names no version that this side speaks.
    #[error(transparent)]
    Version(#[from] NoCommonVersion),
    /// More than a limit allows.
    #[error("{found} {what}, at most {limit} are taken")]
    TooMany {
        /// What was counted.
        what: &'static str,
        /// How many came.
        found: usize,
        /// The limit.
        limit: usize,
    },
    /// A key is too long.
    #[error("a key has at most {} bytes", crate::limits::KEY_BYTES_MAX)]
    Key,
    /// Acknowledgements contradict each other.
    #[error("batch {found} is acknowledged after batch {before}")]
    Backwards {
        /// Acknowledged now.
        found: u64,
        /// Acknowledged before.
        before: u64,
    },
    /// What came is more than was asked for.
    #[error("batch {found} is acknowledged, of those sent the last is {sent}")]
    Unsent {
        /// Acknowledged now.
        found: u64,
        /// The last that was sent.
        sent: u64,
    },
    /// It was refused or ended before.
    #[error("nothing may follow on {0}: it has ended")]
    Over(Place),
}

impl Disorder {
    /// The refusal's code.
    #[must_use]
    pub fn code(&self) -> RefusalCode {
        match self {
            Self::Version(_) => RefusalCode::Version,
            Self::Frame(_)
            | Self::Misplaced { .. }
            | Self::NoOpening(_)
            | Self::TooMany { .. }
            | Self::Key
            | Self::Backwards { .. }
            | Self::Unsent { .. }
            | Self::Over(_) => RefusalCode::Protocol,
        }
    }
}

/// What the peer is told, with all causes.
impl From<&Disorder> for Refused {
    fn from(disorder: &Disorder) -> Self {
        Self::new(disorder.code(), crate::words::in_full(disorder))
    }
}

#[cfg(test)]
mod tests;
