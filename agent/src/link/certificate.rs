//! A node's certificate and the roots that it trusts, as its connections use and lose them.

use std::sync::Arc;

use hutong_certs::{
    certificate::CertificateFacts,
    enrol::NodeMaterial,
    roots::{CaFingerprint, RootSet},
    tls::{AgentTls, By},
};
use hutong_schema::wire::v1::{RefusalCode, control::RootsHeld};
use hutong_schema::words::in_full;
use tokio::sync::watch;

use super::{LinkError, Node, Process, failure::CLOCKS_DIFFER_MS};

impl Node {
    /// The present certificate.
    pub fn certificate(&self) -> CertificateFacts {
        self.tls.credentials.current().facts().clone()
    }

    /// Why the certificate could not be renewed, as long as that is so.
    pub fn renewal_trouble(&self) -> Option<String> {
        self.renewal_trouble.lock().clone()
    }

    pub(crate) fn set_renewal_trouble(&self, trouble: Option<String>) {
        *self.renewal_trouble.lock() = trouble;
    }

    /// What it shows and trusts.
    pub(crate) fn tls(&self) -> &AgentTls {
        &self.tls
    }

    pub(crate) fn process(&self) -> &Process {
        &self.process
    }

    /// Takes another certificate and the roots that came with it into use: from the next connection
    /// on. One that is up goes on.
    pub(crate) fn adopt(&self, material: NodeMaterial) {
        self.tls.roots.replace(material.roots);
        self.tls.credentials.replace(material.credentials);
        self.set_renewal_trouble(None);
        self.renewed.notify_one();
    }

    /// The roots that it trusts, as it tells the hub.
    pub(super) fn roots_held(&self) -> RootsHeld {
        let roots = self.tls.roots.current();
        let fingerprints = roots.certificates().iter().map(|root| CaFingerprint::of(root).0);
        RootsHeld { fingerprints: fingerprints.collect() }
    }

    /// Changes of the roots that it trusts.
    pub(super) fn roots_news(&self) -> watch::Receiver<Arc<RootSet>> {
        self.tls.roots.subscribe()
    }

    /// Trusts these roots (DER) from now on. They come from a hub that proved itself by the ones
    /// trusted until now.
    pub(super) async fn take_roots(&self, roots: Vec<Vec<u8>>) {
        let folder = self.options.folder.clone();
        let stored = tokio::task::spawn_blocking(move || folder.store_roots(roots)).await;
        match stored {
            Ok(Ok(roots)) => {
                tracing::info!(node = %self.name(), roots = roots.certificates().len(),
                    "the hub told which authorities to trust from now on");
                self.tls.roots.replace(roots);
            }
            Ok(Err(error)) => {
                let reason = in_full(&error);
                tracing::error!(node = %self.name(), reason, "the hub's authorities were not taken");
            }
            Err(_) => {}
        }
    }

    /// Waits until the connection's fate asks for a look at the certificate.
    pub(crate) async fn wanted(&self) -> Wanted {
        let mut wanted = self.wanted.subscribe();
        let asked = wanted.wait_for(|wanted| *wanted != Wanted::Nothing).await;
        let asked = asked.map_or(Wanted::End, |asked| *asked);
        self.wanted.send_replace(Wanted::Nothing);
        asked
    }

    /// If a certificate was out of its time: whether that is because the clocks differ.
    pub(super) async fn with_clocks(&self, ended: LinkError) -> LinkError {
        let LinkError::Ended(failure) = ended else { return ended };
        if !matches!(failure.code.as_deref(), Some("HT-2001" | "HT-2002" | "HT-1010")) {
            return LinkError::Ended(failure);
        }
        let hub_ahead = self.process.dialler.clock_difference_ms(&self.tls).await;
        match hub_ahead.map(i64::saturating_neg) {
            Ok(ahead_ms) if ahead_ms.abs() > CLOCKS_DIFFER_MS => {
                LinkError::Clocks { failure, ahead_ms }
            }
            Ok(_) => LinkError::Ended(failure),
            Err(error) => {
                tracing::debug!(%error, "the clocks could not be compared");
                LinkError::Ended(failure)
            }
        }
    }
}

/// What the end of a connection says about the certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Nothing.
    Nothing,
    /// It is not taken: perhaps another one was put into the folder.
    Look,
    /// It expired on the hub's clock.
    Renewal,
    /// The node is gone.
    End,
}

pub(super) fn certificate_wanted(ended: &LinkError) -> Wanted {
    match ended {
        LinkError::Ended(failure) | LinkError::Clocks { failure, .. } => {
            match (failure.by, failure.code.as_deref()) {
                (By::Peer, Some("HT-2001" | "HT-1010")) => Wanted::Renewal,
                (_, Some(_)) => Wanted::Look,
                (_, None) => Wanted::Nothing,
            }
        }
        LinkError::Refused(refused) => match refused.reason() {
            Some(RefusalCode::UnknownNode | RefusalCode::Revoked | RefusalCode::Identity) => {
                Wanted::Look
            }
            Some(_) | None => Wanted::Nothing,
        },
        LinkError::Resolve { .. }
        | LinkError::Socket(_)
        | LinkError::Silent { .. }
        | LinkError::Dial(_)
        | LinkError::Tls(_)
        | LinkError::Goodbye(_)
        | LinkError::Protocol(_)
        | LinkError::Stream(_)
        | LinkError::Cancelled => Wanted::Nothing,
    }
}
