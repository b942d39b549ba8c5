//! What a machine's status says of the connections of its nodes.

use std::os::unix::net::UnixStream;
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::Value;

use super::wait::until;
use super::{Hub, Machine};

/// What the status of a running agent says of a node.
///
/// # Errors
/// When the agent does not answer, or has no such node.
pub fn node(machine: &Machine, name: &str) -> Result<Value> {
    // Without an agent that answers, the command would read the store itself, and one that is just
    // starting would find it in use.
    UnixStream::connect(machine.state().join("agent.sock")).context("no agent answers yet")?;
    let status = machine.status()?;
    let mut nodes = status["nodes"].as_array().into_iter().flatten();
    let found = nodes.find(|node| node["name"] == name);
    found.cloned().with_context(|| format!("{} has no node {name}", machine.name))
}

/// Waits until a node is connected.
///
/// # Errors
/// When the deadline passes, with what the agent said last.
pub fn connected(machine: &Machine, name: &str, within: Duration) -> Result<()> {
    let mut last = Value::Null;
    let waited = until(within, &format!("{name} of {} is connected", machine.name), || {
        // Before its socket is open, an agent that starts answers nothing.
        last = node(machine, name).unwrap_or_default();
        Ok((last["link"] == "connected").then_some(()))
    });
    waited.with_context(|| format!("it said last: {} {}", last["link"], last["reason"]))
}

/// Waits until a node is not connected for a reason that contains all of these words.
///
/// # Errors
/// When the deadline passes, with what the agent said last.
pub fn refused(machine: &Machine, name: &str, words: &[&str], within: Duration) -> Result<String> {
    let mut last = Value::Null;
    let waited = until(within, &format!("{name} of {} is told {words:?}", machine.name), || {
        last = node(machine, name).unwrap_or_default();
        let reason = last["reason"].as_str().unwrap_or_default();
        let told = last["link"] == "not connected" && words.iter().all(|w| reason.contains(w));
        Ok(told.then(|| reason.to_owned()))
    });
    waited.with_context(|| format!("it said last: {} {}", last["link"], last["reason"]))
}

/// The line of a node in the hub's list.
///
/// # Errors
/// When the hub does not answer, or knows no such node.
pub fn line(hub: &Hub, machine: &Machine, name: &str) -> Result<Value> {
    let list = hub.json(["node", "list", "--json"])?;
    let mut lines = list.as_array().into_iter().flatten();
    let found = lines
        .find(|line| line["department"] == machine.code.as_str() && line["node"] == name)
        .cloned();
    found.with_context(|| format!("the hub knows no node {name} of {}", machine.name))
}
