//! TLS of the exchange: 1.3 only, aws-lc-rs only, no resumption and no 0-RTT (both would let a
//! revoked certificate slip in).
//!
//! One endpoint of the hub speaks two protocols. On `hutong/1` both sides show certificates; on
//! `hutong-enrol/1` only the hub does. TLS cannot demand a client's certificate for one protocol
//! and not for the other, so the hub asks for it always, verifies whatever is shown, and whoever
//! accepts a `hutong/1` connection calls [`require_identity`].
//!
//! A client of TLS 1.3 sees its handshake succeed before the server has judged its certificate:
//! an agent is connected when the hub's first message arrives, not before. What went wrong
//! otherwise is said by [`explain`].

mod refusal;
mod reset;
mod resolve;
mod verify;

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use hutong_schema::ids::ExchangeName;
use hutong_schema::wire::version::{ALPN, ALPN_ENROL};
use jiff::Timestamp;
use quinn::crypto::rustls::{HandshakeData, QuicClientConfig, QuicServerConfig};
use rustls::client::danger::ServerCertVerifier;
use rustls::client::{ResolvesClientCert, Resumption};
use rustls::crypto::{CryptoProvider, aws_lc_rs as suites};
use rustls::server::NoServerSessionStorage;
use rustls_pki_types::{CertificateDer, UnixTime};

pub use refusal::{By, HandshakeFailure, PeerRefusal, explain};
pub use reset::{ResetKey, ResetKeyError};

use crate::certificate::{CertificateFacts, CertificateProblem};
use crate::credentials::Credentials;
use crate::identity::NodeIdentity;
use crate::live::Live;
use crate::revoke::RevocationList;
use crate::roots::{CaFingerprint, RootSet};
use resolve::{HubResolver, NodeResolver};
pub(crate) use verify::verify_node;
use verify::{FingerprintVerifier, HubVerifier, NodeVerifier};

/// The server name that agents give when they connect. It is not looked up and not compared: the
/// hub is known by its SPIFFE name, under whatever host name or address it is reached.
pub const SERVER_NAME: &str = "hub.hutong";

/// What the hub shows and trusts.
#[derive(Clone, Debug)]
pub struct HubTls {
    /// Its own certificate and key.
    pub credentials: Live<Credentials>,
    /// The roots that nodes' certificates may come from.
    pub roots: Live<RootSet>,
    /// Certificates that are not taken any more.
    pub revoked: RevocationList,
    /// The exchange: nodes of another are refused.
    pub exchange: ExchangeName,
}

/// What a node shows and trusts.
#[derive(Clone, Debug)]
pub struct AgentTls {
    /// Its own certificate and key.
    pub credentials: Live<Credentials>,
    /// The roots that the hub's certificate may come from.
    pub roots: Live<RootSet>,
    /// The exchange: the hub of another is refused.
    pub exchange: ExchangeName,
}

/// The protocols of the hub's endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// `hutong/1`.
    Exchange,
    /// `hutong-enrol/1`.
    Enrolment,
}

