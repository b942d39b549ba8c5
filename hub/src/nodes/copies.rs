//! Telling two machines with one identity apart.

use std::{net::SocketAddr, sync::Arc};

/// A second machine with a node's identity, as it was refused last.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sighting {
    /// Where it came from.
    pub address: SocketAddr,
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// Packets that came over a connection so far: as long as there come more, somebody is there.
#[derive(Clone)]
pub struct Pulse(pub(super) Arc<dyn Fn() -> u64 + Send + Sync>);

impl Pulse {
    /// Counts by this.
    pub fn new(count: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self(Arc::new(count))
    }
}

impl std::fmt::Debug for Pulse {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Pulse({})", self.0())
    }
}

/// Whose greeting it is, by its 16 bytes: see the protocol, §4.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kinship {
    /// The process that was connected before.
    Itself,
    /// Another process in the same state folder of the same machine: it was started again.
    Successor,
    /// A machine or folder of its own.
    Stranger,
}

impl Kinship {
    pub(super) fn of(newcomer: [u8; 16], incumbent: [u8; 16]) -> Self {
        if newcomer == incumbent {
            Self::Itself
        } else if newcomer[..8] == incumbent[..8] {
            Self::Successor
        } else {
            Self::Stranger
        }
    }
}
