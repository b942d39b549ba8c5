//! The one UDP socket of the process, and the connections dialled from it.

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hutong_certs::{
    clock,
    enrol::{self, EnrolError, NodeFolder, NodeMaterial},
    join::JoinToken,
    tls::{self, AgentTls},
};
use quinn::{Connection, Endpoint, TransportConfig, VarInt};

use super::{LinkError, Patience};

/// Name and version in greetings and enrolments.
pub const SOFTWARE: &str = concat!("hutong-agent/", env!("CARGO_PKG_VERSION"));

/// How long a dial may take before the hub counts as unreachable.
const DIAL_WITHIN: Duration = Duration::from_secs(10);

/// How long one enrolment may take: the hub signs and stores.
const ENROL_WITHIN: Duration = Duration::from_secs(30);

/// A connection without any packet for this long is gone. Shorter than the hub's own limit: the
/// agent is the side that must act.
const IDLE: Duration = Duration::from_secs(12);

/// Packets are exchanged at least this often, so that a vanished hub is noticed within [`IDLE`] and
/// address translations on the way stay alive.
const KEEP_ALIVE: Duration = Duration::from_secs(4);

/// Bytes that the hub may have under way to us on one stream: two of the largest frames.
const STREAM_WINDOW: u32 = 8 * 1024 * 1024 + 256 * 1024;

/// The same for one connection. Subscriptions bound themselves by credit.
const CONNECTION_WINDOW: u32 = 16 * 1024 * 1024;

/// Bytes that we send on one connection ahead of QUIC's acknowledgements.
const SEND_WINDOW: u64 = 8 * 1024 * 1024;

/// The socket and the hub's address. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Dialler {
    endpoint: Endpoint,
    address: Arc<str>,
    transport: Arc<TransportConfig>,
    patience: Patience,
}

