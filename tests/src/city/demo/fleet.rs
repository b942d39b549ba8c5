//! The machines: one folder and one agent for each unit.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::super::agent_config::node_tables;
use super::super::write::unit_folder;
use super::super::{City, Role};
use super::Running;
use super::watch::Gauges;
use crate::harness::Machine;
use crate::harness::wait::until_true;

/// Nodes that may be on their way to the hub at once. More would only wait for a processor.
const ARRIVING_MAX: u64 = 160;
const ARRIVE_WITHIN: Duration = Duration::from_secs(120);

/// One machine for each unit, with its nodes.
pub(super) fn machines(city: &City, files: &Path, dir: &Path) -> Result<Vec<Machine>> {
    let logs = dir.join("logs");
    let machine = |unit: &super::super::Unit| {
        let folder = dir.join("agents").join(&unit.id);
        let mut machine = Machine::new(&folder, &logs, &unit.id, unit.code, &unit.name)?;
        machine.nodes = node_tables(unit, &unit_folder(files, unit));
        Ok(machine)
    };
    city.units.iter().map(machine).collect()
}

/// Starts all agents, those with most rows first, a few at a time.
pub(super) fn start(running: &mut Running) -> Result<()> {
    let mut order: Vec<usize> = (0..running.machines.len()).collect();
    let rows = |at: &usize| -> u64 {
        running.city.units[*at]
            .nodes
            .iter()
            .flat_map(|node| &node.resources)
            .map(|each| each.rows)
            .sum()
    };
    order.sort_by_key(|at| {
        // Subscribers come early too: what is delivered while it arrives need not be read again.
        let receives = running.city.units[*at].role.is_some_and(|role| role != Role::DataAuthority);
        (std::cmp::Reverse(receives), std::cmp::Reverse(rows(at)))
    });
    let mut started = 0;
    for at in order {
        let nodes = running.machines[at].nodes.len() as u64;
        let hub = &running.hub;
        until_true(ARRIVE_WITHIN, "enough nodes are enrolled to start the next agent", || {
            Ok(started < Gauges::read(hub)?.enrolled + ARRIVING_MAX)
        })?;
        running.machines[at].start()?;
        started += nodes;
    }
    Ok(())
}
