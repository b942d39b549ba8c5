//! The authority and the hub's own certificate.

use std::{net::IpAddr, path::Path, sync::Arc};

use anyhow::Context;
use hutong_certs::{
    authority::{Authority, HUB_VALIDITY, HubName},
    credentials::Credentials,
    files::create_private_folder,
    live::Live,
    revoke::{RevocationList, Serial},
    tls::HubTls,
};
use jiff::{SignedDuration, Timestamp};

use super::files;
use crate::{config::Config, views::registry::Registry};

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
pub(super) fn load(
    config: &Config,
    registry: &Registry,
    now: Timestamp,
) -> anyhow::Result<(Arc<Authority>, HubTls)> {
    let folder = config.path(files::AUTHORITY);
    let authority = Authority::load(&folder)
        .with_context(|| format!("load the authority in {}", folder.display()))?;
    let roots = authority.load_roots(&folder).context("load the trusted roots")?;
    let (certificate, key) = paths(config);
    let credentials = match Credentials::load(&certificate, &key) {
        Ok(present) if present.facts().not_after.duration_since(now) > RENEW_BEFORE => present,
        Ok(_) => {
            tracing::info!("the hub's certificate is renewed");
            issue_hub(&authority, config, now)?
        }
        Err(error) => {
            tracing::warn!(%error, "the hub's certificate cannot be used and is made anew");
            issue_hub(&authority, config, now)?
        }
    };
    let tls = HubTls {
        credentials: Live::new(credentials),
        roots: Live::new(roots),
        revoked: RevocationList::new(revoked(registry)),
        exchange: config.exchange.clone(),
    };
    Ok((Arc::new(authority), tls))
}

/// The serial numbers that no handshake takes any more.
pub(super) fn revoked(registry: &Registry) -> Vec<(Serial, Arc<str>)> {
    let read = |(serial, reason): (&str, &Arc<str>)| match serial.parse() {
        Ok(serial) => Some((serial, Arc::clone(reason))),
        Err(_) => {
            // Greetings compare the text, so the certificate is refused all the same.
            tracing::warn!(serial, "the log revokes a certificate whose serial number is none");
            None
        }
    };
    registry.revoked().filter_map(read).collect()
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
