//! Opening what is on the disk.

use std::{path::Path, sync::Arc};

use anyhow::{Context, bail};

use super::files;
use crate::{
    config::Config,
    log::{
        RocksLog,
        rocks::{MarksVerdict, OpenReport, Opening},
    },
    views::{Views, registry::RegistryHandle},
};

/// Opens the log, and tells in the hub's own log what opening found.
///
/// # Errors
/// When there is none, or none that can be opened.
pub async fn open_log(config: &Config) -> anyhow::Result<(Arc<RocksLog>, OpenReport)> {
    let (folder, options) = (config.path(files::LOG), config.log.clone());
    let authority = config.path(files::AUTHORITY);
    if !folder.exists() && authority.exists() {
        bail!(
            "the log's folder {} is gone, but an exchange was founded here (its authority is in {}): bring the folder back from a backup",
            folder.display(),
            authority.display()
        );
    }
    no_exchange_unless(folder.exists(), config)?;
    let place = folder.display().to_string();
    let (log, report) = tokio::task::spawn_blocking(move || RocksLog::open(folder, options))
        .await?
        .with_context(|| {
            format!("open the log in {place}; if a file of it is damaged, bring the folder back from a backup")
        })?;
    report_opening(&report);
    Ok((Arc::new(log), report))
}

fn no_exchange_unless(founded: bool, config: &Config) -> anyhow::Result<()> {
    if founded {
        return Ok(());
    }
    bail!(
        "no exchange was founded in {}; do that with `hutong-hub init`",
        config.data_dir.display()
    )
}

fn report_opening(report: &OpenReport) {
    if let Opening::Recovered { refusal, damaged } = &report.opening {
        tracing::warn!(refusal, damaged = %damaged.display(), "the log was recovered; normal after a power cut");
    }
    match &report.marks {
        MarksVerdict::Fit | MarksVerdict::Absent | MarksVerdict::Earlier => {}
        MarksVerdict::Contradict => tracing::error!("the log lacks entries that were durable"),
        MarksVerdict::Unreadable(reason) => {
            tracing::warn!(reason, "the log could not be compared with its high-water marks");
        }
    }
    for missing in report.began.iter().flat_map(|began| &began.missing) {
        tracing::error!(%missing, "entries are missing; agents send them again where they still hold them");
    }
}

/// Folds the governance events of the log.
///
/// # Errors
/// When one cannot be read, or the configuration is of another exchange.
pub async fn load_registry(config: &Config, log: &Arc<RocksLog>) -> anyhow::Result<RegistryHandle> {
    let reader = Arc::clone(log);
    let registry = tokio::task::spawn_blocking(move || RegistryHandle::load(&*reader))
        .await?
        .context("load the registry")?;
    let (exchange, partitions) = {
        let state = registry.read();
        (state.exchange().cloned(), state.data_partitions())
    };
    no_exchange_unless(exchange.is_some(), config)?;
    if let Some(exchange) = exchange.filter(|founded| *founded != config.exchange) {
        bail!("hub.exchange is {}, but this exchange was founded as {exchange}", config.exchange);
    }
    if partitions != config.partitions {
        bail!(
            "log.partitions is {}, but this exchange was founded with {partitions}; that cannot be changed",
            config.partitions
        );
    }
    Ok(registry)
}

/// Opens the views over a log; nothing is applied yet.
///
/// # Errors
/// When they cannot be opened.
pub async fn open_views(config: &Config, log: &Arc<RocksLog>) -> anyhow::Result<Views> {
    let folder = config.path(files::VIEWS);
    let (options, log) = (config.views.clone(), Arc::clone(log));
    let opened = tokio::task::spawn_blocking(move || Views::open(Path::new(&folder), options, log));
    opened.await?.context("open the views; `hutong-hub rebuild` makes them anew")
}
