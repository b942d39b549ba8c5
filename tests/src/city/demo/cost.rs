//! What the processes needed of memory and of the processors.

use std::io::Write;
use std::time::Duration;

use anyhow::Result;

use super::Running;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Processor time that the city has used so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Processor {
    hub: Duration,
    agents: Duration,
}

impl Processor {
    /// As the system counts it.
    pub(super) fn used(running: &mut Running) -> Self {
        let hub = running.hub.process().and_then(|process| process.processor_time());
        let agents = running.machines.iter_mut().filter_map(|machine| machine.process());
        let agents = agents.filter_map(|process| process.processor_time()).sum();
        Self { hub: hub.unwrap_or_default(), agents }
    }

    /// Prints it beside the time that passed.
    pub(super) fn print(self, passed: Duration, out: &mut impl Write) -> Result<()> {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        writeln!(
            out,
            "processor time until all is level: hub {:.1} s, agents {:.1} s; {cores} processors had {:.1} s",
            self.hub.as_secs_f32(),
            self.agents.as_secs_f32(),
            passed.as_secs_f32() * cores as f32
        )?;
        Ok(())
    }
}

/// Prints the peaks of resident memory.
pub(super) fn print(running: &mut Running, out: &mut impl Write) -> Result<()> {
    let receives = |name: &str, running: &Running| {
        let grants = &running.inventory.grants;
        grants.iter().any(|grant| grant.path.components().any(|part| part.as_os_str() == name))
    };
    let mut agents: Vec<(String, u64)> = Vec::new();
    for machine in &mut running.machines {
        let name = machine.name.clone();
        let peak = machine.process().and_then(|process| process.peak_memory());
        agents.extend(peak.map(|peak| (name, peak)));
    }
    let total: u64 = agents.iter().map(|(_, peak)| peak).sum();
    let hub = running.hub.process().and_then(|process| process.peak_memory()).unwrap_or(0);
    let mib = |bytes: u64| bytes as f64 / MEBIBYTE;
    writeln!(out, "memory, peak resident: hub {:.0} MiB", mib(hub))?;
    agents.sort_by_key(|(_, peak)| *peak);
    let (median, largest) = (agents.get(agents.len() / 2), agents.last());
    if let (Some((_, median)), Some((name, peak))) = (median, largest) {
        writeln!(
            out,
            "  {} agents {:.0} MiB in all, median {:.1} MiB, largest {:.1} MiB ({name})",
            agents.len(),
            mib(total),
            mib(*median),
            mib(*peak)
        )?;
    }
    let subscribers: Vec<String> = agents
        .iter()
        .filter(|(name, _)| receives(name, running))
        .map(|(name, peak)| format!("{name} {:.1} MiB", mib(*peak)))
        .collect();
    writeln!(out, "  subscribers among them: {}", subscribers.join(", "))?;
    Ok(())
}
