//! `enrol`

use std::{io::Read, path::Path, process::ExitCode};

use anyhow::{Context, bail};
use hutong_certs::{
    enrol::NodeFolder,
    join::{JoinToken, sheet},
};
use hutong_schema::words::in_full;
use tokio::task::JoinSet;

use super::EnrolArgs;
use crate::{app::enrol, config::Config, link::Dialler};

pub(super) async fn enrol(
    args: EnrolArgs,
    config: impl FnOnce() -> anyhow::Result<Config>,
) -> anyhow::Result<ExitCode> {
    let (hub, state, sheet) = match (&args.hub, &args.state) {
        (Some(hub), Some(state)) => (hub.clone(), state.clone(), None),
        (hub, state) => {
            let config =
                config().context("give --hub and --state, or a configuration that has them")?;
            let hub = hub.clone().unwrap_or_else(|| config.hub_address.clone());
            (hub, state.clone().unwrap_or_else(|| config.state_dir.clone()), config.enrol_sheet)
        }
    };
    let tokens = match (&args.token, args.sheet.or(sheet)) {
        (Some(file), _) => vec![token(file)?],
        (None, Some(path)) => {
            let rows =
                sheet::load(&path).with_context(|| format!("the sheet {}", path.display()))?;
            rows.into_iter().map(|row| row.token).collect()
        }
        (None, None) => bail!(
            "no join token: give --token FILE or --sheet FILE, or name the sheet in the configuration's [enrol]"
        ),
    };
    let (dialler, anew) = (Dialler::open(&hub)?, args.anew);
    let (mut tasks, mut waiting) = (JoinSet::new(), tokens.into_iter());
    let mut failed = 0;
    loop {
        while tasks.len() < enrol::AT_ONCE {
            let Some(token) = waiting.next() else { break };
            let folder = NodeFolder::new(state.join("nodes").join(token.node.as_str()));
            let dialler = dialler.clone();
            tasks.spawn(async move {
                let known = folder.is_enrolled() && !anew;
                let enrolled = if anew {
                    enrol::anew(&dialler, &folder, &token).await
                } else {
                    enrol::ensure(&dialler, &folder, Some(&token)).await
                };
                (token.node, known, enrolled)
            });
        }
        let Some(done) = tasks.join_next().await else { break };
        let (node, known, enrolled) = done.context("an enrolment was interrupted")?;
        match enrolled {
            Ok(material) => {
                let ends = material.credentials.facts().not_after;
                let word = if known { "has a certificate already" } else { "enrolled" };
                println!("{node}: {word}, valid until {ends}");
            }
            Err(error) => {
                failed += 1;
                eprintln!("{node}: {}", in_full(&error));
            }
        }
    }
    dialler.idle().await;
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Reads a token from a file or standard input.
fn token(file: &Path) -> anyhow::Result<JoinToken> {
    if file.to_string_lossy().starts_with("htj1-") {
        bail!(
            "--token takes a file (or - for standard input), not the token: every user of the machine can read a command line"
        );
    }
    let mut text = String::new();
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).context("standard input")?;
    } else {
        text = std::fs::read_to_string(file)
            .with_context(|| format!("the token file {}", file.display()))?;
    }
    text.trim().parse().with_context(|| format!("the token in {}", file.display()))
}
