//! From a file: read, checked, kept in the outbox, sent, synced at the hub, and found again.

use std::fs;
use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Options;
use super::figure::{Figure, Wanted};
use super::stage::{DRAFT, PATIENCE, Stage, Used, folder_bytes};
use crate::harness::wait::{until, until_true};

/// A name and a division that only the last row has.
const LAST_NAME: &str = "示例末行";
const LAST_DIVISION: &str = "211999";

/// What one file cost.
pub(super) struct Published {
    /// Seconds from the agent's start until it knew that all is stored.
    pub(super) acknowledged: f64,
    /// Seconds until all can be found.
    pub(super) searchable: f64,
    pub(super) used: Used,
    pub(super) used_at_all: Used,
    pub(super) used_until_merged: Used,
    /// MiB at most, of hub and agent.
    pub(super) memory: (f64, f64),
}

/// Publishes the stage's file, and finds its last row by its key and by each index.
pub(super) fn publish(stage: &mut Stage, last: &str) -> Result<Published> {
    let rows = stage.rows;
    let before = stage.used();
    let began = Instant::now();
    stage.machine.start()?;
    until(PATIENCE, "all rows are stored", || {
        let stored = stage.hub.metrics()?.sum("hutong_intake_rows_total") as u64;
        Ok((stored >= rows).then_some(()))
    })?;
    until_true(PATIENCE, "the agent knows that all is stored", || {
        Ok(stage.publication()?["accepted"] == rows)
    })?;
    let acknowledged = began.elapsed().as_secs_f64();
    let used = stage.used().since(before);
    let (_, agent_memory) = stage.memory();
    let searchable = stage.searchable(rows)?.duration_since(began).as_secs_f64();
    let used_at_all = stage.used().since(before);
    stage.merged()?;
    let used_until_merged = stage.used().since(before);
    find(stage, last)?;
    stage.read_back(rows)?;
    let (hub_memory, _) = stage.memory();
    let memory = (hub_memory, agent_memory);
    Ok(Published { acknowledged, searchable, used, used_at_all, used_until_merged, memory })
}

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut stage = Stage::prepare(options)?;
    let last = give_all_with_a_last(&stage)?;
    let rows = stage.rows;
    let source = fs::metadata(stage.machine.path("people.csv"))?.len();
    let Published { acknowledged, searchable, used, used_at_all, used_until_merged, memory } =
        publish(&mut stage, &last)?;
    let (hub_memory, agent_memory) = memory;
    let metrics = stage.hub.metrics()?;
    stage.hub.kill()?;
    let killed = Instant::now();
    stage.hub.start()?;
    let restart = killed.elapsed().as_secs_f64();
    find(&stage, &last)?;
    stage.machine.stop()?;
    stage.hub.stop()?;
    let of = |seconds: f64| rows as f64 / seconds;
    let stored = folder_bytes(&stage.hub.data().join("log"))?;
    let views = folder_bytes(&stage.hub.data().join("views"))?;
    let each = |bytes: u64| format!("{:.0} bytes a row", bytes as f64 / rows as f64);
    Ok(vec![
        Figure::new(
            "acknowledged from a CSV file, one agent",
            of(acknowledged),
            "rows/s",
            Wanted::at_least(300_000.0, 500_000.0),
        )
        .seen(used.per_row(rows))
        .seen(format!(
            "{} in the file, {} on the wire; {:.0} synced writes",
            each(source),
            each(metrics.sum("hutong_intake_bytes_total") as u64),
            metrics.sum("hutong_log_commits_total")
        )),
        Figure::new(
            "searchable: key, two indexes, digest, from a CSV file",
            of(searchable),
            "rows/s",
            Wanted::at_least(200_000.0, 300_000.0),
        )
        .seen(used_at_all.per_row(rows))
        .seen(format!("until merged, {}", used_until_merged.per_row(rows)))
        .seen(format!("log {}, views {} on disk", each(stored), each(views)))
        .seen(format!("memory: hub {hub_memory:.0} MiB")),
        Figure::new(
            "agent that publishes all rows",
            agent_memory,
            "MiB",
            Wanted::at_most(96.0, 96.0),
        ),
        Figure::new(
            "hub ready after kill -9, one library",
            restart,
            "s",
            Wanted::at_most(5.0, 3.0),
        ),
    ])
}

/// The whole file, its last row with values that no other row has. The key of that row.
pub(super) fn give_all_with_a_last(stage: &Stage) -> Result<String> {
    let mut text = fs::read(&stage.file)?;
    let end = text.strip_suffix(b"\n").map_or(text.len(), <[u8]>::len);
    let start = text[..end].iter().rposition(|byte| *byte == b'\n').context("several rows")? + 1;
    let line = std::str::from_utf8(&text[start..end])?;
    let mut fields: Vec<&str> = line.split(',').collect();
    let key = (*fields.first().context("a key")?).to_owned();
    *fields.get_mut(1).context("a name")? = LAST_NAME;
    *fields.get_mut(5).context("a division")? = LAST_DIVISION;
    let line = fields.join(",");
    text.truncate(start);
    text.extend_from_slice(line.as_bytes());
    text.push(b'\n');
    stage.machine.write(DRAFT, text)?;
    stage.publish_draft()?;
    Ok(key)
}

/// Finds the last row by its key and by each index.
fn find(stage: &Stage, key: &str) -> Result<()> {
    let by_key = stage.hub.lookup("population", key)?;
    if !by_key.contains(LAST_NAME) {
        bail!("the last row, {key}, is not found by its key: {by_key:.200}");
    }
    for by in [format!("name={LAST_NAME}"), format!("division={LAST_DIVISION}")] {
        let args = ["lookup", "population", "--by", &by, "--reason", "test"];
        let found = stage.hub.command(args)?.ok()?;
        if !found.contains(key) {
            bail!("the last row, {key}, is not found by {by}: {found:.200}");
        }
    }
    Ok(())
}
