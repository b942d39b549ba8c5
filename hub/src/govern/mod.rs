//! Governance: who may be here, what is in the catalogue, who was granted what.
//!
//! Pure: the registry, a command and the day give events or a refusal. The governor is the thin shell
//! around it that owns the meta partition.

mod certificates;
mod commands;
mod entries;
mod grants;
mod people;
#[cfg(test)]
pub(crate) mod samples;
#[cfg(test)]
mod tests;

use jiff::civil::Date;

pub use certificates::{admits, still_valid};
pub use commands::{Command, Decision, Denied, GrantRequest, Outcome, Problem};

use crate::{
    log::event::Event,
    numbers::{NodeNo, ResourceNo},
    views::registry::Registry,
};
use hutong_schema::wire::v1::{RefusalCode, Refused};

/// What a command leads to. Nothing happens here: the events do not count before they are in the
/// log.
///
/// # Errors
/// When the command cannot be carried out; every mistake in it is named, not only the first.
pub fn decide(registry: &Registry, command: &Command, today: Date) -> Result<Decision, Denied> {
    match command {
        Command::RegisterDepartment { department, name } => {
            people::register(registry, *department, name)
        }
        Command::EnrolNode { department, department_name, name, certificate_serial, expires } => {
            people::enrol(
                registry,
                *department,
                department_name.as_deref(),
                name,
                (certificate_serial, *expires),
            )
        }
        Command::RenewNode { department, name, replaces, certificate_serial, expires } => {
            let next = (certificate_serial.as_str(), *expires);
            certificates::renew(registry, *department, name, replaces, next)
        }
        Command::RevokeNode { department, name, reason } => {
            certificates::revoke(registry, *department, name, reason)
        }
        Command::RevokeDepartment { department, reason } => {
            certificates::revoke_department(registry, *department, reason)
        }
        Command::RetireNode { department, name, reason } => {
            people::retire(registry, *department, name, reason)
        }
        Command::PublishEntries { department, entries } => {
            entries::publish(registry, *department, entries)
        }
        Command::OpenEpoch { node, resource, shard } => {
            open_epoch(registry, *node, *resource, *shard)
        }
        Command::MakeGrant(request) => grants::make(registry, request, today),
        Command::WithdrawGrant { grant, reason } => grants::withdraw(registry, *grant, reason),
        Command::SetClockDate { as_of } => {
            let events = match registry.as_of() {
                Some(known) if known >= *as_of => vec![],
                Some(_) | None => vec![Event::ClockDate { as_of: *as_of }],
            };
            Ok(Decision { events, outcome: Outcome::Done })
        }
    }
}

/// Every call opens an epoch: that is what the command is for.
fn open_epoch(
    registry: &Registry,
    node: NodeNo,
    resource: ResourceNo,
    shard: u16,
) -> Result<Decision, Denied> {
    let refuse = |code, detail: String| Err(Denied::Refused(Refused::new(code, detail)));
    let record = certificates::in_service(registry.node(node))?;
    let Some(entry) = registry.entry(resource) else {
        return refuse(
            RefusalCode::NotRegistered,
            format!("there is no resource number {}", resource.0),
        );
    };
    let code = &entry.entry.code;
    if entry.entry.provider != record.department {
        return refuse(
            RefusalCode::NotYours,
            format!("{code} is provided by {}", entry.entry.provider),
        );
    }
    if shard != 0 {
        return refuse(
            RefusalCode::Protocol,
            format!("{code} is not split into shards, use shard 0"),
        );
    }
    let lease = registry.lease(resource, shard);
    let holder = lease
        .filter(|lease| lease.node != node)
        .and_then(|lease| registry.node(lease.node))
        .filter(|holder| holder.retired.is_none());
    if let Some(holder) = holder {
        let detail = format!(
            "{code} is published by node {} of the same department; retire that node first to move the resource",
            holder.name
        );
        return refuse(RefusalCode::Leased, detail);
    }
    let epoch = lease.map_or(1, |lease| lease.epoch.saturating_add(1));
    let events = vec![Event::EpochOpened { resource, shard, epoch, node }];
    Ok(Decision { events, outcome: Outcome::Epoch(epoch) })
}
