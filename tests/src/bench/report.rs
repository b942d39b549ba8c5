//! The table of all figures, on the screen and in a file.

use std::fmt::Write as _;
use std::fs;
use std::io::{self, Write};
use std::path::Path;

use anyhow::{Context, Result};
use clap::ValueEnum;
use clap::builder::PossibleValue;

use super::Part;
use super::figure::{Figure, number};
use crate::city::Scale;
use crate::harness::host;

/// Prints one line per figure that has something to reach.
pub(super) fn print(figures: &[Figure], out: &mut impl Write) -> io::Result<()> {
    let shown: Vec<_> = figures.iter().filter_map(|each| Some((each, each.wanted?))).collect();
    let width = shown.iter().map(|(figure, _)| figure.what.chars().count()).max().unwrap_or(0);
    writeln!(out, "\n{:width$} {:>12} {:>12} {:>12}", "", "measured", "now", "goal")?;
    for (figure, wanted) in shown {
        writeln!(
            out,
            "{:width$} {:>12} {:>12} {:>12}  {} {}",
            figure.what,
            number(figure.value),
            number(wanted.now),
            number(wanted.goal),
            figure.unit,
            figure.verdict()
        )?;
    }
    Ok(())
}

/// Writes everything as Markdown.
pub(super) fn write(figures: &[Figure], parts: &[Part], scale: Scale, path: &Path) -> Result<()> {
    let folder = path.parent().unwrap_or(path);
    let text = render(figures, parts, scale, &host::describe(folder))?;
    fs::write(path, text).with_context(|| format!("write {}", path.display()))
}

fn render(figures: &[Figure], parts: &[Part], scale: Scale, machine: &str) -> Result<String> {
    let parts: Vec<_> = parts.iter().filter_map(Part::to_possible_value).collect();
    let parts: Vec<_> = parts.iter().map(PossibleValue::get_name).collect();
    let mut text = String::from("# Benchmarks\n\n");
    writeln!(text, "Written by `make bench BENCH=\"{}\"`; one run.\n", parts.join(" "))?;
    writeln!(text, "Machine: {machine}. City: {scale:?}.\n")?;
    text.push_str("| what | measured | now | goal | | limits in the same run |\n");
    text.push_str("| --- | --- | --- | --- | --- | --- |\n");
    for figure in figures {
        let bound = |bound: Option<f64>| bound.map(number).unwrap_or_default();
        let limits: Vec<_> = figure
            .limits
            .iter()
            .map(|limit| {
                let share = 100.0 * figure.value / limit.value;
                format!("{share:.0} % of {} ({})", limit.name, number(limit.value))
            })
            .collect();
        writeln!(
            text,
            "| {} | {} {} | {} | {} | {} | {} |",
            figure.what,
            number(figure.value),
            figure.unit,
            bound(figure.wanted.map(|wanted| wanted.now)),
            bound(figure.wanted.map(|wanted| wanted.goal)),
            figure.verdict(),
            limits.join("; ")
        )?;
    }
    for figure in figures.iter().filter(|figure| !figure.seen.is_empty()) {
        writeln!(text, "\n**{}**\n", figure.what)?;
        figure.seen.iter().try_for_each(|line| writeln!(text, "- {line}"))?;
    }
    Ok(text)
}
