//! Reading a certificate: its identity, serial number and validity; and PEM.

use jiff::Timestamp;
use rustls_pki_types::CertificateDer;
/// What can be wrong with PEM text.
pub use rustls_pki_types::pem::Error as PemError;
use rustls_pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::clock::from_seconds;
use crate::identity::{Identity, IdentityError, NodeIdentity};
use crate::revoke::Serial;

/// What the exchange reads in a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    /// The one SPIFFE name.
    pub identity: Identity,
    /// Serial number.
    pub serial: Serial,
    /// Not valid before this time.
    pub not_before: Timestamp,
    /// Not valid after this time.
    pub not_after: Timestamp,
    /// The public key, as SubjectPublicKeyInfo in DER.
    pub public_key: Vec<u8>,
}

/// Why a certificate is none of an exchange. Says nothing about its signatures.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CertificateProblem {
    /// It is not a certificate.
    #[error("not an X.509 certificate")]
    Encoding,
    /// Its serial number is none.
    #[error("the serial number is zero or too long")]
    Serial,
    /// An identity is one URI, and this has none or several.
    #[error("{0} URI names, one is due")]
    UriCount(usize),
    /// A node's certificate carries its identity and nothing else.
    #[error("a node's certificate with other names beside its identity")]
    OtherNames,
    /// The URI is not an identity.
    #[error("its name is not an identity of an exchange: {0}")]
    Identity(#[from] IdentityError),
}

impl CertificateFacts {
    /// Reads a certificate. Nothing is verified: that is done by the handshake, or by whoever calls
    /// this with a certificate from elsewhere.
    ///
    /// # Errors
    /// When it is not a certificate that an exchange could have issued.
    pub fn read(certificate: &CertificateDer<'_>) -> Result<Self, CertificateProblem> {
        let (rest, parsed) =
            X509Certificate::from_der(certificate).map_err(|_| CertificateProblem::Encoding)?;
        if !rest.is_empty() {
            return Err(CertificateProblem::Encoding);
        }
        let serial =
            Serial::from_bytes(parsed.raw_serial()).map_err(|_| CertificateProblem::Serial)?;
        let validity = parsed.validity();
        Ok(Self {
            identity: identity_of(&parsed)?,
            serial,
            not_before: from_seconds(validity.not_before.timestamp()),
            not_after: from_seconds(validity.not_after.timestamp()),
            public_key: parsed.public_key().raw.to_vec(),
        })
    }

    /// The node that the certificate is for, if it is for one.
    #[must_use]
    pub fn node(&self) -> Option<&NodeIdentity> {
        match &self.identity {
            Identity::Node(node) => Some(node),
            Identity::Exchange(_) | Identity::Hub(_) => None,
        }
    }
}

fn identity_of(certificate: &X509Certificate<'_>) -> Result<Identity, CertificateProblem> {
    let names = certificate
        .subject_alternative_name()
        .map_err(|_| CertificateProblem::Encoding)?
        .map(|extension| extension.value.general_names.as_slice())
        .unwrap_or_default();
    let uris: Vec<&str> = names
        .iter()
        .filter_map(|name| if let GeneralName::URI(uri) = name { Some(*uri) } else { None })
        .collect();
    let [uri] = uris[..] else {
        return Err(CertificateProblem::UriCount(uris.len()));
    };
    let identity: Identity = uri.parse()?;
    // A hub also has host names, for other tools; a node is its identity only.
    if matches!(identity, Identity::Node(_)) && names.len() > 1 {
        return Err(CertificateProblem::OtherNames);
    }
    Ok(identity)
}

/// Whether a root bears its own signature. A handshake never looks at that, so it would not tell
/// that a root's file was damaged.
pub(crate) fn is_whole_root(certificate: &CertificateDer<'_>) -> bool {
    let parsed = X509Certificate::from_der(certificate);
    parsed.is_ok_and(|(_, root)| root.verify_signature(None).is_ok())
}

/// Certificates as PEM text, one after the other.
#[must_use]
pub fn to_pem<'a>(certificates: impl IntoIterator<Item = &'a CertificateDer<'a>>) -> String {
    let mut text = String::new();
    for certificate in certificates {
        text.push_str("-----BEGIN CERTIFICATE-----\n");
        let body = data_encoding::BASE64.encode(certificate);
        for line in body.as_bytes().chunks(64) {
            text.extend(line.iter().map(|byte| char::from(*byte)));
            text.push('\n');
        }
        text.push_str("-----END CERTIFICATE-----\n");
    }
    text
}

/// The certificates in a PEM text; other sections are passed over.
///
/// # Errors
/// When a section is damaged.
pub fn from_pem(text: &str) -> Result<Vec<CertificateDer<'static>>, rustls_pki_types::pem::Error> {
    CertificateDer::pem_slice_iter(text.as_bytes()).collect()
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    const NODE: &str = "spiffe://tieling.example/department/11100000000013338W/node/n0001";

    fn uri(text: &str) -> SanType {
        SanType::URI(text.try_into().unwrap())
    }

    fn dns(text: &str) -> SanType {
        SanType::DnsName(text.try_into().unwrap())
    }

    fn certificate(names: Vec<SanType>) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.subject_alt_names = names;
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().into()
    }

    #[test]
    fn the_identity_is_the_one_uri() {
        let facts = CertificateFacts::read(&certificate(vec![uri(NODE)])).unwrap();
        assert_eq!(facts.node().unwrap().to_string(), NODE);
        let hub = vec![dns("hub.example"), uri("spiffe://tieling.example/hub")];
        let facts = CertificateFacts::read(&certificate(hub)).unwrap();
        assert!(matches!(facts.identity, Identity::Hub(_)));
    }

    #[test]
    fn ambiguous_or_missing_identities_are_refused() {
        let read = |names| CertificateFacts::read(&certificate(names)).unwrap_err();
        assert_eq!(read(vec![]), CertificateProblem::UriCount(0));
        assert_eq!(read(vec![dns("a.example")]), CertificateProblem::UriCount(0));
        assert_eq!(
            read(vec![uri(NODE), uri("spiffe://tieling.example/hub")]),
            CertificateProblem::UriCount(2)
        );
        assert_eq!(read(vec![uri(NODE), dns("a.example")]), CertificateProblem::OtherNames);
        assert!(matches!(read(vec![uri("https://a.example/")]), CertificateProblem::Identity(_)));
    }

    #[test]
    fn pem_round_trips() {
        let both = [certificate(vec![uri(NODE)]), certificate(vec![])];
        assert_eq!(from_pem(&to_pem(&both)).unwrap(), both);
        assert!(from_pem("").unwrap().is_empty());
    }

    #[test]
    fn trailing_bytes_are_refused() {
        let mut bytes = certificate(vec![uri(NODE)]).to_vec();
        bytes.push(0);
        assert_eq!(CertificateFacts::read(&bytes.into()), Err(CertificateProblem::Encoding));
    }
}
