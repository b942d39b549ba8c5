//! The command line.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "the command line talks to a person"
)]

mod ask;
mod check;
mod doctor;
mod enrol;
mod explain;
mod quarantine;
mod reload;
mod run;
mod service;
mod show;

use std::{io::IsTerminal, path::PathBuf, process::ExitCode};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use hutong_schema::{
    explain::{Language, StableCode},
    ids::{NodeName, ResourceCode},
};

use crate::config::Config;

/// Sends a department's data to the exchange and receives what the department was granted.
#[derive(Debug, Parser)]
#[command(name = "hutong-agent", version)]
struct Cli {
    /// Configuration file. When absent: agent.toml in this folder if it is there, else the installed
    /// service's.
    #[arg(long, short, global = true, default_value_os_t = usual_config(), hide_default_value = true)]
    config: PathBuf,
    /// Write the log as JSON lines.
    #[arg(long, global = true)]
    log_json: bool,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Get certificates for nodes by their join tokens.
    Enrol(EnrolArgs),
    /// Run until stopped: publish, receive, answer the hub.
    Run,
    /// Read all sources once, wait until everything is acknowledged, and end.
    Publish {
        /// Give up after this many seconds.
        #[arg(long, default_value_t = 3_600)]
        within: u64,
    },
    /// Catalogue entries.
    #[command(subcommand)]
    Catalogue(CatalogueCommand),
    /// Look rows up.
    Lookup(LookupArgs),
    /// Ask whether claims about a key are true; the answer never shows a value.
    Verify(VerifyArgs),
    /// Show how everything stands.
    Status {
        /// As JSON.
        #[arg(long)]
        json: bool,
        /// Fail if something does not work, and say what: for monitoring.
        #[arg(long)]
        check: bool,
    },
    /// Say that what waits at a resource is meant: a snapshot with many deletes, or a new epoch.
    Confirm {
        /// The resource.
        resource: ResourceCode,
    },
    /// Have the running agent read its configuration again: what was added starts, what was removed
    /// ends, all else goes on. With a mistake in it nothing changes.
    Reload,
    /// Rows that were refused: list them, write them into a sheet, send them corrected.
    #[command(subcommand)]
    Quarantine(quarantine::QuarantineCommand),
    /// Check the configuration and the files it names.
    Check,
    /// Look for what stands in the way: the network, the clock, certificates, disks, each source and
    /// sink; with what it means and what to do. Ends with 1 if something needs a person.
    Doctor {
        /// `en` or `zh`; from the environment when absent.
        #[arg(long)]
        lang: Option<Language>,
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Explain a code such as HT-1107: what it means, where to look, what to do.
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct EnrolArgs {
    /// File with one join token, `-` for standard input. (Not the token itself: every user of the
    /// machine can read a command line.)
    #[arg(long, conflicts_with = "sheet")]
    token: Option<PathBuf>,
    /// Sheet with the join tokens of many nodes; without --token, the configuration's when absent.
    #[arg(long)]
    sheet: Option<PathBuf>,
    /// Also nodes that have a certificate get another one, with a new key: after a revocation, or
    /// when the old one expired too long ago. A running agent takes it into use by itself.
    #[arg(long)]
    anew: bool,
    /// Host and port of the hub; from the configuration when absent.
    #[arg(long)]
    hub: Option<String>,
    /// State folder; from the configuration when absent.
    #[arg(long)]
    state: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The code; all of them when absent.
    code: Option<StableCode>,
    /// `en` or `zh`; from the environment when absent.
    #[arg(long)]
    lang: Option<Language>,
}

#[derive(Debug, Subcommand)]
enum CatalogueCommand {
    /// Check a file of entries and register them: all that are new or changed.
    Apply {
        /// JSON lines, or TOML with `[[entry]]`.
        file: PathBuf,
        /// Over which node's connection.
        #[arg(long)]
        node: Option<NodeName>,
    },
    /// List entries.
    List {
        /// Only those of the own department.
        #[arg(long)]
        own: bool,
        /// As JSON lines.
        #[arg(long)]
        json: bool,
        /// Over which node's connection.
        #[arg(long)]
        node: Option<NodeName>,
    },
}

#[derive(Debug, Args)]
struct LookupArgs {
    /// `population`, `legal_person`, `geospatial`, or a resource code.
    #[arg(long)]
    target: String,
    /// Key; repeat it for each part of a composite key.
    #[arg(long, required_unless_present_any = ["field", "bbox", "near"])]
    key: Vec<String>,
    /// `name=value` of an indexed field.
    #[arg(long, conflicts_with = "key")]
    field: Option<String>,
    /// Box: west,south,east,north in degrees.
    #[arg(long, conflicts_with_all = ["key", "field"], allow_hyphen_values = true)]
    bbox: Option<String>,
    /// Nearest to: longitude,latitude in degrees.
    #[arg(long, conflicts_with_all = ["key", "field", "bbox"], allow_hyphen_values = true)]
    near: Option<String>,
    /// Case or file that the question belongs to; it is recorded.
    #[arg(long)]
    reason: String,
    /// At most this many rows.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u16).range(1..=100))]
    limit: u16,
    /// Over which node's connection.
    #[arg(long)]
    node: Option<NodeName>,
}

#[derive(Debug, Args)]
struct VerifyArgs {
    /// `population`, `legal_person`, `geospatial`, or a resource code.
    #[arg(long)]
    target: String,
    /// Key; repeat it for each part of a composite key.
    #[arg(long, required = true)]
    key: Vec<String>,
    /// `name=value`; may be repeated.
    #[arg(long, required = true)]
    claim: Vec<String>,
    /// Case or file that the question belongs to; it is recorded.
    #[arg(long)]
    reason: String,
    /// Over which node's connection.
    #[arg(long)]
    node: Option<NodeName>,
}

/// Where the package puts the service's configuration.
const INSTALLED_CONFIG: &str = "/etc/hutong/agent.toml";

fn usual_config() -> PathBuf {
    let (here, installed) = (PathBuf::from("agent.toml"), PathBuf::from(INSTALLED_CONFIG));
    if !here.exists() && installed.exists() { installed } else { here }
}

/// Runs the program.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    hutong_certs::tls::install_provider();
    if let Err(error) = start_log(cli.log_json, matches!(cli.command, Command::Run)) {
        eprintln!("error: the log cannot be started: {error}");
        return ExitCode::FAILURE;
    }
    let done = runtime().context("the runtime cannot be started").and_then(|runtime| {
        let done = runtime.block_on(perform(cli));
        // Threads that wait for a disk or a peer must not hold up the end.
        runtime.shutdown_timeout(std::time::Duration::from_secs(2));
        done
    });
    match done {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

async fn perform(cli: Cli) -> anyhow::Result<ExitCode> {
    let config = || -> anyhow::Result<Config> { Ok(Config::load(&cli.config)?) };
    match cli.command {
        Command::Enrol(args) => enrol::enrol(args, config).await,
        Command::Run => Box::pin(run::run(config()?)).await,
        Command::Publish { within } => Box::pin(run::publish(config()?, within)).await,
        Command::Catalogue(CatalogueCommand::Apply { file, node }) => {
            ask::apply(&config()?, &file, node).await
        }
        Command::Catalogue(CatalogueCommand::List { own, json, node }) => {
            ask::list(&config()?, own, json, node).await
        }
        Command::Lookup(args) => ask::lookup(&config()?, args).await,
        Command::Verify(args) => ask::verify(&config()?, args).await,
        Command::Status { json, check } => show::status(&config()?, json, check).await,
        Command::Confirm { resource } => show::confirm(&config()?, resource).await,
        Command::Quarantine(command) => quarantine::perform(&config()?, command).await,
        Command::Reload => reload::reload(&config()?).await,
        Command::Check => Ok(check::check(&config()?, &cli.config)),
        Command::Doctor { lang, json } => Box::pin(doctor::doctor(&config()?, lang, json)).await,
        Command::Explain(args) => explain::explain(&args),
    }
}

/// Few threads with small stacks: many agents share one machine, and none of them computes much
/// outside of its scans.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(16)
        .thread_stack_size(1024 * 1024)
        .thread_name("agent")
        .enable_all()
        .build()
}

fn start_log(json: bool, service: bool) -> anyhow::Result<()> {
    use tracing_subscriber::{EnvFilter, fmt};
    let default = if service {
        "info,quinn=warn,quinn_proto=warn"
    } else {
        "warn,quinn=error,quinn_proto=error"
    };
    let filter = EnvFilter::try_from_default_env().or_else(|_| EnvFilter::try_new(default))?;
    let colours = std::io::stderr().is_terminal();
    let log = fmt().with_env_filter(filter).with_ansi(colours).with_writer(std::io::stderr);
    let set = if json { log.json().try_init() } else { log.with_target(false).try_init() };
    set.map_err(|error| anyhow::anyhow!(error))
}
