//! `run` and `publish`

use std::{process::ExitCode, sync::Arc, time::Duration};

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use super::{reload, service::Service, show};
use crate::{
    app::{
        Agent,
        report::{AgentReport, PublicationReport},
    },
    config::Config,
};

/// How often a one-shot run looks whether it is done.
const LOOK: Duration = Duration::from_millis(100);

pub(super) async fn run(config: Config) -> anyhow::Result<ExitCode> {
    let cancel = stop_on_signals()?;
    let service = Service::begin();
    let hangups = reload::hangups()?;
    let agent = Agent::start(config, cancel.clone()).await?;
    reload::on_hangup(hangups, &agent);
    service.working(&agent);
    let ready = {
        let agent = Arc::clone(&agent);
        tokio::spawn(async move {
            if agent.all_up().await {
                println!("ready");
                tracing::info!("every node has its certificate");
            }
        })
    };
    cancel.cancelled().await;
    service.stopping();
    let failed = agent.run_to_end().await;
    ready.abort();
    Ok(match failed {
        None => ExitCode::SUCCESS,
        // The log has the reason; a service manager may start the agent again.
        Some(_) => ExitCode::FAILURE,
    })
}

pub(super) async fn publish(mut config: Config, within: u64) -> anyhow::Result<ExitCode> {
    // A one-shot run receives nothing: it would end in the middle of a delivery.
    for node in &mut config.nodes {
        node.subscribe.clear();
    }
    config.nodes.retain(|node| !node.publish.is_empty());
    let cancel = stop_on_signals()?;
    let agent = Agent::start(config, cancel.clone()).await?;
    let publications: usize = agent.config().nodes.iter().map(|node| node.publish.len()).sum();
    let bar = ProgressBar::new(publications as u64);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos}/{len} resources, {msg}")?);
    let deadline = tokio::time::Instant::now() + Duration::from_secs(within);
    let report = loop {
        let report = AgentReport::of(&agent);
        let all = || report.nodes.iter().flat_map(|node| &node.publications);
        let settled = all().filter(|each| is_settled(each)).count();
        bar.set_position(settled as u64);
        bar.set_message(format!("{} rows accepted", all().map(|each| each.accepted).sum::<u64>()));
        if settled == publications
            || cancel.is_cancelled()
            || tokio::time::Instant::now() >= deadline
        {
            break report;
        }
        tokio::select! {
            () = tokio::time::sleep(LOOK) => {}
            () = cancel.cancelled() => {}
        }
    };
    bar.finish_and_clear();
    cancel.cancel();
    let failed = agent.run_to_end().await;
    show::table(&report);
    let done = report.nodes.iter().map(|node| node.publications.len()).sum::<usize>()
        == publications
        && report.nodes.iter().flat_map(|node| &node.publications).all(|each| each.state == "ok");
    if let Some(reason) = failed {
        eprintln!("error: {reason}");
    } else if !done {
        eprintln!("error: not everything is acknowledged; see the table, and: hutong-agent check");
    }
    Ok(if done { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Acknowledged, or stuck in a way that waiting does not mend.
fn is_settled(publication: &PublicationReport) -> bool {
    matches!(publication.state.as_str(), "ok" | "stands still" | "waiting for confirmation")
}

/// A token that SIGTERM and SIGINT cancel.
fn stop_on_signals() -> anyhow::Result<CancellationToken> {
    let cancel = CancellationToken::new();
    let mut terminate = signal(SignalKind::terminate()).context("SIGTERM cannot be handled")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("SIGINT cannot be handled")?;
    let stopped = cancel.clone();
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
            () = stopped.cancelled() => return,
        }
        tracing::info!("asked to stop");
        stopped.cancel();
    });
    Ok(cancel)
}
