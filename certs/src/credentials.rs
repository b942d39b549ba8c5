//! What an end shows in a handshake: its certificate chain and the key to it.

use std::path::Path;
use std::sync::Arc;

use rustls::sign::CertifiedKey;
use rustls_pki_types::CertificateDer;

use crate::certificate::{self, CertificateFacts, CertificateProblem};
use crate::files::{self, Access, FileError};
use crate::request::{KeyError, PrivateKey};
use crate::tls::provider;

/// A certificate chain with its private key, known to fit each other.
#[derive(Debug)]
pub struct Credentials {
    facts: CertificateFacts,
    chain: Vec<CertificateDer<'static>>,
    key: PrivateKey,
    certified: Arc<CertifiedKey>,
}

/// Why a chain and a key are no credentials.
#[derive(Debug, thiserror::Error)]
pub enum CredentialsError {
    /// There is no certificate.
    #[error("no certificate")]
    Empty,
    /// The first certificate is none of an exchange.
    #[error("the certificate cannot be used")]
    Certificate(#[from] CertificateProblem),
    /// The key does not belong to the certificate.
    #[error("the private key does not belong to the certificate")]
    KeyMismatch(#[source] rustls::Error),
    /// The key cannot be read or written.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The PEM text is damaged.
    #[error("the PEM text of the certificate is damaged")]
    Pem(#[source] rustls_pki_types::pem::Error),
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
}

impl Credentials {
    /// Puts chain (own certificate first, root not needed) and key together.
    ///
    /// # Errors
    /// When the chain is empty, not of an exchange, or the key is another one's.
    pub fn new(
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKey,
    ) -> Result<Self, CredentialsError> {
        let facts = CertificateFacts::read(chain.first().ok_or(CredentialsError::Empty)?)?;
        let certified = CertifiedKey::from_der(chain.clone(), key.to_der(), &provider())
            .map_err(CredentialsError::KeyMismatch)?;
        Ok(Self { facts, chain, key, certified: Arc::new(certified) })
    }

    /// Reads a certificate file and its key file.
    ///
    /// # Errors
    /// When one cannot be read or they do not fit each other.
    pub fn load(certificate: &Path, key: &Path) -> Result<Self, CredentialsError> {
        let text = files::read_text(certificate)?;
        let chain = certificate::from_pem(&text).map_err(CredentialsError::Pem)?;
        Self::new(chain, PrivateKey::load(key)?)
    }

    /// Writes both files. The key goes first: a certificate without its key would look complete.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn save(&self, certificate: &Path, key: &Path) -> Result<(), CredentialsError> {
        self.key.save(key)?;
        let text = certificate::to_pem(&self.chain);
        Ok(files::write_atomic(certificate, text.as_bytes(), Access::Public)?)
    }

    /// Identity, serial number and validity of the own certificate.
    #[must_use]
    pub fn facts(&self) -> &CertificateFacts {
        &self.facts
    }

    /// The chain, own certificate first.
    #[must_use]
    pub fn chain(&self) -> &[CertificateDer<'static>] {
        &self.chain
    }

    /// The key, to ask for the next certificate with.
    #[must_use]
    pub fn key(&self) -> &PrivateKey {
        &self.key
    }

    pub(crate) fn certified(&self) -> Arc<CertifiedKey> {
        Arc::clone(&self.certified)
    }
}
