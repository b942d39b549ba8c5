//! Nodes.

use std::sync::Arc;

use axum::{Json, extract::State};

use super::{
    admin::Body,
    failure::Answer,
    office::Office,
    types::{ConnectionLine, NodeLine, RetireOrder},
};
use crate::{govern::Command, nodes::Presence};

/// All nodes with their connections.
pub(super) async fn list(State(office): State<Arc<Office>>) -> Answer<Vec<NodeLine>> {
    let registry = office.registry.read();
    let lines = registry.nodes().map(|node| NodeLine {
        number: node.number.0,
        department: node.department,
        department_name: registry
            .department(node.department)
            .map_or_else(String::new, |department| department.name.clone()),
        node: node.name.clone(),
        retired: node.retired.clone(),
        connection: office.nodes.presence(node.number).map(connection),
    });
    Ok(Json(lines.collect()))
}

fn connection(presence: Presence) -> ConnectionLine {
    let Presence { arrival, heartbeat } = presence;
    let (heartbeat_ms, heartbeat) = heartbeat.unzip();
    let queued = |of: fn(&hutong_schema::wire::v1::control::Heartbeat) -> u64| {
        heartbeat.as_ref().map_or(0, of)
    };
    ConnectionLine {
        address: arrival.address.to_string(),
        software: arrival.software,
        since_ms: arrival.since_ms,
        clock_skew_ms: arrival.clock_skew_ms,
        heartbeat_ms,
        queued_batches: queued(|beat| beat.queued_batches),
        queued_bytes: queued(|beat| beat.queued_bytes),
        oldest_unacked_ms: queued(|beat| beat.oldest_unacked_ms),
        trouble: heartbeat
            .iter()
            .flat_map(|beat| &beat.resources)
            .filter_map(|report| Some((report.resource.clone(), report.trouble.clone()?)))
            .collect(),
    }
}

/// Takes a node out of service.
pub(super) async fn retire(
    State(office): State<Arc<Office>>,
    Body(order): Body<RetireOrder>,
) -> Answer<RetireOrder> {
    let command = Command::RetireNode {
        department: order.department,
        name: order.node.clone(),
        reason: order.reason.clone(),
    };
    office.governor.order(command).await?;
    // An open token would let it back in.
    let withdrawn = office.tokens.withdraw(&order.department, &order.node).await;
    if let Err(error) = withdrawn {
        return Err(super::failure::Failed::internal(
            "the node is retired, but its open tokens could not be withdrawn",
            &error,
        ));
    }
    Ok(Json(order))
}
