//! Which certificate an end shows; looked up at every handshake, so that a renewed one is used
//! from the next handshake on.

use std::sync::Arc;

use hutong_schema::wire::version::ALPN_ENROL;
use rustls::SignatureScheme;
use rustls::client::ResolvesClientCert;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;

use crate::credentials::Credentials;
use crate::live::Live;
use crate::roots::RootSet;

#[derive(Debug)]
pub(super) struct HubResolver {
    pub(super) credentials: Live<Credentials>,
    pub(super) roots: Live<RootSet>,
}

impl ResolvesServerCert for HubResolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let certified = self.credentials.current().certified();
        let enrolling = hello.alpn().is_some_and(|mut names| names.any(|name| name == ALPN_ENROL));
        if !enrolling {
            return Some(certified);
        }
        // Who enrols knows only a root's fingerprint, so the roots themselves come along.
        let mut chain = certified.cert.clone();
        chain.extend_from_slice(self.roots.current().certificates());
        Some(Arc::new(CertifiedKey::new(chain, Arc::clone(&certified.key))))
    }
}

#[derive(Debug)]
pub(super) enum NodeResolver {
    /// Enrolled.
    Known(Live<Credentials>),
    /// Not yet.
    Unknown,
}

impl ResolvesClientCert for NodeResolver {
    fn resolve(
        &self,
        _root_hints: &[&[u8]],
        _schemes: &[SignatureScheme],
    ) -> Option<Arc<CertifiedKey>> {
        match self {
            Self::Known(credentials) => Some(credentials.current().certified()),
            Self::Unknown => None,
        }
    }

    fn has_certs(&self) -> bool {
        matches!(self, Self::Known(_))
    }
}
