//! The machines: one folder and one agent for each unit.

use std::path::Path;

use anyhow::Result;

use super::super::City;
use super::super::agent_config::node_tables;
use super::super::write::unit_folder;
use super::Running;
use crate::harness::Machine;

/// Nodes that may be on their way to the hub at once. More would only wait for a processor, and
/// some of them for too long.
const ARRIVING_MAX: u64 = 48;

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

/// The agents that are still to be started.
#[derive(Debug)]
pub(super) struct Fleet {
    /// Positions of machines, the next one last.
    waiting: Vec<usize>,
    /// Nodes of the agents started so far.
    nodes: u64,
}

impl Fleet {
    /// All agents: those that have a part first, then those with most rows.
    pub(super) fn new(running: &Running) -> Self {
        let mut waiting: Vec<usize> = (0..running.machines.len()).collect();
        let rows = |at: usize| -> u64 {
            let nodes = running.city.units[at].nodes.iter();
            nodes.flat_map(|node| &node.resources).map(|each| each.rows).sum()
        };
        waiting.sort_by_key(|at| (running.city.units[*at].role.is_some(), rows(*at)));
        Self { waiting, nodes: 0 }
    }

    /// Starts as many as may be on their way.
    pub(super) fn go_on(&mut self, running: &mut Running, enrolled: u64) -> Result<()> {
        while self.nodes < enrolled + ARRIVING_MAX
            && let Some(at) = self.waiting.pop()
        {
            running.machines[at].start()?;
            self.nodes += running.machines[at].nodes.len() as u64;
        }
        Ok(())
    }
}
