//! The doors for nodes: QUIC with mutual TLS. One endpoint serves the exchange protocol and
//! enrolment, told apart by ALPN.

mod bucket;
mod command;
mod control;
mod deliver;
mod doorkeeper;
mod enrol;
mod greeting;
mod limits;
mod publish;
mod question;
mod refusals;
mod session;
mod shares;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use hutong_certs::{
    enrol::Enrolment,
    tls::{Protocol, ResetKey, explain, protocol},
};
use hutong_schema::ids::ExchangeName;
use hutong_schema::wire::v1::RefusalCode;
use quinn::{Endpoint, Incoming, ServerConfig, default_runtime};
use rustix::net::sockopt;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use limits::GateLimits;

use doorkeeper::{Doorkeeper, Knock, Stay};
use refusals::count;
use shares::Shares;

use crate::{
    ask::Asker, governor::Governor, intake::Intake, nodes::Nodes, routes::Router,
    views::registry::RegistryHandle,
};

/// Everything the doors lead to.
#[derive(Clone)]
pub struct Rooms {
    /// Name of the exchange.
    pub exchange: ExchangeName,
    /// Incarnation of the log.
    pub incarnation: u64,
    /// Who is registered.
    pub registry: RegistryHandle,
    /// Commands.
    pub governor: Governor,
    /// Batches.
    pub intake: Intake,
    /// Deliveries.
    pub router: Router,
    /// Questions.
    pub asker: Asker,
    /// Who is connected.
    pub nodes: Nodes,
    /// Join tokens and the issuing authority.
    pub enrolment: Arc<Enrolment>,
}

/// What the socket is to hold of packets that arrive while the hub is busy: all first packets of a
/// thousand nodes that come back together. The system may grant less (`net.core.rmem_max`).
const SOCKET_BYTES: usize = 4 * 1024 * 1024;

/// How often the gate says how full it is.
const REPORT_EVERY: Duration = Duration::from_secs(1);

/// The bound but not yet serving gate.
pub struct Gate {
    endpoint: Endpoint,
    hall: Arc<Hall>,
    cancel: CancellationToken,
}

/// What all connections share.
struct Hall {
    rooms: Rooms,
    limits: Arc<GateLimits>,
    keeper: Doorkeeper,
    shares: Shares,
    cancel: CancellationToken,
    tracker: TaskTracker,
}

impl Gate {
    /// Binds the UDP address; nothing is accepted before [`serve`](Self::serve).
    ///
    /// # Errors
    /// When the address cannot be bound.
    pub fn bind(
        address: SocketAddr,
        mut tls: ServerConfig,
        resets: &ResetKey,
        rooms: Rooms,
        limits: GateLimits,
        cancel: CancellationToken,
        tracker: TaskTracker,
    ) -> io::Result<Self> {
        tls.transport_config(Arc::new(limits.transport()))
            .max_incoming(limits.handshakes)
            .incoming_buffer_size_total(limits.handshake_buffer)
            .migration(true);
        let runtime = default_runtime().ok_or_else(|| io::Error::other("no async runtime runs"))?;
        let socket = UdpSocket::bind(address)?;
        enlarge(&socket);
        let endpoint = Endpoint::new(resets.endpoint(), Some(tls), socket, runtime)?;
        let limits = Arc::new(limits);
        let keeper = Doorkeeper::new(Arc::clone(&limits));
        let shares = Shares::new(Arc::clone(&limits));
        let hall = Hall { rooms, limits, keeper, shares, cancel: cancel.clone(), tracker };
        Ok(Self { endpoint, hall: Arc::new(hall), cancel })
    }

    /// The address that was bound.
    ///
    /// # Errors
    /// When the socket no longer knows it.
    pub fn address(&self) -> io::Result<SocketAddr> {
        self.endpoint.local_addr()
    }

    /// The endpoint, for replacing its TLS material while it runs.
    pub fn endpoint(&self) -> Endpoint {
        self.endpoint.clone()
    }

