//! Who is connected: presence, heartbeats, and the questions the hub puts to its nodes.

mod copies;

use std::{
    collections::HashMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use hutong_schema::{
    ids::{CreditCode, ResourceCode},
    wire::v1::{
        RefusalCode, Refused,
        control::{Depth, DigestFound, Heartbeat, Key, Subject},
        health::Health,
    },
};
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot, watch};

use crate::numbers::NodeNo;
use copies::Kinship;
pub use copies::{Pulse, Sighting};

/// Requests waiting for one node. When full, the asker is told that the node does not keep up.
const REQUESTS_MAX: usize = 64;

/// How long a node may take for an answer: a digest over millions of rows takes seconds.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// How long a living peer may take to acknowledge a packet, over any line.
const PULSE_WITHIN: Duration = Duration::from_millis(2_000);

/// How often it is looked whether it did.
const PULSE_EVERY: Duration = Duration::from_millis(20);

/// How long a second machine with a node's identity counts as present: it comes again within half a
/// minute.
const COPY_REMEMBERED_MS: i64 = 10 * 60_000;

/// The register of connected nodes; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Nodes {
    connected: Arc<Mutex<HashMap<NodeNo, Connected>>>,
    copies: Arc<Mutex<HashMap<NodeNo, Sighting>>>,
    roots: Arc<Mutex<HashMap<NodeNo, Vec<[u8; 32]>>>>,
    healths: Arc<Mutex<HashMap<NodeNo, Told>>>,
    visits: Arc<AtomicU64>,
}

/// When a node told how it is, milliseconds since 1970 UTC, and what.
type Told = (i64, Box<Health>);

/// Facts of a connection, for the operator.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// The node's department.
    pub department: CreditCode,
    /// What tells it from other processes with its identity.
    pub instance: [u8; 16],
    /// Its software.
    pub software: String,
    /// Where it connects from.
    pub address: SocketAddr,
    /// When, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Its clock minus ours, milliseconds.
    pub clock_skew_ms: i64,
    /// Serial number of the certificate that it stands for, hexadecimal: the one that it showed, or
    /// the one that it got for that since.
    pub serial: String,
}

/// A connected node as the operator sees it.
#[derive(Clone, Debug)]
pub struct Presence {
    /// The connection's facts.
    pub arrival: Arrival,
    /// Last heartbeat and when it came, milliseconds since 1970 UTC.
    pub heartbeat: Option<(i64, Heartbeat)>,
}

/// Something for a node's control stream.
#[derive(Debug)]
pub enum Request {
    /// Ask for a digest.
    Digest {
        /// Of what.
        subject: Subject,
        /// How deep.
        depth: Depth,
        /// Where the answer goes.
        answer: oneshot::Sender<DigestFound>,
    },
    /// Send keys again.
    Republish {
        /// The resource.
        resource: ResourceCode,
        /// The keys.
        keys: Vec<Key>,
    },
    /// The department's grants changed.
    GrantsChanged,
    /// Tell the node which roots are trusted, if it does not hold them.
    Roots,
    /// Close the connection.
    Close {
        /// Why.
        reason: String,
    },
}

/// Why a question to a node has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoAnswer {
    /// It is not connected.
    #[error("the node is not connected")]
    Away,
    /// Too many questions wait for it already.
    #[error("the node does not keep up with the questions put to it")]
    Busy,
    /// It went away or did not answer in time.
    #[error("the node did not answer within {} s", ANSWER_WITHIN.as_secs())]
    Silent,
}

/// The identity is connected from another machine, or by another process with a copy of the state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("this identity is connected from {address}, and that machine answers")]
pub struct Elsewhere {
    /// The other machine's address.
    pub address: SocketAddr,
    visit: u64,
}

#[derive(Debug)]
struct Connected {
    visit: u64,
    presence: Presence,
    requests: mpsc::Sender<Request>,
    out: watch::Sender<Option<Refused>>,
    pulse: Pulse,
    /// The process whose place it took, if that was another one.
    replaced: Option<[u8; 16]>,
}

/// A node's stay; when dropped, the node is away.
#[derive(Debug)]
pub struct Visit {
    nodes: Nodes,
    node: NodeNo,
    visit: u64,
    requests: mpsc::Receiver<Request>,
    out: watch::Receiver<Option<Refused>>,
}

impl Nodes {
    /// Nobody is connected.
    pub fn new() -> Self {
        Self::default()
    }

