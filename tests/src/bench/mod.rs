//! Benchmarks: what the exchange reaches on this machine, each figure beside its limit.
//!
//! Everything is measured on the real programs over the real protocol. A figure counts only when
//! what it claims was found again: acknowledged rows at the hub and in its log, searchable rows by
//! each index, delivered rows at the receiver.

mod city;
mod csv;
mod curve;
mod fanout;
mod figure;
mod idle;
mod limits;
mod log;
mod lookup;
mod ready;
mod report;
mod stage;

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::time::Instant;

use anyhow::Result;
use clap::ValueEnum;

use crate::city::Scale;
use figure::Figure;

/// A group of figures that are measured together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Batches that lie ready in an agent's outbox, until they are acknowledged.
    Ready,
    /// From a CSV file until acknowledged and searchable; memory; restart.
    Csv,
    /// Questions a second, and how long one takes.
    Lookup,
    /// One feed to eight subscribers.
    Fanout,
    /// Nodes that do nothing.
    Idle,
    /// The whole city, and its hub after `kill -9`.
    City,
    /// The cost of a row as the population grows, to ten times the city's.
    Curve,
}

/// What is to be measured.
#[derive(Clone, Debug)]
pub struct Options {
    /// Size of the city that the rows are taken from.
    pub scale: Scale,
    /// Folder of generated cities.
    pub cities: PathBuf,
    /// The parts; all when empty.
    pub parts: Vec<Part>,
    /// File that the results are written to.
    pub out: Option<PathBuf>,
}

/// Measures, and prints the table.
///
/// # Errors
/// When a step fails, or something that was claimed is not found again.
pub fn bench(options: &Options) -> Result<()> {
    let parts = match &options.parts[..] {
        [] => Part::value_variants(),
        chosen => chosen,
    };
    let mut figures: Vec<Figure> = Vec::new();
    for part in parts {
        let began = Instant::now();
        let measured = match part {
            Part::Ready => ready::measure(options)?,
            Part::Csv => csv::measure(options)?,
            Part::Lookup => lookup::measure(options)?,
            Part::Fanout => fanout::measure(options)?,
            Part::Idle => idle::measure(options)?,
            Part::City => city::measure(options)?,
            Part::Curve => curve::measure(options)?,
        };
        let mut out = stdout().lock();
        for figure in &measured {
            figure.print(&mut out)?;
        }
        writeln!(out, "({part:?}: {:.0} s)", began.elapsed().as_secs_f64())?;
        figures.extend(measured);
    }
    report::print(&figures, &mut stdout().lock())?;
    if let Some(path) = &options.out {
        report::write(&figures, parts, options.scale, path)?;
    }
    Ok(())
}
