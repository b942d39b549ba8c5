//! The node's half of enrolment.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use hutong_schema::ids::ExchangeName;
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::{Refused, kind};
use rustls_pki_types::CertificateDer;
use serde::{Deserialize, Serialize};

use super::folder::{FolderError, NodeFolder, NodeMaterial};
use super::proof::NotBound;
use super::{EnrolAnswer, EnrolRequest, FRAME_BYTES_MAX, SecretBytes};
use crate::clock;
use crate::identity::{Identity, NodeIdentity};
use crate::join::JoinToken;
use crate::roots::{CaFingerprint, RootSet, RootsError};
use crate::stream::{FrameReader, FrameWriter, StreamError};
use crate::tls::{
    self, HandshakeFailure, IdentityMissing, PeerRefusal, SERVER_NAME, TlsError, verify_node,
};

/// Why a node could not enrol.
#[derive(Debug, thiserror::Error)]
pub enum EnrolError {
    /// The connection could not be begun.
    #[error("cannot connect to the hub")]
    Connect(#[source] quinn::ConnectError),
    /// TLS is not available.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// The handshake failed or the connection broke.
    #[error(transparent)]
    Connection(#[from] HandshakeFailure),
    /// The hub took too long.
    #[error("the hub did not answer within {0:?}")]
    Timeout(Duration),
    /// The hub refuses; the code says what to do.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The request or its answer did not get through.
    #[error("the conversation with the hub broke off")]
    Stream(#[from] StreamError),
    /// The hub's own certificate carries no identity.
    #[error("the hub's identity")]
    Hub(#[from] IdentityMissing),
    /// The roots in the answer are unusable.
    #[error("the hub sent unusable roots")]
    Roots(#[from] RootsError),
    /// The root in the token is not among the roots in the answer.
    #[error("the hub does not trust the authority {0} that the join token names")]
    RootMissing(CaFingerprint),
    /// The certificate in the answer is not what was asked for.
    #[error("the hub sent an unusable certificate: {0}")]
    Certificate(#[from] PeerRefusal),
    /// The certificate in the answer is for another node or another key.
    #[error("the hub sent a certificate for another node or another key")]
    OtherCertificate,
    /// No proof can be made for this connection.
    #[error(transparent)]
    NotBound(#[from] NotBound),
    /// The node's files cannot be read or written.
    #[error("the node's files")]
    Folder(#[from] FolderError),
    /// The program is ending.
    #[error("the program is ending")]
    Ending(#[from] tokio::task::JoinError),
}

/// Connects for enrolment. The hub is checked by the root's fingerprint only; nothing secret has
/// been sent when this returns.
///
/// # Errors
/// When there is no hub at the address, or it is not the one with this root.
pub async fn connect(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    authority: CaFingerprint,
    transport: Arc<quinn::TransportConfig>,
    timeout: Duration,
) -> Result<quinn::Connection, EnrolError> {
    let config = tls::enrolment_client_config(authority, transport)?;
    dial(endpoint, address, config, timeout).await
}

pub(super) async fn dial(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    config: quinn::ClientConfig,
    timeout: Duration,
) -> Result<quinn::Connection, EnrolError> {
    let connecting =
        endpoint.connect_with(config, address, SERVER_NAME).map_err(EnrolError::Connect)?;
    tokio::time::timeout(timeout, connecting)
        .await
        .map_err(|_| EnrolError::Timeout(timeout))?
        .map_err(|error| tls::explain(&error, clock::now()).into())
}

/// Enrols one node over a connection from [`connect`] with the same token's fingerprint: makes the
/// node's key, unless the folder has one, shows the token, checks the answer and stores it.
/// May be repeated after any failure; several nodes may enrol over one connection at the same time,
/// which lets their files share the disk's syncs. `software` is told to the hub for its log.
///
/// # Errors
/// When the hub refuses or what it sends is not what was asked for; the folder then holds a key but
/// no certificate.
pub async fn enrol(
    connection: &quinn::Connection,
    token: &JoinToken,
    folder: &NodeFolder,
    software: &str,
    timeout: Duration,
) -> Result<NodeMaterial, EnrolError> {
    let exchange = exchange_of(connection)?;
    let key = on_disk(folder, |folder| folder.key()).await?;
    let request = EnrolRequest {
        software: software.to_owned(),
        clock_ms: clock::now().as_millisecond(),
        secret: SecretBytes(token.secret.0),
        department: token.department,
        node: token.node.clone(),
        signing_request: key.signing_request().map_err(FolderError::from)?,
    };
    let answer: EnrolAnswer = tokio::time::timeout(timeout, question(connection, &request))
        .await
        .map_err(|_| EnrolError::Timeout(timeout))??;

    let roots = RootSet::new(answer.roots.into_iter().map(CertificateDer::from))?;
    if !roots.contains(token.authority) {
        return Err(EnrolError::RootMissing(token.authority));
    }
    let chain: Vec<CertificateDer<'static>> =
        answer.chain.into_iter().map(CertificateDer::from).collect();
    let now = clock::now();
    let facts = verify_node(&chain, &roots, &exchange, clock::to_unix(now))?;
    let (department, node) = (token.department, token.node.clone());
    let asked_for = NodeIdentity { exchange, department, node };
    if facts.node() != Some(&asked_for) || facts.public_key != key.public_key() {
        return Err(EnrolError::OtherCertificate);
    }
    on_disk(folder, move |folder| folder.store(chain, key, roots, now)).await
}

/// One question on a stream of its own, and its answer.
pub(super) async fn question<Q, A>(
    connection: &quinn::Connection,
    request: &Q,
) -> Result<A, EnrolError>
where
    Q: Message + Serialize,
    A: Message + for<'a> Deserialize<'a>,
{
    let lost = |error| EnrolError::from(tls::explain(&error, clock::now()));
    let (send, receive) = connection.open_bi().await.map_err(lost)?;
    let mut writer = FrameWriter::new(send);
    writer.send(request).await?;
    writer.finish();
    let content = FrameReader::new(receive).due(FRAME_BYTES_MAX).await?;
    match frame::split(&content).map_err(StreamError::from)?.0 {
        kind::REFUSED => Err(frame::expect::<Refused>(&content).map_err(StreamError::from)?.into()),
        _ => Ok(frame::expect(&content).map_err(StreamError::from)?),
    }
}

/// Files are read and synced beside the async threads.
pub(super) async fn on_disk<T: Send + 'static>(
    folder: &NodeFolder,
    work: impl FnOnce(NodeFolder) -> Result<T, FolderError> + Send + 'static,
) -> Result<T, EnrolError> {
    let folder = folder.clone();
    Ok(tokio::task::spawn_blocking(move || work(folder)).await??)
}

pub(super) fn exchange_of(connection: &quinn::Connection) -> Result<ExchangeName, EnrolError> {
    match tls::peer_certificate(connection)?.identity {
        Identity::Hub(exchange) => Ok(exchange),
        found @ (Identity::Exchange(_) | Identity::Node(_)) => {
            Err(PeerRefusal::WrongRole { found }.into())
        }
    }
}
