//! What the operator's doors lead to.

use std::sync::Arc;

use hutong_certs::{clock, join::TokenBook};
use hutong_schema::ids::ExchangeName;
use jiff::{SignedDuration, civil::Date, tz::Offset as UtcOffset};
use tokio::sync::watch;

use crate::{
    audit::AccessLog,
    governor::Governor,
    intake::{Intake, disk::DiskLevel},
    log::RocksLog,
    nodes::Nodes,
    pki::Pki,
    reconcile::Reconciler,
    routes::Router,
    views::{Views, registry::RegistryHandle},
};

/// Handles to everything that runs.
#[derive(Clone)]
pub struct Office {
    /// Name of the exchange.
    pub exchange: ExchangeName,
    /// Where days begin.
    pub utc_offset: UtcOffset,
    /// How long a join token is good unless the operator says otherwise.
    pub token_lifetime: SignedDuration,
    /// Since when the hub runs, milliseconds since 1970 UTC.
    pub started_ms: i64,
    /// The log.
    pub log: Arc<RocksLog>,
    /// What it amounts to.
    pub views: Views,
    /// Who is registered, what is in the catalogue, who was granted what.
    pub registry: RegistryHandle,
    /// Commands.
    pub governor: Governor,
    /// Batches.
    pub intake: Intake,
    /// Deliveries.
    pub router: Router,
    /// Comparisons.
    pub reconciler: Reconciler,
    /// Who is connected.
    pub nodes: Nodes,
    /// Who asked what.
    pub access: AccessLog,
    /// Keys and certificates.
    pub pki: Pki,
    /// How long a node's certificate is valid.
    pub certificate_validity: SignedDuration,
    /// Join tokens.
    pub tokens: TokenBook,
    /// Room on the disk.
    pub disk: watch::Receiver<DiskLevel>,
}

impl Office {
    /// The day at the exchange.
    #[must_use]
    pub fn today(&self) -> Date {
        self.utc_offset.to_datetime(clock::now()).date()
    }
}