impl Dialler {
    /// Opens the socket. `address` is the hub's host and port; it is resolved at every dial.
    ///
    /// # Errors
    /// When no socket can be opened.
    pub fn open(address: &str) -> Result<Self, LinkError> {
        // One socket serves IPv6 and IPv4 where the machine has both; else IPv4 alone.
        let both = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let v4 = SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0));
        let endpoint =
            Endpoint::client(both).or_else(|_| Endpoint::client(v4)).map_err(LinkError::Socket)?;
        let (transport, patience) = (Arc::new(transport()), Patience::default());
        Ok(Self { endpoint, address: address.into(), transport, patience })
    }

    /// The same with another patience.
    #[must_use]
    pub fn with_patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }

    /// The hub's address as configured.
    pub fn address(&self) -> &str {
        &self.address
    }

    /// How long the hub is waited for.
    pub(super) fn patience(&self) -> Patience {
        self.patience
    }

    /// Connects with a node's identity. TLS alone says little: the hub judges the certificate
    /// afterwards, so a node is connected when it was greeted.
    pub(super) async fn dial(&self, tls: &AgentTls) -> Result<Connection, LinkError> {
        let config = tls::agent_client_config(tls, Arc::clone(&self.transport))?;
        let address = self.resolve().await?;
        let connecting = self
            .endpoint
            .connect_with(config, address, tls::SERVER_NAME)
            .map_err(LinkError::Dial)?;
        match tokio::time::timeout(DIAL_WITHIN, connecting).await {
            Ok(Ok(connection)) => Ok(connection),
            Ok(Err(quinn::ConnectionError::TimedOut)) | Err(_) => Err(self.silent()),
            Ok(Err(error)) => Err(tls::explain(&error, clock::now()).into()),
        }
    }

    /// Enrols a node: shows its token, stores key and certificate in the folder.
    ///
    /// # Errors
    /// When the hub is not reached, is not the one that the token names, or refuses.
    pub async fn enrol(
        &self,
        token: &JoinToken,
        folder: &NodeFolder,
    ) -> Result<NodeMaterial, EnrolFailure> {
        let address = self.resolve().await?;
        let transport = Arc::clone(&self.transport);
        let connection =
            enrol::connect(&self.endpoint, address, token.authority, transport, DIAL_WITHIN)
                .await
                .map_err(|error| self.unreached(error))?;
        let enrolled = enrol::enrol(&connection, token, folder, SOFTWARE, ENROL_WITHIN).await;
        connection.close(VarInt::from_u32(0), b"done");
        Ok(enrolled?)
    }

    /// Gets a node's next certificate by the one it has, which may have expired.
    ///
    /// # Errors
    /// When the hub is not reached, its own certificate is not good, or it refuses.
    pub async fn renew(
        &self,
        tls: &AgentTls,
        folder: &NodeFolder,
    ) -> Result<NodeMaterial, EnrolFailure> {
        let address = self.resolve().await?;
        let transport = Arc::clone(&self.transport);
        let connection = enrol::connect_known(&self.endpoint, address, tls, transport, DIAL_WITHIN)
            .await
            .map_err(|error| self.unreached(error))?;
        let present = tls.credentials.current();
        let renewed = enrol::renew(&connection, &present, folder, SOFTWARE, ENROL_WITHIN).await;
        connection.close(VarInt::from_u32(0), b"done");
        Ok(renewed?)
    }

    /// The hub's clock minus ours, milliseconds, also of a hub whose certificate seems to be out of
    /// its time: chain and name are checked all the same.
    ///
    /// # Errors
    /// When the hub is not reached, or does not answer.
    pub async fn clock_difference_ms(&self, tls: &AgentTls) -> Result<i64, EnrolFailure> {
        let address = self.resolve().await?;
        let transport = Arc::clone(&self.transport);
        let connecting =
            enrol::connect_to_compare_clocks(&self.endpoint, address, tls, transport, DIAL_WITHIN);
        let connection = connecting.await.map_err(|error| self.unreached(error))?;
        let told = enrol::hub_clock(&connection, DIAL_WITHIN).await;
        connection.close(VarInt::from_u32(0), b"done");
        Ok(told?.as_millisecond().saturating_sub(clock::now().as_millisecond()))
    }

    fn unreached(&self, error: EnrolError) -> EnrolFailure {
        if matches!(error, EnrolError::Timeout(_)) { self.silent().into() } else { error.into() }
    }

    /// Waits until the closing of all connections has been told to the hub.
    pub async fn idle(&self) {
        self.endpoint.wait_idle().await;
    }

    async fn resolve(&self) -> Result<SocketAddr, LinkError> {
        let address = || self.address.to_string();
        let mut found = tokio::net::lookup_host(&*self.address)
            .await
            .map_err(|error| LinkError::Resolve { address: address(), source: Some(error) })?;
        found.next().ok_or_else(|| LinkError::Resolve { address: address(), source: None })
    }

    fn silent(&self) -> LinkError {
        LinkError::Silent { address: self.address.to_string(), within: DIAL_WITHIN }
    }
}

/// Why a node could not enrol.
#[derive(Debug, thiserror::Error)]
pub enum EnrolFailure {
    /// The hub was not reached.
    #[error(transparent)]
    Link(#[from] LinkError),
    /// The enrolment itself failed.
    #[error(transparent)]
    Enrol(#[from] EnrolError),
}

fn transport() -> TransportConfig {
    let mut transport = TransportConfig::default();
    let idle = VarInt::from_u32(u32::try_from(IDLE.as_millis()).unwrap_or(u32::MAX));
    transport
        .max_concurrent_bidi_streams(VarInt::from_u32(0))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .stream_receive_window(VarInt::from_u32(STREAM_WINDOW))
        .receive_window(VarInt::from_u32(CONNECTION_WINDOW))
        .send_window(SEND_WINDOW)
        .datagram_receive_buffer_size(None)
        .max_idle_timeout(Some(idle.into()))
        .keep_alive_interval(Some(KEEP_ALIVE));
    transport
}
