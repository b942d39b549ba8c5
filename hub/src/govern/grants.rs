//! Grants: made and withdrawn.

use hutong_schema::{
    catalogue::{Item, SharingKind},
    grant::{Grant, GrantId, Target},
    library,
    row::FieldId,
};
use jiff::civil::Date;

use super::commands::{Decision, Denied, GrantRequest, Outcome, Problem, Problems};
use crate::{log::event::Event, views::registry::Registry};

pub(super) fn make(
    registry: &Registry,
    request: &GrantRequest,
    today: Date,
) -> Result<Decision, Denied> {
    let mut problems = Problems::default();
    problems.words("grant", "purpose", &request.purpose);
    if registry.department(request.grantee).is_none() {
        problems.add("grant", "grantee", "a registered department", request.grantee);
    }
    let modes = request.modes;
    if !(modes.deliver || modes.lookup || modes.verify) {
        problems.add("grant", "modes", "at least one of deliver, lookup, verify", "none");
    }
    let from = request.from.unwrap_or(today);
    if let Some(until) = request.until.filter(|until| *until < from) {
        problems.add("grant", "until", format!("a day from {from} on"), until);
    }
    let items = items_of(registry, &request.target, &mut problems);
    let fields = fields_of(request, &items, &mut problems);
    for field in request.filter.iter().flat_map(|filter| filter.fields()) {
        if !items.iter().any(|item| item.id == field) {
            problems.add("grant", "filter", format!("fields of {}", request.target), field);
        }
    }
    problems.into_result()?;

    let grant = Grant {
        id: registry.next_grant(),
        target: request.target.clone(),
        grantee: request.grantee,
        fields,
        filter: request.filter.clone(),
        purpose: request.purpose.clone(),
        modes,
        from,
        until: request.until,
        generation: 1,
    };
    if let Some(known) = standing_equal(registry, &grant) {
        return Ok(Decision { events: vec![], outcome: Outcome::Grant(known) });
    }
    let outcome = Outcome::Grant(grant.id);
    Ok(Decision { events: vec![Event::GrantMade { grant }], outcome })
}

pub(super) fn withdraw(
    registry: &Registry,
    grant: GrantId,
    reason: &str,
) -> Result<Decision, Denied> {
    let mut problems = Problems::default();
    problems.words("grant", "reason", reason);
    problems.into_result()?;
    let Some(record) = registry.grant(grant) else {
        let problem = Problem::new("grant", "id", "the number of a grant", grant);
        return Err(Denied::Problems(vec![problem]));
    };
    let events = match record.withdrawn {
        Some(_) => vec![],
        None => vec![Event::GrantWithdrawn { grant, reason: reason.to_owned() }],
    };
    Ok(Decision { events, outcome: Outcome::Grant(grant) })
}

/// The items of a target; empty, with a problem, when it cannot be granted.
fn items_of(registry: &Registry, target: &Target, problems: &mut Problems) -> Vec<Item> {
    match target {
        Target::Library(id) => match library::definition(*id) {
            Some(library) => library.items.clone(),
            None => {
                problems.add("grant", "target", "a library of the exchange", id);
                vec![]
            }
        },
        Target::Resource(code) => match registry.entry_coded(code) {
            Some(entry) if entry.entry.sharing.kind == SharingKind::Refused => {
                let expected = "a resource that is shared (its entry says 不予共享)";
                problems.add("grant", "target", expected, code);
                entry.entry.items.clone()
            }
            Some(entry) => entry.entry.items.clone(),
            None => {
                problems.add("grant", "target", "a resource that is in the catalogue", code);
                vec![]
            }
        },
    }
}

/// The granted fields beside the key, ascending.
fn fields_of(request: &GrantRequest, items: &[Item], problems: &mut Problems) -> Vec<FieldId> {
    let is_key = |id: FieldId| items.iter().any(|item| item.id == id && item.key);
    let mut fields: Vec<FieldId> = match &request.fields {
        Some(fields) => fields.clone(),
        None => items.iter().map(|item| item.id).collect(),
    };
    // The key is always part of what is granted and never listed.
    fields.retain(|field| !is_key(*field));
    fields.sort_unstable();
    fields.dedup();
    if items.is_empty() {
        return fields;
    }
    for field in fields.iter().filter(|field| !items.iter().any(|item| item.id == **field)) {
        problems.add("grant", "fields", format!("fields of {}", request.target), field);
    }
    fields
}

/// A grant that stands and says the same: making it twice makes it once.
fn standing_equal(registry: &Registry, grant: &Grant) -> Option<GrantId> {
    let same = |other: &Grant| {
        Grant { id: other.id, generation: other.generation, ..grant.clone() } == *other
    };
    registry
        .grants_on(&grant.target)
        .find(|record| record.withdrawn.is_none() && same(&record.grant))
        .map(|record| record.grant.id)
}
