//! Commands of the operator over the hub's Unix socket. Whoever can open the socket is the operator:
//! it is readable and writable by the hub's own account only.

use std::{io, os::unix::fs::PermissionsExt, path::Path, sync::Arc};

use axum::{
    Json, Router,
    extract::{DefaultBodyLimit, FromRequest, Request, State},
    routing::{get, post},
};
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixListener;
use tokio_util::sync::CancellationToken;

use super::{
    authority,
    failure::{Answer, Failed},
    grants, lookup, nodes,
    office::Office,
    status, tokens,
    types::ReconcileOrder,
};
use crate::reconcile::{Report, Scope};

/// A request's JSON body; what is wrong with it is told like every other mistake.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Body<T> {
    type Rejection = Failed;

    async fn from_request(request: Request, state: &S) -> Result<Self, Failed> {
        let Json(body) = Json::from_request(request, state).await?;
        Ok(Self(body))
    }
}

/// Largest request, bytes: a sheet of 10,000 nodes.
const BODY_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Makes the socket. One that a killed hub left behind is replaced: the log's lock has made sure
/// that no other hub uses this folder.
///
/// # Errors
/// When it cannot be made.
pub fn bind(socket: &Path) -> io::Result<UnixListener> {
    match std::fs::remove_file(socket) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(socket)?;
    std::fs::set_permissions(socket, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves until cancelled.
///
/// # Errors
/// When the socket fails.
pub async fn serve(
    listener: UnixListener,
    office: Arc<Office>,
    cancel: CancellationToken,
) -> io::Result<()> {
    let routes = Router::new()
        .route("/admin/tokens", get(tokens::list).post(tokens::issue))
        .route("/admin/nodes", get(nodes::list))
        .route("/admin/nodes/retire", post(nodes::retire))
        .route("/admin/nodes/revoke", post(nodes::revoke))
        .route("/admin/authority", get(authority::show))
        .route("/admin/authority/trust", post(authority::trust))
        .route("/admin/authority/distrust", post(authority::distrust))
        .route("/admin/authority/install", post(authority::install))
        .route("/admin/grants", get(grants::list).post(grants::make))
        .route("/admin/grants/withdraw", post(grants::withdraw))
        .route("/admin/status", get(status::show))
        .route("/admin/lookup", post(lookup::ask))
        .route("/admin/reconcile", post(reconcile))
        .route("/admin/flush", post(flush))
        .layer(DefaultBodyLimit::max(BODY_BYTES_MAX))
        .with_state(office);
    axum::serve(listener, routes).with_graceful_shutdown(cancel.cancelled_owned()).await
}

/// The views were written out.
#[derive(Serialize)]
struct Flushed {}

async fn flush(State(office): State<Arc<Office>>) -> Answer<Flushed> {
    office.views.caught_up().await?;
    let views = office.views.clone();
    tokio::task::spawn_blocking(move || views.flush()).await??;
    Ok(Json(Flushed {}))
}

async fn reconcile(
    State(office): State<Arc<Office>>,
    Body(order): Body<ReconcileOrder>,
) -> Answer<Report> {
    let scope = Scope { subject: order.subject, repair: order.repair };
    let progress = |done, total| tracing::debug!(done, total, "reconciling");
    Ok(Json(office.reconciler.run(&scope, progress).await))
}
