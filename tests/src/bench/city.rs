//! The whole city from nothing to equal digests, and its hub after `kill -9`.

use std::time::Instant;

use anyhow::{Context, Result, bail};

use super::Options;
use super::figure::{Figure, Wanted};
use super::stage::MEBIBYTE;
use crate::city::demo::Running;
use crate::city::{City, bar, cache};

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let files = cache::ensure(&options.cities, options.scale, &bar::rows("generating the city")?)?;
    let folder = tempfile::Builder::new().prefix("bench-").tempdir_in(&options.cities)?;
    let city = City::plan(options.scale)?;
    let rows = city.totals().rows;
    let mut running = Running::begin(city, files, folder.path().to_owned())?;
    running.start()?;
    let level = running.since.elapsed().as_secs_f64();
    running.hub.flush()?;
    let (equal, verdict) = running.prove()?;
    let total = running.since.elapsed().as_secs_f64();
    if !equal {
        bail!("source, hub and subscribers do not hold the same:\n{verdict}");
    }
    let hub = running.hub.process().context("the hub runs")?;
    let processor = hub.processor_time().unwrap_or_default().as_secs_f64();
    let memory = hub.peak_memory().unwrap_or(0) as f64 / MEBIBYTE;
    let (mut agents, mut of_agents) = (0.0, 0.0);
    for machine in &mut running.machines {
        let Some(process) = machine.process() else { continue };
        agents += process.processor_time().unwrap_or_default().as_secs_f64();
        of_agents += process.peak_memory().unwrap_or(0) as f64 / MEBIBYTE;
    }
    running.hub.kill()?;
    let killed = Instant::now();
    running.hub.start()?;
    let restart = killed.elapsed().as_secs_f64();
    let (equal, verdict) = running.prove()?;
    if !equal {
        bail!("after kill -9 something is missing:\n{verdict}");
    }
    running.stop()?;
    Ok(vec![
        Figure::new(
            format!("the reference city, {rows} rows, until all digests are equal"),
            total,
            "s",
            Wanted::at_most(45.0, 30.0),
        )
        .seen(format!("all subscriptions level after {level:.1} s, then the proof"))
        .seen(format!("processor: hub {processor:.1} s, agents {agents:.1} s"))
        .seen(format!("memory: hub {memory:.0} MiB, agents {of_agents:.0} MiB")),
        Figure::new("its hub ready after kill -9", restart, "s", Wanted::at_most(5.0, 3.0))
            .seen("its views had been written out for the proof: little was to be applied again"),
    ])
}
