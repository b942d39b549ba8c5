//! A catalogue entry as the views use it: where its rows live, and how they are read into a library.

use std::sync::Arc;

use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::{CompiledFilter, RowFilter},
    library::{Library, LibraryId, definition},
    row::{FieldId, RowBuf, RowRef},
};

use crate::{
    log::PartitionId,
    numbers::{FeedNo, ResourceNo, SpaceNo},
};

/// Something whose rows can be read and followed: a resource, or a library's merged reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Place {
    /// A resource, in its own fields.
    Resource(ResourceNo),
    /// A library, in the library's fields.
    Library(LibraryId),
}

impl Place {
    /// The feed of its changes.
    #[must_use]
    pub fn feed(self) -> FeedNo {
        match self {
            Self::Resource(resource) => resource.feed(),
            Self::Library(library) => FeedNo::library(library),
        }
    }
}

/// A catalogue entry as of the barriers applied.
#[derive(Debug)]
pub struct ViewEntry {
    /// Its number.
    pub resource: ResourceNo,
    /// The entry.
    pub entry: CatalogueEntry,
    /// Where its rows live.
    pub space: SpaceNo,
    /// The partition of that space.
    pub partition: PartitionId,
    /// Whether its keys are listed apart, because the space held another resource first: a scan of
    /// it then need not read the others' rows.
    pub(super) member: bool,
    keys: Vec<FieldId>,
    bound: Option<Bound>,
}

#[derive(Debug)]
struct Bound {
    library: &'static Library,
    authority: u16,
    /// Library field and the item it is read from, ascending by library field.
    fields: Vec<(FieldId, FieldId)>,
    /// Items and library fields have the same numbers.
    identity: bool,
}

impl ViewEntry {
    pub(super) fn new(
        resource: ResourceNo,
        entry: CatalogueEntry,
        partition: PartitionId,
        member: bool,
    ) -> Arc<Self> {
        let library = entry.binding.as_ref().map(|binding| binding.library);
        let keys = entry.keys().iter().map(|item| item.id).collect();
        Arc::new(Self {
            resource,
            space: resource.space(library),
            partition,
            member,
            keys,
            bound: Bound::of(&entry),
            entry,
        })
    }

    /// The library it is bound to, if that is defined.
    #[must_use]
    pub fn library(&self) -> Option<&'static Library> {
        self.bound.as_ref().map(|bound| bound.library)
    }

    /// The key items, in the order of the key's parts.
    #[must_use]
    pub fn key_fields(&self) -> &[FieldId] {
        &self.keys
    }

    /// Prepares a filter over its own items.
    #[must_use]
    pub fn filter(&self, filter: Option<&RowFilter>) -> CompiledFilter {
        CompiledFilter::new(filter, &self.keys)
    }

    /// Order of authority among the resources of a library: the least says first.
    #[must_use]
    pub fn rank(&self) -> (u16, ResourceNo) {
        (self.bound.as_ref().map_or(u16::MAX, |bound| bound.authority), self.resource)
    }

    /// Whether the rows of both are read into the library in the same way.
    pub(super) fn reads_like(&self, other: &Self) -> bool {
        match (&self.bound, &other.bound) {
            (Some(left), Some(right)) => {
                left.authority == right.authority && left.fields == right.fields
            }
            (left, right) => left.is_none() && right.is_none(),
        }
    }

    /// The value that a row gives to a library field.
    pub(super) fn value<'a>(&self, row: RowRef<'a>, field: FieldId) -> Option<&'a [u8]> {
        let fields = &self.bound.as_ref()?.fields;
        let at = fields.binary_search_by_key(&field, |(to, _)| *to).ok()?;
        row.get(fields[at].1)
    }

    /// A row in library fields; `scratch` holds it when it differs from the row itself.
    pub(super) fn mapped<'a>(&self, row: RowRef<'a>, scratch: &'a mut RowBuf) -> RowRef<'a> {
        let Some(bound) = &self.bound else {
            return RowRef::EMPTY;
        };
        if bound.identity && bound.covers(row) {
            return row;
        }
        scratch.clear();
        for (to, from) in &bound.fields {
            if let Some(value) = row.get(*from) {
                scratch.push(*to, value);
            }
        }
        scratch.as_ref()
    }
}

impl Bound {
    fn of(entry: &CatalogueEntry) -> Option<Self> {
        let binding = entry.binding.as_ref()?;
        let library = definition(binding.library)?;
        let key = library.key().id;
        let mut fields: Vec<_> = binding
            .fields
            .iter()
            .map(|(from, to)| (*to, *from))
            .filter(|(to, _)| *to != key && library.item(*to).is_some())
            .collect();
        fields.sort_by_key(|(to, _)| *to);
        fields.dedup_by_key(|(to, _)| *to);
        let identity = fields.iter().all(|(to, from)| to == from);
        Some(Self { library, authority: binding.authority, fields, identity })
    }

    /// Whether every field of the row is read into the library.
    fn covers(&self, row: RowRef<'_>) -> bool {
        let mut fields = self.fields.iter();
        row.iter().all(|(id, _)| fields.any(|(_, from)| *from == id))
    }
}

/// Merges what several resources say under one key, field by field: the least rank that has the field
/// wins. `said` are sorted by rank; `source` learns whose value each field has.
pub(super) fn merge<'a>(
    library: &Library,
    said: &[(&ViewEntry, RowRef<'a>)],
    out: &mut RowBuf,
    mut source: impl FnMut(FieldId, ResourceNo),
) {
    out.clear();
    for item in library.items.iter().filter(|item| !item.key) {
        let first = said.iter().find_map(|(entry, row)| Some((entry, entry.value(*row, item.id)?)));
        if let Some((entry, value)) = first {
            out.push(item.id, value);
            source(item.id, entry.resource);
        }
    }
}

/// The library record under a key: one resource's row mapped, or several merged. `None` without
/// rows. `said` are in any order; `scratch` may hold the result.
pub(super) fn record<'a>(
    library: &Library,
    said: &mut [(&ViewEntry, RowRef<'a>)],
    scratch: &'a mut RowBuf,
) -> Option<RowRef<'a>> {
    match said {
        [] => None,
        [(entry, row)] => Some(entry.mapped(*row, scratch)),
        several => {
            several.sort_unstable_by_key(|(entry, _)| entry.rank());
            merge(library, several, scratch, |_, _| {});
            Some(scratch.as_ref())
        }
    }
}
