//! The doors for nodes: QUIC with mutual TLS. One endpoint serves the exchange protocol and
//! enrolment, told apart by ALPN.

mod command;
mod control;
mod deliver;
mod enrol;
mod greeting;
mod limits;
mod publish;
mod question;
mod session;

use std::{
    io,
    net::{SocketAddr, UdpSocket},
    sync::Arc,
};

use hutong_certs::{
    enrol::Enrolment,
    tls::{Protocol, ResetKey, explain, protocol},
};
use hutong_schema::ids::ExchangeName;
use quinn::{Endpoint, Incoming, ServerConfig, default_runtime};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

pub use limits::GateLimits;

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

/// The bound but not yet serving gate.
pub struct Gate {
    endpoint: Endpoint,
    rooms: Arc<Rooms>,
    limits: Arc<GateLimits>,
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
        let endpoint = Endpoint::new(resets.endpoint(), Some(tls), socket, runtime)?;
        Ok(Self { endpoint, rooms: Arc::new(rooms), limits: Arc::new(limits), cancel, tracker })
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
        let handshakes = Arc::new(Semaphore::new(self.limits.handshakes));
        loop {
            let incoming = tokio::select! {
                () = self.cancel.cancelled() => break,
                incoming = self.endpoint.accept() => incoming,
            };
            let Some(incoming) = incoming else { break };
            self.admit(incoming, &handshakes);
        }
        tracing::info!("the gate is closed to new connections");
    }

    fn admit(&self, incoming: Incoming, handshakes: &Arc<Semaphore>) {
        let Ok(permit) = Arc::clone(handshakes).try_acquire_owned() else {
            metrics::counter!("hutong_gate_refused_total", "reason" => "handshakes").increment(1);
            incoming.refuse();
            return;
        };
        let under_way = self.limits.handshakes - handshakes.available_permits();
        if under_way > self.limits.retry_above && !incoming.remote_address_validated() {
            metrics::counter!("hutong_gate_refused_total", "reason" => "retry").increment(1);
            // Only an address that was validated already cannot be asked again.
            let _ = incoming.retry();
            return;
        }
        let (rooms, limits) = (Arc::clone(&self.rooms), Arc::clone(&self.limits));
        let (cancel, tracker) = (self.cancel.clone(), self.tracker.clone());
        self.tracker.spawn(async move {
            let address = incoming.remote_address();
            let handshake = async { incoming.accept()?.await };
            let connection = match tokio::time::timeout(limits.greeting_within(), handshake).await {
                Ok(Ok(connection)) => connection,
                Ok(Err(error)) => {
                    metrics::counter!("hutong_gate_refused_total", "reason" => "tls").increment(1);
                    let why = explain(&error, hutong_certs::clock::now());
                    tracing::warn!(%address, %why, "a handshake failed");
                    return;
                }
                Err(_) => {
                    metrics::counter!("hutong_gate_refused_total", "reason" => "slow").increment(1);
                    tracing::warn!(%address, "a handshake did not finish in time");
                    return;
                }
            };
            drop(permit);
            match protocol(&connection) {
                Some(Protocol::Enrolment) => tokio::select! {
                    () = enrol::serve(connection, &rooms) => {}
                    () = cancel.cancelled() => {}
                },
                Some(Protocol::Exchange) => {
                    session::serve(connection, rooms, limits, cancel, tracker).await
                }
                None => connection.close(1u32.into(), b"no protocol of this exchange"),
            }
        });
    }
}
