//! Does a row cost the same among few as among many?

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Write};

use anyhow::{Context, Result};

use super::Options;
use super::csv::{give_all_with_a_last, publish};
use super::figure::Figure;
use super::stage::Stage;
use crate::city::Row;
use crate::city::people::People;

/// Sizes, in percent of the city's population.
const PERCENT: [u64; 4] = [1, 10, 100, 1_000];

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut figures = Vec::new();
    for percent in PERCENT {
        let mut stage = Stage::prepare(options)?;
        let rows = stage.rows * percent / 100;
        if percent != 100 {
            let file = stage.folder.path().join("people.csv");
            write(&stage, rows, &file)?;
            (stage.file, stage.rows) = (file, rows);
        }
        let last = give_all_with_a_last(&stage)?;
        if percent > 100 {
            // The agent has its own: many gigabytes.
            std::fs::remove_file(&stage.file)?;
        }
        let published = publish(&mut stage, &last)?;
        let (hub, agent) = published.memory;
        stage.machine.stop()?;
        stage.hub.stop()?;
        figures.push(
            Figure::new(
                format!("{rows} people from a CSV file until searchable"),
                rows as f64 / published.searchable,
                "rows/s",
                None,
            )
            .seen(published.used_at_all.per_row(rows))
            .seen(format!("until merged, {}", published.used_until_merged.per_row(rows)))
            .seen(format!("memory: hub {hub:.0} MiB, agent {agent:.0} MiB")),
        );
    }
    Ok(figures)
}

/// A population of this size, with the header of the city's.
fn write(stage: &Stage, rows: u64, path: &std::path::Path) -> Result<()> {
    let mut header = String::new();
    BufReader::new(File::open(&stage.file)?).read_line(&mut header)?;
    let mut out = BufWriter::with_capacity(1 << 20, File::create(path).context("a file")?);
    out.write_all(header.as_bytes())?;
    let (people, mut row) = (People::new(rows), Row::default());
    for index in 0..rows {
        row.clear();
        people.fill(index, &mut row)?;
        for (at, value) in row.iter().enumerate() {
            if at > 0 {
                out.write_all(b",")?;
            }
            out.write_all(value.as_bytes())?;
        }
        out.write_all(b"\n")?;
    }
    Ok(out.flush()?)
}
