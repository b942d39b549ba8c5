//! Who is let in: each verifier checks chain, validity, role, exchange and (at the hub) revocation.

use hutong_schema::ids::ExchangeName;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{WebPkiSupportedAlgorithms, verify_tls13_signature};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, PeerIncompatible, SignatureScheme};
use rustls_pki_types::{CertificateDer, ServerName, TrustAnchor, UnixTime};
use webpki::{EndEntityCert, KeyUsage};

use super::refusal::PeerRefusal;
use crate::certificate::CertificateFacts;
use crate::identity::Identity;
use crate::live::Live;
use crate::revoke::RevocationList;
use crate::roots::{CaFingerprint, RootSet};

/// The hub's view of nodes.
#[derive(Debug)]
pub(super) struct NodeVerifier {
    pub(super) roots: Live<RootSet>,
    pub(super) revoked: RevocationList,
    pub(super) exchange: ExchangeName,
}

/// A node's view of the hub.
#[derive(Debug)]
pub(super) struct HubVerifier {
    pub(super) roots: Live<RootSet>,
    pub(super) exchange: ExchangeName,
    /// Whether the certificate is judged as of its own time, not as of now.
    pub(super) any_time: bool,
}

/// The view of the hub of a node that has only a join token.
#[derive(Debug)]
pub(super) struct FingerprintVerifier {
    pub(super) authority: CaFingerprint,
}

/// A certificate with what was shown beside it and the time that counts.
struct Shown<'a> {
    certificate: &'a CertificateDer<'a>,
    others: &'a [CertificateDer<'a>],
    now: UnixTime,
}

impl NodeVerifier {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), PeerRefusal> {
        let roots = self.roots.current();
        let facts = shown.verify(roots.anchors(), KeyUsage::client_auth(), Some(&self.exchange))?;
        if !matches!(facts.identity, Identity::Node(_)) {
            return Err(PeerRefusal::WrongRole { found: facts.identity });
        }
        if let Some(reason) = self.revoked.reason(&facts.serial) {
            return Err(PeerRefusal::Revoked { serial: facts.serial, reason });
        }
        Ok(())
    }
}

impl HubVerifier {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), PeerRefusal> {
        let roots = self.roots.current();
        let mut shown = Shown { ..*shown };
        if self.any_time {
            let facts = CertificateFacts::read(shown.certificate)?;
            let now = crate::clock::from_unix(shown.now);
            let within = now.min(facts.not_after).max(facts.not_before);
            shown.now = crate::clock::to_unix(within);
        }
        let facts = shown.verify(roots.anchors(), KeyUsage::server_auth(), Some(&self.exchange))?;
        hub_only(facts)
    }
}

impl FingerprintVerifier {
    fn judge(&self, shown: &Shown<'_>) -> Result<(), PeerRefusal> {
        let root = shown
            .others
            .iter()
            .find(|certificate| CaFingerprint::of(certificate) == self.authority)
            .ok_or(PeerRefusal::WrongFingerprint { expected: self.authority })?;
        let anchor = webpki::anchor_from_trusted_cert(root)
            .map_err(|error| PeerRefusal::Unusable(error.to_string()))?;
        // Which exchange it is, is learnt here: the fingerprint is all that the token promises.
        hub_only(shown.verify(&[anchor], KeyUsage::server_auth(), None)?)
    }
}

impl Shown<'_> {
    /// Chain to one of the anchors, validity, usage, and the exchange if one is expected.
    fn verify(
        &self,
        anchors: &[TrustAnchor<'_>],
        usage: KeyUsage,
        expected: Option<&ExchangeName>,
    ) -> Result<CertificateFacts, PeerRefusal> {
        let facts = CertificateFacts::read(self.certificate)?;
        let found = facts.identity.exchange();
        let refused = |error| PeerRefusal::from_chain(error, expected, found);
        EndEntityCert::try_from(self.certificate)
            .map_err(refused)?
            .verify_for_usage(
                algorithms().all,
                anchors,
                self.others,
                self.now,
                usage,
                // Revocation is by serial number, checked by the caller: the exchange has one
                // authority and the hub knows its decisions first hand.
                None,
                None,
            )
            .map_err(refused)?;
        match expected {
            Some(expected) if expected != found => {
                Err(PeerRefusal::WrongExchange { expected: expected.clone(), found: found.clone() })
            }
            _ => Ok(facts),
        }
    }
}

