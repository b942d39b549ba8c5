//! One connection of a node, from greeting to goodbye.

use std::sync::Arc;

use hutong_certs::stream::{FrameReader, FrameWriter, StreamError};
use hutong_schema::{
    ids::CreditCode,
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        frame::{self, FrameError, Message},
        v1::{RefusalCode, Refused, ask, command, publish, subscribe},
    },
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    GateLimits, Rooms, command as commands, control, deliver, greeting, publish as intake, question,
};
use crate::{numbers::NodeNo, routes::RouteError};

/// What every stream of a connection knows.
pub(super) struct Peer {
    pub(super) node: NodeNo,
    pub(super) department: CreditCode,
    pub(super) name: String,
    pub(super) rooms: Arc<Rooms>,
    pub(super) limits: Arc<GateLimits>,
    pub(super) cancel: CancellationToken,
}

/// Serves a connection until either side ends it.
pub(super) async fn serve(
    connection: quinn::Connection,
    rooms: Arc<Rooms>,
    limits: Arc<GateLimits>,
    hub_cancel: CancellationToken,
    tracker: TaskTracker,
) {
    let address = connection.remote_address();
    let greeting = greeting::greet(&connection, &rooms, &limits, crate::clock::now_ms());
    let guest = match tokio::time::timeout(limits.greeting_within(), greeting).await {
        Ok(Ok(guest)) => guest,
        Ok(Err(error)) => {
            metrics::counter!("hutong_gate_refused_total", "reason" => "greeting").increment(1);
            tracing::warn!(%address, %error, "a node was not let in");
            connection.close(1u32.into(), b"not let in");
            return;
        }
        Err(_) => {
            metrics::counter!("hutong_gate_refused_total", "reason" => "silent").increment(1);
            connection.close(1u32.into(), b"no greeting");
            return;
        }
    };
    tracing::info!(node = guest.name, %address, version = guest.version.number(), "node connected");
    // Streams end with the connection, and drain when the hub does.
    let cancel = hub_cancel.child_token();
    let peer = Arc::new(Peer {
        node: guest.node,
        department: guest.department,
        name: guest.name,
        rooms,
        limits,
        cancel: cancel.clone(),
    });
    let thrown_out = guest.visit.thrown_out();
    let mut control = control::Control::new(guest.reader, guest.writer, guest.visit);
    let stay = stay(&connection, &peer, &mut control, &cancel, &tracker);
    let ended = tokio::select! {
        ended = stay => ended,
        refused = thrown_out => {
            // In the closing frame: it needs no room in any window and waits for nobody.
            connection.close(u32::from(refused.code).into(), refused.to_string().as_bytes());
            metrics::counter!("hutong_gate_thrown_out_total").increment(1);
            refused.to_string()
        }
    };
    cancel.cancel();
    tracing::info!(node = peer.name, reason = ended, "node disconnected");
}

/// Serves a greeted connection until it ends; why it ended.
async fn stay(
    connection: &quinn::Connection,
    peer: &Arc<Peer>,
    control: &mut control::Control,
    cancel: &CancellationToken,
    tracker: &TaskTracker,
) -> String {
    loop {
        let due = tokio::select! {
            stream = connection.accept_bi() => match stream {
                Ok((send, receive)) => {
                    let (reader, writer) = (FrameReader::new(receive), FrameWriter::new(send));
                    tracker.spawn(stream_of(Arc::clone(peer), reader, writer));
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
            connection.close(0u32.into(), end.to_string().as_bytes());
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
        Err(StreamFailure::Broken(StreamError::Frame(error))) => {
            Some(Refused::new(RefusalCode::Protocol, error.to_string()))
        }
        Err(StreamFailure::Broken(error)) => {
            tracing::debug!(%error, "a stream broke");
            None
        }
    };
    if let Some(refused) = refusal {
        metrics::counter!("hutong_refusals_total", "code" => format!("HT-{}", refused.code))
            .increment(1);
        tracing::warn!(node = peer.name, %refused, "refused");
        // When the peer no longer listens there is nobody left to tell.
        let _ = writer.send(&refused).await;
        reader.stop();
    }
    writer.finish();
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

impl From<FrameError> for StreamFailure {
    fn from(error: FrameError) -> Self {
        Self::Broken(StreamError::Frame(error))
    }
}

async fn dispatch(
    peer: &Arc<Peer>,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    let Some(content) = reader.next(CONTROL_FRAME_BYTES_MAX).await? else { return Ok(()) };
    let (kind, _) = frame::split(&content)?;
    match kind {
        publish::PublishOpen::KIND => {
            intake::serve(peer, frame::expect(&content)?, reader, writer).await
        }
        subscribe::SubscribeOpen::KIND => {
            deliver::serve(peer, frame::expect(&content)?, reader, writer).await
        }
        ask::Lookup::KIND => question::lookup(peer, frame::expect(&content)?, writer).await,
        ask::Verify::KIND => question::verify(peer, frame::expect(&content)?, writer).await,
        command::CatalogueApply::KIND => {
            commands::catalogue_apply(peer, &frame::expect(&content)?, writer).await
        }
        command::CatalogueList::KIND => {
            commands::catalogue_list(peer, &frame::expect(&content)?, writer).await
        }
        command::GrantList::KIND => commands::grant_list(peer, writer).await,
        other => {
            let detail = format!("no stream starts with a message of kind {other:#04x}");
            Err(Refused::new(RefusalCode::Protocol, detail).into())
        }
    }
}
