//! Catalogue entries: registered and changed, all of a command or none.

use std::collections::HashSet;

use hutong_schema::{
    catalogue::{CatalogueEntry, Item},
    grant::{Grant, Target},
    ids::CreditCode,
    row::FieldId,
};

use super::commands::{Decision, Denied, Outcome, Problems};
use crate::{
    log::event::Event,
    numbers::ResourceNo,
    views::registry::{Entry, Registry},
};

/// Most entries of one command, so that its answer and its group commit stay small.
const MAX_ENTRIES: usize = 500;

pub(super) fn publish(
    registry: &Registry,
    department: CreditCode,
    entries: &[CatalogueEntry],
) -> Result<Decision, Denied> {
    let mut problems = Problems::default();
    if entries.len() > MAX_ENTRIES {
        problems.add("entries", "", format!("at most {MAX_ENTRIES} in one command"), entries.len());
    }
    let mut events = Vec::new();
    let (mut changed, mut unchanged, mut all_warnings) = (0, 0, Vec::new());
    let mut seen = HashSet::new();
    let mut next = registry.next_resource();
    for entry in entries {
        if !seen.insert(&entry.code) {
            problems.add(&entry.code, "code", "a code that is used once", "the same code again");
            continue;
        }
        let known = registry.entry_coded(&entry.code);
        check(registry, department, known.map(AsRef::as_ref), entry, &mut problems);
        let warnings = entry.warnings().into_iter().map(|w| (entry.code.clone(), w.to_string()));
        all_warnings.extend(warnings);
        let numbered = count_versions(known.map(AsRef::as_ref), entry);
        if known.is_some_and(|known| *known.entry == numbered) {
            unchanged += 1;
            continue;
        }
        changed += 1;
        let resource = match known {
            Some(known) => known.number,
            None => {
                let number = next;
                next = ResourceNo(number.0 + 1);
                number
            }
        };
        if let Some(known) = known {
            events.extend(
                regranted(registry, known, &numbered).map(|grant| Event::GrantMade { grant }),
            );
        }
        events.push(Event::EntryPublished { resource, entry: numbered });
    }
    problems.into_result()?;
    // Entries before the grants that follow from them: a grant's fields are read with its entry.
    events.sort_by_key(|event| matches!(event, Event::GrantMade { .. }));
    let outcome = Outcome::EntriesPublished { changed, unchanged, warnings: all_warnings };
    Ok(Decision { events, outcome })
}

/// The entry with the versions that the registry gives it, whatever the sender wrote there.
fn count_versions(known: Option<&Entry>, entry: &CatalogueEntry) -> CatalogueEntry {
    let mut numbered = entry.clone();
    let Some(known) = known.map(|known| &*known.entry) else {
        (numbered.version, numbered.schema_version) = (1, 1);
        return numbered;
    };
    (numbered.version, numbered.schema_version) = (known.version, known.schema_version);
    if numbered != *known {
        numbered.version += 1;
        numbered.schema_version += u32::from(numbered.items != known.items);
    }
    numbered
}

fn check(
    registry: &Registry,
    department: CreditCode,
    known: Option<&Entry>,
    entry: &CatalogueEntry,
    problems: &mut Problems,
) {
    let code = &entry.code;
    // The registry counts versions: whatever the sender wrote there is no mistake.
    let counted = CatalogueEntry { version: 1, schema_version: 1, ..entry.clone() };
    for problem in counted.validate().err().unwrap_or_default() {
        problems.add(code, problem.field, problem.expected, problem.found);
    }
    if entry.provider != department {
        let expected = format!("the department of the node that registers it ({department})");
        problems.add(code, "provider", expected, entry.provider);
    }
    let Some(known) = known else { return };
    if known.entry.provider != department {
        let expected = format!("a code of your own: this one belongs to {}", known.entry.provider);
        return problems.add(code, "code", expected, department);
    }
    same_keys(known, entry, problems);
    same_types(known, entry, problems);
    same_place(registry, known, entry, problems);
    let target = Target::Resource(code.clone());
    for record in registry.grants_on(&target).filter(|record| record.withdrawn.is_none()) {
        let used = record.grant.filter.iter().flat_map(|filter| filter.fields());
        for field in used.filter(|field| entry.item(*field).is_none()) {
            let expected =
                format!("item {field}, which the filter of grant {} reads", record.grant.id);
            problems.add(code, "items", expected, "an entry without it");
        }
    }
}