    /// Accepts until cancelled, then tells every peer and returns; sessions drain in the tracker.
    pub async fn serve(self) {
        let mut reports = tokio::time::interval(REPORT_EVERY);
        loop {
            let incoming = tokio::select! {
                () = self.cancel.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
                _ = reports.tick() => {
                    self.hall.report();
                    continue;
                }
            };
            let Some(incoming) = incoming else { break };
            self.hall.admit(incoming);
        }
        tracing::info!("the gate is closed to new connections");
    }
}

impl Hall {
    fn admit(self: &Arc<Self>, incoming: Incoming) {
        let (address, proven) = (incoming.remote_address(), incoming.remote_address_validated());
        let stay = match self.keeper.knock(address, proven, Instant::now()) {
            Knock::Enter(stay) => stay,
            Knock::Prove => {
                metrics::counter!("hutong_gate_retries_total").increment(1);
                // Only an address that was validated already cannot be asked again.
                let _ = incoming.retry();
                return;
            }
            Knock::Refuse(crowd) => {
                count(RefusalCode::Crowded, crowd.label());
                incoming.refuse();
                return;
            }
        };
        let hall = Arc::clone(self);
        self.tracker.spawn(async move { hall.receive(incoming, stay).await });
    }

    async fn receive(self: Arc<Self>, incoming: Incoming, mut stay: Stay) {
        let address = incoming.remote_address();
        let handshake = async { incoming.accept()?.await };
        let within = self.limits.greeting_within();
        let connection = match tokio::time::timeout(within, handshake).await {
            Ok(Ok(connection)) => connection,
            Ok(Err(error)) => {
                count(RefusalCode::Identity, "tls");
                let why = explain(&error, hutong_certs::clock::now());
                tracing::warn!(%address, %why, "a handshake failed");
                return;
            }
            Err(_) => {
                count(RefusalCode::Slow, "handshake");
                tracing::warn!(%address, "a handshake did not finish in time");
                return;
            }
        };
        let entered = stay.connected(Instant::now());
        let protocol = protocol(&connection);
        let entered = match protocol {
            Some(Protocol::Enrolment) => entered.and_then(|()| stay.enrols()),
            Some(Protocol::Exchange) | None => entered,
        };
        if let Err(crowd) = entered {
            refusals::crowded(&connection, crowd);
            return;
        }
        match protocol {
            Some(Protocol::Enrolment) => tokio::select! {
                () = enrol::serve(connection, &self.rooms) => {}
                () = self.cancel.cancelled() => {}
            },
            Some(Protocol::Exchange) => session::serve(connection, self, stay).await,
            None => connection.close(1u32.into(), b"no protocol of this exchange"),
        }
    }

    /// How full it is, for the metrics.
    fn report(&self) {
        let (handshakes, connections) = self.keeper.counts();
        metrics::gauge!("hutong_gate_handshakes").set(handshakes as f64);
        metrics::gauge!("hutong_gate_connections").set(connections as f64);
        metrics::gauge!("hutong_gate_tasks").set(self.tracker.len() as f64);
        for (of, bytes) in self.shares.taken() {
            metrics::gauge!("hutong_gate_memory_bytes", "of" => of).set(bytes as f64);
        }
    }
}

/// Lets the socket hold more while the hub is busy. What is lost all the same is sent again.
fn enlarge(socket: &UdpSocket) {
    let enlarged = sockopt::set_socket_recv_buffer_size(socket, SOCKET_BYTES)
        .and_then(|()| sockopt::set_socket_send_buffer_size(socket, SOCKET_BYTES))
        .and_then(|()| sockopt::socket_recv_buffer_size(socket));
    match enlarged {
        Ok(bytes) if bytes >= SOCKET_BYTES => {}
        Ok(bytes) => tracing::info!(
            bytes,
            wanted = SOCKET_BYTES,
            "the system grants a small socket buffer: raise net.core.rmem_max and net.core.wmem_max"
        ),
        Err(error) => tracing::info!(%error, "the socket's buffer cannot be enlarged"),
    }
}