/// Verifies outside of a handshake that a certificate comes from one of the roots, is valid at
/// `now` and a node's.
pub(crate) fn verify_node(
    chain: &[CertificateDer<'_>],
    roots: &RootSet,
    exchange: &ExchangeName,
    now: UnixTime,
) -> Result<CertificateFacts, PeerRefusal> {
    let (certificate, others) =
        chain.split_first().ok_or_else(|| PeerRefusal::Unusable("no certificate".to_owned()))?;
    let shown = Shown { certificate, others, now };
    shown.verify(roots.anchors(), KeyUsage::client_auth(), Some(exchange))
}

/// Verifies outside of a handshake what nodes verify in one: that a certificate comes from one of
/// the roots, is valid at `now` and the hub's.
pub(super) fn verify_hub(
    chain: &[CertificateDer<'_>],
    roots: &RootSet,
    exchange: &ExchangeName,
    now: UnixTime,
) -> Result<(), PeerRefusal> {
    let (certificate, others) =
        chain.split_first().ok_or_else(|| PeerRefusal::Unusable("no certificate".to_owned()))?;
    let shown = Shown { certificate, others, now };
    hub_only(shown.verify(roots.anchors(), KeyUsage::server_auth(), Some(exchange))?)
}

impl ClientCertVerifier for NodeVerifier {
    fn client_auth_mandatory(&self) -> bool {
        // Enrolment has no certificate to show; see `require_identity`.
        false
    }

    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A node has one certificate and shows it; hints would only cost bytes.
        &[]
    }

    fn verify_client_cert(
        &self,
        certificate: &CertificateDer<'_>,
        others: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        self.judge(&Shown { certificate, others, now })?;
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Err(only_tls13())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signature, &algorithms())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        algorithms().supported_schemes()
    }
}

macro_rules! server_verifier {
    ($verifier:ty) => {
        impl ServerCertVerifier for $verifier {
            fn verify_server_cert(
                &self,
                certificate: &CertificateDer<'_>,
                others: &[CertificateDer<'_>],
                // The hub is known by its SPIFFE name, not by where it was reached.
                _server_name: &ServerName<'_>,
                _ocsp_response: &[u8],
                now: UnixTime,
            ) -> Result<ServerCertVerified, rustls::Error> {
                self.judge(&Shown { certificate, others, now })?;
                Ok(ServerCertVerified::assertion())
            }

            fn verify_tls12_signature(
                &self,
                _message: &[u8],
                _certificate: &CertificateDer<'_>,
                _signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                Err(only_tls13())
            }

            fn verify_tls13_signature(
                &self,
                message: &[u8],
                certificate: &CertificateDer<'_>,
                signature: &DigitallySignedStruct,
            ) -> Result<HandshakeSignatureValid, rustls::Error> {
                verify_tls13_signature(message, certificate, signature, &algorithms())
            }

            fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
                algorithms().supported_schemes()
            }
        }
    };
}

server_verifier!(HubVerifier);
server_verifier!(FingerprintVerifier);

fn hub_only(facts: CertificateFacts) -> Result<(), PeerRefusal> {
    if matches!(facts.identity, Identity::Hub(_)) {
        Ok(())
    } else {
        Err(PeerRefusal::WrongRole { found: facts.identity })
    }
}

fn algorithms() -> WebPkiSupportedAlgorithms {
    super::provider().signature_verification_algorithms
}

fn only_tls13() -> rustls::Error {
    PeerIncompatible::Tls12NotOffered.into()
}
