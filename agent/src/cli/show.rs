//! `status`, `confirm`, `check`

use std::path::Path;
use std::process::ExitCode;

use anyhow::{anyhow, bail};
use hutong_certs::lifetime::RENEWABLE_FOR;
use hutong_schema::ids::ResourceCode;

use crate::{
    app::{
        enrol,
        report::{AgentReport, NodeReport, PublicationReport, SubscriptionReport},
        socket::{self, Request, SocketError},
        store_options,
    },
    config::{Config, FileSource, FolderSource, SourceConfig},
    link::catalogue,
    sources::fault_of_rules,
    spool::Store,
};

pub(super) async fn status(config: &Config, json: bool) -> anyhow::Result<ExitCode> {
    let report = match socket::ask(&config.status_socket, &Request::Status).await {
        Ok(answer) => serde_json::from_value(answer.map_err(|error| anyhow!(error))?)?,
        Err(SocketError::NotRunning(_)) => {
            if !config.store_dir().exists() {
                bail!(
                    "the agent is not running and has never run with this configuration; start it: hutong-agent run"
                );
            }
            let store = Store::open(&config.store_dir(), store_options(config))?;
            AgentReport::of_store(&store, config)?
        }
        Err(error) => return Err(error.into()),
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        table(&report);
    }
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn confirm(config: &Config, resource: ResourceCode) -> anyhow::Result<ExitCode> {
    let answer = socket::ask(&config.status_socket, &Request::Confirm { resource }).await;
    let answer = match answer {
        Err(SocketError::NotRunning(_)) => {
            bail!("the agent is not running; start it, then confirm: hutong-agent run")
        }
        other => other?,
    };
    println!("{}", answer.map_err(|error| anyhow!(error))?.as_str().unwrap_or_default());
    Ok(ExitCode::SUCCESS)
}

/// Looks at everything that can be looked at without the hub; names all mistakes.
pub(super) fn check(config: &Config) -> anyhow::Result<ExitCode> {
    let mut problems = Vec::new();
    let tokens = match config.enrol_sheet.as_deref().map(enrol::tokens).transpose() {
        Ok(tokens) => tokens.unwrap_or_default(),
        Err(error) => {
            problems.push(format!("[enrol] sheet: {error}"));
            Default::default()
        }
    };
    for node in &config.nodes {
        let folder = hutong_certs::enrol::NodeFolder::new(config.node_dir(&node.name));
        if folder.is_enrolled() {
            match folder.load() {
                Ok(material)
                    if material.credentials.facts().not_after <= hutong_certs::clock::now() =>
                {
                    let ended = material.credentials.facts().not_after;
                    problems.push(format!(
                        "node {}: its certificate ended at {ended}; the running agent renews it for {} days after that, then it needs a new join token",
                        node.name,
                        RENEWABLE_FOR.as_hours() / 24
                    ));
                }
                Ok(_) => {}
                Err(error) => problems.push(format!(
                    "node {}: {}",
                    node.name,
                    hutong_schema::words::in_full(&error)
                )),
            }
        } else if !tokens.contains_key(&node.name) {
            problems.push(format!("node {}: no certificate and no join token for it", node.name));
        }
        let mut registered = None;
        if let Some(path) = &node.catalogue {
            match catalogue::read(path) {
                Ok(file) => registered = Some(file.entries),
                Err(error) => problems.push(format!(
                    "node {}: {}",
                    node.name,
                    hutong_schema::words::in_full(&error)
                )),
            }
        }
        for publish in &node.publish {
            let found = match &publish.source {
                SourceConfig::File(file) => file_problems(file),
                SourceConfig::Folder(folder) => folder_problems(folder),
            };
            problems.extend(found.into_iter().map(|each| format!("{}: {each}", publish.resource)));
            let entry = registered.iter().flatten().find(|entry| entry.code == publish.resource);
            if let Some(fault) = entry.and_then(|entry| fault_of_rules(entry, &publish.rules)) {
                problems.push(format!("{}: {fault}", publish.resource));
            }
            if let Some(entries) = &registered
                && !entries.iter().any(|entry| entry.code == publish.resource)
            {
                problems.push(format!("{}: not in the node's catalogue file", publish.resource));
            }
        }
    }
    for problem in &problems {
        println!("{problem}");
    }
    let publications: usize = config.nodes.iter().map(|node| node.publish.len()).sum();
    println!(
        "{} node(s), {publications} publication(s), {} problem(s)",
        config.nodes.len(),
        problems.len()
    );
    Ok(if problems.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn file_problems(file: &FileSource) -> Vec<String> {
    let opened = std::fs::File::open(&file.path);
    opened.err().map(|error| format!("{}: {error}", file.path.display())).into_iter().collect()
}

/// Folders must be there and on one file system, so that a file can be handed over in one step.
fn folder_problems(folder: &FolderSource) -> Vec<String> {
    let inbox = match std::fs::read_dir(&folder.folder).and_then(|_| device(&folder.folder)) {
        Ok(device) => device,
        Err(error) => return vec![format!("{}: {error}", folder.folder.display())],
    };
    let mut problems = Vec::new();
    for path in [&folder.done, &folder.failed] {
        // The agent makes them when they are needed.
        let there = path.ancestors().find(|each| each.exists()).unwrap_or(path);
        match device(there) {
            Ok(other) if other == inbox => {}
            Ok(_) => problems.push(format!(
                "{}: is on another file system than {}",
                path.display(),
                folder.folder.display()
            )),
            Err(error) => problems.push(format!("{}: {error}", path.display())),
        }
    }
    problems
}

/// The file system that a path is on.
#[cfg(unix)]
fn device(path: &Path) -> std::io::Result<u64> {
    Ok(std::os::unix::fs::MetadataExt::dev(&std::fs::metadata(path)?))
}

#[cfg(not(unix))]
fn device(path: &Path) -> std::io::Result<u64> {
    std::fs::metadata(path).map(|_| 0)
}

/// Prints a report for a person.
pub(super) fn table(report: &AgentReport) {
    let state = if report.running { "running" } else { "not running" };
    let (used, cap) = (report.outbox_bytes / 1024, report.outbox_cap_bytes / 1024);
    println!("{} · {state} · hub {} · outbox {used} of {cap} KiB", report.software, report.hub);
    for node in &report.nodes {
        of_node(node);
    }
}

fn of_node(node: &NodeReport) {
    let since = node.since.as_deref().map(|since| format!(" since {since}")).unwrap_or_default();
    let ends = node.certificate_ends.as_deref().map(|ends| format!(" · certificate until {ends}"));
    println!("\nnode {} · {}{since}{}", node.name, node.link, ends.unwrap_or_default());
    if let Some(reason) = &node.reason {
        println!("  {reason}");
    }
    if let Some(trouble) = &node.renewal_trouble {
        println!("  the certificate could not be renewed: {trouble}");
    }
    if let Some(trouble) = &node.catalogue_trouble {
        println!("  catalogue: {trouble}");
    }
    if node.clock_skew_ms.abs() > 60_000 {
        println!("  the clock differs from the hub's by {} s", node.clock_skew_ms / 1_000);
    }
    node.publications.iter().for_each(of_publication);
    node.subscriptions.iter().for_each(of_subscription);
}

fn of_publication(each: &PublicationReport) {
    println!(
        "  {} · {} · read {} · accepted {} · rejected {} · acknowledged batch {}",
        each.resource, each.state, each.read, each.accepted, each.rejected, each.acknowledged
    );
    if each.waiting_batches > 0 {
        let age = each.oldest_ms.map_or(0, |ms| ms / 1_000);
        println!("    {} batch(es) not acknowledged, the oldest for {age} s", each.waiting_batches);
    }
    for trouble in &each.troubles {
        println!("    {trouble}");
    }
}

fn of_subscription(each: &SubscriptionReport) {
    let position = each.position.map_or("-".to_owned(), |seq| seq.to_string());
    let consistent = if each.consistent { "consistent" } else { "not yet consistent" };
    let rows = each.rows.map(|rows| format!(" · {rows} rows")).unwrap_or_default();
    println!(
        "  grant {} · {} · position {position} · {consistent} · {} changes{rows}",
        each.grant, each.state, each.changes
    );
    if let Some(reason) = &each.reason {
        println!("    {reason}");
    }
}
