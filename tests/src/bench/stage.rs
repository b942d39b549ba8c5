//! What most benchmarks stand on: a hub, and one agent that publishes the population from a file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hutong_schema::ids::CreditCode;

use super::Options;
use crate::city::agent_config::node_tables;
use crate::city::write::unit_folder;
use crate::city::{City, Role, bar, cache};
use crate::harness::exchange::issue_sheet;
use crate::harness::process::Process;
use crate::harness::wait::{until, until_true};
use crate::harness::{Hub, Machine};

/// Benchmarks ask more, and connect more from one address, than any department does.
pub(super) const UNBOUNDED: &str = "[gate]\nquestions_per_second = 10000000\nquestions_burst = 10000000\nconnections_per_address = 20000\nconnects_per_second = 20000\nconnects_burst = 20000\n";

/// No step of a benchmark takes this long.
pub(super) const PATIENCE: Duration = Duration::from_secs(900);

/// Where the whole file is written before the agent may find it.
pub(super) const DRAFT: &str = "people.csv.draft";

/// Rows with which a publication begins before anything is measured.
pub(super) const FIRST_ROWS: usize = 10;

/// A publication on which nothing has happened for so long has nothing more to say.
const SETTLED: Duration = Duration::from_secs(1);

pub(super) const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A hub and a publisher.
pub(super) struct Stage {
    pub(super) hub: Hub,
    pub(super) machine: Machine,
    /// Code of the population's resource.
    pub(super) resource: String,
    /// The whole file, not yet published.
    pub(super) file: PathBuf,
    /// Rows of it.
    pub(super) rows: u64,
    pub(super) folder: tempfile::TempDir,
}

/// Processor time of both ends.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Used {
    pub(super) hub: Duration,
    pub(super) agent: Duration,
}

impl Stage {
    /// Founds and starts a hub and enrols the agent, which is not started; its file is not there yet.
    pub(super) fn prepare(options: &Options) -> Result<Self> {
        let Options { scale, cities, .. } = options;
        let files = cache::ensure(cities, *scale, &bar::rows("generating the city")?)?;
        let city = City::plan(*scale)?;
        let unit = city.units_with(Role::PublicSecurity).next().context("the police")?;
        let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(cities)?;
        let logs = folder.path().join("logs");
        let mut hub = Hub::found(&folder.path().join("hub"), &logs)?;
        hub.set(UNBOUNDED)?;
        hub.start()?;
        let agent = folder.path().join("agent");
        let mut machine = Machine::new(&agent, &logs, "agent", unit.code, &unit.name)?;
        // The population alone: one node with one publication.
        let mut node =
            node_tables(unit, &unit_folder(&files, unit)).into_iter().next().context("a node")?;
        node.publish.truncate(1);
        let publish = node.publish.first_mut().context("the population's publication")?;
        let file = std::mem::replace(&mut publish.path, machine.path("people.csv"));
        publish.rescan_seconds = Some(1);
        publish.max_delete_percent = Some(100);
        let resource = publish.resource.clone();
        let catalogue = fs::read_to_string(&node.catalogue)?;
        let entry = catalogue.lines().next().context("the population's entry")?;
        node.catalogue = machine.write("catalogue.jsonl", entry)?;
        let nodes =
            format!("department,department_name,node\n{},{},{}\n", unit.code, unit.name, node.name);
        machine.nodes = vec![node];
        issue_sheet(&hub, &machine.write("nodes.csv", nodes)?, &machine.sheet())?;
        machine.configure(hub.quic()?)?;
        machine.command(["enrol"])?.ok()?;
        Ok(Self { hub, machine, resource, file, rows: city.totals().people, folder })
    }

    pub(super) fn publish_first(&mut self) -> Result<()> {
        let mut first = String::new();
        let whole = fs::File::open(&self.file)?;
        for line in std::io::BufRead::lines(std::io::BufReader::new(whole)).take(FIRST_ROWS + 1) {
            first.push_str(&line?);
            first.push('\n');
        }
        self.machine.write("people.csv", first)?;
        self.machine.start()?;
        // A checkpoint follows the rows; a source is read again only when that is acknowledged too.
        let (mut last, mut since) = (None, Instant::now());
        until_true(PATIENCE, "the first rows are acknowledged", || {
            // Until it listens, the agent cannot be asked.
            let Ok(now) = self.publication() else { return Ok(false) };
            let done = now["accepted"] == FIRST_ROWS && now["waiting_batches"] == 0;
            let state = done.then(|| now["acknowledged"].as_u64());
            if state.is_none() || state != last {
                (last, since) = (state, Instant::now());
            }
            Ok(since.elapsed() > SETTLED && last.is_some())
        })
    }

    /// Lets the agent find the whole file.
    pub(super) fn give_all(&self) -> Result<()> {
        let draft = self.machine.path(DRAFT);
        fs::copy(&self.file, &draft)?;
        self.publish_draft()
    }

