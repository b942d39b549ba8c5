//! What the operator's commands and the hub say to each other over the socket, as JSON.

mod health;
mod status;

use std::collections::BTreeMap;

use hutong_schema::{
    grant::{GrantId, Modes},
    ids::{CreditCode, NodeName, ResourceCode},
};
use jiff::{Timestamp, civil::Date};
use serde::{Deserialize, Serialize};

pub use health::{HealthLine, TroubleLine};
pub use status::{
    LibraryLine, PartitionLine, ResourceLine, ResourceTotals, Status, SubscriptionLine,
};

use crate::govern::Problem;

/// Why the hub did not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable code.
    pub code: String,
    /// What happened, where, and what to do next.
    pub message: String,
    /// Every single mistake, where the request had some.
    #[serde(default)]
    pub problems: Vec<Problem>,
}

/// One node that needs a join token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenOrder {
    /// Its department.
    pub department: CreditCode,
    /// The department's name, registered with it when it is new.
    #[serde(default)]
    pub department_name: Option<String>,
    /// Its name.
    pub node: NodeName,
}

/// Orders join tokens.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokensOrder {
    /// For these nodes.
    pub nodes: Vec<TokenOrder>,
    /// How long they are good, hours; the configuration's default when absent.
    #[serde(default)]
    pub hours: Option<i64>,
}

/// The tokens that were issued. They are shown this once.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokensIssued {
    /// In the order of the request.
    pub tokens: Vec<IssuedToken>,
}

/// One issued token.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct IssuedToken {
    /// Name of its department.
    pub department_name: String,
    /// The token's text, which names department, node and expiry.
    pub token: String,
}

/// A token as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TokenLine {
    /// The department that it is for.
    pub department: CreditCode,
    /// The node that it is for.
    pub node: NodeName,
    /// When it expires.
    pub expires: Timestamp,
    /// `open`, `used` or `expired`.
    pub status: String,
}

/// A node as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct NodeLine {
    /// Its number.
    pub number: u32,
    /// Its department.
    pub department: CreditCode,
    /// The department's name.
    pub department_name: String,
    /// Its name.
    pub node: NodeName,
    /// Why it was retired, if it was.
    pub retired: Option<String>,
    /// Why its certificates are revoked, if they are.
    #[serde(default)]
    pub revoked: Option<String>,
    /// When its newest certificate ends, if the log says so.
    #[serde(default)]
    pub certificate_ends: Option<Timestamp>,
    /// Its connection, if there is one.
    pub connection: Option<ConnectionLine>,
    /// The second machine with its identity that was refused last, if there was any.
    #[serde(default)]
    pub copy: Option<CopyLine>,
    /// What it told of itself and its machine last, also when it is away now.
    #[serde(default)]
    pub health: Option<HealthLine>,
}

/// A second machine with a node's identity.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct CopyLine {
    /// Where it came from.
    pub address: String,
    /// When it was refused last, milliseconds since 1970 UTC.
    pub at_ms: i64,
}

/// A node's connection.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ConnectionLine {
    /// Where it connects from.
    pub address: String,
    /// Its software.
    pub software: String,
    /// Since when, milliseconds since 1970 UTC.
    pub since_ms: i64,
    /// Its clock minus ours, milliseconds.
    pub clock_skew_ms: i64,
    /// When the last heartbeat came, milliseconds since 1970 UTC.
    pub heartbeat_ms: Option<i64>,
    /// Batches it has not had acknowledged.
    pub queued_batches: u64,
    /// Their size, bytes.
    pub queued_bytes: u64,
    /// Age of the oldest of them, milliseconds.
    pub oldest_unacked_ms: u64,
    /// Resources that stand still, and why.
    pub trouble: Vec<(ResourceCode, String)>,
}

/// Takes a node out of service.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RetireOrder {
    /// Its department.
    pub department: CreditCode,
    /// Its name.
    pub node: NodeName,
    /// Why.
    pub reason: String,
}

/// Revokes the certificates of a node, or of all nodes of a department.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RevokeOrder {
    /// The department.
    pub department: CreditCode,
    /// The node; all of the department when absent.
    #[serde(default)]
    pub node: Option<NodeName>,
    /// Why; the node is told.
    pub reason: String,
}