/// The library decides in which partition everything about a resource stands, in one order; how its
/// items are read into the library is settled when rows may exist.
fn same_place(registry: &Registry, known: &Entry, entry: &CatalogueEntry, problems: &mut Problems) {
    let library = |entry: &CatalogueEntry| entry.binding.as_ref().map(|binding| binding.library);
    if library(&known.entry) != library(entry) {
        let expected = match library(&known.entry) {
            Some(library) => {
                format!("{library}, as registered; register a new resource to bind it otherwise")
            }
            None => "no binding, as registered; register a new resource to bind it".to_owned(),
        };
        problems.add(&entry.code, "binding.library", expected, describe_binding(entry));
    } else if known.entry.binding != entry.binding && registry.was_opened(known.number) {
        let expected = "the binding as it is, since rows of this resource may exist; \
                        register a new resource to bind them otherwise";
        problems.add(&entry.code, "binding", expected, describe_binding(entry));
    }
}

/// Rows are stored under their keys: what makes up a key stays as it was at the beginning.
fn same_keys(known: &Entry, entry: &CatalogueEntry, problems: &mut Problems) {
    let before = known.entry.keys();
    let now = entry.keys();
    let ids = |keys: &[&Item]| keys.iter().map(|item| item.id).collect::<Vec<_>>();
    if ids(&before) != ids(&now) {
        let list =
            |ids: Vec<FieldId>| ids.iter().map(FieldId::to_string).collect::<Vec<_>>().join(", ");
        let expected = format!("the key items {} as registered", list(ids(&before)));
        return problems.add(&entry.code, "items", expected, list(ids(&now)));
    }
    for (before, now) in before.iter().zip(&now) {
        if before.semantic != now.semantic {
            let field = format!("items[{}].semantic", index_of(entry, now.id));
            let expected = format!("{:?}, since the item is part of the key", before.semantic);
            problems.add(&entry.code, field, expected, format!("{:?}", now.semantic));
        }
    }
}

/// Stored values are read by the type of their item: a number keeps its type for ever.
fn same_types(known: &Entry, entry: &CatalogueEntry, problems: &mut Problems) {
    for (index, item) in entry.items.iter().enumerate() {
        if let Some(before) = known.type_of(item.id).filter(|before| *before != item.data_type) {
            let field = format!("items[{index}].data_type");
            let expected = format!(
                "{}, the type that item {} has had; give the new item a new number",
                before.code(),
                item.id
            );
            problems.add(&entry.code, field, expected, item.data_type.code());
        }
    }
}

fn index_of(entry: &CatalogueEntry, id: FieldId) -> usize {
    entry.items.iter().position(|item| item.id == id).unwrap_or_default()
}

fn describe_binding(entry: &CatalogueEntry) -> String {
    match &entry.binding {
        None => "no binding".to_owned(),
        Some(binding) => format!(
            "{} with {} fields, authority {}",
            binding.library,
            binding.fields.len(),
            binding.authority
        ),
    }
}

/// The grants on this resource whose fields mean something else after the change, each with its
/// next generation: their receivers start again from a fresh snapshot.
fn regranted<'r>(
    registry: &'r Registry,
    known: &'r Entry,
    entry: &'r CatalogueEntry,
) -> impl Iterator<Item = Grant> + 'r {
    let target = Target::Resource(entry.code.clone());
    let records: Vec<_> = registry.grants_on(&target).cloned().collect();
    records.into_iter().filter(|record| record.withdrawn.is_none()).filter_map(move |record| {
        let mut grant = record.grant.clone();
        let same = |field: &FieldId| known.entry.item(*field) == entry.item(*field);
        let keys_same = entry.keys().iter().all(|item| same(&item.id));
        if keys_same && grant.fields.iter().all(same) {
            return None;
        }
        grant.fields.retain(|field| entry.item(*field).is_some());
        grant.generation = grant.generation.saturating_add(1);
        Some(grant)
    })
}
