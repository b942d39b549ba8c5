//! Who may come in: connections counted by address, by certificate and in all.
//!
//! Nothing of a peer is known before its address is proven, so an unproven one is asked to prove it
//! (retry) rather than refused: nobody can be shut out by packets that bear a false address.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Instant,
};

use hutong_schema::ids::{CreditCode, NodeName};
use parking_lot::Mutex;

use super::{GateLimits, bucket::Bucket};

/// Addresses remembered before those that say nothing any more are forgotten.
const ADDRESSES_KEPT: usize = 1_024;

/// Counts everybody who is in or coming in; a cheap handle.
#[derive(Clone, Debug)]
pub(super) struct Doorkeeper {
    limits: Arc<GateLimits>,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    unfinished: usize,
    connections: usize,
    enrolling: usize,
    addresses: HashMap<IpAddr, Neighbour>,
    nodes: HashMap<(CreditCode, NodeName), usize>,
}

/// What comes from one address.
#[derive(Debug)]
struct Neighbour {
    unfinished: usize,
    connections: usize,
    enrolling: usize,
    arrivals: Bucket,
}

/// What to do with somebody who knocks.
#[derive(Debug)]
pub(super) enum Knock {
    /// Let the handshake begin.
    Enter(Stay),
    /// Have the address proven first.
    Prove,
    /// No.
    Refuse(Crowd),
}

/// Where there are too many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Crowd {
    /// Handshakes.
    #[error("too many handshakes are under way")]
    Handshakes,
    /// Handshakes from one address.
    #[error("too many handshakes are under way from this address")]
    AddressHandshakes,
    /// New connections in a short time from one address.
    #[error("too many connections in too short a time from this address")]
    AddressRate,
    /// Connections.
    #[error("the hub has as many connections as it takes")]
    Connections,
    /// Connections from one address.
    #[error("there are as many connections from this address as the hub takes")]
    AddressConnections,
    /// Connections of one node.
    #[error("this certificate has as many connections as one node may have")]
    Node,
    /// Connections for enrolment.
    #[error("too many connections for enrolment are open; try again in a minute")]
    Enrolments,
    /// Connections for enrolment from one address.
    #[error("too many connections for enrolment are open from this address")]
    AddressEnrolments,
}

impl Crowd {
    /// For the metrics.
    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Handshakes => "handshakes",
            Self::AddressHandshakes => "address-handshakes",
            Self::AddressRate => "address-rate",
            Self::Connections => "connections",
            Self::AddressConnections => "address-connections",
            Self::Node => "node-connections",
            Self::Enrolments => "enrolments",
            Self::AddressEnrolments => "address-enrolments",
        }
    }
}

/// Somebody who is in or coming in; when dropped, they are gone.
#[derive(Debug)]
pub(super) struct Stay {
    keeper: Doorkeeper,
    address: IpAddr,
    stage: Stage,
    /// Whether it counts among the new connections from its address.
    counted: bool,
    node: Option<(CreditCode, NodeName)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Unfinished,
    Connected,
    Enrolling,
}

impl Doorkeeper {
    pub(super) fn new(limits: Arc<GateLimits>) -> Self {
        Self { limits, state: Arc::default() }
    }

    /// Somebody knocks. `proven` tells whether the address is known to be theirs.
    pub(super) fn knock(&self, from: SocketAddr, proven: bool, now: Instant) -> Knock {
        let (limits, address) = (&self.limits, neighbourhood(from.ip()));
        let mut state = self.state.lock();
        state.forget(now);
        if state.unfinished >= limits.handshakes {
            return Knock::Refuse(Crowd::Handshakes);
        }
        if state.connections >= limits.connections {
            return Knock::Refuse(Crowd::Connections);
        }
        let crowded = state.unfinished > limits.retry_above;
        let neighbour = state.addresses.entry(address).or_insert_with(|| Neighbour {
            unfinished: 0,
            connections: 0,
            enrolling: 0,
            arrivals: Bucket::new(limits.connects(), now),
        });
        let verdict = if neighbour.unfinished >= limits.handshakes_per_address {
            Err(Crowd::AddressHandshakes)
        } else if neighbour.connections >= limits.connections_per_address {
            Err(Crowd::AddressConnections)
        } else if proven {
            neighbour.arrivals.take(now).map_err(|_| Crowd::AddressRate)
        } else if neighbour.arrivals.is_empty(now) {
            Err(Crowd::AddressRate)
        } else {
            // It counts once it is connected, for then the address is proven.
            Ok(())
        };
        if !proven && (crowded || verdict.is_err()) {
            return Knock::Prove;
        }
        if let Err(crowd) = verdict {
            return Knock::Refuse(crowd);
        }
        neighbour.unfinished += 1;
        state.unfinished += 1;
        Knock::Enter(Stay {
            keeper: self.clone(),
            address,
            stage: Stage::Unfinished,
            counted: proven,
            node: None,
        })
    }

