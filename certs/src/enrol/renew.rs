//! The node's half of a renewal, and of comparing clocks with the hub.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;

use super::client::{EnrolError, dial, exchange_of, on_disk, question};
use super::folder::{FolderError, NodeFolder, NodeMaterial};
use super::proof::Statement;
use super::{ClockAsk, ClockTold, EnrolAnswer, RenewRequest};
use crate::clock;
use crate::credentials::Credentials;
use crate::roots::RootSet;
use crate::tls::{self, AgentTls, verify_node};

/// Connects for a renewal: the hub must be the one that the node knows already.
///
/// # Errors
/// When there is no hub at the address, or its certificate is not good.
pub async fn connect_known(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    tls: &AgentTls,
    transport: Arc<quinn::TransportConfig>,
    timeout: Duration,
) -> Result<quinn::Connection, EnrolError> {
    let config = tls::renewal_client_config(tls, transport)?;
    dial(endpoint, address, config, timeout).await
}

/// Connects to a hub whose certificate was refused for its time: chain and name are still checked,
/// the time is not. Good for [`hub_clock`] and nothing else.
///
/// # Errors
/// When there is no hub at the address, or it is another one.
pub async fn connect_to_compare_clocks(
    endpoint: &quinn::Endpoint,
    address: SocketAddr,
    tls: &AgentTls,
    transport: Arc<quinn::TransportConfig>,
    timeout: Duration,
) -> Result<quinn::Connection, EnrolError> {
    let config = tls::any_time_client_config(tls, transport)?;
    dial(endpoint, address, config, timeout).await
}

/// Gets the next certificate for a new key: shows the present one, which may have expired, signs for
/// it, checks the answer and stores it in its place. May be repeated after any failure.
///
/// # Errors
/// When the hub refuses or what it sends is not what was asked for; the present certificate is then
/// as good as before.
pub async fn renew(
    connection: &quinn::Connection,
    present: &Credentials,
    folder: &NodeFolder,
    software: &str,
    timeout: Duration,
) -> Result<NodeMaterial, EnrolError> {
    let exchange = exchange_of(connection)?;
    let key = on_disk(folder, |folder| folder.next_key()).await?;
    let signing_request = key.signing_request().map_err(FolderError::from)?;
    let statement = Statement::new(connection, &signing_request)?;
    let request = RenewRequest {
        software: software.to_owned(),
        clock_ms: clock::now().as_millisecond(),
        chain: present.chain().iter().map(|certificate| certificate.to_vec()).collect(),
        signing_request,
        proof: statement.sign(present.key()).map_err(FolderError::from)?,
    };
    let answer: EnrolAnswer = tokio::time::timeout(timeout, question(connection, &request))
        .await
        .map_err(|_| EnrolError::Timeout(timeout))??;
    let roots = RootSet::new(answer.roots.into_iter().map(CertificateDer::from))?;
    let chain: Vec<CertificateDer<'static>> =
        answer.chain.into_iter().map(CertificateDer::from).collect();
    let now = clock::now();
    let facts = verify_node(&chain, &roots, &exchange, clock::to_unix(now))?;
    if facts.identity != present.facts().identity || facts.public_key != key.public_key() {
        return Err(EnrolError::OtherCertificate);
    }
    on_disk(folder, move |folder| folder.store(chain, key, roots, now)).await
}

/// Asks the hub for its clock.
///
/// # Errors
/// When it does not answer.
pub async fn hub_clock(
    connection: &quinn::Connection,
    timeout: Duration,
) -> Result<Timestamp, EnrolError> {
    let told: ClockTold = tokio::time::timeout(timeout, question(connection, &ClockAsk {}))
        .await
        .map_err(|_| EnrolError::Timeout(timeout))??;
    Ok(Timestamp::from_millisecond(told.hub_time_ms).unwrap_or(Timestamp::UNIX_EPOCH))
}
