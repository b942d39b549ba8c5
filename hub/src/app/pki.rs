//! The authority and the hub's own certificate.

use std::{net::IpAddr, path::Path, sync::Arc};

use anyhow::Context;
use hutong_certs::{
    authority::{Authority, HUB_VALIDITY, HubName},
    credentials::Credentials,
    files::create_private_folder,
    live::Live,
    revoke::RevocationList,
    tls::HubTls,
};
use jiff::{SignedDuration, Timestamp};

use super::files;
use crate::config::Config;

/// The hub's certificate is made anew when less than this is left: it is done at starts only, and
/// no hub should run for a year without one.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(180 * 24);

/// Makes the authority and the hub's certificate.
pub(super) fn create(config: &Config, now: Timestamp) -> anyhow::Result<()> {
    let authority = Authority::create(&config.exchange, now).context("make the authority")?;
    authority.save(&config.path(files::AUTHORITY)).context("keep the authority's key")?;
    issue_hub(&authority, config, now)?;
    Ok(())
}

/// Loads the authority, and what the hub shows and trusts; renews its certificate when it is due.
///
/// # Errors
/// When the authority or the roots cannot be used, or a certificate cannot be kept.
pub fn load(config: &Config, now: Timestamp) -> anyhow::Result<(Arc<Authority>, HubTls)> {
    let folder = config.path(files::AUTHORITY);
    let authority = Authority::load(&folder).with_context(|| {
        format!(
            "load the authority in {0}; if it is damaged, bring {0} back from a backup",
            folder.display()
        )
    })?;
    let roots = authority.load_roots(&folder).with_context(|| {
        format!(
            "load the trusted roots; if they are damaged, bring {} back from a backup",
            folder.display()
        )
    })?;
    let (certificate, key) = paths(config);
    let shown = |credentials| HubTls {
        credentials: Live::new(credentials),
        roots: Live::new(roots.clone()),
        revoked: RevocationList::default(),
        exchange: config.exchange.clone(),
    };
    let present = Credentials::load(&certificate, &key).map(shown);
    let refusal = match &present {
        Ok(tls) if left(tls, now) < RENEW_BEFORE => {
            tracing::info!("the hub's certificate is renewed");
            None
        }
        Ok(tls) => match tls.accepted_by_nodes(now) {
            Ok(()) => return Ok((Arc::new(authority), tls.clone())),
            // A certificate that was damaged may read well: nodes look at its signature.
            Err(refusal) => Some(refusal.to_string()),
        },
        Err(error) => Some(error.to_string()),
    };
    if let Some(reason) = refusal {
        tracing::warn!(%reason, "the hub's certificate cannot be used and is made anew");
    }
    let tls = shown(issue_hub(&authority, config, now)?);
    Ok((Arc::new(authority), tls))
}

/// How long the hub's certificate is still valid.
fn left(tls: &HubTls, now: Timestamp) -> SignedDuration {
    tls.credentials.current().facts().not_after.duration_since(now)
}

fn issue_hub(
    authority: &Authority,
    config: &Config,
    now: Timestamp,
) -> anyhow::Result<Credentials> {
    let name = |text: &String| match text.parse::<IpAddr>() {
        Ok(address) => HubName::Address(address),
        Err(_) => HubName::Dns(text.clone()),
    };
    let names: Vec<HubName> = config.names.iter().map(name).collect();
    let credentials =
        authority.issue_hub(&names, now, HUB_VALIDITY).context("issue the hub's certificate")?;
    let (certificate, key) = paths(config);
    create_private_folder(&config.path(files::HUB))?;
    credentials.save(&certificate, &key).context("keep the hub's certificate")?;
    Ok(credentials)
}

fn paths(config: &Config) -> (std::path::PathBuf, std::path::PathBuf) {
    let folder = config.path(files::HUB);
    let file = |name: &str| Path::new(&folder).join(name);
    (file("hub.crt"), file("hub.key"))
}
