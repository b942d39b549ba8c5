//! The authority and the roots that are trusted.

use std::sync::Arc;

use axum::{Json, extract::State};
use hutong_certs::{certificate, roots::CaFingerprint};
use hutong_schema::ids::{CreditCode, NodeName};

use super::{
    admin::Body,
    failure::{Answer, Failed},
    office::Office,
    types::{AuthorityStatus, InstallOrder, RootLine, RootOrder, TrustOrder},
};

/// Nodes that are named in an answer; the others are counted.
const NAMED_MAX: usize = 20;

/// How the authority stands.
pub(super) async fn show(State(office): State<Arc<Office>>) -> Answer<AuthorityStatus> {
    let (authority, hub) = (office.pki.authority.current(), office.pki.tls.credentials.current());
    let roots = office.pki.tls.roots.current();
    let lines = roots.certificates().iter().map(|root| {
        let fingerprint = CaFingerprint::of(root);
        let without = without(&office, fingerprint);
        RootLine {
            fingerprint: fingerprint.to_string(),
            ends: certificate::CertificateFacts::read(root).ok().map(|facts| facts.not_after),
            issues: authority.fingerprint() == fingerprint,
            nodes_without: without.len(),
            named: without
                .iter()
                .take(NAMED_MAX)
                .map(|(of, node)| format!("{of}/{node}"))
                .collect(),
        }
    });
    Ok(Json(AuthorityStatus {
        intermediate: authority.is_intermediate(),
        issues_until: authority.not_after(),
        hub_until: hub.facts().not_after,
        roots: lines.collect(),
    }))
}

/// Trusts one more root; connected nodes are told at once.
pub(super) async fn trust(
    State(office): State<Arc<Office>>,
    Body(order): Body<TrustOrder>,
) -> Answer<RootOrder> {
    let fingerprint = office.pki.trust(&order.pem).await.map_err(|error| wrong("root", &error))?;
    office.nodes.roots_changed();
    Ok(Json(RootOrder { fingerprint: fingerprint.to_string() }))
}

/// Trusts a root no more.
pub(super) async fn distrust(
    State(office): State<Arc<Office>>,
    Body(order): Body<RootOrder>,
) -> Answer<RootOrder> {
    let fingerprint =
        order.fingerprint.parse().map_err(|error: hutong_certs::roots::NotAFingerprint| {
            Failed::mistake("root", "fingerprint", error.to_string(), &order.fingerprint)
        })?;
    office.pki.distrust(fingerprint).await.map_err(|error| wrong("root", &error))?;
    office.nodes.roots_changed();
    Ok(Json(order))
}

/// Issues with another certificate from now on.
pub(super) async fn install(
    State(office): State<Arc<Office>>,
    Body(order): Body<InstallOrder>,
) -> Answer<AuthorityStatus> {
    let chain = certificate::from_pem(&order.pem).unwrap_or_default();
    if let Some(root) = chain.last().map(CaFingerprint::of) {
        let without = without(&office, root);
        if !order.force
            && root != office.pki.authority.current().fingerprint()
            && !without.is_empty()
        {
            let named: Vec<String> =
                without.iter().take(NAMED_MAX).map(|(of, node)| format!("{of}/{node}")).collect();
            let found = format!(
                "{} nodes have not said since the hub's start that they do: {}",
                without.len(),
                named.join(", ")
            );
            let expected = "a root that all nodes in service trust (they learn it when they are connected; --force leaves the others behind until they enrol anew)";
            return Err(Failed::mistake("authority", "root", expected, found));
        }
    }
    office.pki.install(&order.pem).await.map_err(|error| wrong("authority", &error))?;
    show(State(office)).await
}

/// Nodes in service that have not said that they trust a root.
fn without(office: &Office, root: CaFingerprint) -> Vec<(CreditCode, NodeName)> {
    let registry = office.registry.read();
    let serving = registry.nodes().filter(|node| node.in_service());
    let without = serving.filter(|node| !office.nodes.trusts(node.number, &root.0));
    without.map(|node| (node.department, node.name.clone())).collect()
}

fn wrong(subject: &str, error: &crate::pki::PkiError) -> Failed {
    Failed::mistake(subject, "certificate", "one that can be used here", error.in_full())
}
