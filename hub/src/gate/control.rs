//! The control stream: heartbeats one way, the hub's questions the other.

use std::collections::HashMap;

use bytes::Bytes;
use hutong_certs::{
    roots::{CaFingerprint, ROOTS_MAX},
    stream::{FrameReader, FrameWriter, StreamError},
};
use hutong_schema::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        frame::{self, Message},
        v1::{
            RefusalCode, Refused,
            control::{
                DigestAnswer, DigestAsk, DigestFound, Goodbye, GrantsChanged, Heartbeat,
                HeartbeatReply, Republish, Root, RootsHeld, TrustedRoots,
            },
        },
    },
};
use tokio::sync::oneshot;

use super::session::{Peer, refusal_of};
use crate::nodes::{Request, Visit};

/// Most resources that a heartbeat tells of; further ones are not kept.
const RESOURCES_MAX: usize = 64;

/// Longest trouble that is kept, bytes: every node's last heartbeat is.
const TROUBLE_BYTES_MAX: usize = 1024;

/// The hub's end of a control stream.
pub(super) struct Control {
    reader: FrameReader,
    writer: FrameWriter,
    visit: Visit,
    asked: HashMap<u64, oneshot::Sender<DigestFound>>,
    next_ask: u64,
    /// The roots that the node said it trusts; none before, and then it is not told of others.
    roots: Option<Vec<[u8; 32]>>,
}

/// Something to do on the control stream.
pub(super) enum Due {
    /// A frame from the node.
    Message(Bytes),
    /// A request of the hub.
    Request(Request),
}

/// Why the control stream, and with it the connection, ends.
#[derive(Debug, thiserror::Error)]
pub(super) enum ControlEnd {
    /// The node said goodbye.
    #[error("goodbye: {0}")]
    Goodbye(String),
    /// The node finished its control stream.
    #[error("the node finished its control stream")]
    Finished,
    /// The hub closes it.
    #[error("{0}")]
    Closed(String),
    /// A message that has no place here.
    #[error("a message of kind {0:#04x} has no place on the control stream")]
    Unexpected(u8),
    /// The stream broke.
    #[error(transparent)]
    Broken(#[from] StreamError),
}

impl ControlEnd {
    /// What the closing frame is to say, if the node is at fault.
    pub(super) fn refusal(&self) -> Option<Refused> {
        match self {
            Self::Goodbye(_) | Self::Finished | Self::Closed(_) => None,
            Self::Unexpected(_) => Some(Refused::new(RefusalCode::Protocol, self.to_string())),
            Self::Broken(error) => refusal_of(error),
        }
    }
}

impl From<frame::FrameError> for ControlEnd {
    fn from(error: frame::FrameError) -> Self {
        Self::Broken(error.into())
    }
}

impl Control {
    pub(super) fn new(reader: FrameReader, writer: FrameWriter, visit: Visit) -> Self {
        Self { reader, writer, visit, asked: HashMap::new(), next_ask: 1, roots: None }
    }

    /// Waits for the next thing to do. Safe to drop while it waits; what it returns must be handled.
    pub(super) async fn next(&mut self) -> Result<Due, ControlEnd> {
        tokio::select! {
            content = self.reader.next(CONTROL_FRAME_BYTES_MAX) => {
                Ok(Due::Message(content?.ok_or(ControlEnd::Finished)?))
            }
            request = self.visit.request() => Ok(Due::Request(request)),
        }
    }

    /// Handles it. Not to be dropped half-way: a frame may be half written.
    pub(super) async fn handle(&mut self, peer: &Peer, due: Due) -> Result<(), ControlEnd> {
        match due {
            Due::Message(content) => self.message(peer, &content).await,
            Due::Request(request) => self.ask(peer, request).await,
        }
    }

    /// Tells the node why the hub leaves.
    pub(super) async fn goodbye(&mut self, reason: &str) {
        // A peer that is gone needs no goodbye.
        let _ = self.writer.send(&Goodbye { reason: reason.to_owned() }).await;
    }

    async fn message(&mut self, peer: &Peer, content: &[u8]) -> Result<(), ControlEnd> {
        let (kind, _) = frame::split(content)?;
        match kind {
            Heartbeat::KIND => {
                let heartbeat = bounded(frame::expect(content)?);
                let now = crate::clock::now_ms();
                tracing::debug!(node = peer.name, queued = heartbeat.queued_batches, "heartbeat");
                self.visit.heartbeat(now, heartbeat);
                self.writer.send(&HeartbeatReply { hub_time_ms: now }).await?;
                Ok(())
            }
            DigestAnswer::KIND => {
                let answer: DigestAnswer = frame::expect(content)?;
                if let Some(asker) = self.asked.remove(&answer.ask) {
                    // The asker may have given up waiting.
                    let _ = asker.send(answer.found);
                }
                Ok(())
            }
            RootsHeld::KIND => {
                let RootsHeld { fingerprints } = frame::expect(content)?;
                if fingerprints.len() > ROOTS_MAX {
                    return Err(ControlEnd::Unexpected(kind));
                }
                peer.rooms().nodes.holds_roots(peer.node, fingerprints.clone());
                self.roots = Some(fingerprints);
                self.tell_roots(peer).await
            }
            Goodbye::KIND => {
                let goodbye: Goodbye = frame::expect(content)?;
                Err(ControlEnd::Goodbye(goodbye.reason.chars().take(200).collect()))
            }
            other => Err(ControlEnd::Unexpected(other)),
        }
    }

    /// Tells the node the roots, if it understands that and holds others.
    async fn tell_roots(&mut self, peer: &Peer) -> Result<(), ControlEnd> {
        let Some(held) = &self.roots else { return Ok(()) };
        let trusted = peer.rooms().enrolment.roots.current();
        let certificates = trusted.certificates();
        let known = |root| held.contains(&CaFingerprint::of(root).0);
        if held.len() == certificates.len() && certificates.iter().all(known) {
            return Ok(());
        }
        let roots = certificates.iter().map(|root| Root(root.to_vec())).collect();
        Ok(self.writer.send(&TrustedRoots { roots }).await?)
    }

    async fn ask(&mut self, peer: &Peer, request: Request) -> Result<(), ControlEnd> {
        match request {
            Request::Digest { subject, depth, answer } => {
                self.asked.retain(|_, asker| !asker.is_closed());
                let ask = self.next_ask;
                self.next_ask += 1;
                self.asked.insert(ask, answer);
                self.writer.send(&DigestAsk { ask, subject, depth }).await?;
            }
            Request::Republish { resource, keys } => {
                self.writer.send(&Republish { resource, keys }).await?;
            }
            Request::Roots => self.tell_roots(peer).await?,
            Request::GrantsChanged => self.writer.send(&GrantsChanged {}).await?,
            Request::Close { reason } => {
                self.goodbye(&reason).await;
                return Err(ControlEnd::Closed(reason));
            }
        }
        Ok(())
    }
}

/// What is kept of a heartbeat: the protocol names at most so many resources, and a trouble is a
/// sentence for the operator.
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
    use hutong_schema::wire::v1::control::ResourceReport;

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
