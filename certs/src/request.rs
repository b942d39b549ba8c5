//! Private keys and certificate signing requests (PKCS #10).
//!
//! Keys are ECDSA P-256 everywhere: small certificates, fast handshakes, understood by every TLS
//! library. The private key never leaves the machine that made it.

use std::path::Path;

use rcgen::{CertificateParams, DistinguishedName, KeyPair, SubjectPublicKeyInfo};
use rustls_pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use sha2::{Digest, Sha256};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::prelude::FromDer;

use crate::files::{self, Access, FileError};

/// Longest signing request that is read, bytes; one of ours is about 200.
pub const REQUEST_BYTES_MAX: usize = 8 * 1024;

/// A private key (ECDSA P-256). Its `Debug` shows nothing of it.
#[derive(Debug)]
pub struct PrivateKey(KeyPair);

/// The public key of a signing request whose signature was verified: whoever sent it holds the
/// private key.
#[derive(Clone, Debug)]
pub struct ProvenKey {
    spki: SubjectPublicKeyInfo,
    der: Vec<u8>,
}

/// A key cannot be made, read or written.
#[derive(Debug, thiserror::Error)]
pub enum KeyError {
    /// The file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// What the file holds is no key that can be used here.
    #[error("not a usable ECDSA P-256 private key in PKCS #8 PEM")]
    Content(#[source] rcgen::Error),
    /// No key or request could be made.
    #[error("no key could be made")]
    Make(#[source] rcgen::Error),
}

/// Why a signing request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestProblem {
    /// It is not a PKCS #10 request, or an absurdly large one.
    #[error("not a certificate signing request")]
    Encoding,
    /// Its signature does not fit its key.
    #[error("the signing request is not signed with its own key")]
    Signature,
    /// The key is of another kind.
    #[error("the key is not ECDSA P-256")]
    KeyKind,
}

impl PrivateKey {
    /// Makes a new key.
    ///
    /// # Errors
    /// When the system gives no randomness.
    pub fn generate() -> Result<Self, KeyError> {
        KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256).map(Self).map_err(KeyError::Make)
    }

    /// Reads a key file.
    ///
    /// # Errors
    /// When it cannot be read or holds no usable key.
    pub fn load(path: &Path) -> Result<Self, KeyError> {
        Self::from_pem(&files::read_text(path)?)
    }

    /// Writes the key, readable by its owner only.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<(), KeyError> {
        Ok(files::write_atomic(path, self.0.serialize_pem().as_bytes(), Access::Private)?)
    }

    /// A signing request for this key. It asks for nothing: who the certificate is for follows from
    /// the join token, never from the request.
    ///
    /// # Errors
    /// When signing fails.
    pub fn signing_request(&self) -> Result<Vec<u8>, KeyError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        let request = params.serialize_request(&self.0).map_err(KeyError::Make)?;
        Ok(request.der().to_vec())
    }

    /// Signs a message (ECDSA P-256, SHA-256, ASN.1).
    ///
    /// # Errors
    /// When signing fails.
    pub fn sign(&self, message: &[u8]) -> Result<Vec<u8>, KeyError> {
        rcgen::SigningKey::sign(&self.0, message).map_err(KeyError::Make)
    }

    /// The public key, as SubjectPublicKeyInfo in DER.
    #[must_use]
    pub fn public_key(&self) -> Vec<u8> {
        rcgen::PublicKeyData::subject_public_key_info(&self.0)
    }

    pub(crate) fn from_pem(text: &str) -> Result<Self, KeyError> {
        let key = KeyPair::from_pem(text).map_err(KeyError::Content)?;
        if key.is_compatible(&rcgen::PKCS_ECDSA_P256_SHA256) {
            Ok(Self(key))
        } else {
            Err(KeyError::Content(rcgen::Error::UnsupportedSignatureAlgorithm))
        }
    }

    pub(crate) fn pair(&self) -> &KeyPair {
        &self.0
    }

    pub(crate) fn into_pair(self) -> KeyPair {
        self.0
    }

    pub(crate) fn to_der(&self) -> PrivateKeyDer<'static> {
        PrivatePkcs8KeyDer::from(self.0.serialize_der()).into()
    }
}

