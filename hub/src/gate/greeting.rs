//! The greeting: who is this, do we know it, do we speak a common version.

use hutong_certs::stream::{FrameReader, FrameWriter, StreamError};
use hutong_schema::{
    ids::{CreditCode, NodeName},
    limits::GREETING_BYTES_MAX,
    wire::{
        order::Disorder,
        v1::{
            RefusalCode, Refused,
            control::{Hello, Welcome},
        },
        version::Version,
    },
};

use super::{GateLimits, Rooms, control::Order};
use crate::{
    govern,
    nodes::{Arrival, Pulse, Visit},
    numbers::NodeNo,
};

/// Our name in the greeting.
pub(super) const SOFTWARE: &str = concat!("hutong-hub/", env!("CARGO_PKG_VERSION"));

/// A node that was let in.
pub(super) struct Guest {
    pub(super) node: NodeNo,
    pub(super) department: CreditCode,
    /// Name for logs: department and node.
    pub(super) name: String,
    pub(super) visit: Visit,
    pub(super) version: Version,
    pub(super) order: Order,
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
}

/// Why a connection goes no further.
#[derive(Debug, thiserror::Error)]
pub(super) enum NotGreeted {
    /// The peer was told why.
    #[error("{0}")]
    Refused(Refused),
    /// The connection broke.
    #[error("the connection broke during the greeting")]
    Broken(#[from] StreamError),
    /// The peer did not open its control stream.
    #[error("no control stream came")]
    Silent(#[from] quinn::ConnectionError),
}

impl NotGreeted {
    /// With its causes, in one line.
    pub(super) fn in_full(&self) -> String {
        hutong_schema::words::in_full(self)
    }
}

/// Greets the peer on the first stream it opens.
pub(super) async fn greet(
    connection: &quinn::Connection,
    rooms: &Rooms,
    limits: &GateLimits,
    now_ms: i64,
) -> Result<Guest, NotGreeted> {
    let (send, receive) = connection.accept_bi().await?;
    let (mut reader, mut writer) =
        (FrameReader::new(receive), FrameWriter::paced(send, limits.pace()));
    let mut order = Order::default();
    let content = reader.due(GREETING_BYTES_MAX).await?;
    let admitted = match order.hello(&content) {
        Ok((hello, version)) => {
            admit(connection, rooms, &hello, now_ms).await.map(|admitted| (admitted, version))
        }
        Err(Disorder::Frame(error)) => return Err(StreamError::from(error).into()),
        Err(disorder) => Err(Refused::new(disorder.code(), disorder.to_string())),
    };
    match admitted {
        Ok(((node, department, name, visit), version)) => {
            let welcome = Welcome {
                version: version.number(),
                software: SOFTWARE.to_owned(),
                hub_time_ms: now_ms,
                exchange: rooms.exchange.to_string(),
                incarnation: rooms.incarnation,
                heartbeat_ms: u32::try_from(limits.heartbeat_seconds * 1_000).unwrap_or(u32::MAX),
            };
            writer.send(&welcome).await?;
            order.let_in();
            Ok(Guest { node, department, name, visit, version, order, reader, writer })
        }
        Err(refused) => {
            writer.send(&refused).await?;
            writer.finish();
            writer.delivered().await;
            Err(NotGreeted::Refused(refused))
        }
    }
}

/// Whose certificate the peer showed, before anything is read from it.
///
/// # Errors
/// When it showed none of a node.
pub(super) fn identity(connection: &quinn::Connection) -> Result<(CreditCode, NodeName), Refused> {
    let identity = hutong_certs::tls::require_identity(connection)
        .map_err(|error| Refused::new(RefusalCode::Identity, error.to_string()))?;
    Ok((identity.department, identity.node))
}

type Admitted = (NodeNo, CreditCode, String, Visit);

async fn admit(
    connection: &quinn::Connection,
    rooms: &Rooms,
    hello: &Hello,
    now_ms: i64,
) -> Result<Admitted, Refused> {
    let (department, node_name) = identity(connection)?;
    let serial = hutong_certs::tls::peer_certificate(connection)
        .map_err(|error| Refused::new(RefusalCode::Identity, error.to_string()))?
        .serial
        .to_string();
    let name = format!("{department}/{node_name}");
    let admits = || {
        let registry = rooms.registry.read();
        govern::admits(&registry, department, &node_name, &serial).cloned()
    };
    let node = admits()?;
    let arrival = Arrival {
        department,
        instance: hello.instance,
        software: hello.software.chars().take(128).collect(),
        address: connection.remote_address(),
        since_ms: now_ms,
        clock_skew_ms: hello.clock_ms.saturating_sub(now_ms),
        serial: serial.clone(),
    };
    let visit = arrive(connection, rooms, node.number, &name, arrival).await?;
    // A revocation that came between the first look and the arrival did not find it here.
    admits()?;
    Ok((node.number, department, name, visit))
}

/// Registers the arrival, unless the node is there already: then one of two machines is a copy.
async fn arrive(
    connection: &quinn::Connection,
    rooms: &Rooms,
    node: NodeNo,
    name: &str,
    arrival: Arrival,
) -> Result<Visit, Refused> {
    let pulse = || {
        let connection = connection.clone();
        Pulse::new(move || connection.stats().udp_rx.datagrams)
    };
    let mut elsewhere = match rooms.nodes.arrive(node, arrival.clone(), pulse()) {
        Ok(visit) => return Ok(visit),
        Err(elsewhere) => elsewhere,
    };
    if !rooms.nodes.answers(node, &elsewhere).await {
        // Its place is free now, unless a third one was faster.
        match rooms.nodes.arrive(node, arrival.clone(), pulse()) {
            Ok(visit) => return Ok(visit),
            Err(other) => elsewhere = other,
        }
    }
    metrics::counter!("hutong_gate_copies_refused_total").increment(1);
    let (here, there) = (elsewhere.address, arrival.address);
    if rooms.nodes.saw_copy(node, there, arrival.since_ms) {
        tracing::warn!(node = name, connected = %here, refused = %there,
            "HT-1006: one identity on two machines: find out which of them is the copy and stop it");
    }
    let detail = format!(
        "{name}: {elsewhere}; you come from {there}. One of the two is a copy: stop it. If it may have been copied by a stranger, have the certificates revoked (hutong-hub node revoke) and enrol the right machine anew with a new join token"
    );
    Err(Refused::new(RefusalCode::Elsewhere, detail))
}
