//! Watching the city arrive, by what the hub says of itself.

use std::io::{self, IsTerminal, Write};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use indicatif::{MultiProgress, ProgressBar};

use super::fleet::Fleet;
use super::{Running, STANDSTILL};
use crate::city::bar;
use crate::harness::Hub;

/// Time between two looks.
const PAUSE: Duration = Duration::from_millis(250);

/// What the hub has reached.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Gauges {
    /// Nodes with a certificate.
    pub(super) enrolled: u64,
    /// Catalogue entries registered.
    pub(super) registered: u64,
    /// Rows acknowledged, so durable.
    pub(super) stored: u64,
    /// Rows that can be searched.
    pub(super) applied: u64,
    /// Rows sent to subscribers.
    pub(super) delivered: u64,
    /// Subscriptions that hold what their feed holds.
    pub(super) level: u64,
}

impl Gauges {
    /// What the metrics page says; it costs the hub next to nothing.
    pub(super) fn read(hub: &Hub) -> Result<Self> {
        let metrics = hub.metrics()?;
        let events = |name: &str| -> u64 {
            let label = format!("event=\"{name}\"");
            let found = metrics.with("hutong_governance_events_total", &label);
            found.map(|(_, value)| value as u64).sum()
        };
        let whole = |name: &str| metrics.sum(name) as u64;
        Ok(Self {
            enrolled: events("node_enrolled"),
            registered: events("entry_published"),
            stored: whole("hutong_intake_rows_total"),
            applied: whole("hutong_views_changes_total"),
            delivered: whole("hutong_delivered_changes_total"),
            level: 0,
        })
    }

    /// Adds what only the operator's status tells. It looks at every resource, so it is asked only
    /// when everything else is done.
    fn complete(&mut self, hub: &Hub) -> Result<()> {
        let status = hub.status(false)?;
        let subscriptions = status["subscriptions"].as_array();
        let level = |line: &&serde_json::Value| {
            line["state"] == "following" && line["durable"] == line["head"]
        };
        self.level = subscriptions.map_or(0, |lines| lines.iter().filter(level).count() as u64);
        Ok(())
    }
}

/// When a phase was complete, counted from the hub's start.
#[derive(Clone, Debug)]
pub(super) struct Phase {
    name: &'static str,
    goal: Option<u64>,
    at: Option<Duration>,
    bar: ProgressBar,
    value: fn(&Gauges) -> u64,
}

/// Starts all agents, and waits until everything has arrived everywhere.
pub(super) fn until_done(running: &mut Running) -> Result<Vec<Phase>> {
    let totals = running.city.totals();
    let bars = MultiProgress::new();
    let shown = io::stderr().is_terminal();
    let phase = |name, goal: Option<u64>, value| -> Result<Phase> {
        let bar = if shown { bars.add(bar::phase(name, goal)?) } else { ProgressBar::hidden() };
        Ok(Phase { name, goal, at: None, bar, value })
    };
    let mut phases = vec![
        phase("nodes enrolled", Some(totals.nodes), |now| now.enrolled)?,
        phase("entries registered", Some(totals.entries), |now| now.registered)?,
        phase("rows durable at the hub", Some(totals.rows), |now| now.stored)?,
        phase("rows searchable", Some(totals.rows), |now| now.applied)?,
        phase("rows delivered", None, |now| now.delivered)?,
        phase("subscriptions level", Some(running.inventory.grants.len() as u64), |now| now.level)?,
    ];
    let mut fleet = Fleet::new(running);
    let (mut last, mut moved) = (Gauges::default(), Instant::now());
    loop {
        let mut now = Gauges::read(&running.hub)?;
        fleet.go_on(running, now.enrolled)?;
        if now.applied >= totals.rows {
            now.complete(&running.hub)?;
        }
        let elapsed = running.since.elapsed();
        for phase in &mut phases {
            phase.see((phase.value)(&now), elapsed);
        }
        if phases.iter().all(|phase| phase.goal.is_none() || phase.at.is_some()) {
            bars.clear()?;
            return Ok(phases);
        }
        if now != last {
            (last, moved) = (now, Instant::now());
        } else if moved.elapsed() > STANDSTILL {
            bail!("nothing has moved for {} s: {last:?}", STANDSTILL.as_secs());
        }
        for machine in &mut running.machines {
            if let Some(process) = machine.process()
                && let Some(status) = process.ended()?
            {
                bail!("the agent {} ended with {status}\n{}", process.name(), process.tail());
            }
        }
        thread::sleep(PAUSE);
    }
}

impl Phase {
    fn see(&mut self, value: u64, elapsed: Duration) {
        self.bar.set_position(value);
        match self.goal {
            // The level of subscriptions can sink again while rows still come.
            Some(goal) if value < goal => self.at = None,
            Some(_) => {
                self.at.get_or_insert(elapsed);
            }
            None => {}
        }
    }
}

/// Prints when each phase was complete.
pub(super) fn print(phases: &[Phase], out: &mut impl Write) -> io::Result<()> {
    writeln!(out, "time, counted from \"hub started, files ready\":")?;
    for phase in phases {
        if let (Some(at), Some(goal)) = (phase.at, phase.goal) {
            writeln!(out, "{:>8.1} s  {goal} {}", at.as_secs_f32(), phase.name)?;
        }
    }
    Ok(())
}
