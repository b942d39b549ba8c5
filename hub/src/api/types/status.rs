//! How the hub stands.

use hutong_schema::{
    grant::GrantId,
    ids::{CreditCode, ResourceCode},
};
use serde::{Deserialize, Serialize};

use crate::intake::disk::DiskLevel;

/// How the hub stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Status {
    /// Name of the exchange.
    pub exchange: String,
    /// The hub's software.
    pub software: String,
    /// Incarnation of the log.
    pub incarnation: u64,
    /// Since when it runs, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// Room on the disk.
    pub disk: DiskLevel,
    /// The date that filters count ages to, `YYYYMMDD`.
    pub as_of: Option<u32>,
    /// When a batch counts as settled.
    pub settle: String,
    /// Departments.
    pub departments: usize,
    /// Nodes in service.
    pub nodes: usize,
    /// Nodes connected now.
    pub connected: usize,
    /// Partitions of the log.
    pub partitions: Vec<PartitionLine>,
    /// Libraries.
    pub libraries: Vec<LibraryLine>,
    /// All resources together.
    pub totals: ResourceTotals,
    /// Single resources, where they were asked for.
    pub resources: Vec<ResourceLine>,
    /// Subscriptions that ran since the hub started, and grants that cover standing delivery.
    pub subscriptions: Vec<SubscriptionLine>,
}

/// A partition of the log.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct PartitionLine {
    /// Its name.
    pub partition: String,
    /// Last durable entry.
    pub head: u64,
    /// Last applied entry; absent where no view is computed from it.
    pub applied: Option<u64>,
    /// Bytes that wait to be applied.
    pub backlog_bytes: u64,
}

/// A library.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct LibraryLine {
    /// Its machine name.
    pub library: String,
    /// Its name.
    pub name: String,
    /// Resources bound to it.
    pub resources: usize,
    /// Rows of those resources.
    pub rows: u64,
    /// Last entry of its merged feed.
    pub feed_seq: u64,
}

/// Sums over resources.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct ResourceTotals {
    /// Catalogue entries.
    pub entries: u64,
    /// Resources with rows.
    pub with_rows: u64,
    /// Rows.
    pub rows: u64,
    /// Changes that took effect, in all.
    pub changes: u64,
    /// Rows rejected, in all.
    pub rejected: u64,
}

/// One resource.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct ResourceLine {
    /// Its code.
    pub resource: ResourceCode,
    /// Its name.
    pub name: String,
    /// Its provider.
    pub provider: CreditCode,
    /// The library it is bound to.
    pub library: Option<String>,
    /// Rows.
    pub rows: u64,
    /// Changes that took effect, in all.
    pub changes: u64,
    /// Rows rejected, in all.
    pub rejected: u64,
    /// Epoch in force; 0 before the first.
    pub epoch: u32,
    /// Last batch applied in the epoch.
    pub seq: u64,
}

/// A subscription.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SubscriptionLine {
    /// Its grant.
    pub grant: GrantId,
    /// Resource code, or machine name of a library.
    pub target: String,
    /// To whom.
    pub grantee: CreditCode,
    /// The receiving node's name, if it ever ran since the hub started.
    pub node: Option<String>,
    /// `off`, `snapshot`, `following` or `away`.
    pub state: String,
    /// Feed entry that the receiver holds durably.
    pub durable: Option<u64>,
    /// Last entry of the feed.
    pub head: u64,
    /// Changes sent on the stream.
    pub changes: u64,
}
