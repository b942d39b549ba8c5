//! Proof that whoever asks for a renewal holds the key of the certificate it shows.

use rustls_pki_types::CertificateDer;
use sha2::{Digest, Sha256};
use webpki::EndEntityCert;

use crate::request::{KeyError, PrivateKey};

/// Stands in front of what is signed, and is the label of the export.
const LABEL: &[u8] = b"hutong-enrol/1 renew";

/// The TLS library exports nothing from this connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("nothing can be derived from the connection's secret")]
pub struct NotBound;

/// What is signed: bound to the connection, so that it is fresh and worth nothing elsewhere, and to
/// the request, so that nobody puts another key into it.
pub(super) struct Statement(Vec<u8>);

impl Statement {
    pub(super) fn new(
        connection: &quinn::Connection,
        signing_request: &[u8],
    ) -> Result<Self, NotBound> {
        let mut exported = [0; 32];
        connection.export_keying_material(&mut exported, LABEL, &[]).map_err(|_| NotBound)?;
        let request = Sha256::digest(signing_request);
        Ok(Self([LABEL, &[0], &exported, &request].concat()))
    }

    pub(super) fn sign(&self, key: &PrivateKey) -> Result<Vec<u8>, KeyError> {
        key.sign(&self.0)
    }

    /// Whether the key of this certificate signed it.
    pub(super) fn is_signed_by(&self, certificate: &CertificateDer<'_>, proof: &[u8]) -> bool {
        EndEntityCert::try_from(certificate).is_ok_and(|certificate| {
            certificate
                .verify_signature(webpki::aws_lc_rs::ECDSA_P256_SHA256, &self.0, proof)
                .is_ok()
        })
    }
}
