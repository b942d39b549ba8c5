//! What is received: `[[node.subscribe]]`.

use std::path::PathBuf;

use hutong_schema::grant::GrantId;

use super::{DatabaseConfig, FileFormat, SecretSource};

/// `[[node.subscribe]]`: what is received and where it goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscribeConfig {
    /// Which grants.
    pub grant: GrantChoice,
    /// Where rows go.
    pub sink: SinkConfig,
    /// What happens to the data when the grant ends.
    pub withdrawn: AfterGrant,
}

/// Where delivered rows go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkConfig {
    /// `path`: one file per grant in a folder.
    Files(FilesSink),
    /// `sql`: one table per grant.
    Sql(Box<SqlSink>),
    /// `webhook`: JSON lines, posted to a web service.
    Webhook(Box<WebhookSink>),
    /// `stdout`: JSON lines, to standard output.
    Stdout,
}

/// A web service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WebhookSink {
    /// Its address.
    pub url: String,
    /// The token that it knows the agent by.
    pub token: Option<SecretSource>,
    /// Certificates of the authorities that may vouch for it; the system's when absent.
    pub ca_file: Option<PathBuf>,
}

/// One table per grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SqlSink {
    /// The database.
    pub database: DatabaseConfig,
    /// The table, with its schema before a point if it has one; `{grant}` stands for the grant's
    /// number.
    pub table: String,
    /// Whether the table is made, and columns that it lacks are added.
    pub create: bool,
}

/// One file per grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FilesSink {
    /// Folder of the files.
    pub folder: PathBuf,
    /// Form of the files.
    pub format: FileFormat,
}

/// What happens to received data when the grant ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AfterGrant {
    /// The file is moved to `<name>.withdrawn-<time>`; a person deletes it.
    Keep,
    /// The file is deleted.
    Delete,
}

/// Which grants a subscription takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantChoice {
    /// All grants of the node's department, also those to come.
    All,
    /// One grant.
    One(GrantId),
}
