//! Grants.

use std::sync::Arc;

use axum::{Json, extract::State};
use hutong_schema::{
    catalogue::Item,
    grant::{RowFilter, Target},
    ids::ResourceCode,
    library::{self, LibraryId},
    row::FieldId,
};
use jiff::civil::Date;

use super::{
    admin::Body,
    failure::{Answer, Failed},
    office::Office,
    types::{GrantDone, GrantLine, GrantOrder, WithdrawOrder},
};
use crate::{
    govern::{Command, GrantRequest, Outcome, Problem},
    views::registry::{GrantRecord, Registry},
};

/// Makes a grant.
pub(super) async fn make(
    State(office): State<Arc<Office>>,
    Body(order): Body<GrantOrder>,
) -> Answer<GrantDone> {
    let request = understand(&office, order)?;
    done(office.governor.order(Command::MakeGrant(request)).await?)
}

/// Ends a grant.
pub(super) async fn withdraw(
    State(office): State<Arc<Office>>,
    Body(order): Body<WithdrawOrder>,
) -> Answer<GrantDone> {
    let command = Command::WithdrawGrant { grant: order.id, reason: order.reason };
    done(office.governor.order(command).await?)
}

fn done(outcome: Outcome) -> Answer<GrantDone> {
    let Outcome::Grant(id) = outcome else {
        let error = std::io::Error::other(format!("{outcome:?}"));
        return Err(Failed::internal("the command had another outcome", &error));
    };
    Ok(Json(GrantDone { id }))
}

/// All grants, withdrawn ones included.
pub(super) async fn list(State(office): State<Arc<Office>>) -> Answer<Vec<GrantLine>> {
    let today = office.today();
    let registry = office.registry.read();
    let lines = registry.grants().map(|record| line(&registry, record, today));
    Ok(Json(lines.collect()))
}

fn line(registry: &Registry, record: &GrantRecord, today: Date) -> GrantLine {
    let grant = &record.grant;
    let items = items(registry, &grant.target).unwrap_or_default();
    let name = |id: &FieldId| {
        items
            .iter()
            .find(|item| item.id == *id)
            .map_or_else(|| id.to_string(), |item| item.name.clone())
    };
    let state = match &record.withdrawn {
        Some(reason) => format!("withdrawn: {reason}"),
        None if today < grant.from => "not yet".to_owned(),
        None if !grant.in_force(today) => "ended".to_owned(),
        None => "in force".to_owned(),
    };
    GrantLine {
        id: grant.id,
        target: grant.target.to_string(),
        grantee: grant.grantee,
        grantee_name: registry
            .department(grant.grantee)
            .map_or_else(String::new, |department| department.name.clone()),
        fields: grant.fields.iter().map(name).collect(),
        filtered: grant.filter.is_some(),
        purpose: grant.purpose.clone(),
        modes: grant.modes,
        from: grant.from,
        until: grant.until,
        generation: grant.generation,
        state,
    }
}

/// Names become numbers, text becomes a filter; every name that means nothing is told.
fn understand(office: &Office, order: GrantOrder) -> Result<GrantRequest, Failed> {
    let target = target(&order.target)?;
    let registry = office.registry.read();
    let Some(items) = items(&registry, &target) else {
        let expected =
            "a resource of the catalogue, or a library: population, legal_person, geospatial";
        return Err(Failed::mistake("grant", "target", expected, &order.target));
    };
    let mut problems = Vec::new();
    let mut wrong = |field: &str, expected: String, found: &str| {
        problems.push(Problem {
            subject: "grant".to_owned(),
            field: field.to_owned(),
            expected,
            found: found.to_owned(),
        });
    };
    let known = || items.iter().map(|item| item.name.as_str()).collect::<Vec<_>>().join(", ");
    let fields = order.fields.map(|names| {
        let mut fields = Vec::new();
        for name in names {
            match named(&items, &name) {
                Some(item) => fields.push(item.id),
                None => wrong("fields", format!("one of {}", known()), &name),
            }
        }
        fields
    });
    let filter = order.filter.and_then(|text| match RowFilter::parse(&text, &items) {
        Ok(filter) => Some(filter),
        Err(error) => {
            wrong("filter", error.to_string(), &text);
            None
        }
    });
    if !problems.is_empty() {
        return Err(Failed::mistakes(problems));
    }
    Ok(GrantRequest {
        target,
        grantee: order.grantee,
        fields,
        filter,
        purpose: order.purpose,
        modes: order.modes,
        from: order.from,
        until: order.until,
    })
}

/// A target from its text: the machine name of a library, or a resource code.
pub(super) fn target(text: &str) -> Result<Target, Failed> {
    if let Some(library) = LibraryId::from_code(text) {
        return Ok(Target::Library(library));
    }
    text.parse::<ResourceCode>().map(Target::Resource).map_err(|error| {
        let libraries: Vec<_> = library::all().iter().map(|library| library.code).collect();
        let expected = format!("a resource code ({error}), or a library: {}", libraries.join(", "));
        Failed::mistake("request", "target", expected, text)
    })
}

/// The items of a target; `None` when it is not known.
pub(super) fn items(registry: &Registry, target: &Target) -> Option<Vec<Item>> {
    match target {
        Target::Library(id) => library::definition(*id).map(|library| library.items.clone()),
        Target::Resource(code) => registry.entry_coded(code).map(|entry| entry.entry.items.clone()),
    }
}

/// The item with this machine name or, failing that, this label.
pub(super) fn named<'i>(items: &'i [Item], name: &str) -> Option<&'i Item> {
    items
        .iter()
        .find(|item| item.name == name)
        .or_else(|| items.iter().find(|item| item.label == name))
}
