//! Batches that lie ready in an agent's outbox: how fast they are acknowledged, which is when each is
//! synced. The hub is away while they are made.

use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use super::figure::{Figure, Wanted};
use super::stage::{PATIENCE, Stage};
use super::{Options, limits, log};
use crate::harness::metrics::Metrics;
use crate::harness::wait::until_true;

/// Time between two looks while it is measured.
const PAUSE: Duration = Duration::from_millis(25);

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut stage = Stage::prepare(options)?;
    stage.machine.set_environment([("HUTONG_AGENT_OUTBOX__CAP_BYTES", (1u64 << 33).to_string())]);
    stage.publish_first()?;
    stage.hub.stop()?;
    let scans = stage.publication()?["scans"].as_u64().unwrap_or(0);
    stage.give_all()?;
    until_true(PATIENCE, "all rows lie in the outbox", || {
        let now = stage.publication()?;
        let scanned = now["scans"].as_u64().is_some_and(|done| done > scans);
        Ok(scanned && now["read"].as_u64().is_some_and(|read| read >= stage.rows))
    })?;
    let waiting = stage.waiting()?;
    let before = stage.used();
    stage.hub.start()?;
    let hub_ready = stage.used().hub;
    let run = watch(&mut stage)?;
    let used = stage.used().since(super::stage::Used { hub: hub_ready, ..before });
    let rows = stage.rows - super::stage::FIRST_ROWS as u64;
    let metrics = stage.hub.metrics()?;
    let searchable = stage.searchable(rows)?.duration_since(run.began).as_secs_f64();
    let until_searchable = stage.used().since(super::stage::Used { hub: hub_ready, ..before });
    stage.read_back(stage.rows)?;
    let (hub_memory, agent_memory) = stage.memory();
    stage.machine.stop()?;
    stage.hub.stop()?;

    let took = run.ended.duration_since(run.began).as_secs_f64();
    let value = rows as f64 / took;
    let payloads = limits::payloads(&stage.hub.data(), rows)?;
    let bytes: usize = payloads.iter().map(bytes::Bytes::len).sum();
    let commits = metrics.sum("hutong_log_commits_total");
    let group = (payloads.len() as f64 / commits).max(1.0);
    let wire = limits::wire(&payloads)?;
    let disk = limits::disk(stage.folder.path(), &payloads, group.round() as usize)?;
    let log = log::alone(stage.folder.path(), &payloads, group.round() as usize)?;
    let of = |seconds: f64| rows as f64 / seconds;
    let figure = Figure::new(
        "ready batches acknowledged, one agent",
        value,
        "rows/s",
        Wanted::at_least(1_000_000.0, 2_000_000.0),
    )
    .limit("the same batches over bare QUIC with mutual TLS", of(wire))
    .limit("the same batches appended to the hub's log alone", of(log))
    .limit("the same bytes appended to a preallocated file, synced as often", of(disk))
    .seen(format!(
        "{waiting} batches, {:.1} bytes a row on the wire and in the log",
        bytes as f64 / rows as f64
    ))
    .seen(format!(
        "{commits:.0} synced writes of {group:.1} batches; {:.1} log entries",
        metrics.sum("hutong_log_entries_total")
    ))
    .seen(used.per_row(rows))
    .seen(format!("memory: hub {hub_memory:.0} MiB, agent {agent_memory:.0} MiB"))
    .seen(format!("until searchable, {}", until_searchable.per_row(rows)))
    .seen(format!("all searchable after {searchable:.2} s: {:.0} rows/s", of(searchable)));
    Ok(vec![figure])
}

struct Run {
    began: Instant,
    ended: Instant,
}

/// From the last look at which nothing was stored to the first at which the agent knows that all is.
fn watch(stage: &mut Stage) -> Result<Run> {
    let wanted = stage.rows - super::stage::FIRST_ROWS as u64;
    let stored = |metrics: &Metrics| metrics.sum("hutong_intake_rows_total") as u64;
    let deadline = Instant::now() + PATIENCE;
    let mut began = Instant::now();
    loop {
        let now = Instant::now();
        let rows = stored(&stage.hub.metrics()?);
        if rows == 0 {
            began = now;
        }
        if rows >= wanted {
            break;
        }
        if now > deadline {
            bail!("{rows} of {wanted} rows were stored in {} s", PATIENCE.as_secs());
        }
        thread::sleep(PAUSE);
    }
    until_true(PATIENCE, "the agent knows that all is stored", || {
        Ok(stage.waiting().context("ask the agent")? == 0)
    })?;
    Ok(Run { began, ended: Instant::now() })
}
