//! `reload`, and SIGHUP to the running agent

use std::{process::ExitCode, sync::Arc};

use anyhow::{Context, anyhow, bail};
use hutong_schema::words::in_full;
use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::{
    app::{
        Agent,
        reload::Reloaded,
        socket::{self, Request, SocketError},
    },
    config::Config,
};

pub(super) async fn reload(config: &Config) -> anyhow::Result<ExitCode> {
    let answer = match socket::ask(&config.status_socket, &Request::Reload).await {
        Err(SocketError::NotRunning(_)) => {
            bail!("the agent is not running; it reads its configuration when it starts")
        }
        other => other?,
    };
    let done: Reloaded = serde_json::from_value(answer.map_err(|error| anyhow!(error))?)?;
    if done.done.is_empty() {
        println!("nothing to change");
    }
    for each in &done.done {
        println!("{each}");
    }
    for each in &done.after_restart {
        println!("{each} counts after a restart of the agent");
    }
    Ok(ExitCode::SUCCESS)
}

/// From now on SIGHUP does not end the process.
pub(super) fn hangups() -> anyhow::Result<Signal> {
    signal(SignalKind::hangup()).context("SIGHUP cannot be handled")
}

/// Reads the configuration again at each SIGHUP, as long as the agent runs.
pub(super) fn on_hangup(mut hangups: Signal, agent: &Arc<Agent>) {
    let agent = Arc::downgrade(agent);
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            let Some(agent) = agent.upgrade() else { return };
            if let Err(error) = Box::pin(agent.reload()).await {
                let reason = in_full(&error);
                tracing::error!(
                    reason,
                    "the configuration was not taken; everything goes on as before"
                );
            }
        }
    });
}
