//! A grant made ready for delivery.

use hutong_schema::{
    catalogue::Item,
    grant::{CompiledFilter, Grant, GrantId, GrantView, Target},
    ids::CreditCode,
    library,
    row::FieldId,
    wire::v1::{RefusalCode, Refused},
};

use crate::{
    numbers::FeedNo,
    views::{Place, registry::Registry},
};

/// What a delivery follows and what it tells of it.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) view: GrantView,
    pub(crate) place: Place,
    pub(crate) feed: FeedNo,
    pub(crate) filter: CompiledFilter,
    pub(crate) columns: Vec<FieldId>,
}

impl Plan {
    /// Plans the delivery of a grant to a department.
    pub(crate) fn of(
        registry: &Registry,
        id: GrantId,
        department: CreditCode,
    ) -> Result<Self, Refused> {
        let refused = |detail: String| Refused::new(RefusalCode::NotGranted, detail);
        let record = registry
            .grant(id)
            .filter(|record| record.grant.grantee == department)
            .ok_or_else(|| refused(format!("there is no grant {id} for this department")))?;
        if let Some(reason) = &record.withdrawn {
            return Err(refused(format!("grant {id} was withdrawn: {reason}")));
        }
        if !record.grant.modes.deliver {
            return Err(refused(format!("grant {id} does not cover standing delivery")));
        }
        let today = registry.as_of().map(|as_of| as_of.date());
        if !today.is_some_and(|today| record.grant.in_force(today)) {
            return Err(refused(format!("grant {id} is not in force today")));
        }
        Self::ready(registry, &record.grant)
            .ok_or_else(|| refused(format!("what grant {id} covers is not registered")))
    }

    /// Makes a grant ready, whoever asks; `None` when its target is not registered.
    pub(crate) fn ready(registry: &Registry, grant: &Grant) -> Option<Self> {
        let (place, name, items) = target(registry, &grant.target)?;
        let (keys, items): (Vec<Item>, Vec<Item>) = items
            .iter()
            .filter(|item| item.key || grant.fields.binary_search(&item.id).is_ok())
            .cloned()
            .partition(|item| item.key);
        let mut items = items;
        items.sort_by_key(|item| item.id);
        let key_fields: Vec<FieldId> = keys.iter().map(|item| item.id).collect();
        Some(Self {
            place,
            feed: place.feed(),
            filter: CompiledFilter::new(grant.filter.as_ref(), &key_fields),
            columns: items.iter().map(|item| item.id).collect(),
            view: GrantView { grant: grant.clone(), name, keys, items },
        })
    }
}

fn target(registry: &Registry, target: &Target) -> Option<(Place, String, Vec<Item>)> {
    match target {
        Target::Library(id) => {
            let library = library::definition(*id)?;
            Some((Place::Library(*id), library.zh.to_owned(), library.items.to_vec()))
        }
        Target::Resource(code) => {
            let entry = registry.entry_coded(code)?;
            let mut items: Vec<Item> = entry.entry.keys().into_iter().cloned().collect();
            items.extend(entry.entry.columns().into_iter().cloned());
            Some((Place::Resource(entry.number), entry.entry.name.clone(), items))
        }
    }
}