/// A configuration cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The provider has no TLS 1.3.
    #[error("TLS 1.3 is not available")]
    Versions(#[source] rustls::Error),
    /// The provider lacks the cipher suite that QUIC begins with.
    #[error("the cipher suite that QUIC begins with is not available")]
    InitialSuite(#[from] quinn::crypto::rustls::NoInitialCipherSuite),
}

/// Why a connection has no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityMissing {
    /// The peer showed no certificate.
    #[error("HT-2008: the peer showed no certificate: it has to enrol first")]
    NoCertificate,
    /// The certificate is verified but names no node.
    #[error("HT-2006: the peer's certificate is not a node's")]
    NotANode,
    /// The certificate cannot be read.
    #[error("HT-2007: the peer's certificate cannot be used: {0}")]
    Unusable(#[from] CertificateProblem),
}

/// Makes aws-lc-rs the provider for everything in the process that does not say which it wants.
/// To be called once at the beginning of every program; the configurations of this module name
/// theirs and do not depend on it. A provider that is installed already stays.
pub fn install_provider() {
    // The error says that another call was first, which is as good.
    let _ = Arc::unwrap_or_clone(provider()).install_default();
}

impl HubTls {
    /// Whether nodes would take the hub for what it is, at this time.
    ///
    /// # Errors
    /// With what a node would refuse it for.
    pub fn accepted_by_nodes(&self, now: Timestamp) -> Result<(), PeerRefusal> {
        let seconds = u64::try_from(now.as_second()).unwrap_or_default();
        let now = UnixTime::since_unix_epoch(Duration::from_secs(seconds));
        let (credentials, roots) = (self.credentials.current(), self.roots.current());
        verify::verify_hub(credentials.chain(), &roots, &self.exchange, now)
    }
}

/// The hub's side of QUIC, for both protocols. Limits of connections and streams are the caller's:
/// `transport` here, those of incoming handshakes on the returned value.
///
/// # Errors
/// Only when the cryptographic library lacks what TLS 1.3 or QUIC need.
pub fn hub_server_config(
    tls: &HubTls,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ServerConfig, TlsError> {
    let HubTls { credentials, roots, revoked, exchange } = tls.clone();
    let verifier = NodeVerifier { roots: roots.clone(), revoked, exchange };
    let mut config = rustls::ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Versions)?
        .with_client_cert_verifier(Arc::new(verifier))
        .with_cert_resolver(Arc::new(HubResolver { credentials, roots }));
    config.alpn_protocols = vec![ALPN.to_vec(), ALPN_ENROL.to_vec()];
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    config.max_early_data_size = 0;
    let crypto = QuicServerConfig::try_from(config)?;
    let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
    config.transport_config(transport);
    Ok(config)
}

/// A node's side of `hutong/1`. The hub must show a certificate that comes from one of the roots
/// and names the hub of the exchange; connect with [`SERVER_NAME`].
///
/// # Errors
/// As [`hub_server_config`].
pub fn agent_client_config(
    tls: &AgentTls,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, TlsError> {
    let AgentTls { credentials, roots, exchange } = tls.clone();
    let verifier = HubVerifier { roots, exchange, any_time: false };
    client_config(Arc::new(verifier), Arc::new(NodeResolver::Known(credentials)), ALPN, transport)
}

/// The side of `hutong-enrol/1` that has no certificate yet. The hub must show a chain to the root
/// with this fingerprint; connect with [`SERVER_NAME`].
///
/// # Errors
/// As [`hub_server_config`].
pub fn enrolment_client_config(
    authority: CaFingerprint,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, TlsError> {
    let verifier = FingerprintVerifier { authority };
    client_config(Arc::new(verifier), Arc::new(NodeResolver::Unknown), ALPN_ENROL, transport)
}

/// A node's side of `hutong-enrol/1` once it has a certificate. The hub is checked as for the
/// exchange's protocol; nothing is shown to it here: it is shown, and signed for, in the request.
///
/// # Errors
/// As [`hub_server_config`].
pub fn renewal_client_config(
    tls: &AgentTls,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, TlsError> {
    let AgentTls { roots, exchange, .. } = tls.clone();
    let verifier = HubVerifier { roots, exchange, any_time: false };
    client_config(Arc::new(verifier), Arc::new(NodeResolver::Unknown), ALPN_ENROL, transport)
}

/// The same, but a hub whose certificate is expired or not yet valid passes: only to learn what its
/// clock says.
///
/// # Errors
/// As [`hub_server_config`].
pub(crate) fn any_time_client_config(
    tls: &AgentTls,
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, TlsError> {
    let AgentTls { roots, exchange, .. } = tls.clone();
    let verifier = HubVerifier { roots, exchange, any_time: true };
    client_config(Arc::new(verifier), Arc::new(NodeResolver::Unknown), ALPN_ENROL, transport)
}

/// Which protocol a connection speaks.
#[must_use]
pub fn protocol(connection: &quinn::Connection) -> Option<Protocol> {
    let data = connection.handshake_data()?.downcast::<HandshakeData>().ok()?;
    match data.protocol?.as_slice() {
        ALPN => Some(Protocol::Exchange),
        ALPN_ENROL => Some(Protocol::Enrolment),
        _ => None,
    }
}

/// The certificate that the peer showed and that the handshake verified.
///
/// # Errors
/// When it showed none.
pub fn peer_certificate(
    connection: &quinn::Connection,
) -> Result<CertificateFacts, IdentityMissing> {
    let chain = connection
        .peer_identity()
        .and_then(|identity| identity.downcast::<Vec<CertificateDer<'static>>>().ok())
        .ok_or(IdentityMissing::NoCertificate)?;
    let certificate = chain.first().ok_or(IdentityMissing::NoCertificate)?;
    Ok(CertificateFacts::read(certificate)?)
}

/// Which node a connection to the hub belongs to. Every `hutong/1` connection has to pass here
/// before anything is read from it.
///
/// # Errors
/// When the peer showed no certificate of a node.
pub fn require_identity(connection: &quinn::Connection) -> Result<NodeIdentity, IdentityMissing> {
    peer_certificate(connection)?.node().cloned().ok_or(IdentityMissing::NotANode)
}

/// aws-lc-rs with AES-128-GCM first: on machines with AES instructions it moves about a quarter
/// more bytes per second than the default's first choice, and the certificates' P-256 keys have the
/// same strength. The client's order counts, so both ends use this one.
pub(crate) fn provider() -> Arc<CryptoProvider> {
    static PROVIDER: LazyLock<Arc<CryptoProvider>> = LazyLock::new(|| {
        Arc::new(CryptoProvider {
            cipher_suites: vec![
                suites::cipher_suite::TLS13_AES_128_GCM_SHA256,
                suites::cipher_suite::TLS13_AES_256_GCM_SHA384,
                suites::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
            ],
            ..suites::default_provider()
        })
    });
    Arc::clone(&PROVIDER)
}

fn client_config(
    verifier: Arc<dyn ServerCertVerifier>,
    resolver: Arc<dyn ResolvesClientCert>,
    alpn: &[u8],
    transport: Arc<quinn::TransportConfig>,
) -> Result<quinn::ClientConfig, TlsError> {
    let mut config = rustls::ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Versions)?
        .dangerous()
        .with_custom_certificate_verifier(verifier)
        .with_client_cert_resolver(resolver);
    config.alpn_protocols = vec![alpn.to_vec()];
    config.resumption = Resumption::disabled();
    config.enable_early_data = false;
    let crypto = QuicClientConfig::try_from(config)?;
    let mut config = quinn::ClientConfig::new(Arc::new(crypto));
    config.transport_config(transport);
    Ok(config)
}
