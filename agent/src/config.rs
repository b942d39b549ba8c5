//! The agent's configuration: one TOML file, overridden by environment variables
//! `HUTONG_AGENT_<SECTION>__<KEY>` (such as `HUTONG_AGENT_HUB__ADDRESS`).
//!
//! Reading reports all mistakes at once, each with its line, the path of its key and a hint. Relative paths
//! are relative to the folder of the file, so that a configuration can be moved with its data.

use std::path::{Path, PathBuf};

use hutong_schema::ids::{ExchangeName, NodeName};

mod cleaning;
mod database;
mod folder;
mod form;
mod formula;
mod place;
mod publish;
mod push;
mod read;
mod secret;
mod section;
mod subscribe;

pub use cleaning::{CODES_MAX, CodeList, DateForm, ItemRule, NoSuchDate, Rules, ValueOrigin};
pub use database::{DatabaseConfig, DatabaseUrl, DatabaseUrlError, Dialect};
pub use folder::{FolderMode, FolderSource, NamePattern};
pub use form::{Sheet, SourceForm};
pub use formula::{FORMULA_BYTES_MAX, FUNCTIONS, Formula, FormulaError};
pub use place::{Place, Places};
pub use publish::{
    FileFormat, FileSource, PublishConfig, Replication, SourceConfig, SourceMode, SqlFrom, SqlMode,
    SqlSource, TextEncoding, Watermark,
};
pub use push::{DEFAULT_PUSH_BODY, PushConfig};
pub use read::{ConfigError, Mistake};
pub use secret::{Secret, SecretError, SecretSource};
pub use subscribe::{
    AfterGrant, FilesSink, GrantChoice, SinkConfig, SqlSink, SubscribeConfig, WebhookSink,
};

/// Everything that is configured.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The file that it was read from, absolute; none for a text.
    pub file: Option<PathBuf>,
    /// `hub.address`: host and port of the hub's QUIC door.
    pub hub_address: String,
    /// `hub.exchange`: name of the exchange; learned at enrolment when it is not given.
    pub exchange: Option<ExchangeName>,
    /// `state.dir`: store, certificates, quarantine.
    pub state_dir: PathBuf,
    /// `enrol.sheet`: CSV with join tokens for nodes that have no certificate yet.
    pub enrol_sheet: Option<PathBuf>,
    /// `status.socket`: Unix socket of `status` and `confirm`.
    pub status_socket: PathBuf,
    /// `outbox.cap_bytes`: reading pauses when the batches not yet acknowledged reach this size.
    pub outbox_cap_bytes: u64,
    /// `store.cache_bytes`: memory of the store for pages read and written.
    pub store_cache_bytes: usize,
    /// `scan.parallel`: sources read at the same time.
    pub parallel_scans: usize,
    /// `[push]`
    pub push: Option<PushConfig>,
    /// `[[node]]`
    pub nodes: Vec<NodeConfig>,
}

/// `[[node]]`: one identity with its own connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeConfig {
    /// Its name in the department.
    pub name: NodeName,
    /// Catalogue entries to apply when the node connects and the file has changed.
    pub catalogue: Option<PathBuf>,
    /// What it publishes.
    pub publish: Vec<PublishConfig>,
    /// What it receives.
    pub subscribe: Vec<SubscribeConfig>,
}

/// Reading pauses at this size of the outbox unless configured otherwise, bytes.
pub const DEFAULT_OUTBOX_CAP: u64 = 256 * 1024 * 1024;
/// Publications of one agent: far more than one machine has, and a bound for what it keeps of each.
pub const PUBLICATIONS_MAX: usize = 65_536;
/// Memory of the store's page cache unless configured otherwise, bytes.
pub const DEFAULT_STORE_CACHE: usize = 8 * 1024 * 1024;

impl Config {
    /// Reads a file and the environment.
    ///
    /// # Errors
    /// When the file cannot be read, or has mistakes; then all of them are named.
    pub fn load(path: &Path) -> Result<Self, ConfigError> {
        read::load(path)
    }

    /// Reads text as if it stood in a file of `folder`; the environment is not looked at.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn parse(text: &str, folder: &Path) -> Result<Self, ConfigError> {
        read::parse(text, folder)
    }

    /// The folder of a node's key and certificates.
    pub fn node_dir(&self, node: &NodeName) -> PathBuf {
        self.state_dir.join("nodes").join(node.as_str())
    }

    /// The folder of the store.
    pub fn store_dir(&self) -> PathBuf {
        self.state_dir.join("store")
    }

    /// The folder of rejected rows.
    pub fn quarantine_dir(&self) -> PathBuf {
        self.state_dir.join("quarantine")
    }
}

#[cfg(test)]
mod tests;
