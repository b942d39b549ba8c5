//! Certificates of nodes: which one is taken, the next one, and none any more.

use std::sync::Arc;

use hutong_schema::{
    ids::{CreditCode, NodeName},
    wire::v1::{RefusalCode, Refused},
};
use jiff::Timestamp;

use super::{
    commands::{Decision, Denied, Outcome, Problem},
    people::{enrolled, reasoned},
};
use crate::{
    log::event::Event,
    views::registry::{Node, Registry},
};

/// What a person does about a revoked or replaced certificate.
const ENROL_ANEW: &str =
    "ask the hub's operator for a join token, then run: hutong-agent enrol --anew --token FILE";

/// Whether a node is let in with the certificate of this serial number (hexadecimal). Only those are
/// taken that the log says it was given, and of them the newest, and the one before it as long as
/// the newest may not have arrived.
///
/// # Errors
/// A refusal that says why, and what to do.
pub fn admits<'r>(
    registry: &'r Registry,
    department: CreditCode,
    name: &NodeName,
    serial: &str,
) -> Result<&'r Arc<Node>, Refused> {
    let node = in_service(registry.node_named(department, name)).map_err(|mut refused| {
        refused.detail = format!("{department}/{name}: {}", refused.detail);
        refused
    })?;
    if node.shows(serial) {
        return Ok(node);
    }
    let detail = format!(
        "{department}/{name}: the certificate {serial} was replaced: another machine with this identity has got a newer one, or this one was set back to an old copy. If this is the right machine, {ENROL_ANEW}"
    );
    Err(Refused::new(RefusalCode::Revoked, detail))
}

/// Whether a connection that stands for a certificate may go on: until the certificate ends.
///
/// # Errors
/// A refusal with the end and the hub's clock, by which it is judged.
pub fn still_valid(node: &Node, serial: &str, now: Timestamp) -> Result<(), Refused> {
    let shown = node.certificates.iter().find(|certificate| certificate.serial == serial);
    let Some(ends) = shown.and_then(|certificate| certificate.expires) else { return Ok(()) };
    if now < ends {
        return Ok(());
    }
    let detail = format!(
        "{}/{}: it ended at {ends:.0} and was not renewed, the hub's clock says {now:.0}. The agent renews it by itself for 90 days; what hinders it says: hutong-agent status",
        node.department, node.name
    );
    Err(Refused::new(RefusalCode::Expired, detail))
}

/// A node that is known, neither retired nor revoked.
pub(super) fn in_service(node: Option<&Arc<Node>>) -> Result<&Arc<Node>, Refused> {
    let Some(node) = node else {
        let detail = format!("it was never enrolled here; {ENROL_ANEW}");
        return Err(Refused::new(RefusalCode::UnknownNode, detail));
    };
    if let Some(reason) = &node.retired {
        let detail = format!("the node was retired and is not in service: {reason}; {ENROL_ANEW}");
        return Err(Refused::new(RefusalCode::UnknownNode, detail));
    }
    if let Some(reason) = &node.revoked {
        let detail = format!("its certificates are revoked: {reason}; {ENROL_ANEW}");
        return Err(Refused::new(RefusalCode::Revoked, detail));
    }
    Ok(node)
}

pub(super) fn renew(
    registry: &Registry,
    department: CreditCode,
    name: &NodeName,
    replaces: &str,
    (certificate_serial, expires): (&str, Timestamp),
) -> Result<Decision, Denied> {
    let node = admits(registry, department, name, replaces)?;
    let known = node.newest().is_some_and(|newest| newest.serial == certificate_serial);
    let event = Event::NodeRenewed {
        node: node.number,
        replaces: replaces.to_owned(),
        certificate_serial: certificate_serial.to_owned(),
        expires,
    };
    let events = if known { vec![] } else { vec![event] };
    Ok(Decision { events, outcome: Outcome::Node(node.number) })
}

pub(super) fn revoke(
    registry: &Registry,
    department: CreditCode,
    name: &NodeName,
    reason: &str,
) -> Result<Decision, Denied> {
    reasoned(name, reason)?;
    let node = enrolled(registry, department, name)?;
    let events = match node.revoked {
        Some(_) => vec![],
        None => vec![Event::NodeRevoked { node: node.number, reason: reason.to_owned() }],
    };
    Ok(Decision { events, outcome: Outcome::Node(node.number) })
}

pub(super) fn revoke_department(
    registry: &Registry,
    department: CreditCode,
    reason: &str,
) -> Result<Decision, Denied> {
    reasoned(department, reason)?;
    let mut nodes = registry.nodes().filter(|node| node.department == department).peekable();
    if nodes.peek().is_none() {
        let what = "a department with nodes";
        return Err(Denied::Problems(vec![Problem::new("department", "code", what, department)]));
    }
    let events = if nodes.all(|node| node.revoked.is_some()) {
        vec![]
    } else {
        vec![Event::DepartmentRevoked { department, reason: reason.to_owned() }]
    };
    Ok(Decision { events, outcome: Outcome::Done })
}