    /// Handshakes under way, and connections, enrolments included.
    pub(super) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.unfinished, state.connections + state.enrolling)
    }
}

impl Stay {
    /// The handshake is done, so the address is proven.
    ///
    /// # Errors
    /// When there are too many by now.
    pub(super) fn connected(&mut self, now: Instant) -> Result<(), Crowd> {
        let limits = Arc::clone(&self.keeper.limits);
        let crowd = {
            let mut state = self.keeper.state.lock();
            state.leave(self.address, self.stage);
            self.stage = Stage::Connected;
            state.connections += 1;
            let all = state.connections > limits.connections;
            let counted = std::mem::replace(&mut self.counted, true);
            let neighbour = state.addresses.get_mut(&self.address).map(|neighbour| {
                if !counted {
                    // If there is none left, the next one has to prove its address and is refused.
                    let _ = neighbour.arrivals.take(now);
                }
                neighbour.connections += 1;
                neighbour.connections > limits.connections_per_address
            });
            match (all, neighbour) {
                (true, _) => Some(Crowd::Connections),
                (false, Some(true)) => Some(Crowd::AddressConnections),
                (false, Some(false) | None) => None,
            }
        };
        crowd.map_or(Ok(()), Err)
    }

    /// The connection is for enrolment.
    ///
    /// # Errors
    /// When there are too many of these.
    pub(super) fn enrols(&mut self) -> Result<(), Crowd> {
        let limits = Arc::clone(&self.keeper.limits);
        let mut state = self.keeper.state.lock();
        state.leave(self.address, self.stage);
        self.stage = Stage::Enrolling;
        state.enrolling += 1;
        let all = state.enrolling > limits.enrolments;
        let neighbour = state.addresses.get_mut(&self.address).map(|neighbour| {
            neighbour.enrolling += 1;
            neighbour.enrolling > limits.enrolments_per_address
        });
        match (all, neighbour) {
            (true, _) => Err(Crowd::Enrolments),
            (false, Some(true)) => Err(Crowd::AddressEnrolments),
            (false, Some(false) | None) => Ok(()),
        }
    }

    /// The connection is this node's.
    ///
    /// # Errors
    /// When the node has too many.
    pub(super) fn belongs_to(&mut self, node: (CreditCode, NodeName)) -> Result<(), Crowd> {
        let mut state = self.keeper.state.lock();
        let connections = state.nodes.entry(node.clone()).or_default();
        *connections += 1;
        let crowded = *connections > self.keeper.limits.connections_per_node;
        self.node = Some(node);
        if crowded { Err(Crowd::Node) } else { Ok(()) }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        let mut state = self.keeper.state.lock();
        state.leave(self.address, self.stage);
        if let Some(node) = self.node.take()
            && let Some(connections) = state.nodes.get_mut(&node)
        {
            *connections -= 1;
            if *connections == 0 {
                state.nodes.remove(&node);
            }
        }
    }
}

impl State {
    fn leave(&mut self, address: IpAddr, stage: Stage) {
        let neighbour = self.addresses.get_mut(&address);
        match stage {
            Stage::Unfinished => {
                self.unfinished -= 1;
                neighbour.into_iter().for_each(|it| it.unfinished -= 1);
            }
            Stage::Connected => {
                self.connections -= 1;
                neighbour.into_iter().for_each(|it| it.connections -= 1);
            }
            Stage::Enrolling => {
                self.enrolling -= 1;
                neighbour.into_iter().for_each(|it| it.enrolling -= 1);
            }
        }
    }

    /// Forgets addresses from which nobody is here and nobody came for a while, once there are many.
    fn forget(&mut self, now: Instant) {
        if self.addresses.len() < ADDRESSES_KEPT {
            return;
        }
        self.addresses.retain(|_, it| {
            let here = it.unfinished + it.connections + it.enrolling > 0;
            here || !it.arrivals.is_full(now)
        });
    }
}

/// Whose address it is: one machine commonly has a whole /64 of IPv6.
fn neighbourhood(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => {
            let network = u128::from(address) & !u128::from(u64::MAX);
            IpAddr::V6(Ipv6Addr::from(network))
        }
        v4 @ IpAddr::V4(_) => v4,
    }
}

#[cfg(test)]
mod tests;
