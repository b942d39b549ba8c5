//! `status`, `confirm`

use std::process::ExitCode;

use anyhow::{anyhow, bail};
use hutong_schema::ids::ResourceCode;

use crate::{
    app::{
        report::{AgentReport, NodeReport, PublicationReport, SubscriptionReport},
        socket::{self, Request, SocketError},
        store_options,
    },
    config::Config,
    spool::Store,
};

/// Shows how everything stands; with `check`, fails if something does not work.
pub(super) async fn status(config: &Config, json: bool, check: bool) -> anyhow::Result<ExitCode> {
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
    let ills = if check { report.ills() } else { Vec::new() };
    for ill in &ills {
        eprintln!("not well: {ill}");
    }
    Ok(if ills.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
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

/// Prints a report for a person.
pub(super) fn table(report: &AgentReport) {
    let state = if report.running { "running" } else { "not running" };
    let (used, cap) = (report.outbox_bytes / 1024, report.outbox_cap_bytes / 1024);
    println!("{} · {state} · hub {} · outbox {used} of {cap} KiB", report.software, report.hub);
    if let Some(push) = report.push {
        println!("rows can be pushed to http://{push}/v1/resources/<class>/<sequence>/rows");
    }
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
    if let Some(trouble) = &node.grants_trouble {
        println!("  grants: {trouble}");
    }
    if node.clock_skew_ms.abs() > 60_000 {
        println!("  the clock differs from the hub's by {} s", node.clock_skew_ms / 1_000);
    }
    node.publications.iter().for_each(of_publication);
    node.subscriptions.iter().for_each(of_subscription);
}

fn of_publication(each: &PublicationReport) {
    println!(
        "  {} · {} · read {} · sent {} · accepted {} · rejected {}",
        each.resource, each.state, each.read, each.sent, each.accepted, each.rejected
    );
    println!(
        "    last read {} · acknowledged batch {}{} · settled batch {}{}",
        each.last_read.as_deref().unwrap_or("not since the start"),
        each.acknowledged,
        at(each.last_acknowledged.as_deref()),
        each.settled,
        at(each.last_settled.as_deref()),
    );
    if each.waiting_batches > 0 {
        let (age, kib) = (each.oldest_ms.map_or(0, |ms| ms / 1_000), each.outbox_bytes / 1024);
        println!(
            "    {} batch(es) not acknowledged, the oldest for {age} s; {kib} KiB in the outbox",
            each.waiting_batches
        );
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
    match (each.behind, &each.last_delivery, each.quiet_seconds) {
        (Some(behind), _, _) => println!("    {behind} feed entries until it is consistent"),
        (None, Some(last), Some(quiet)) => println!("    last delivery {last}, {quiet} s ago"),
        (None, _, _) => {}
    }
    if let Some(reason) = &each.reason {
        println!("    {reason}");
    }
}

fn at(moment: Option<&str>) -> String {
    moment.map(|moment| format!(" at {moment}")).unwrap_or_default()
}
