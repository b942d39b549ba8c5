//! The authority and the hub's own certificate.

use std::{net::IpAddr, path::Path, sync::Arc, time::Duration};

use anyhow::Context;
use hutong_certs::{
    authority::{Authority, HubName},
    clock,
    credentials::Credentials,
    files::create_private_folder,
    live::Live,
    revoke::{RevocationList, Serial},
    tls::HubTls,
};
use jiff::Timestamp;
use tokio_util::sync::CancellationToken;

use super::files;
use crate::{config::Config, views::registry::Registry};

/// The clock is looked at this often: it may be set, or the machine may have slept.
const LOOK_EVERY: Duration = Duration::from_secs(600);

/// What the hub issues with, shows and trusts. All of it can be replaced while the hub serves.
#[derive(Clone)]
pub(super) struct Pki {
    /// Issues certificates.
    pub(super) authority: Live<Authority>,
    /// What handshakes consult.
    pub(super) tls: HubTls,
}

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
) -> anyhow::Result<Pki> {
    let folder = config.path(files::AUTHORITY);
    let authority = Authority::load(&folder)
        .with_context(|| format!("load the authority in {}", folder.display()))?;
    let roots = authority.load_roots(&folder).context("load the trusted roots")?;
    let (certificate, key) = paths(config);
    let credentials = match Credentials::load(&certificate, &key) {
        Ok(present) if present.facts().lifetime().renew_at(0.5) > now => present,
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
    Ok(Pki { authority: Live::new(authority), tls })
}

impl Pki {
    /// Renews the hub's certificate at two thirds of its life. Connections that are up go on; agents
    /// know the hub by its name and its authority, so they notice nothing.
    pub(super) async fn keep(self, config: Arc<Config>, cancel: CancellationToken) {
        let mut failures = 0;
        loop {
            let life = self.tls.credentials.current().facts().lifetime();
            let wait = match failures {
                0 => Duration::try_from(life.renew_at(rand::random()).duration_since(clock::now()))
                    .unwrap_or_default(),
                _ => life.retry_after(clock::now(), failures, rand::random()),
            };
            tokio::select! {
                () = tokio::time::sleep(wait.min(LOOK_EVERY)) => {}
                () = cancel.cancelled() => return,
            }
            if wait > LOOK_EVERY {
                continue;
            }
            match self.renew(&config).await {
                Ok(()) => failures = 0,
                Err(error) => {
                    failures += 1;
                    let (now, ends) = (clock::now(), life.ends());
                    let left_hours = life.left(now).as_secs() / 3_600;
                    let reason = format!("{error:#}");
                    tracing::error!(%ends, left_hours, reason, "the hub's certificate could not be renewed; it is tried again");
                }
            }
        }
    }

    /// Issues the hub's next certificate and shows it from the next handshake on.
    async fn renew(&self, config: &Arc<Config>) -> anyhow::Result<()> {
        let (authority, config) = (self.authority.current(), Arc::clone(config));
        let issue = move || issue_hub(&authority, &config, clock::now());
        let credentials = tokio::task::spawn_blocking(issue).await??;
        tracing::info!(ends = %credentials.facts().not_after, "the hub's certificate is renewed");
        self.tls.credentials.replace(credentials);
        Ok(())
    }
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
        authority.issue_hub(&names, now, config.hub_certificate_validity).context("issue the hub's certificate")?;
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
