//! Posting to a web service.

use std::{path::PathBuf, sync::Arc, time::Duration};

use data_encoding::HEXLOWER;
use hutong_schema::wire::codec;
use secrecy::ExposeSecret;
use serde::{Deserialize, Serialize};
use ureq::tls::{PemItem, RootCerts, TlsConfig, parse_pem};

use super::super::{SinkError, WebhookOptions, ledger::Ledger, places::blocking};
use crate::{
    config::{Secret, SecretError},
    spool::{Area, WriteBatch},
};

/// Where systems keep the certificates they trust.
const SYSTEM_CERTIFICATES: &[&str] = &[
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// A service that has not answered after this time does not.
const ANSWER_WITHIN: Duration = Duration::from_secs(60);

/// Most of an answer that is shown, characters.
const SHOWN: usize = 200;

/// Longest wait that a service may ask for.
const WAIT_MAX: Duration = Duration::from_secs(3_600);

/// A web service did not take what was posted.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// It answered with a refusal.
    #[error("{url} answered {status}: {line}")]
    Refused {
        /// The service.
        url: String,
        /// The status of HTTP.
        status: u16,
        /// The first line of the answer.
        line: String,
        /// How long it asked to wait.
        retry_after: Option<Duration>,
    },
    /// It could not be reached.
    #[error("{url} cannot be reached: {source}")]
    Unreachable {
        /// The service.
        url: String,
        /// What the client says.
        #[source]
        source: Box<ureq::Error>,
    },
    /// The token cannot be read.
    #[error(transparent)]
    Token(#[from] SecretError),
    /// No certificate authority is known.
    #[error("no certificate of an authority in {path}: name a PEM file with ca_file")]
    Authorities {
        /// The file.
        path: PathBuf,
    },
}

impl WebhookError {
    /// How long the service asked to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Refused { retry_after, .. } => *retry_after,
            Self::Unreachable { .. } | Self::Token(_) | Self::Authorities { .. } => None,
        }
    }
}

/// A web service.
pub(super) struct Webhook {
    options: WebhookOptions,
}

/// Lines that lie in the store until the service has taken them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Outgoing {
    /// The same whenever they are posted.
    idempotency_key: String,
    body: Vec<u8>,
}

impl Outgoing {
    /// Lines that lead to the ledger's position. The key names subscription and position; the number
    /// of changes and the lines themselves tell apart what leads to the same one.
    pub(super) fn new(ledger: &Ledger, body: Vec<u8>) -> Self {
        let (record, key) = (&ledger.record, &ledger.key);
        let (at, changes) = match &record.staged {
            Some(staged) => (Some(staged.consistent_at), staged.rows),
            None => (record.cursor, record.changes),
        };
        let at = at.map_or_else(
            || "none".to_owned(),
            |at| format!("{}.{}.{}", at.incarnation, at.generation, at.seq),
        );
        let hash = blake3::hash(&body);
        let hash = HEXLOWER.encode(&hash.as_bytes()[..8]);
        let idempotency_key = format!("{}-{}-{at}-{changes}-{hash}", key.node, key.grant);
        Self { idempotency_key, body }
    }

    /// What was left in the store.
    pub(super) fn read(ledger: &Ledger) -> Result<Option<Self>, SinkError> {
        let stored = ledger.store.get(Area::Outgoing, &ledger.key.bytes())?;
        stored.map(|bytes| codec::decode(&bytes).map_err(|_| SinkError::Record)).transpose()
    }

    pub(super) fn put(&self, ledger: &Ledger, writes: &mut WriteBatch) -> Result<(), SinkError> {
        let bytes = codec::encode(self).map_err(|_| SinkError::Record)?;
        writes.put(Area::Outgoing, &ledger.key.bytes(), bytes);
        Ok(())
    }

    pub(super) fn remove(ledger: &Ledger, writes: &mut WriteBatch) {
        writes.remove(Area::Outgoing, &ledger.key.bytes());
    }
}

impl Webhook {
    pub(super) fn new(options: WebhookOptions) -> Self {
        Self { options }
    }

    pub(super) fn url(&self) -> &str {
        &self.options.url
    }

    /// Posts lines once; whoever called tries again after a while.
    pub(super) async fn post(&self, outgoing: &Outgoing) -> Result<(), SinkError> {
        let (options, outgoing) = (self.options.clone(), outgoing.clone());
        blocking(move || post(&options, &outgoing)).await
    }
}

fn post(options: &WebhookOptions, outgoing: &Outgoing) -> Result<(), WebhookError> {
    let url = options.url.clone();
    let unreachable =
        |source| WebhookError::Unreachable { url: url.clone(), source: Box::new(source) };
    let mut config = ureq::Agent::config_builder()
        .http_status_as_error(false)
        .timeout_global(Some(ANSWER_WITHIN))
        .max_redirects(0)
        .max_redirects_will_error(false);
    if url.starts_with("https:") {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = TlsConfig::builder()
            .unversioned_rustls_crypto_provider(provider)
            .root_certs(authorities(options)?);
        config = config.tls_config(tls.build());
    }
    let agent: ureq::Agent = config.build().into();
    let mut request = agent
        .post(&url)
        .header("Content-Type", "application/x-ndjson")
        .header("Idempotency-Key", &outgoing.idempotency_key);
    if let Some(token) = &options.token {
        let token = Secret::read(token)?;
        request = request.header("Authorization", format!("Bearer {}", token.expose_secret()));
    }
    let mut answer = request.send(&outgoing.body[..]).map_err(unreachable)?;
    if answer.status().is_success() {
        return Ok(());
    }
    let header = answer.headers().get("Retry-After").and_then(|value| value.to_str().ok());
    let retry_after = header.and_then(|text| text.parse().ok()).map(Duration::from_secs);
    let status = answer.status().as_u16();
    let text = answer.body_mut().with_config().limit(64 * 1024).read_to_string();
    let text = text.unwrap_or_default();
    let line: String = text.lines().next().unwrap_or_default().chars().take(SHOWN).collect();
    Err(WebhookError::Refused {
        url,
        status,
        line,
        retry_after: retry_after.map(|wait| wait.min(WAIT_MAX)),
    })
}

/// Those of the configured file, else the system's.
fn authorities(options: &WebhookOptions) -> Result<RootCerts, WebhookError> {
    let known = || {
        let system = SYSTEM_CERTIFICATES.iter().map(PathBuf::from);
        system
            .into_iter()
            .find(|path| path.exists())
            .unwrap_or_else(|| SYSTEM_CERTIFICATES[0].into())
    };
    let path = options.ca_file.clone().unwrap_or_else(known);
    let pem = std::fs::read(&path).unwrap_or_default();
    let certificate = |item| match item {
        Ok(PemItem::Certificate(certificate)) => Some(certificate),
        Ok(_) | Err(_) => None,
    };
    let all: Vec<_> = parse_pem(&pem).filter_map(certificate).collect();
    if all.is_empty() {
        return Err(WebhookError::Authorities { path });
    }
    Ok(RootCerts::from(all))
}
