//! `/health`, `/ready` and `/metrics`: for service managers, load balancers and scrapers. No names,
//! no values, no authentication: bind it to an address that only they reach.

use std::{io, sync::Arc};

use axum::{Router, extract, http::StatusCode, routing::get};
use metrics_exporter_prometheus::PrometheusHandle;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::{gauges::Gauges, office::Office};
use crate::intake::disk::DiskLevel;

/// Whether the hub serves nodes yet.
#[derive(Clone)]
pub struct Readiness(Arc<RwLock<State>>);

enum State {
    /// It waits for this.
    Waiting(&'static str),
    /// It serves.
    Reached(Arc<Office>),
}

impl Readiness {
    /// Not ready: it waits for this.
    #[must_use]
    pub fn waiting(reason: &'static str) -> Self {
        Self(Arc::new(RwLock::new(State::Waiting(reason))))
    }

    /// It waits for this now.
    pub fn wait_for(&self, reason: &'static str) {
        *self.0.write() = State::Waiting(reason);
    }

    /// It serves.
    pub fn reached(&self, office: Arc<Office>) {
        *self.0.write() = State::Reached(office);
    }

    /// How it stands, in a line for a person.
    #[must_use]
    pub fn words(&self) -> String {
        let office = match self.office() {
            Ok(office) => office,
            Err(reason) => return reason.to_owned(),
        };
        let connected = office.nodes.count();
        match *office.disk.borrow() {
            DiskLevel::Enough => format!("serving, {connected} node(s) connected"),
            DiskLevel::Low { free_percent } | DiskLevel::Full { free_percent } => format!(
                "serving, {connected} node(s) connected, but batches are refused: {free_percent} % of the disk are free"
            ),
        }
    }

    fn office(&self) -> Result<Arc<Office>, &'static str> {
        match &*self.0.read() {
            State::Waiting(reason) => Err(reason),
            State::Reached(office) => Ok(Arc::clone(office)),
        }
    }
}

#[derive(Clone)]
struct Doors {
    readiness: Readiness,
    metrics: PrometheusHandle,
    gauges: Gauges,
}

/// Serves until cancelled.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: TcpListener,
    readiness: Readiness,
    metrics: PrometheusHandle,
    cancel: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/health", get(|| async { "alive\n" }))
        .route("/ready", get(ready))
        .route("/metrics", get(render))
        .with_state(Doors { readiness, metrics, gauges: Gauges::default() });
    axum::serve(listener, routes).with_graceful_shutdown(cancel.cancelled_owned()).await
}

async fn ready(extract::State(doors): extract::State<Doors>) -> (StatusCode, String) {
    match doors.readiness.office() {
        Ok(_) => (StatusCode::OK, "ready\n".to_owned()),
        Err(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {reason}\n")),
    }
}

async fn render(extract::State(doors): extract::State<Doors>) -> Result<String, StatusCode> {
    let rendered = tokio::task::spawn_blocking(move || {
        if let Ok(office) = doors.readiness.office() {
            doors.gauges.refresh(&office);
        }
        doors.metrics.run_upkeep();
        doors.metrics.render()
    });
    rendered.await.map_err(|_| StatusCode::INTERNAL_SERVER_ERROR)
}
