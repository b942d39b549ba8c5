//! Nodes that are connected and do nothing: what each costs the hub, and what an agent costs.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hutong_agent::link::{Dialler, Session, Visitor};
use hutong_certs::enrol::NodeFolder;
use tokio::task::JoinSet;

use super::Options;
use super::figure::{Figure, Wanted};
use super::stage::{MEBIBYTE, PATIENCE, UNBOUNDED, department};
use crate::harness::entries::department_code;
use crate::harness::wait::until_true;
use crate::harness::{Hub, Machine};

/// Nodes at the hub.
const NODES: usize = 10_000;
/// Nodes of one agent.
const OF_ONE_AGENT: usize = 8;
/// Handshakes under way at once.
const AT_ONCE: usize = 64;
/// Dials of a node: an agent dials again when nobody answers, too.
const DIALS: usize = 3;
/// How long they are connected before memory is looked at: some heartbeats.
const FOR: Duration = Duration::from_secs(30);

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.cities)?;
    let logs = folder.path().join("logs");
    let mut hub = Hub::found(&folder.path().join("hub"), &logs)?;
    hub.set(UNBOUNDED)?;
    hub.start()?;
    let mut agent = department(&hub, folder.path(), ("agent", department_code(1)?), OF_ONE_AGENT)?;
    agent.start()?;
    until_true(PATIENCE, "the agent's nodes are connected", || {
        let Ok(status) = agent.status() else { return Ok(false) };
        let nodes = status["nodes"].as_array().into_iter().flatten();
        Ok(nodes.filter(|node| node["link"] == "connected").count() == OF_ONE_AGENT)
    })?;
    let many = department(&hub, folder.path(), ("many", department_code(2)?), NODES)?;
    let began = Instant::now();
    many.command(["enrol"])?.ok()?;
    let enrolled = began.elapsed().as_secs_f64();
    let resident = |hub: &mut Hub| -> Result<f64> {
        let process = hub.process().context("the hub runs")?;
        Ok(process.memory().context("its memory")? as f64 / MEBIBYTE)
    };
    let before = resident(&mut hub)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let began = Instant::now();
    let (visitors, failures) = runtime.block_on(connect(&hub, &many))?;
    let connected = began.elapsed().as_secs_f64();
    std::thread::sleep(FOR);
    let nodes = hub.metrics()?.sum("hutong_nodes_connected") as usize;
    if nodes < NODES {
        bail!("{nodes} nodes are connected, {NODES} were to be");
    }
    let after = resident(&mut hub)?;
    let agent_memory = agent.process().and_then(|process| process.memory()).unwrap_or(0) as f64;
    drop(visitors);
    agent.stop()?;
    hub.stop()?;
    Ok(vec![
        Figure::new("hub with 10,000 idle nodes", after, "MiB", Wanted::at_most(800.0, 600.0))
            .seen(format!("{:.1} KiB a node", (after - before) * 1024.0 / NODES as f64))
            .seen(format!("{:.0} enrolments a second", NODES as f64 / enrolled))
            .seen(format!("{:.0} connections a second", NODES as f64 / connected))
            .seen(match &failures[..] {
                [] => "no dial was in vain".to_owned(),
                [first, ..] => format!("{} dials in vain; one because: {first}", failures.len()),
            }),
        Figure::new(
            "idle agent with eight nodes",
            agent_memory / MEBIBYTE,
            "MiB",
            Wanted::at_most(25.0, 25.0),
        ),
    ])
}

/// Connects every node; also why dials were in vain that were repeated.
async fn connect(hub: &Hub, machine: &Machine) -> Result<(Vec<Visitor>, Vec<String>)> {
    let dialler = Dialler::open(&hub.quic()?.to_string())?;
    let turns = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for (number, node) in machine.nodes.iter().enumerate() {
        let folder = NodeFolder::new(machine.state().join("nodes").join(&node.name));
        let (dialler, turns) = (dialler.clone(), Arc::clone(&turns));
        tasks.spawn(async move {
            let _turn = turns.acquire_owned().await?;
            let tls = folder.load()?.into_tls();
            let mut instance = [0; 16];
            instance[..8].copy_from_slice(&(number as u64).to_le_bytes());
            let mut failed = Vec::new();
            loop {
                match Session::visit(&dialler, &tls, instance).await {
                    Ok(visitor) => return Ok::<_, anyhow::Error>((visitor, failed)),
                    Err(error) if failed.len() + 1 < DIALS => failed.push(error.to_string()),
                    Err(error) => return Err(error.into()),
                }
            }
        });
    }
    let (mut visitors, mut failures) = (Vec::with_capacity(machine.nodes.len()), Vec::new());
    while let Some(visitor) = tasks.join_next().await {
        let (visitor, failed) = visitor??;
        visitors.push(visitor);
        failures.extend(failed);
    }
    Ok((visitors, failures))
}
