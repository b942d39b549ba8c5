//! Under which grant a question is answered.

use std::sync::Arc;

use hutong_schema::{
    grant::{AsOf, CompiledFilter, Grant, Modes, Target},
    ids::CreditCode,
    library,
    row::FieldId,
    wire::v1::Refused,
};

use super::not_granted;
use crate::views::{Place, registry::RegistryHandle};

/// A grant made ready for answering.
pub(super) struct Permit {
    pub(super) grant: Arc<Grant>,
    pub(super) place: Place,
    pub(super) keys: Vec<FieldId>,
    pub(super) filter: CompiledFilter,
    pub(super) as_of: AsOf,
}

impl Permit {
    /// Whether a field may be read: granted, or part of the key.
    pub(super) fn shows(&self, field: FieldId) -> bool {
        self.keys.contains(&field) || self.grant.fields.binary_search(&field).is_ok()
    }
}

/// The department's grants in force for a target, in the order of their numbers.
pub(super) fn find(
    registry: &RegistryHandle,
    department: CreditCode,
    target: &Target,
    mode: impl Fn(Modes) -> bool,
) -> Result<Vec<Permit>, Refused> {
    let registry = registry.read();
    let as_of = registry.as_of().ok_or_else(|| not_granted("any date"))?;
    let (place, keys) = match target {
        Target::Library(id) => {
            let library = library::definition(*id).ok_or_else(|| not_granted("this library"))?;
            (Place::Library(*id), vec![library.key().id])
        }
        Target::Resource(code) => {
            let entry = registry.entry_coded(code).ok_or_else(|| not_granted("this resource"))?;
            let keys = entry.entry.keys().iter().map(|item| item.id).collect();
            (Place::Resource(entry.number), keys)
        }
    };
    let permits: Vec<Permit> = registry
        .grants_of(department)
        .filter(|record| record.grant.target == *target && mode(record.grant.modes))
        .filter(|record| record.in_force(as_of.date()))
        .map(|record| Permit {
            filter: CompiledFilter::new(record.grant.filter.as_ref(), &keys),
            grant: Arc::new(record.grant.clone()),
            place,
            keys: keys.clone(),
            as_of,
        })
        .collect();
    if permits.is_empty() { Err(not_granted("this question")) } else { Ok(permits) }
}
