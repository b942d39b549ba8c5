//! The control stream: heartbeats one way, the hub's questions the other.

use bytes::Bytes;
use hutong_certs::{
    roots::CaFingerprint,
    stream::{FrameReader, FrameWriter, StreamError},
};
use hutong_schema::wire::{
    order::{self, Disorder, control::Heard},
    v1::{
        Refused,
        control::{
            DigestAsk, DigestFound, Goodbye, GrantsChanged, HeartbeatReply, Republish, Root,
            TrustedRoots,
        },
    },
};
use tokio::sync::oneshot;

use super::session::{Peer, misplaced, refusal_of};
use crate::nodes::{Request, Visit};

/// What may come when; with those who wait for a node's answer.
pub(super) type Order = order::Control<oneshot::Sender<DigestFound>>;

/// The hub's end of a control stream.
pub(super) struct Control {
    reader: FrameReader,
    writer: FrameWriter,
    visit: Visit,
    order: Order,
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
    #[error(transparent)]
    Misplaced(Disorder),
    /// The stream broke.
    #[error(transparent)]
    Broken(#[from] StreamError),
}

impl ControlEnd {
    /// What the closing frame is to say, if the node is at fault.
    pub(super) fn refusal(&self) -> Option<Refused> {
        match self {
            Self::Goodbye(_) | Self::Finished | Self::Closed(_) => None,
            Self::Misplaced(disorder) => Some(misplaced(disorder)),
            Self::Broken(error) => refusal_of(error),
        }
    }
}

impl Control {
    /// The control stream of a node that was greeted on it.
    pub(super) fn new(
        order: Order,
        reader: FrameReader,
        writer: FrameWriter,
        visit: Visit,
    ) -> Self {
        Self { order, reader, writer, visit, roots: None }
    }

    /// Waits for the next thing to do. Safe to drop while it waits; what it returns must be handled.
    pub(super) async fn next(&mut self) -> Result<Due, ControlEnd> {
        let limit = self.order.limit();
        tokio::select! {
            content = self.reader.next(limit.unwrap_or_default()), if limit.is_some() => {
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
        match self.order.on(content).map_err(ControlEnd::Misplaced)? {
            Heard::Heartbeat(heartbeat) => {
                let now = crate::clock::now_ms();
                tracing::debug!(node = peer.name, queued = heartbeat.queued_batches, "heartbeat");
                self.visit.heartbeat(now, heartbeat);
                self.writer.send(&HeartbeatReply { hub_time_ms: now }).await?;
                Ok(())
            }
            Heard::Health(health) => {
                if peer.rooms().nodes.is_told(peer.node, crate::clock::now_ms(), health) {
                    tracing::warn!(node = peer.name, "the node has troubles that need a person");
                }
                Ok(())
            }
            Heard::Answer(asker, found) => {
                // The asker may have given up waiting.
                let _ = asker.send(found);
                Ok(())
            }
            Heard::Unasked => Ok(()),
            Heard::Roots(fingerprints) => {
                peer.rooms().nodes.holds_roots(peer.node, fingerprints.clone());
                self.roots = Some(fingerprints);
                self.tell_roots(peer).await
            }
            Heard::Goodbye(reason) => Err(ControlEnd::Goodbye(reason)),
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
                // Dropped, the asker learns that there is no answer.
                if let Some(ask) = self.order.ask(answer, |asker| !asker.is_closed()) {
                    self.writer.send(&DigestAsk { ask, subject, depth }).await?;
                }
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