/// How the authority stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct AuthorityStatus {
    /// Whether an intermediate issues, so that the root's key can be offline.
    pub intermediate: bool,
    /// Until when it can issue.
    pub issues_until: Timestamp,
    /// Until when the hub's own certificate is valid.
    pub hub_until: Timestamp,
    /// The roots that are trusted.
    pub roots: Vec<RootLine>,
}

/// A root that is trusted.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootLine {
    /// SHA-256 of the certificate.
    pub fingerprint: String,
    /// When it ends.
    pub ends: Option<Timestamp>,
    /// Whether it, or an intermediate below it, issues.
    pub issues: bool,
    /// Nodes in service that have not said, since the hub's start, that they trust it.
    pub nodes_without: usize,
    /// The first of them.
    pub named: Vec<String>,
}

/// A root to trust.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TrustOrder {
    /// The certificate as PEM text.
    pub pem: String,
}

/// A root by its fingerprint.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct RootOrder {
    /// SHA-256 of the certificate.
    pub fingerprint: String,
}

/// A certificate to issue with.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct InstallOrder {
    /// The certificate, then its root, as PEM text.
    pub pem: String,
    /// Also when nodes do not trust the root yet.
    #[serde(default)]
    pub force: bool,
}

/// Makes a grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantOrder {
    /// Resource code, or machine name of a library.
    pub target: String,
    /// To whom.
    pub grantee: CreditCode,
    /// Fields by machine name or label; all when absent.
    #[serde(default)]
    pub fields: Option<Vec<String>>,
    /// Which rows, in the text form of filters.
    #[serde(default)]
    pub filter: Option<String>,
    /// For what purpose.
    pub purpose: String,
    /// In which ways.
    pub modes: Modes,
    /// First day; today when absent.
    #[serde(default)]
    pub from: Option<Date>,
    /// Last day.
    #[serde(default)]
    pub until: Option<Date>,
}

/// The grant that was made or ended.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct GrantDone {
    /// Its number.
    pub id: GrantId,
}

/// Ends a grant.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct WithdrawOrder {
    /// Its number.
    pub id: GrantId,
    /// Why.
    pub reason: String,
}

/// A grant as lists show it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct GrantLine {
    /// Its number.
    pub id: GrantId,
    /// Resource code, or machine name of a library.
    pub target: String,
    /// To whom.
    pub grantee: CreditCode,
    /// The grantee's name.
    pub grantee_name: String,
    /// Machine names of the granted fields beside the key.
    pub fields: Vec<String>,
    /// Whether only some rows are granted.
    pub filtered: bool,
    /// For what purpose.
    pub purpose: String,
    /// In which ways.
    pub modes: Modes,
    /// First day.
    pub from: Date,
    /// Last day.
    pub until: Option<Date>,
    /// How often fields, rows or schema changed.
    pub generation: u32,
    /// `in force`, `not yet`, `ended` or `withdrawn: …`.
    pub state: String,
}

/// An operator's question.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookupOrder {
    /// Resource code, or machine name of a library.
    pub target: String,
    /// By what.
    pub by: LookupBy,
    /// At most this many rows.
    pub limit: u16,
    /// Case or file that the question belongs to; recorded.
    pub reason: String,
    /// Account of the operator on the hub's machine; recorded.
    pub operator: String,
}

/// How rows are found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LookupBy {
    /// The whole key; parts of a composite key joined by `|`.
    Key(String),
    /// The value of an indexed field.
    Index {
        /// Name of the index or of the field.
        field: String,
        /// The value.
        value: String,
    },
    /// West, south, east, north in degrees.
    Box([f64; 4]),
    /// Longitude and latitude in degrees.
    Nearest([f64; 2]),
}

/// Rows found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookupAnswer {
    /// The rows.
    pub rows: Vec<LookupRow>,
    /// Whether more rows match.
    pub more: bool,
}

/// A row found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LookupRow {
    /// The key; parts of a composite key joined by `|`.
    pub key: String,
    /// Values by machine name.
    pub values: BTreeMap<String, String>,
    /// Where each value comes from: the resource's code, for a library's record.
    pub sources: BTreeMap<String, String>,
    /// Distance in metres, where nearness was asked for.
    pub metres: Option<f64>,
}

/// Asks for a reconciliation.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct ReconcileOrder {
    /// Only this resource, or grants on this target; everything when absent.
    #[serde(default)]
    pub subject: Option<String>,
    /// Whether differences are mended.
    #[serde(default)]
    pub repair: bool,
}
