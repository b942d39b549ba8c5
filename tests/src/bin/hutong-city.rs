//! `hutong-city`: the reference city on the command line.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hutong_tests::city::cache;
use hutong_tests::city::write::{Check, verify};
use hutong_tests::city::{City, Scale, Totals};
use indicatif::{ProgressBar, ProgressStyle};

/// Plans, generates and checks the reference city's departments, catalogues and data files.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// How much of the city: 3,000,818 rows, 1 % of them, or the size of a test.
    #[arg(long, value_enum, default_value = "full", env = "SCALE", global = true)]
    scale: Scale,
    /// Folder that generated cities are kept in; by default in the user's cache.
    #[arg(long, global = true)]
    root: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print the figures, write nothing.
    Plan,
    /// Make sure that the files exist, and print their folder.
    Generate,
    /// Compare every byte of the files with the manifest.
    Check,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Nothing is left to do if standard error is closed.
            let _ = writeln!(std::io::stderr(), "hutong-city: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    let scale = arguments.scale;
    let root = || arguments.root.clone().map_or_else(cache::default_root, Ok);
    match arguments.command {
        Command::Plan => print(&City::plan(scale)?.totals()),
        Command::Generate => {
            let folder = cache::ensure(&root()?, scale, &bar()?)?;
            writeln!(stdout(), "{}", folder.display())?;
            Ok(())
        }
        Command::Check => {
            let manifest = verify(&cache::folder(&root()?, scale), Check::Content)?;
            writeln!(stdout(), "{} files are as they were written", manifest.files.len())?;
            print(&manifest.totals)
        }
    }
}

fn print(totals: &Totals) -> Result<()> {
    let Totals { units, nodes, entries, rows, people, companies, features } = totals;
    let mut out = stdout().lock();
    writeln!(out, "{units} units, {nodes} nodes, {entries} entries, {rows} rows")?;
    writeln!(out, "population {people}, legal persons {companies}, geospatial {features}")?;
    writeln!(out, "departmental {}", rows - people - companies - features)?;
    Ok(())
}

/// A bar for a person at a terminal; hidden by itself where there is none.
fn bar() -> Result<ProgressBar> {
    let style = "{msg} {wide_bar} {human_pos}/{human_len} rows, {eta} left";
    Ok(ProgressBar::new(0)
        .with_style(ProgressStyle::with_template(style)?)
        .with_message("generating the city"))
}
