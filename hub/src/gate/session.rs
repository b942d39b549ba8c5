//! One connection of a node, from greeting to goodbye.

use std::{sync::Arc, time::Instant};

use hutong_certs::stream::{FrameReader, FrameWriter, StreamError};
use hutong_schema::{
    ids::CreditCode,
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        order::{Disorder, Opening},
        v1::{RefusalCode, Refused},
    },
    words::in_full,
};
use tokio_util::sync::CancellationToken;

use super::{
    Hall, Rooms, command as commands, control, deliver,
    doorkeeper::Stay,
    greeting::{self, Guest, NotGreeted},
    publish as intake, question, refusals,
    shares::Share,
};
use crate::{numbers::NodeNo, routes::RouteError};

/// What a peer is told to wait whose frame found no room, milliseconds.
const BUSY_MS: u32 = 1_000;

/// Characters of a refusal that go into the hub's own log.
const LOGGED_CHARS: usize = 500;

/// What every stream of a connection knows.
pub(super) struct Peer {
    pub(super) node: NodeNo,
    pub(super) department: CreditCode,
    pub(super) name: String,
    pub(super) hall: Arc<Hall>,
    pub(super) share: Share,
    pub(super) cancel: CancellationToken,
}

impl Peer {
    /// What the hub's doors lead to.
    pub(super) fn rooms(&self) -> &Rooms {
        &self.hall.rooms
    }
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(connection: quinn::Connection, hall: Arc<Hall>, mut stay: Stay) {
    let address = connection.remote_address();
    let guest = match greet(&connection, &hall, &mut stay).await {
        Ok(guest) => guest,
        Err(closed) => {
            tracing::warn!(%address, refused = %closed, "a node was not let in");
            refusals::close(&connection, &closed);
            return;
        }
    };
    tracing::info!(node = guest.name, %address, version = guest.version.number(), "node connected");
    // Streams end with the connection, and drain when the hub does.
    let cancel = hall.cancel.child_token();
    let share = hall.shares.of(guest.node, guest.department, connection.clone(), Instant::now());
    let mut reader = guest.reader;
    reader.guard(share.guard());
    let peer = Arc::new(Peer {
        node: guest.node,
        department: guest.department,
        name: guest.name,
        hall,
        share,
        cancel: cancel.clone(),
    });
    let thrown_out = guest.visit.thrown_out();
    let mut control = control::Control::new(guest.order, reader, guest.writer, guest.visit);
    let served = attend(&connection, &peer, &mut control, &cancel);
    let ended = tokio::select! {
        ended = served => ended,
        refused = thrown_out => {
            refusals::close(&connection, &refused);
            metrics::counter!("hutong_gate_thrown_out_total").increment(1);
            refused.to_string()
        }
    };
    cancel.cancel();
    tracing::info!(node = peer.name, reason = ended, "node disconnected");
    drop(stay);
}

/// Lets a peer in, or says with which refusal the connection is to be closed.
async fn greet(
    connection: &quinn::Connection,
    hall: &Hall,
    stay: &mut Stay,
) -> Result<Guest, Refused> {
    let refuse = |refused: Refused, reason| {
        refusals::count_number(refused.code, reason);
        Err(refused)
    };
    let node = match greeting::identity(connection) {
        Ok(node) => node,
        Err(refused) => return refuse(refused, "greeting"),
    };
    if let Err(crowd) = stay.belongs_to(node) {
        return refuse(Refused::new(RefusalCode::Crowded, crowd.to_string()), crowd.label());
    }
    let now_ms = crate::clock::now_ms();
    let greeting = greeting::greet(connection, &hall.rooms, &hall.limits, now_ms);
    match tokio::time::timeout(hall.limits.greeting_within(), greeting).await {
        Ok(Ok(guest)) => Ok(guest),
        Ok(Err(NotGreeted::Refused(refused))) => refuse(refused, "greeting"),
        Ok(Err(error @ (NotGreeted::Broken(_) | NotGreeted::Silent(_)))) => {
            refuse(Refused::new(RefusalCode::Protocol, error.in_full()), "greeting")
        }
        Err(_) => {
            let within = hall.limits.greeting_within().as_secs();
            let detail = format!("no greeting came within {within} s");
            refuse(Refused::new(RefusalCode::Slow, detail), "greeting")
        }
    }
}

/// Serves a greeted connection until it ends; why it ended.
async fn attend(
    connection: &quinn::Connection,
    peer: &Arc<Peer>,
    control: &mut control::Control,
    cancel: &CancellationToken,
) -> String {
    loop {
        let due = tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let reader = FrameReader::guarded(receive, peer.share.guard());
                    let writer = FrameWriter::paced(send, peer.hall.limits.pace());
                    peer.hall.tracker.spawn(stream_of(Arc::clone(peer), reader, writer));
                    continue;
                }
                Err(error) => return error.to_string(),
            },
            due = control.next() => due,
            () = cancel.cancelled() => {
                control.goodbye("the hub is shutting down").await;
                connection.close(0u32.into(), b"the hub is shutting down");
                return "the hub is shutting down".to_owned();
            }
        };
        let handled = match due {
            Ok(due) => control.handle(peer, due).await,
            Err(end) => Err(end),
        };
        if let Err(end) = handled {
            match end.refusal() {
                Some(refused) => {
                    refusals::count_number(refused.code, "control");
                    refusals::close(connection, &refused);
                }
                None => connection.close(0u32.into(), end.to_string().as_bytes()),
            }
            return end.to_string();
        }
    }
}