    /// A node arrives. A process may replace its own older connection, which it may have lost
    /// without our noticing, and that of the process before it. But one that was replaced and comes
    /// back has a copy of itself.
    ///
    /// # Errors
    /// When the identity is connected from elsewhere, so that one of the two is a copy if the other
    /// one [is still there](Self::answers).
    pub fn arrive(&self, node: NodeNo, arrival: Arrival, pulse: Pulse) -> Result<Visit, Elsewhere> {
        let mut connected = self.connected.lock();
        let mut replaced = None;
        if let Some(other) = connected.get(&node) {
            let before = other.presence.arrival.instance;
            replaced = match Kinship::of(arrival.instance, before) {
                Kinship::Itself => other.replaced,
                Kinship::Successor if other.replaced != Some(arrival.instance) => Some(before),
                Kinship::Successor | Kinship::Stranger => {
                    let address = other.presence.arrival.address;
                    return Err(Elsewhere { address, visit: other.visit });
                }
            };
            let reason = "replaced by a newer connection of the same node".to_owned();
            // A full queue means the old connection is stuck; it ends by its idle timeout.
            let _ = other.requests.try_send(Request::Close { reason });
        }
        let visit = self.visits.fetch_add(1, Ordering::Relaxed);
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let (out, thrown_out) = watch::channel(None);
        let presence = Presence { arrival, heartbeat: None };
        connected.insert(node, Connected { visit, presence, requests, out, pulse, replaced });
        Ok(Visit { nodes: self.clone(), node, visit, requests: receiver, out: thrown_out })
    }

    /// Whether a connection that stands in somebody's way is still alive: it is sent something that
    /// every living peer acknowledges. One that is not is forgotten, and its place is free.
    pub async fn answers(&self, node: NodeNo, other: &Elsewhere) -> bool {
        let pulse = {
            let connected = self.connected.lock();
            let same = connected.get(&node).filter(|connected| connected.visit == other.visit);
            let Some(connected) = same else { return false };
            // A full queue has packets under way as well.
            let _ = connected.requests.try_send(Request::GrantsChanged);
            connected.pulse.clone()
        };
        let before = pulse.0();
        let deadline = tokio::time::Instant::now() + PULSE_WITHIN;
        while tokio::time::Instant::now() < deadline {
            tokio::time::sleep(PULSE_EVERY).await;
            if pulse.0() > before {
                return true;
            }
        }
        let mut connected = self.connected.lock();
        if connected.get(&node).is_some_and(|connected| connected.visit == other.visit)
            && let Some(gone) = connected.remove(&node)
        {
            let refused = Refused::new(RefusalCode::Elsewhere, "another machine took its place");
            gone.out.send_replace(Some(refused));
        }
        false
    }

    /// A second machine with a node's identity was refused; whether that is news.
    pub fn saw_copy(&self, node: NodeNo, address: SocketAddr, now_ms: i64) -> bool {
        let before = self.copies.lock().insert(node, Sighting { address, at_ms: now_ms });
        before.is_none_or(|before| {
            before.address != address || now_ms - before.at_ms > COPY_REMEMBERED_MS
        })
    }

    /// When and from where a second machine with a node's identity was refused last.
    pub fn copy_of(&self, node: NodeNo) -> Option<Sighting> {
        self.copies.lock().get(&node).copied()
    }

    /// A node said which roots it trusts, by the SHA-256 of each.
    pub fn holds_roots(&self, node: NodeNo, fingerprints: Vec<[u8; 32]>) {
        self.roots.lock().insert(node, fingerprints);
    }

    /// A node told how it is; whether it needs a person now and did not before. The last one is kept
    /// also when the node is away: it may be why.
    pub fn is_told(&self, node: NodeNo, now_ms: i64, health: Health) -> bool {
        let needs = health.need_person > 0;
        let before = self.healths.lock().insert(node, (now_ms, Box::new(health)));
        needs && before.is_none_or(|(_, before)| before.need_person == 0)
    }

    /// How a node was, and when it told that, milliseconds since 1970 UTC.
    pub fn health(&self, node: NodeNo) -> Option<(i64, Health)> {
        let healths = self.healths.lock();
        healths.get(&node).map(|(at_ms, health)| (*at_ms, Health::clone(health)))
    }

    /// How many nodes told last that they need a person.
    pub fn needing_person(&self) -> usize {
        self.healths.lock().values().filter(|(_, health)| health.need_person > 0).count()
    }

    /// Whether a node has said, since the hub started, that it trusts a root.
    pub fn trusts(&self, node: NodeNo, root: &[u8; 32]) -> bool {
        self.roots.lock().get(&node).is_some_and(|held| held.contains(root))
    }

    /// The trusted roots changed: all connected nodes are told. One that does not keep up learns it
    /// at its next connection.
    pub fn roots_changed(&self) {
        for connected in self.connected.lock().values() {
            let _ = connected.requests.try_send(Request::Roots);
        }
    }

