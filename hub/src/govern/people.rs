//! Departments and nodes.

use std::sync::Arc;

use hutong_schema::ids::{CreditCode, NodeName};
use jiff::Timestamp;

use super::commands::{Decision, Denied, Outcome, Problem, Problems};
use crate::{
    log::event::Event,
    views::registry::{Node, Registry},
};

pub(super) fn register(
    registry: &Registry,
    department: CreditCode,
    name: &str,
) -> Result<Decision, Denied> {
    let mut problems = Problems::default();
    problems.words(department, "name", name);
    problems.into_result()?;
    let events = registration(registry, department, Some(name)).into_iter().collect();
    Ok(Decision { events, outcome: Outcome::Done })
}

pub(super) fn enrol(
    registry: &Registry,
    department: CreditCode,
    department_name: Option<&str>,
    name: &NodeName,
    (certificate_serial, expires): (&str, Timestamp),
) -> Result<Decision, Denied> {
    let mut problems = Problems::default();
    if let Some(department_name) = department_name {
        problems.words(department, "name", department_name);
    }
    problems.words(name, "certificate_serial", certificate_serial);
    problems.into_result()?;

    let mut events = Vec::new();
    // A known department keeps its name: a token sheet is no place to rename one.
    if registry.department(department).is_none() {
        events.extend(registration(registry, department, department_name));
    }
    let known = registry.node_named(department, name);
    let number = known.map_or_else(|| registry.next_node(), |node| node.number);
    let same = known.is_some_and(|node| node.in_service() && node.shows(certificate_serial));
    if !same {
        events.push(Event::NodeEnrolled {
            node: number,
            department,
            name: name.clone(),
            certificate_serial: certificate_serial.to_owned(),
            expires: Some(expires),
        });
    }
    Ok(Decision { events, outcome: Outcome::Node(number) })
}

pub(super) fn retire(
    registry: &Registry,
    department: CreditCode,
    name: &NodeName,
    reason: &str,
) -> Result<Decision, Denied> {
    reasoned(name, reason)?;
    let node = enrolled(registry, department, name)?;
    let events = match node.retired {
        Some(_) => vec![],
        None => vec![Event::NodeRetired { node: node.number, reason: reason.to_owned() }],
    };
    Ok(Decision { events, outcome: Outcome::Node(node.number) })
}

/// Whether a decision about a subject comes with a reason.
pub(super) fn reasoned(subject: impl std::fmt::Display, reason: &str) -> Result<(), Denied> {
    let mut problems = Problems::default();
    problems.words(subject, "reason", reason);
    problems.into_result()
}

/// The node of this name.
pub(super) fn enrolled<'r>(
    registry: &'r Registry,
    department: CreditCode,
    name: &NodeName,
) -> Result<&'r Node, Denied> {
    let known = registry.node_named(department, name).map(Arc::as_ref);
    known.ok_or_else(|| {
        let found = format!("{department}/{name}");
        Denied::Problems(vec![Problem::new("node", "name", "a node that is enrolled", found)])
    })
}

/// The event that makes the registry say this name; none when it says so already.
fn registration(registry: &Registry, department: CreditCode, name: Option<&str>) -> Option<Event> {
    let name = name.unwrap_or(department.as_str());
    let known = registry.department(department);
    let so = known.is_some_and(|department| department.name == name);
    (!so).then(|| Event::DepartmentRegistered { department, name: name.to_owned() })
}