/// Serves one stream: its first frame says what it is.
async fn stream_of(peer: Arc<Peer>, mut reader: FrameReader, mut writer: FrameWriter) {
    let served = dispatch(&peer, &mut reader, &mut writer).await;
    let refusal = match served {
        Ok(()) => None,
        Err(StreamFailure::Refused(refused)) => Some(refused),
        Err(StreamFailure::Broken(error)) => {
            tracing::debug!(%error, "a stream broke");
            refusal_of(&error)
        }
    };
    if let Some(refused) = refusal {
        refusals::count_number(refused.code, "stream");
        // The whole detail may repeat what the peer sent.
        let words: String = refused.to_string().chars().take(LOGGED_CHARS).collect();
        tracing::warn!(node = peer.name, refused = words, "refused");
        // When the peer no longer listens there is nobody left to tell.
        let _ = writer.send(&refused).await;
        reader.stop();
    }
    writer.finish();
}

/// What the peer is told of a broken stream; nothing if it broke it or is gone.
pub(super) fn refusal_of(error: &StreamError) -> Option<Refused> {
    match error {
        StreamError::Frame(error) => Some(Refused::new(RefusalCode::Protocol, in_full(error))),
        StreamError::Slow(_) => Some(Refused::new(RefusalCode::Slow, error.to_string())),
        StreamError::NoRoom(_) => {
            let detail = format!(
                "{error}: the hub has much to do for others, or this node's other streams are slow"
            );
            Some(Refused::new(RefusalCode::Busy, detail).retry_after(BUSY_MS))
        }
        StreamError::Ended => Some(Refused::new(RefusalCode::Protocol, error.to_string())),
        StreamError::Read(_) | StreamError::Write(_) => None,
    }
}

/// What the peer is told of a message that has no place.
pub(super) fn misplaced(disorder: &Disorder) -> Refused {
    disorder.into()
}

/// Why a stream ended before its time.
#[derive(Debug, thiserror::Error)]
pub(super) enum StreamFailure {
    /// The peer is to be told.
    #[error("{0}")]
    Refused(#[from] Refused),
    /// The stream itself failed.
    #[error(transparent)]
    Broken(#[from] StreamError),
}

impl From<RouteError> for StreamFailure {
    fn from(error: RouteError) -> Self {
        Self::Refused(error.into())
    }
}

impl From<Disorder> for StreamFailure {
    fn from(disorder: Disorder) -> Self {
        Self::Refused(misplaced(&disorder))
    }
}

async fn dispatch(
    peer: &Arc<Peer>,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    let within = peer.hall.limits.greeting_within();
    // Once it has begun, a frame has the time that a thin line needs for it.
    let begun = tokio::time::timeout(within, reader.begins()).await;
    begun.map_err(|_| StreamError::Slow(within))??;
    let Some(content) = reader.next(CONTROL_FRAME_BYTES_MAX).await? else { return Ok(()) };
    match Opening::read(&content)? {
        Opening::Publish(open) => intake::serve(peer, open, reader, writer).await,
        Opening::Subscribe(open) => deliver::serve(peer, open, reader, writer).await,
        Opening::Lookup(lookup) => question::lookup(peer, lookup, writer).await,
        Opening::Verify(verify) => question::verify(peer, verify, writer).await,
        Opening::CatalogueApply(apply) => commands::catalogue_apply(peer, &apply, writer).await,
        Opening::CatalogueList(list) => commands::catalogue_list(peer, &list, writer).await,
        Opening::GrantList(_) => commands::grant_list(peer, writer).await,
    }
}