impl ProvenKey {
    /// Verifies a signing request and takes its public key, and nothing else: names, extensions
    /// and attributes of a request are wishes that the exchange does not grant.
    ///
    /// # Errors
    /// When the request is malformed, its signature is wrong or the key is of another kind.
    pub fn from_request(der: &[u8]) -> Result<Self, RequestProblem> {
        if der.len() > REQUEST_BYTES_MAX {
            return Err(RequestProblem::Encoding);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(der).map_err(|_| RequestProblem::Encoding)?;
        if !rest.is_empty() {
            return Err(RequestProblem::Encoding);
        }
        let der = request.certification_request_info.subject_pki.raw.to_vec();
        let spki = SubjectPublicKeyInfo::from_der(&der).map_err(|_| RequestProblem::KeyKind)?;
        if rcgen::PublicKeyData::algorithm(&spki) != &rcgen::PKCS_ECDSA_P256_SHA256 {
            return Err(RequestProblem::KeyKind);
        }
        request.verify_signature().map_err(|_| RequestProblem::Signature)?;
        Ok(Self { spki, der })
    }

    /// SHA-256 of the key's SubjectPublicKeyInfo: by it a repeated request is recognised.
    #[must_use]
    pub fn fingerprint(&self) -> [u8; 32] {
        Sha256::digest(&self.der).into()
    }

    /// The public key, as SubjectPublicKeyInfo in DER.
    pub(crate) fn der(&self) -> &[u8] {
        &self.der
    }

    pub(crate) fn spki(&self) -> &SubjectPublicKeyInfo {
        &self.spki
    }
}

#[cfg(test)]
mod tests {
    use rcgen::{CustomExtension, SanType};

    use super::*;

    #[test]
    fn a_key_survives_its_file_and_a_request_proves_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        let key = PrivateKey::generate().unwrap();
        key.save(&path).unwrap();
        let read = PrivateKey::load(&path).unwrap();
        assert_eq!(read.public_key(), key.public_key());
        let proven = ProvenKey::from_request(&read.signing_request().unwrap()).unwrap();
        assert_eq!(proven.der, key.public_key());
    }

    #[test]
    fn wishes_in_a_request_do_not_matter() {
        let key = PrivateKey::generate().unwrap();
        let mut params = CertificateParams::default();
        params.subject_alt_names =
            vec![SanType::URI("spiffe://tieling.example/hub".try_into().unwrap())];
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        params.custom_extensions =
            vec![CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0])];
        let request = params.serialize_request(key.pair()).unwrap();
        let proven = ProvenKey::from_request(request.der()).unwrap();
        assert_eq!(proven.der, key.public_key());
    }

    #[test]
    fn a_request_signed_by_another_key_is_refused() {
        let key = PrivateKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        let other = PrivateKey::generate().unwrap().public_key();
        let at = request
            .windows(key.public_key().len())
            .position(|window| window == key.public_key())
            .unwrap();
        let mut forged = request.clone();
        forged[at..at + other.len()].copy_from_slice(&other);
        assert_eq!(ProvenKey::from_request(&forged).unwrap_err(), RequestProblem::Signature);
    }

    #[test]
    fn other_kinds_of_keys_and_garbage_are_refused() {
        let key = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
        let request = CertificateParams::default().serialize_request(&key).unwrap();
        assert_eq!(ProvenKey::from_request(request.der()).unwrap_err(), RequestProblem::KeyKind);
        assert!(PrivateKey::from_pem(&key.serialize_pem()).is_err());
        for garbage in [&b""[..], &[0x30, 0x03, 1, 2, 3], &[0; REQUEST_BYTES_MAX + 1]] {
            assert_eq!(ProvenKey::from_request(garbage).unwrap_err(), RequestProblem::Encoding);
        }
    }

    #[test]
    fn a_mutated_request_never_yields_another_key() {
        let key = PrivateKey::generate().unwrap();
        let request = key.signing_request().unwrap();
        for at in 0..request.len() {
            for bit in 0..8 {
                let mut mutated = request.clone();
                mutated[at] ^= 1 << bit;
                if let Ok(proven) = ProvenKey::from_request(&mutated) {
                    assert_eq!(proven.der, key.public_key(), "byte {at} bit {bit}");
                }
            }
        }
    }

    #[test]
    fn debug_output_holds_no_key() {
        let key = PrivateKey::generate().unwrap();
        let secret = data_encoding::HEXLOWER.encode(key.to_der().secret_der());
        assert!(!format!("{key:?}").contains(&secret[80..120]));
    }
}
