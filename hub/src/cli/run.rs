//! `serve`.

use std::{io::Write, process::ExitCode};

use anyhow::Context;
use tokio::signal::unix::{SignalKind, signal};

use super::{
    args::{Cli, Serve},
    service::Service,
};
use crate::{
    api::Readiness,
    app::{self, EXIT_DISK_FULL, Ended, LogFormat},
    config::Config,
};

/// Exit status of a hub that cannot go on; the service manager starts it again.
const EXIT_FAILED: i32 = 1;

pub(super) async fn serve(cli: &Cli, serve: &Serve) -> anyhow::Result<ExitCode> {
    let config = Config::load(&cli.config())?;
    let format = if serve.log_json { LogFormat::Json } else { LogFormat::Text };
    app::start_logging(format, &serve.log)?;
    let readiness = Readiness::waiting("the disk is looked at");
    let service = Service::begin(&readiness).context("start what tells the service manager")?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let stop = async {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        service.stopping();
        // A second signal ends what takes too long to drain.
        tokio::spawn(async move {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            tracing::warn!("ended by a second signal before everything was drained");
            std::process::exit(EXIT_FAILED);
        });
    };
    let ready = |addresses: app::Addresses| {
        println!("ready quic={} http={}", addresses.quic, addresses.http);
        // Nobody may be reading; the hub serves all the same.
        let _ = std::io::stdout().flush();
        service.ready();
    };
    match app::serve(config, &readiness, stop, ready).await? {
        Ended::InOrder => Ok(ExitCode::SUCCESS),
        Ended::DiskFull => {
            service.disk_full();
            Ok(ExitCode::from(EXIT_DISK_FULL))
        }
        // At once and without tidying up: whatever is not durable by now must not become an answer,
        // and whatever a failed disk holds must not be written to.
        Ended::Failed(_) => std::process::exit(EXIT_FAILED),
    }
}