    /// How many nodes had a second machine not long ago.
    pub fn copied(&self, now_ms: i64) -> usize {
        let recent = |seen: &&Sighting| now_ms - seen.at_ms <= COPY_REMEMBERED_MS;
        self.copies.lock().values().filter(recent).count()
    }

    /// How many nodes are connected.
    pub fn count(&self) -> usize {
        self.connected.lock().len()
    }

    /// A node's presence.
    pub fn presence(&self, node: NodeNo) -> Option<Presence> {
        self.connected.lock().get(&node).map(|connected| connected.presence.clone())
    }

    /// Asks a node for a digest.
    ///
    /// # Errors
    /// When it is away, overwhelmed, or silent.
    pub async fn digest(
        &self,
        node: NodeNo,
        subject: Subject,
        depth: Depth,
    ) -> Result<DigestFound, NoAnswer> {
        let (answer, found) = oneshot::channel();
        self.request(node, Request::Digest { subject, depth, answer })?;
        match tokio::time::timeout(ANSWER_WITHIN, found).await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(_)) | Err(_) => Err(NoAnswer::Silent),
        }
    }

    /// Asks a node to send keys again.
    ///
    /// # Errors
    /// When it is away or overwhelmed.
    pub fn republish(
        &self,
        node: NodeNo,
        resource: ResourceCode,
        keys: Vec<Key>,
    ) -> Result<(), NoAnswer> {
        self.request(node, Request::Republish { resource, keys })
    }

    /// Tells every connected node of a department that its grants changed. A node that does not
    /// keep up learns it at its next connection.
    pub fn grants_changed(&self, department: &CreditCode) {
        for connected in self.connected.lock().values() {
            if connected.presence.arrival.department == *department {
                let _ = connected.requests.try_send(Request::GrantsChanged);
            }
        }
    }

    /// Judges a node, if it is connected, by the certificate that it stands for, and throws it out
    /// at once when it is refused now: whatever its connection is doing or waiting for.
    pub fn judge(&self, node: NodeNo, verdict: impl Fn(&str) -> Result<(), Refused>) {
        if let Some(connected) = self.connected.lock().get(&node)
            && let Err(refused) = verdict(&connected.presence.arrival.serial)
        {
            connected.out.send_replace(Some(refused));
        }
    }

    /// The same for all connected nodes.
    pub fn judge_all(&self, verdict: impl Fn(NodeNo, &str) -> Result<(), Refused>) {
        for (node, connected) in self.connected.lock().iter() {
            if let Err(refused) = verdict(*node, &connected.presence.arrival.serial) {
                connected.out.send_replace(Some(refused));
            }
        }
    }

    /// A node got its next certificate: a connection that was made with the one before goes on, and
    /// stands for the new one.
    pub fn renewed(&self, node: NodeNo, replaces: &str, serial: &str) {
        if let Some(connected) = self.connected.lock().get_mut(&node)
            && connected.presence.arrival.serial == replaces
        {
            serial.clone_into(&mut connected.presence.arrival.serial);
        }
    }

    fn request(&self, node: NodeNo, request: Request) -> Result<(), NoAnswer> {
        let connected = self.connected.lock();
        let connected = connected.get(&node).ok_or(NoAnswer::Away)?;
        connected.requests.try_send(request).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NoAnswer::Busy,
            mpsc::error::TrySendError::Closed(_) => NoAnswer::Away,
        })
    }
}

impl Visit {
    /// The next request for this node; waits for ever when there is none.
    pub async fn request(&mut self) -> Request {
        match self.requests.recv().await {
            Some(request) => request,
            None => std::future::pending().await,
        }
    }

    /// Resolves when the node is to be thrown out, with what it is told; else never.
    pub fn thrown_out(&self) -> impl Future<Output = Refused> + Send + 'static {
        let mut out = self.out.clone();
        async move {
            match out.wait_for(Option::is_some).await.map(|refused| refused.clone()) {
                Ok(Some(refused)) => refused,
                // Replaced by a newer connection of the same node: that closes it in good order.
                Ok(None) | Err(_) => std::future::pending().await,
            }
        }
    }

    /// Keeps a heartbeat for the operator.
    pub fn heartbeat(&self, now_ms: i64, heartbeat: Heartbeat) {
        if let Some(connected) = self.nodes.connected.lock().get_mut(&self.node)
            && connected.visit == self.visit
        {
            connected.presence.heartbeat = Some((now_ms, heartbeat));
        }
    }
}

impl Drop for Visit {
    fn drop(&mut self) {
        let mut connected = self.nodes.connected.lock();
        if connected.get(&self.node).is_some_and(|current| current.visit == self.visit) {
            connected.remove(&self.node);
        }
    }
}

#[cfg(test)]
mod tests;
