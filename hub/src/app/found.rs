//! Founding an exchange.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hutong_certs::{
    authority::Authority,
    clock,
    files::{Access, create_private_folder, write_atomic},
    roots::CaFingerprint,
};
use hutong_schema::ids::ExchangeName;

use super::files;
use crate::{
    config::{Config, SAMPLE},
    log::{EntryKind, Log, NewEntry, Offset, PartitionId, RocksLog, event::Event},
    pki::Pki,
};

/// What is founded where.
#[derive(Clone, Debug)]
pub struct Founding {
    /// The configuration: read if it is there, otherwise written.
    pub config: PathBuf,
    /// Name of the exchange; may be left to a configuration that is there.
    pub exchange: Option<ExchangeName>,
    /// Number of data partitions, likewise.
    pub partitions: Option<u16>,
    /// Host names and addresses for the hub's certificate, likewise.
    pub names: Vec<String>,
    /// Where the root's key goes, if it is to be kept offline.
    pub offline_root: Option<PathBuf>,
}

/// Makes folders, authority, the hub's certificate, configuration and the log's first entry.
///
/// # Errors
/// When there is an exchange already, or something cannot be made. What was made until then can be
/// removed and begun again: nobody has used it.
pub async fn found(founding: &Founding) -> anyhow::Result<(Config, CaFingerprint)> {
    if !founding.config.exists() {
        write_config(founding)?;
    }
    let config = Config::load(&founding.config)?;
    agree(founding, &config)?;
    for name in [files::LOG, files::AUTHORITY] {
        let path = config.path(name);
        if path.exists() {
            bail!(
                "{} exists: an exchange was founded here; choose another folder, or start the hub with `hutong-hub serve`",
                path.display()
            );
        }
    }
    create_private_folder(&config.data_dir)?;
    let now = clock::now();
    let options = config.pki(files::AUTHORITY, files::HUB);
    Pki::create(&options, founding.offline_root.as_deref(), now)
        .context("make the authority and the hub's certificate")?;
    append_founding(&config).await.context("write the log's first entry")?;
    let authority = Authority::load(&config.path(files::AUTHORITY))?;
    Ok((config, authority.fingerprint()))
}

fn write_config(founding: &Founding) -> anyhow::Result<()> {
    let Some(exchange) = &founding.exchange else {
        bail!(
            "there is no {}: name the exchange with --exchange, and the file is made",
            founding.config.display()
        );
    };
    let names: Vec<String> = founding.names.iter().map(|name| format!("{name:?}")).collect();
    let text = SAMPLE
        .replace("EXCHANGE", exchange.as_str())
        .replace("partitions = 4", &format!("partitions = {}", founding.partitions.unwrap_or(4)))
        .replace("names = []", &format!("names = [{}]", names.join(", ")));
    let folder = founding.config.parent().unwrap_or(Path::new("."));
    create_private_folder(folder)?;
    Ok(write_atomic(&founding.config, text.as_bytes(), Access::Public)?)
}

/// The configuration that is there says the same as the command line.
fn agree(founding: &Founding, config: &Config) -> anyhow::Result<()> {
    let file = founding.config.display();
    if let Some(exchange) = founding.exchange.as_ref().filter(|named| **named != config.exchange) {
        bail!("--exchange is {exchange}, but {file} says {}; they must agree", config.exchange);
    }
    if let Some(partitions) = founding.partitions.filter(|given| *given != config.partitions) {
        bail!(
            "--partitions is {partitions}, but {file} says {}; they must agree",
            config.partitions
        );
    }
    Ok(())
}

async fn append_founding(config: &Config) -> anyhow::Result<()> {
    let (folder, options) = (config.path(files::LOG), config.log.clone());
    let (log, _) = tokio::task::spawn_blocking(move || RocksLog::open(folder, options)).await??;
    let event = Event::ExchangeFounded {
        exchange: config.exchange.clone(),
        data_partitions: config.partitions,
    };
    let entry = NewEntry::new(EntryKind::Event, Offset::NONE, event.encode()?);
    log.append(vec![(PartitionId::META, entry)]).await?;
    tokio::task::spawn_blocking(move || log.close()).await?;
    Ok(())
}