    /// Lets the agent find what was written as draft, once it is on disk: left to the kernel, half a
    /// gigabyte would be written half a minute later, amidst what is measured.
    pub(super) fn publish_draft(&self) -> Result<()> {
        let draft = self.machine.path(DRAFT);
        fs::File::open(&draft)?.sync_all()?;
        fs::rename(&draft, self.machine.path("people.csv"))?;
        Ok(())
    }

    /// Waits until the file system has written all that it was given. The agent's files lie on the
    /// hub's disk only here; the kernel would write them half a minute later, amidst what is measured.
    pub(super) fn all_on_disk(&self) -> Result<()> {
        let status = Command::new("sync").arg("--file-system").arg(self.folder.path()).status()?;
        if !status.success() {
            bail!("sync: {status}");
        }
        Ok(())
    }

    /// What the agent says of its publication.
    pub(super) fn publication(&self) -> Result<serde_json::Value> {
        self.machine.publication(&self.resource)
    }

    /// Batches that the hub has not acknowledged.
    pub(super) fn waiting(&self) -> Result<u64> {
        self.publication()?["waiting_batches"].as_u64().context("the number of waiting batches")
    }

    /// Processor time so far.
    pub(super) fn used(&mut self) -> Used {
        let time = |process: Option<&mut Process>| process.and_then(|it| it.processor_time());
        Used {
            hub: time(self.hub.process()).unwrap_or_default(),
            agent: time(self.machine.process()).unwrap_or_default(),
        }
    }

    /// Peaks of resident memory, hub and agent, MiB.
    pub(super) fn memory(&mut self) -> (f64, f64) {
        let peak = |process: Option<&mut Process>| {
            process.and_then(|it| it.peak_memory()).unwrap_or(0) as f64 / MEBIBYTE
        };
        (peak(self.hub.process()), peak(self.machine.process()))
    }

    /// Waits until all rows can be found, and tells when that was.
    pub(super) fn searchable(&self, rows: u64) -> Result<Instant> {
        until(PATIENCE, "all rows are searchable", || {
            let changes = self.hub.metrics()?.sum("hutong_views_changes_total");
            Ok((changes as u64 >= rows).then(Instant::now))
        })
    }

    /// Waits until the hub has merged what was loaded.
    pub(super) fn merged(&self) -> Result<()> {
        until_true(PATIENCE, "what was loaded is merged", || {
            Ok(self.hub.metrics()?.sum("hutong_views_merges_due") == 0.0)
        })
    }

    /// Checks that the hub holds exactly these rows, equal at source and hub.
    pub(super) fn read_back(&self, rows: u64) -> Result<()> {
        self.holds(rows)?;
        self.hub.command(["reconcile"])?.ok().context("source and hub hold the same")?;
        Ok(())
    }

    /// Checks that the hub holds so many rows.
    pub(super) fn holds(&self, rows: u64) -> Result<()> {
        let status = self.hub.status(true)?;
        let lines = status["resources"].as_array().into_iter().flatten();
        let found = lines.filter(|line| line["resource"] == self.resource.as_str());
        let found: u64 = found.filter_map(|line| line["rows"].as_u64()).sum();
        if found != rows {
            bail!("{rows} rows were published, the hub holds {found}");
        }
        Ok(())
    }
}

/// A department with nodes that are called `n0`, `n1` and so on, in a folder of its own; its agent is
/// neither enrolled nor started.
pub(super) fn department(
    hub: &Hub,
    folder: &Path,
    (name, code): (&str, CreditCode),
    nodes: usize,
) -> Result<Machine> {
    let mut machine = Machine::new(&folder.join(name), &folder.join("logs"), name, code, "示例局")?;
    let mut lines = String::from("department,department_name,node\n");
    for number in 0..nodes {
        let node = format!("n{number}");
        machine.node(&node);
        lines.push_str(&format!("{code},示例局,{node}\n"));
    }
    issue_sheet(hub, &machine.write("nodes.csv", lines)?, &machine.sheet())?;
    machine.configure(hub.quic()?)?;
    Ok(machine)
}

impl Used {
    pub(super) fn since(self, before: Self) -> Self {
        Self { hub: self.hub - before.hub, agent: self.agent - before.agent }
    }

    /// Microseconds per row at each end.
    pub(super) fn per_row(self, rows: u64) -> String {
        let each = |time: Duration| time.as_secs_f64() * 1e6 / rows as f64;
        format!(
            "processor: hub {:.2} s, agent {:.2} s per million rows",
            each(self.hub),
            each(self.agent)
        )
    }
}

/// Bytes of all files in a folder and below.
pub(super) fn folder_bytes(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        bytes += if kind.is_dir() { folder_bytes(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(bytes)
}
