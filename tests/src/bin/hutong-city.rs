//! `hutong-city`: the reference city on the command line.

use std::io::{Write, stdout};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hutong_tests::bench::{self, bench};
use hutong_tests::city::demo::{self, demo};
use hutong_tests::city::write::{Check, verify};
use hutong_tests::city::{City, Scale, Totals, bar, cache};
use hutong_tests::proof::{self, Inventory, prove};

/// The proof holds tens of millions of hashes.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Plans, generates, checks, runs and proves the reference city.
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
    /// Run the city: one hub, an agent for each unit, and the proof that all hold the same.
    Demo {
        /// End with the verdict as exit status instead of staying up until Ctrl-C.
        #[arg(long)]
        exit: bool,
        /// Folder of the run; what a former run left there is removed.
        #[arg(long)]
        dir: Option<PathBuf>,
    },
    /// Measure what the exchange reaches on this machine, each figure beside its limit.
    Bench {
        /// Only these parts.
        #[arg(long, value_enum)]
        only: Vec<bench::Part>,
        /// File for the results, in Markdown.
        #[arg(long)]
        out: Option<PathBuf>,
    },
    /// Compare source files, the hub's views and subscribers' files; name the keys that differ.
    Verify {
        /// The inventory that a run has written.
        inventory: PathBuf,
    },
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing is left to do if standard error is closed.
            let _ = writeln!(std::io::stderr(), "hutong-city: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    let scale = arguments.scale;
    let root = || arguments.root.clone().map_or_else(cache::default_root, Ok);
    match arguments.command {
        Command::Plan => print(&City::plan(scale)?.totals())?,
        Command::Generate => {
            let folder = cache::ensure(&root()?, scale, &bar::rows("generating the city")?)?;
            writeln!(stdout(), "{}", folder.display())?;
        }
        Command::Check => {
            let manifest = verify(&cache::folder(&root()?, scale), Check::Content)?;
            writeln!(stdout(), "{} files are as they were written", manifest.files.len())?;
            print(&manifest.totals)?;
        }
        Command::Demo { exit, dir } => {
            return demo(&demo::Options { scale, cities: root()?, dir, exit });
        }
        Command::Bench { only, out } => {
            bench(&bench::Options { scale, cities: root()?, parts: only, out })?;
        }
        Command::Verify { inventory } => {
            let verdict = prove(&Inventory::load(&inventory)?)?;
            proof::print(&verdict, &mut stdout().lock())?;
            return Ok(verdict.equal());
        }
    }
    Ok(true)
}

fn print(totals: &Totals) -> Result<()> {
    let Totals { units, nodes, entries, rows, people, companies, features } = totals;
    let mut out = stdout().lock();
    writeln!(out, "{units} units, {nodes} nodes, {entries} entries, {rows} rows")?;
    writeln!(out, "population {people}, legal persons {companies}, geospatial {features}")?;
    writeln!(out, "departmental {}", rows - people - companies - features)?;
    Ok(())
}
