//! The command line: parsed, carried out, printed. Everything but founding, serving, rebuilding and
//! verifying is asked of the running hub over its socket.
#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "talking to a person is what this module is for"
)]

mod args;
mod authority;
mod client;
mod offline;
mod remote;
mod report;
mod run;
mod service;
mod table;

use std::process::ExitCode;

use clap::Parser;

use args::{Cli, Command};

/// Exit status of a command that found what it looked for and does not like it.
const DIFFERENT: u8 = 1;

/// Exit status of a command that could not be carried out.
const FAILED: u8 = 2;

/// Threads for what blocks. Each may hold a few megabytes of the allocator's and the stores'; what needs
/// one waits in turn long before there are so many.
const BLOCKING_THREADS: usize = 64;

/// Carries out the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .max_blocking_threads(BLOCKING_THREADS)
        .enable_all()
        .build();
    let runtime = match runtime {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::new(error).context("start the runtime")),
    };
    let outcome = match &cli.command {
        Command::Init(init) => runtime.block_on(offline::init(&cli, init)),
        Command::Serve(serve) => runtime.block_on(run::serve(&cli, serve)),
        Command::Rebuild => runtime.block_on(offline::rebuild(&cli)),
        Command::VerifyLog => runtime.block_on(offline::verify_log(&cli)),
        Command::Ca(command) => runtime.block_on(authority::carry_out(&cli, command)),
        Command::Token(_)
        | Command::Node(_)
        | Command::Grant(_)
        | Command::Status(_)
        | Command::Lookup(_)
        | Command::Reconcile(_)
        | Command::Flush => runtime.block_on(remote::carry_out(&cli)),
    };
    // What still blocks has nothing more to say.
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    outcome.unwrap_or_else(|error| failed(&error))
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("error: {error:#}");
    ExitCode::from(FAILED)
}
