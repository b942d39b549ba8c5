//! How many instructions the pure functions on a row's way take: to within one percent the same in every run on one
//! kind of processor, so that a function that does more than before is noticed on a busy machine, too.
//!
//! Valgrind's callgrind counts. It runs this program a second time ([`run`]) and notes what each function of
//! [`cases`]' `measured` took; the rest of the program is not counted.

mod callgrind;
mod cases;
mod inputs;
mod table;

use std::io::{Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result};

pub use cases::run;
use table::{Figure, Table};

/// What is to be done with the figures.
#[derive(Clone, Debug)]
pub struct Options {
    /// The table of the figures that are expected.
    pub table: PathBuf,
    /// File for callgrind's notes, which `callgrind_annotate` shows line by line.
    pub notes: PathBuf,
    /// How much more a function may take than the table says, percent.
    pub tolerance: f64,
    /// Write the table instead of comparing with it.
    pub bless: bool,
}

/// Counts, prints, and compares with the table. Whether nothing takes more than it may.
///
/// # Errors
/// When valgrind is missing or fails, or the table cannot be read or written.
pub fn count(options: &Options) -> Result<bool> {
    let counted = callgrind::count(&options.notes)?;
    let figures = cases::ALL
        .iter()
        .map(|case| {
            let (units, instructions) = counted.of(case.name)?;
            Ok(Figure {
                name: case.name.to_owned(),
                what: case.what.to_owned(),
                unit: case.unit.to_owned(),
                each: instructions as f64 / units as f64,
            })
        })
        .collect::<Result<Vec<_>>>()?;
    let now = Table { machine: counted.machine, figures };
    let mut out = stdout().lock();
    if options.bless {
        now.write(&options.table)?;
        writeln!(out, "{} is written", options.table.display())?;
        return Ok(true);
    }
    let before = Table::read(&options.table).with_context(|| {
        format!("{}: `{BLESS}=1 make instructions` writes it", options.table.display())
    })?;
    report(&before, &now, options, &mut out)
}

/// The variable that has the table written.
pub const BLESS: &str = "HUTONG_BLESS";

fn report(before: &Table, now: &Table, options: &Options, out: &mut impl Write) -> Result<bool> {
    writeln!(out, "{:>12} {:>12} {:>8}", "expected", "counted", "")?;
    let (mut more, mut less) = (Vec::new(), Vec::new());
    for figure in &now.figures {
        let expected = before.figure(&figure.name).map(|before| before.each);
        let change = expected.map(|expected| 100.0 * (figure.each / expected - 1.0));
        let told =
            |number: Option<f64>| number.map_or("-".to_owned(), |number| format!("{number:.2}"));
        writeln!(
            out,
            "{:>12} {:>12.2} {:>6} %  {} ({}, each {})",
            told(expected),
            figure.each,
            change.map_or("new".to_owned(), |change| format!("{change:+.1}")),
            figure.what,
            figure.name,
            figure.unit,
        )?;
        match change {
            Some(change) if change > options.tolerance => more.push(figure.name.as_str()),
            Some(change) if change < -options.tolerance => less.push(figure.name.as_str()),
            Some(_) => {}
            // What is not in the table is compared with nothing.
            None => more.push(figure.name.as_str()),
        }
    }
    if !less.is_empty() {
        writeln!(
            out,
            "{} take less than the table says: `{BLESS}=1 make instructions` keeps that",
            less.join(", ")
        )?;
    }
    if more.is_empty() {
        return Ok(true);
    }
    writeln!(
        out,
        "{} take over {} % more instructions than {} says, or are not in it. `callgrind_annotate --inclusive=yes {}` shows where. If that is meant, `{BLESS}=1 make instructions` writes the table",
        more.join(", "),
        options.tolerance,
        options.table.display(),
        options.notes.display(),
    )?;
    if before.machine != now.machine {
        writeln!(
            out,
            "But the table is from elsewhere:\n  {}\nhere it is\n  {}",
            before.machine, now.machine
        )?;
    }
    Ok(false)
}
