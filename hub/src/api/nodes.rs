//! Nodes.

use std::sync::Arc;

use axum::{Json, extract::State};
use hutong_schema::ids::{CreditCode, NodeName};

use super::{
    admin::Body,
    failure::{Answer, Failed},
    office::Office,
    types::{ConnectionLine, CopyLine, HealthLine, NodeLine, RetireOrder, RevokeOrder},
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
        revoked: node.revoked.clone(),
        certificate_ends: node.newest().and_then(|newest| newest.expires),
        connection: office.nodes.presence(node.number).map(connection),
        copy: office
            .nodes
            .copy_of(node.number)
            .map(|seen| CopyLine { address: seen.address.to_string(), at_ms: seen.at_ms }),
        health: office.nodes.health(node.number).map(|(at_ms, told)| HealthLine::of(at_ms, told)),
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
    withdraw_tokens(&office, order.department, Some(&order.node)).await?;
    Ok(Json(order))
}

/// Revokes certificates. What is connected is thrown out when the event is in the log.
pub(super) async fn revoke(
    State(office): State<Arc<Office>>,
    Body(order): Body<RevokeOrder>,
) -> Answer<RevokeOrder> {
    let (department, reason) = (order.department, order.reason.clone());
    let command = match order.node.clone() {
        Some(name) => Command::RevokeNode { department, name, reason },
        None => Command::RevokeDepartment { department, reason },
    };
    office.governor.order(command).await?;
    withdraw_tokens(&office, department, order.node.as_ref()).await?;
    Ok(Json(order))
}

/// An open token would let a node back in.
async fn withdraw_tokens(
    office: &Office,
    department: CreditCode,
    node: Option<&NodeName>,
) -> Result<(), Failed> {
    let withdrawn = office.tokens.withdraw(&department, node).await;
    withdrawn.map(|_| ()).map_err(|error| {
        Failed::internal("it is done, but open join tokens could not be withdrawn", &error)
    })
}
