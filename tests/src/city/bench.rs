//! What one publisher reaches: the population file through one agent into one hub on this machine.

use std::fs;
use std::io::{Write, stdout};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::agent_config::node_tables;
use super::write::unit_folder;
use super::{City, Role, Scale, cache};
use crate::harness::exchange::issue_sheet;
use crate::harness::wait::until_true;
use crate::harness::{Hub, Machine};

/// No step of the benchmark takes this long.
const PATIENCE: Duration = Duration::from_secs(600);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Publishes the population from its file and prints how fast it became durable and searchable, how
/// long the hub needs after `kill -9`, and what memory both took.
///
/// # Errors
/// When a step fails.
pub fn bench(cities: &Path, scale: Scale) -> Result<()> {
    let files = cache::ensure(cities, scale, &super::bar::rows("generating the city")?)?;
    let city = City::plan(scale)?;
    let unit = city.units_with(Role::PublicSecurity).next().context("the police")?;
    let rows = city.totals().people;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(cities)?;
    let logs = folder.path().join("logs");

    let mut hub = Hub::found(&folder.path().join("hub"), &logs)?;
    hub.start()?;
    let mut machine =
        Machine::new(&folder.path().join("agent"), &logs, "agent", unit.code, &unit.name)?;
    // The population alone: one node with one publication.
    let mut node =
        node_tables(unit, &unit_folder(&files, unit)).into_iter().next().context("a node")?;
    node.publish.truncate(1);
    let source = node.publish.first().context("the population's file")?.path.clone();
    let catalogue = fs::read_to_string(&node.catalogue)?;
    let entry = catalogue.lines().next().context("the population's entry")?;
    node.catalogue = machine.write("catalogue.jsonl", entry)?;
    let nodes =
        format!("department,department_name,node\n{},{},{}\n", unit.code, unit.name, node.name);
    machine.nodes = vec![node];
    issue_sheet(&hub, &machine.write("nodes.csv", nodes)?, &machine.sheet())?;
    machine.configure(hub.quic()?)?;
    machine.command(["enrol"])?.ok()?;

    let began = Instant::now();
    machine.start()?;
    let reach = |name: &str, metric: &str| -> Result<Duration> {
        until_true(PATIENCE, name, || Ok(hub.metrics()?.sum(metric) as u64 >= rows))?;
        Ok(began.elapsed())
    };
    let durable = reach("all rows are durable", "hutong_intake_rows_total")?;
    let searchable = reach("all rows are searchable", "hutong_views_changes_total")?;
    let peak = |process: Option<&mut crate::harness::process::Process>| {
        process.and_then(|process| process.peak_memory()).unwrap_or(0) as f64 / MEBIBYTE
    };
    let (hub_peak, agent_peak) = (peak(hub.process()), peak(machine.process()));
    hub.kill()?;
    let began = Instant::now();
    hub.start()?;
    let restart = began.elapsed();
    machine.stop()?;
    hub.stop()?;

    let bytes = fs::metadata(&source)?.len() as f64;
    let mut out = stdout().lock();
    let rate = |took: Duration| rows as f64 / took.as_secs_f64();
    writeln!(
        out,
        "{rows} rows, {:.0} MiB of CSV, one agent, one resource, mutual TLS over QUIC",
        bytes / MEBIBYTE
    )?;
    for (what, took) in [("durable and acknowledged", durable), ("searchable", searchable)] {
        writeln!(out, "  {what:26} {:>6.2} s  {:>9.0} rows/s", took.as_secs_f64(), rate(took))?;
    }
    writeln!(out, "  hub ready after kill -9    {:>6.2} s", restart.as_secs_f64())?;
    writeln!(out, "  peak resident memory       hub {hub_peak:.0} MiB, agent {agent_peak:.0} MiB")?;
    Ok(())
}
