//! How the hub stands.

use std::sync::Arc;

use axum::{
    Json,
    extract::{Query, State},
};
use hutong_schema::library;
use serde::Deserialize;

use super::{
    failure::Answer,
    office::Office,
    types::{LibraryLine, PartitionLine, ResourceLine, ResourceTotals, Status, SubscriptionLine},
};
use crate::{
    log::{Log, Offset, PartitionId},
    views::{Place, ResourceState, ViewError, ViewSnapshot, registry::Entry},
};

/// What is asked for beside the sums.
#[derive(Clone, Debug, Default, Deserialize)]
pub(super) struct Wanted {
    /// One line per resource.
    #[serde(default)]
    resources: bool,
    /// The line of this resource.
    #[serde(default)]
    resource: Option<String>,
}

/// Everything an operator asks first.
pub(super) async fn show(
    State(office): State<Arc<Office>>,
    Query(wanted): Query<Wanted>,
) -> Answer<Status> {
    let status = tokio::task::spawn_blocking(move || collect(&office, &wanted)).await??;
    Ok(Json(status))
}

fn collect(office: &Office, wanted: &Wanted) -> Result<Status, ViewError> {
    let snapshot = office.views.snapshot();
    let entries: Vec<Arc<Entry>> = office.registry.read().entries().cloned().collect();
    let mut totals = ResourceTotals::default();
    let mut resources = Vec::new();
    for entry in &entries {
        let state = state_of(&snapshot, entry)?;
        totals.entries += 1;
        totals.with_rows += u64::from(state.rows > 0);
        totals.rows += state.rows;
        totals.changes += state.changes;
        totals.rejected += state.rejected;
        let named = wanted.resource.as_deref() == Some(entry.entry.code.as_str());
        if wanted.resources || named {
            resources.push(detail(&snapshot, entry, &state)?);
        }
    }
    let (departments, nodes, as_of) = {
        let registry = office.registry.read();
        let nodes = registry.nodes().filter(|node| node.retired.is_none()).count();
        (registry.departments().len(), nodes, registry.as_of().map(|as_of| as_of.number()))
    };
    Ok(Status {
        exchange: office.exchange.to_string(),
        software: concat!("hutong-hub/", env!("CARGO_PKG_VERSION")).to_owned(),
        incarnation: office.log.incarnation().0,
        started_ms: office.started_ms,
        disk: *office.disk.borrow(),
        as_of,
        settle: "flushed".to_owned(),
        departments,
        nodes,
        connected: office.nodes.count(),
        partitions: partitions(office),
        libraries: libraries(&snapshot)?,
        totals,
        resources,
        subscriptions: subscriptions(office, &snapshot)?,
    })
}

/// Counters of a resource; nothing yet for one that the views do not know yet.
fn state_of(snapshot: &ViewSnapshot<'_>, entry: &Entry) -> Result<ResourceState, ViewError> {
    match snapshot.resource_state(entry.number) {
        Err(ViewError::UnknownResource(_)) => Ok(ResourceState::default()),
        other => other,
    }
}

fn detail(
    snapshot: &ViewSnapshot<'_>,
    entry: &Entry,
    state: &ResourceState,
) -> Result<ResourceLine, ViewError> {
    let lane = match snapshot.lane(entry.number, 0) {
        Err(ViewError::UnknownResource(_)) => None,
        other => other?,
    };
    Ok(ResourceLine {
        resource: entry.entry.code.clone(),
        name: entry.entry.name.clone(),
        provider: entry.entry.provider,
        library: entry.entry.binding.as_ref().map(|binding| binding.library.to_string()),
        rows: state.rows,
        changes: state.changes,
        rejected: state.rejected,
        epoch: lane.as_ref().map_or(0, |lane| lane.epoch),
        seq: lane.as_ref().map_or(0, |lane| lane.last_seq),
    })
}

fn partitions(office: &Office) -> Vec<PartitionLine> {
    let backlog = office.intake.backlog();
    let line = |number: u16| {
        let partition = PartitionId(number);
        let data = usize::from(number).checked_sub(usize::from(PartitionId::FIXED));
        let applied = |_| {
            let applied: Offset = *office.views.applied(partition).borrow();
            applied.0
        };
        PartitionLine {
            partition: partition.to_string(),
            head: office.log.head(partition).0,
            applied: data.map(applied),
            backlog_bytes: data.and_then(|index| backlog.get(index).copied()).unwrap_or(0),
        }
    };
    (0..office.log.partitions()).map(line).collect()
}

fn libraries(snapshot: &ViewSnapshot<'_>) -> Result<Vec<LibraryLine>, ViewError> {
    let line = |library: &library::Library| {
        let bound = snapshot.library_rows(library.id)?;
        Ok(LibraryLine {
            library: library.code.to_owned(),
            name: library.zh.to_owned(),
            resources: bound.len(),
            rows: bound.iter().map(|(_, rows)| rows).sum(),
            feed_seq: snapshot.feed_state(Place::Library(library.id))?.seq,
        })
    };
    library::all().iter().map(line).collect()
}

fn subscriptions(
    office: &Office,
    snapshot: &ViewSnapshot<'_>,
) -> Result<Vec<SubscriptionLine>, ViewError> {
    let today = office.today();
    let records: Vec<_> = office.registry.read().grants().cloned().collect();
    let mut lines = Vec::new();
    for record in records {
        let grant = &record.grant;
        if !(grant.modes.deliver && record.in_force(today)) {
            continue;
        }
        let standing = office.router.subscriptions().standing(grant.id);
        let head = match snapshot.place(&grant.target) {
            Some(place) => snapshot.feed_state(place)?.seq,
            None => 0,
        };
        let node = standing.as_ref().and_then(|standing| {
            office.registry.read().node(standing.node).map(|node| node.name.to_string())
        });
        let state = match &standing {
            None => "off",
            Some(standing) if !standing.running => "away",
            Some(standing) if standing.snapshot => "snapshot",
            Some(_) => "following",
        };
        lines.push(SubscriptionLine {
            grant: grant.id,
            target: grant.target.to_string(),
            grantee: grant.grantee,
            node,
            state: state.to_owned(),
            durable: standing
                .as_ref()
                .and_then(|standing| standing.durable)
                .map(|cursor| cursor.seq),
            head,
            changes: standing.as_ref().map_or(0, |standing| standing.changes),
        });
    }
    Ok(lines)
}
