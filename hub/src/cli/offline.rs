//! Commands that need no running hub, or a stopped one.

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use super::{
    DIFFERENT,
    args::{Cli, Init},
    table::{bytes, grouped},
};
use crate::{
    app::{self, Founding, files},
    config::Config,
    log::{self, Log, Offset, RocksLog},
    numbers::ResourceNo,
    views::{self, RebuildStep},
};

pub(super) async fn init(cli: &Cli, init: &Init) -> anyhow::Result<ExitCode> {
    let founding = Founding {
        config: cli.config(),
        exchange: init.exchange.clone(),
        partitions: init.partitions,
        names: init.names.clone(),
        offline_root: init.offline_root.clone(),
    };
    let (config, fingerprint) = app::found(&founding).await?;
    let data = config.data_dir.display();
    if cli.json {
        let made = json!({
            "exchange": config.exchange, "data": config.data_dir, "config": founding.config,
            "partitions": config.partitions, "authority": fingerprint.to_string(),
        });
        println!("{made}");
        return Ok(ExitCode::SUCCESS);
    }
    println!(
        "exchange {} founded in {data}, {} data partitions",
        config.exchange, config.partitions
    );
    println!("authority {fingerprint}");
    println!("configuration {}", founding.config.display());
    println!(
        "back up {data}/{}: whoever has it can admit nodes, without it none can be admitted",
        files::AUTHORITY
    );
    if let Some(folder) = &init.offline_root {
        println!(
            "the root's key is in {}: take it away from this machine; it is needed to sign the next certificate of the authority, not before",
            folder.display()
        );
    }
    println!("next: hutong-hub serve, then hutong-hub token add or token sheet");
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn verify_log(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = Config::load(&cli.config())?;
    let log = open_log(&config).await?;
    let total = log.high_water().iter().map(|mark| mark.offset.0).sum();
    let bar = bar(total, cli.json)?;
    let walked = bar.clone();
    let report = tokio::task::spawn_blocking(move || {
        let mut done = 0;
        let mut current = (None, Offset::NONE);
        let report = log::verify(&*log, |progress| {
            if current.0 != Some(progress.partition) {
                done += current.1.0;
                current = (Some(progress.partition), Offset::NONE);
            }
            current.1 = progress.verified;
            walked.set_message(progress.partition.to_string());
            walked.set_position(done + progress.verified.0);
        });
        log.close();
        report
    })
    .await?;
    bar.finish_and_clear();
    let broken: Vec<String> = report.broken.iter().map(ToString::to_string).collect();
    if cli.json {
        let found = json!({
            "entries": report.entries, "payload_bytes": report.payload_bytes,
            "redacted": report.redacted, "broken": broken,
        });
        println!("{found}");
    } else {
        let (entries, size) = (grouped(report.entries), bytes(report.payload_bytes));
        println!("{entries} good entries with {size} of payload, {} redacted", report.redacted);
        broken.iter().for_each(|line| println!("broken: {line}"));
        if report.is_sound() {
            println!("every chain is whole");
        }
    }
    Ok(if report.is_sound() { ExitCode::SUCCESS } else { ExitCode::from(DIFFERENT) })
}

pub(super) async fn rebuild(cli: &Cli) -> anyhow::Result<ExitCode> {
    let config = Config::load(&cli.config())?;
    let log = open_log(&config).await?;
    let bar = bar(0, cli.json)?;
    bar.enable_steady_tick(Duration::from_millis(100));
    let (folder, options) = (config.path(files::VIEWS), config.views.clone());
    let shown = bar.clone();
    let report = tokio::task::spawn_blocking(move || {
        let report = views::rebuild(folder, options, Arc::clone(&log), |step| match step {
            RebuildStep::Applying { done, entries } => {
                shown.set_message("applying the log");
                shown.set_length(entries);
                shown.set_position(done);
            }
            RebuildStep::Comparing => shown.set_message("comparing with the old views"),
        });
        log.close();
        report
    })
    .await?
    .context("rebuild the views; the old ones are in place")?;
    bar.finish_and_clear();
    let different: Vec<_> = report.different.iter().map(|(resource, ..)| resource.0).collect();
    if cli.json {
        let made =
            json!({ "resources": report.resources, "rows": report.rows, "different": different });
        println!("{made}");
    } else {
        println!("rebuilt {} resources with {} rows", report.resources, grouped(report.rows));
        for (ResourceNo(number), before, after) in &report.different {
            let before = before.map_or_else(|| "unreadable".to_owned(), |digest| digest.short());
            println!(
                "resource number {number} was different: {before} before, {} now",
                after.short()
            );
        }
    }
    Ok(ExitCode::SUCCESS)
}

async fn open_log(config: &Config) -> anyhow::Result<Arc<RocksLog>> {
    let folder = config.path(files::LOG);
    anyhow::ensure!(folder.exists(), "there is no log in {}", folder.display());
    let options = config.log.clone();
    let opened = tokio::task::spawn_blocking(move || RocksLog::open(folder, options)).await?;
    let (log, _) = opened.context("open the log; stop the hub first")?;
    Ok(Arc::new(log))
}

fn bar(total: u64, hidden: bool) -> anyhow::Result<ProgressBar> {
    if hidden {
        return Ok(ProgressBar::hidden());
    }
    let style = ProgressStyle::with_template("{msg:8} {wide_bar} {human_pos}/{human_len} {eta}")?;
    Ok(ProgressBar::new(total).with_style(style))
}
