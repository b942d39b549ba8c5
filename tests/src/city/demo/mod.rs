//! The demonstration: the whole city as processes on this machine, from nothing to equal digests.
//!
//! ```text
//! files ready ─► hub ─► tokens, grants ─► 108 agents ─► enrolled, registered, stored, delivered
//!                 └──────────── the clock runs ───────────────────────► proof ─► stops
//! ```

mod cost;
mod fleet;
mod folder;
mod grants;
mod lookups;
mod watch;

use std::fs;
use std::io::{Write, stdout};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::cache;
use super::{City, Scale};
use crate::harness::exchange::issue_sheet;
use crate::harness::programs::programs;
use crate::harness::run::run;
use crate::harness::{Hub, Machine};
use crate::proof::Inventory;
use crate::proof::inventory;

/// How the demonstration is run.
#[derive(Clone, Debug)]
pub struct Options {
    /// How much of the city.
    pub scale: Scale,
    /// Where cities are cached.
    pub cities: PathBuf,
    /// Folder of the run; it is emptied if it held a run before.
    pub dir: Option<PathBuf>,
    /// End with the verdict instead of staying up.
    pub exit: bool,
}

/// A city that runs.
#[derive(Debug)]
pub struct Running {
    /// The plan.
    pub city: City,
    /// The city's files.
    pub files: PathBuf,
    /// The run's folder.
    pub dir: PathBuf,
    /// The hub.
    pub hub: Hub,
    /// One machine for each unit, in the plan's order.
    pub machines: Vec<Machine>,
    /// What the proof compares.
    pub inventory: Inventory,
    /// Since the hub is ready.
    pub since: Instant,
}

/// Runs it; the answer is whether all digests are equal.
///
/// # Errors
/// When something does not work at all.
pub fn demo(options: &Options) -> Result<bool> {
    let progress = super::bar::rows("generating the city")?;
    let files = cache::ensure(&options.cities, options.scale, &progress)?;
    progress.finish_and_clear();
    let dir = match &options.dir {
        Some(dir) => dir.clone(),
        None => options.cities.join("demo").join(options.scale.name()),
    };
    folder::prepare(&dir)?;
    let dir = dir.canonicalize().with_context(|| format!("find {}", dir.display()))?;

    let mut running = Running::begin(City::plan(options.scale)?, files, dir)?;
    let phases = watch::until_done(&mut running)?;
    let loaded = running.since.elapsed();
    let processor = cost::Processor::used(&mut running);
    running.hub.flush()?;
    let (equal, verdict) = running.prove()?;
    let total = running.since.elapsed();

    let mut out = stdout().lock();
    writeln!(out, "\n{verdict}")?;
    watch::print(&phases, &mut out)?;
    let proof = (total - loaded).as_secs_f32();
    writeln!(
        out,
        "{:>8.1} s  the proof, by a process of its own: {proof:.1} s",
        total.as_secs_f32()
    )?;
    processor.print(loaded, &mut out)?;
    cost::print(&mut running, &mut out)?;
    lookups::print(&running, &mut out)?;
    if options.exit {
        drop(out);
        running.stop()?;
        return Ok(equal);
    }
    running.where_to_look(&mut out)?;
    drop(out);
    wait_for_interrupt()?;
    running.stop()?;
    Ok(equal)
}

impl Running {
    /// A hub that serves, with tokens for all nodes and the grants made; no agent runs yet.
    ///
    /// # Errors
    /// When a step fails.
    pub fn begin(city: City, files: PathBuf, dir: PathBuf) -> Result<Self> {
        let mut hub = Hub::found(&dir.join("hub"), &dir.join("logs"))?;
        hub.start()?;
        let since = Instant::now();
        let machines = fleet::machines(&city, &files, &dir)?;
        let inventory = folder::inventory(&city, &files, hub.data());
        let mut running = Self { city, files, dir, hub, machines, inventory, since };
        let nodes = folder::write_nodes(&running.city, &running.dir)?;
        let sheet = running.dir.join("tokens.csv");
        issue_sheet(&running.hub, &nodes, &sheet)?;
        folder::split_sheet(&sheet, &running.machines)?;
        running.inventory.grants = grants::make(&mut running)?;
        for machine in &running.machines {
            machine.configure(running.hub.quic()?)?;
        }
        running.inventory.save(&running.dir.join(inventory::FILE))?;
        Ok(running)
    }

    /// Runs the proof in a process of its own: whether all is equal, and what it printed.
    ///
    /// # Errors
    /// When it does not run.
    pub fn prove(&self) -> Result<(bool, String)> {
        let path = self.dir.join(inventory::FILE);
        let ran = run(&programs()?.city, ["verify".as_ref(), path.as_os_str()])?;
        Ok((ran.success, format!("{}{}", ran.out, ran.err)))
    }

    /// Starts all agents, and waits until every row is stored, searchable and delivered.
    ///
    /// # Errors
    /// When that does not happen.
    pub fn start(&mut self) -> Result<()> {
        watch::until_done(self).map(|_| ())
    }

    /// Ends all processes in good order.
    ///
    /// # Errors
    /// When one does not end well.
    pub fn stop(&mut self) -> Result<()> {
        for machine in &mut self.machines {
            if let Some(process) = machine.process() {
                process.ask_to_end()?;
            }
        }
        for machine in &mut self.machines {
            machine.stop()?;
        }
        self.hub.stop()
    }

    fn where_to_look(&self, out: &mut impl Write) -> Result<()> {
        let http = self.hub.http()?;
        let programs = programs()?;
        let hub = format!("{} --config {}", programs.hub.display(), self.hub.config().display());
        writeln!(out, "\nlook further:")?;
        writeln!(out, "  http://{http}/metrics  http://{http}/ready")?;
        writeln!(out, "  {hub} status")?;
        writeln!(out, "  {hub} reconcile")?;
        writeln!(out, "  {hub} grant list")?;
        writeln!(
            out,
            "  {} verify {}",
            programs.city.display(),
            self.dir.join(inventory::FILE).display()
        )?;
        for grant in &self.inventory.grants {
            writeln!(out, "  delivered to {}: {}", grant.grantee, grant.path.display())?;
        }
        writeln!(out, "  logs, configurations, data: {}", self.dir.display())?;
        writeln!(out, "Ctrl-C ends it.")?;
        Ok(())
    }
}

fn wait_for_interrupt() -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(tokio::signal::ctrl_c()).context("wait for Ctrl-C")
}

/// How long the slowest phase may stand still before the demonstration gives up.
const STANDSTILL: Duration = Duration::from_secs(120);

fn write(path: &Path, content: impl AsRef<[u8]>) -> Result<()> {
    fs::write(path, content).with_context(|| format!("write {}", path.display()))
}

fn refuse(path: &Path) -> Result<()> {
    bail!("{} holds something else; name an empty folder", path.display())
}
