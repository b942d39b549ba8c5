//! What readers need to know of the entries: a copy in memory, changed by the appliers.
//!
//! An applier changes the directory before it writes what the change brings about. So a reader may
//! read a library by a binding that the feed has not caught up with, and the feed then repeats what
//! it has read; the other way round it would miss it.

use std::{collections::HashMap, sync::Arc};

use hutong_schema::{
    grant::{CompiledFilter, RowFilter, Target},
    ids::ResourceCode,
    library::definition,
};
use parking_lot::RwLock;

use super::entry::{Place, ViewEntry};
use crate::numbers::{ResourceNo, SpaceNo};

#[derive(Default)]
pub(super) struct Directory(RwLock<Known>);

#[derive(Default)]
struct Known {
    entries: HashMap<ResourceNo, Arc<ViewEntry>>,
    codes: HashMap<ResourceCode, ResourceNo>,
    older: HashMap<(ResourceNo, u32), Arc<ViewEntry>>,
    /// The resources of each space, ascending.
    members: HashMap<SpaceNo, Arc<[ResourceNo]>>,
}

impl Directory {
    /// Makes an entry known; the one it replaces can still be asked for by its version.
    pub(super) fn put(&self, entry: Arc<ViewEntry>) {
        let mut known = self.0.write();
        let members = known.members.get(&entry.space).map_or(&[][..], |members| members);
        if let Err(at) = members.binary_search(&entry.resource) {
            let mut members = members.to_vec();
            members.insert(at, entry.resource);
            known.members.insert(entry.space, members.into());
        }
        known.codes.insert(entry.entry.code.clone(), entry.resource);
        if let Some(old) = known.entries.insert(entry.resource, Arc::clone(&entry))
            && old.entry.version != entry.entry.version
        {
            known.older.insert((old.resource, old.entry.version), old);
        }
    }

    pub(super) fn entry(&self, resource: ResourceNo) -> Option<Arc<ViewEntry>> {
        self.0.read().entries.get(&resource).cloned()
    }

    pub(super) fn version(&self, resource: ResourceNo, version: u32) -> Option<Arc<ViewEntry>> {
        let known = self.0.read();
        match known.entries.get(&resource) {
            Some(entry) if entry.entry.version == version => Some(Arc::clone(entry)),
            Some(_) | None => known.older.get(&(resource, version)).cloned(),
        }
    }

    /// The resources of a space, ascending.
    pub(super) fn members(&self, space: SpaceNo) -> Option<Arc<[ResourceNo]>> {
        self.0.read().members.get(&space).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<ViewEntry>> {
        self.0.read().entries.values().cloned().collect()
    }

    pub(super) fn place(&self, target: &Target) -> Option<Place> {
        match target {
            Target::Resource(code) => {
                self.0.read().codes.get(code).map(|resource| Place::Resource(*resource))
            }
            Target::Library(library) => definition(*library).map(|_| Place::Library(*library)),
        }
    }

    /// Prepares a filter over the fields of a place.
    pub(super) fn filter(
        &self,
        place: Place,
        filter: Option<&RowFilter>,
    ) -> Option<CompiledFilter> {
        match place {
            Place::Resource(resource) => Some(self.entry(resource)?.filter(filter)),
            Place::Library(library) => {
                let key = definition(library)?.key().id;
                Some(CompiledFilter::new(filter, &[key]))
            }
        }
    }
}
