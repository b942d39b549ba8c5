//! `doctor`: looks at everything that can stand in the way of a row, with the agent running or not,
//! and says of each thing what is so, what that means and what to do.
//!
//! A further kind of source or sink brings a file of its own in `sources` or `sinks`.

mod disk;
mod finding;
mod network;
mod node;
mod running;
mod sinks;
mod sources;
mod state;

use std::collections::HashMap;

use hutong_certs::{enrol::NodeFolder, tls::AgentTls};
use hutong_schema::{
    catalogue::CatalogueEntry,
    ids::{NodeName, ResourceCode},
    words::in_full,
};

pub use finding::{Area, Finding, Level, Text};
pub(crate) use sources::folder_problems;

use self::finding::text;
use super::{
    report::AgentReport,
    socket::{self, Request, SocketError},
};
use crate::{
    config::{Config, NodeConfig},
    link::catalogue,
    spool::Store,
};

/// Looks at everything; what is fine is said as well.
pub async fn examine(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    let report = ask(config, &mut findings).await;
    let mut identities = Vec::new();
    for node in &config.nodes {
        let folder = NodeFolder::new(config.node_dir(&node.name));
        let (found, tls) = node::files(&node.name, &folder);
        findings.extend(found);
        identities.extend(tls.map(|tls| (node.name.clone(), tls)));
    }
    let any = identities.first().map(|(_, tls)| tls);
    let way = Box::pin(network::look(&config.hub_address, any)).await;
    let open = way.iter().all(|finding| finding.level < Level::Person);
    findings.extend(way);
    findings.extend(state::folder(config));
    let store = match &report {
        Some(report) => {
            findings.push(state::outbox(report.outbox_bytes, report.outbox_cap_bytes));
            None
        }
        None => {
            let (found, store) = state::store(config);
            findings.extend(found);
            store
        }
    };
    if let Some(store) = &store {
        findings.push(state::outbox(store.outbox_bytes(), config.outbox_cap_bytes));
        if open {
            findings.extend(visits(config, store, &identities).await);
        }
    }
    findings.extend(ends(config.clone(), store).await);
    findings
}

/// The running agent's report, and what it says.
async fn ask(config: &Config, findings: &mut Vec<Finding>) -> Option<AgentReport> {
    let answer = socket::ask(&config.status_socket, &Request::Status).await;
    let trouble = match answer {
        Ok(Ok(report)) => match serde_json::from_value::<AgentReport>(report) {
            Ok(report) => {
                findings.extend(running::look(&report));
                return Some(report);
            }
            Err(error) => error.to_string(),
        },
        Ok(Err(refused)) => refused,
        Err(SocketError::NotRunning(_)) => {
            findings.push(Finding::note(
                Area::Agent,
                text("the agent is not running", "代理未运行"),
                text("nothing is sent or received", "无法发送和接收"),
                text(
                    "start it: systemctl start hutong-agent, or hutong-agent run",
                    "启动代理：systemctl start hutong-agent，或 hutong-agent run",
                ),
            ));
            return None;
        }
        Err(error) => in_full(&error),
    };
    findings.push(
        Finding::person(
            Area::Agent,
            text(
                format!("the running agent does not answer as it should: {trouble}"),
                format!("运行中的代理应答异常：{trouble}"),
            ),
            text(
                "it runs as another user, is of another version, or hangs",
                "它以其他用户运行、版本不同，或已停止响应",
            ),
            text(
                "run the doctor as the agent's user; else restart the agent",
                "以运行代理的用户执行本命令；否则重新启动代理",
            ),
        )
        .of(config.status_socket.display()),
    );
    None
}

async fn visits(
    config: &Config,
    store: &Store,
    identities: &[(NodeName, AgentTls)],
) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (name, tls) in identities {
        findings.push(Box::pin(node::visit(name, tls, store, &config.hub_address)).await);
    }
    findings
}

/// Sources and sinks: reading files blocks.
async fn ends(config: Config, store: Option<Store>) -> Vec<Finding> {
    let looked = tokio::task::spawn_blocking(move || {
        let mut findings = Vec::new();
        for node in &config.nodes {
            let entries = entries(node, store.as_ref(), &mut findings);
            for publish in &node.publish {
                findings.extend(sources::look(publish, entries.get(&publish.resource)));
            }
            findings.extend(node.subscribe.iter().flat_map(sinks::look));
        }
        findings
    });
    looked.await.unwrap_or_default()
}

/// The catalogue entries of a node's resources, as far as they are known here: from its file, and as
/// the hub told them last.
fn entries(
    node: &NodeConfig,
    store: Option<&Store>,
    findings: &mut Vec<Finding>,
) -> HashMap<ResourceCode, CatalogueEntry> {
    let recalled = |resource: &ResourceCode| catalogue::recalled(store?, resource).ok()?;
    let known = node.publish.iter().filter_map(|publish| recalled(&publish.resource));
    let mut entries: HashMap<_, _> = known.map(|entry| (entry.code.clone(), entry)).collect();
    let Some(path) = &node.catalogue else { return entries };
    match catalogue::read(path) {
        Ok(file) => {
            entries.extend(file.entries.into_iter().map(|entry| (entry.code.clone(), entry)));
        }
        Err(error) if error.is_missing() && node.publish.is_empty() => {}
        Err(error) => {
            let why = in_full(&error);
            findings.push(
                Finding::person(
                    Area::Source,
                    text(
                        format!("the catalogue file cannot be used: {why}"),
                        format!("目录文件无法使用：{why}"),
                    ),
                    text(
                        "new and changed resources are not registered",
                        "新增和变更的资源不会登记",
                    ),
                    text("correct the lines named", "修正所列各行"),
                )
                .of(path.display()),
            );
        }
    }
    entries
}
