//! `hutong-instructions`: counts the instructions of the functions on a row's way.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use hutong_tests::instructions::{self, BLESS};

/// Counts, and compares with a table.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Count under valgrind and compare with the table; HUTONG_BLESS=1 writes the table instead.
    Count {
        /// The table of the figures that are expected.
        #[arg(long)]
        table: PathBuf,
        /// File for callgrind's notes.
        #[arg(long)]
        notes: PathBuf,
        /// How much more a function may take, percent.
        #[arg(long, default_value_t = 3.0)]
        tolerance: f64,
    },
    /// Run what is counted: valgrind starts this.
    Run,
}

fn main() -> ExitCode {
    match run(Arguments::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            // Nothing is left to do if standard error is closed.
            let _ = writeln!(std::io::stderr(), "hutong-instructions: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: Arguments) -> Result<bool> {
    match arguments.command {
        Command::Count { table, notes, tolerance } => {
            let bless = std::env::var_os(BLESS).is_some();
            instructions::count(&instructions::Options { table, notes, tolerance, bless })
        }
        Command::Run => instructions::run().map(|()| true),
    }
}
