//! From text to a checked configuration.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use config::{Environment, File, FileFormat as Syntax, Map, Value};
use hutong_schema::ids::NodeName;

use super::place::{Lines, Place};
use super::section::{Collector, PREFIX, SEPARATOR, Section};
use super::{Config, DEFAULT_OUTBOX_CAP, DEFAULT_STORE_CACHE, NodeConfig};

mod database;
mod publish;
mod sql;
mod subscribe;

/// The configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// The text is not TOML: each place, and what is wrong there.
    #[error("the configuration is not valid TOML:{}", faults(.0))]
    Syntax(Vec<(Place, String)>),
    /// The environment's variables do not fit the file.
    #[error("the configuration and the environment do not fit together")]
    Environment(#[source] Box<config::ConfigError>),
    /// Some values are wrong: all of them, in the order of the file.
    #[error("the configuration has {} mistake(s):{}", .0.len(), list(.0))]
    Mistakes(Vec<Mistake>),
}

/// One mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// Where it is.
    pub place: Place,
    /// Path of the key, such as `node[0].publish[2].path`.
    pub key: String,
    /// What is wrong.
    pub problem: String,
    /// What to write instead.
    pub hint: String,
}

impl std::fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { place, key, problem, hint } = self;
        write!(formatter, "{place}: {key} {problem} ({hint})")
    }
}

fn list(mistakes: &[Mistake]) -> String {
    mistakes.iter().map(|each| format!("\n  {each}")).collect()
}

fn faults(faults: &[(Place, String)]) -> String {
    faults.iter().map(|(place, what)| format!("\n  {place}: {what}")).collect()
}

pub(super) fn load(path: &Path) -> Result<Config, ConfigError> {
    let unreadable = |source| ConfigError::Read { path: path.to_owned(), source };
    let text = std::fs::read_to_string(path).map_err(unreadable)?;
    let full = std::path::absolute(path).map_err(unreadable)?;
    let folder = full.parent().unwrap_or(Path::new("/"));
    check(&text, Some(environment()), folder, Some(path))
}

pub(super) fn environment() -> Environment {
    Environment::with_prefix(PREFIX).prefix_separator("_").separator(SEPARATOR)
}

pub(super) fn parse(text: &str, folder: &Path) -> Result<Config, ConfigError> {
    check(text, None, folder, None)
}

pub(super) fn check(
    text: &str,
    environment: Option<Environment>,
    folder: &Path,
    path: Option<&Path>,
) -> Result<Config, ConfigError> {
    // The `config` crate merges the environment into the file, and forgets the lines.
    let lines = Lines::read(text, path).map_err(ConfigError::Syntax)?;
    let mut sources = config::Config::builder().add_source(File::from_str(text, Syntax::Toml));
    if let Some(environment) = environment {
        sources = sources.add_source(environment);
    }
    let table: Map<String, Value> = sources
        .build()
        .and_then(|built| built.cache.into_table())
        .map_err(|error| ConfigError::Environment(Box::new(error)))?;
    let collector = Collector::new(folder, lines);
    let found = read(&Section::root(&table, &collector), &collector);
    let mistakes = collector.into_mistakes();
    match found {
        Some(config) if mistakes.is_empty() => Ok(config),
        Some(_) | None => Err(ConfigError::Mistakes(mistakes)),
    }
}

/// `None` only if a mistake was reported.
fn read(root: &Section<'_>, collector: &Collector) -> Option<Config> {
    root.only(&["hub", "state", "enrol", "status", "outbox", "store", "scan", "node"]);
    let hub = root.section("hub");
    hub.only(&["address", "exchange"]);
    let hub_address = hub.required("address", ADDRESS);
    if let Some(address) = &hub_address {
        let port = address
            .rsplit_once(':')
            .and_then(|(host, port)| port.parse::<u16>().ok().filter(|_| !host.is_empty()));
        if port.is_none() {
            hub.report("address", format!("is {address:?}"), ADDRESS);
        }
    }
    let exchange = hub.optional("exchange", "the name given to `hutong-hub init`");
    let state = root.section("state");
    state.only(&["dir"]);
    let state_dir = state.path("dir").unwrap_or_else(|| collector.folder.join("state"));
    let enrol = root.section("enrol");
    enrol.only(&["sheet"]);
    let status = root.section("status");
    status.only(&["socket"]);
    let outbox = root.section("outbox");
    outbox.only(&["cap_bytes"]);
    let store = root.section("store");
    store.only(&["cache_bytes"]);
    let scan = root.section("scan");
    scan.only(&["parallel"]);
    let nodes = nodes(root);
    Some(Config {
        hub_address: hub_address?,
        exchange,
        enrol_sheet: enrol.path("sheet"),
        status_socket: status.path("socket").unwrap_or_else(|| state_dir.join("agent.sock")),
        state_dir,
        outbox_cap_bytes: outbox.number("cap_bytes", 8 * MIB..=64 * 1024 * MIB, DEFAULT_OUTBOX_CAP),
        store_cache_bytes: store.number("cache_bytes", MIB..=1024 * MIB, DEFAULT_STORE_CACHE as u64)
            as usize,
        parallel_scans: scan.number("parallel", 1..=16, 4) as usize,
        nodes,
    })
}

fn nodes(root: &Section<'_>) -> Vec<NodeConfig> {
    let tables = root.sections("node");
    if tables.is_empty() {
        root.report("node", "is missing", "an agent carries at least one [[node]]");
    }
    let (mut names, mut resources) = (HashMap::new(), HashMap::new());
    let mut nodes = Vec::with_capacity(tables.len());
    for table in &tables {
        table.only(&["name", "catalogue", "publish", "subscribe"]);
        let name: Option<NodeName> = table.parsed("name", "1 to 64 of a-z, 0-9, '-', '_', '.'");
        let mut published = Vec::new();
        for each in &table.sections("publish") {
            let Some(publish) = publish::publish(each) else { continue };
            let first = resources.insert(publish.resource.clone(), each.key("resource"));
            if let Some(first) = first {
                let hint = format!("{first} has it; a resource is published from one place");
                each.report("resource", "is published twice", hint);
            }
            published.push(publish);
        }
        let subscribe =
            table.sections("subscribe").iter().filter_map(subscribe::subscribe).collect();
        let catalogue = table.path("catalogue");
        let Some(name) = name else { continue };
        if let Some(first) = names.insert(name.clone(), table.key("name")) {
            table.report("name", "is used twice", format!("{first} has it already"));
        }
        nodes.push(NodeConfig { name, catalogue, publish: published, subscribe });
    }
    nodes
}

const MIB: u64 = 1024 * 1024;
const ADDRESS: &str = "host and port, such as \"hub.example:7443\"";
