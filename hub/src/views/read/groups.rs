//! Walking over rows in the order of their keys.

use std::ops::ControlFlow;

use hutong_schema::{
    library::Library,
    row::{RowBuf, RowRef},
};
use rocksdb::{DBRawIterator, ReadOptions, ReadTier, Snapshot};

use crate::{
    log::{PartitionId, event::partition_of},
    numbers::{ResourceNo, SpaceNo},
    views::{
        Core,
        entry::{self, Place, ViewEntry},
        error::{Result, ViewError},
        keys, records,
    },
};

/// The rows that several resources have under one key. Reused from key to key.
#[derive(Default)]
pub(in super::super) struct Group {
    key: Vec<u8>,
    bytes: Vec<u8>,
    rows: Vec<(ResourceNo, u64, usize)>,
}

/// A row of a group.
#[derive(Clone, Copy)]
pub(in super::super) struct GroupRow<'a> {
    pub(in super::super) resource: ResourceNo,
    /// Seq of the resource's feed at which it got this form.
    pub(in super::super) version: u64,
    pub(in super::super) bytes: &'a [u8],
}

impl<'a> GroupRow<'a> {
    pub(in super::super) fn row(self) -> Result<RowRef<'a>> {
        RowRef::parse(self.bytes).map_err(|_| ViewError::Damaged { what: "row" })
    }
}

impl Group {
    pub(in super::super) fn key(&self) -> &[u8] {
        &self.key
    }

    /// In the order of the resources' numbers.
    pub(in super::super) fn rows(&self) -> impl Iterator<Item = GroupRow<'_>> {
        let starts = std::iter::once(0).chain(self.rows.iter().map(|(_, _, end)| *end));
        starts.zip(&self.rows).map(|(start, (resource, version, end))| GroupRow {
            resource: *resource,
            version: *version,
            bytes: &self.bytes[start..*end],
        })
    }

    pub(in super::super) fn of(&self, resource: ResourceNo) -> Option<GroupRow<'_>> {
        self.rows().find(|row| row.resource == resource)
    }

    fn begin(&mut self, key: &[u8]) {
        self.key.clear();
        self.key.extend_from_slice(key);
        self.bytes.clear();
        self.rows.clear();
    }

    fn push(&mut self, resource: ResourceNo, stored: &[u8]) -> Result<()> {
        let (version, row) = records::split_versioned(stored)?;
        self.bytes.extend_from_slice(row);
        self.rows.push((resource, version, self.bytes.len()));
        Ok(())
    }

    /// The library record, with the entries of `core` as they are now.
    pub(in super::super) fn record<'a>(
        &'a self,
        core: &Core,
        library: &Library,
        scratch: &'a mut RowBuf,
    ) -> Result<Option<RowRef<'a>>> {
        if let [(resource, _, _)] = self.rows[..] {
            // One resource, as nearly always: nothing to be collected.
            let Some(entry) = core.directory.entry(resource) else { return Ok(None) };
            let row = GroupRow { resource, version: 0, bytes: &self.bytes }.row()?;
            return Ok(Some(entry.mapped(row, scratch)));
        }
        let mut entries = Vec::with_capacity(self.rows.len());
        for row in self.rows() {
            if let Some(entry) = core.directory.entry(row.resource) {
                entries.push((entry, row.row()?));
            }
        }
        let mut said: Vec<_> = entries.iter().map(|(entry, row)| (&**entry, *row)).collect();
        Ok(entry::record(library, &mut said, scratch))
    }
}

/// Reads groups, from a snapshot or from the store as it is.
#[derive(Clone, Copy)]
pub(in super::super) struct Groups<'a> {
    pub(in super::super) core: &'a Core,
    pub(in super::super) snapshot: Option<&'a Snapshot<'a>>,
    pub(in super::super) reach: Reach,
}

/// How far reading may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in super::super) enum Reach {
    /// To the disk.
    #[default]
    Disk,
    /// Not beyond memory: what is not there is [`ViewError::NotInMemory`].
    Memory,
}

/// Up to so many resources of a space are asked one by one for a key.
const ASK_EACH: usize = 8;

/// What a walk is told after each group.
type Step = Result<ControlFlow<()>>;

impl<'a> Groups<'a> {
    pub(in super::super) fn options(&self) -> ReadOptions {
        let mut options = ReadOptions::default();
        if let Some(snapshot) = self.snapshot {
            options.set_snapshot(snapshot);
        }
        if self.reach == Reach::Memory {
            options.set_read_tier(ReadTier::BlockCache);
        }
        options
    }

    pub(in super::super) fn iterator(
        &self,
        partition: PartitionId,
        prefix: &[u8],
    ) -> Result<DBRawIterator<'a>> {
        let mut options = self.options();
        options.set_iterate_upper_bound(keys::after_prefix(prefix));
        Ok(self.core.store.db.raw_iterator_cf_opt(self.core.store.family(partition)?, options))
    }

    /// All groups of a space behind a key.
    pub(in super::super) fn of_space(
        &self,
        space: SpaceNo,
        partition: PartitionId,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&Group) -> Step,
    ) -> Result<()> {
        let prefix = keys::rows_of_space(space);
        let mut options = self.options();
        options.set_iterate_upper_bound(keys::after_prefix(&prefix));
        // A walk over millions of rows would push everything else out of the cache.
        options.fill_cache(false);
        options.set_readahead_size(1 << 20);
        let family = self.core.store.family(partition)?;
        let mut found = self.core.store.db.raw_iterator_cf_opt(family, options);
        match after {
            Some(after) => found.seek(keys::rows_after(space, after)),
            None => found.seek(&prefix),
        }
        let mut group = Group::default();
        while let Some((key, value)) = found.item() {
            let (key, resource) =
                keys::parse_row(key).ok_or(ViewError::Damaged { what: "row key" })?;
            if key != group.key() || group.rows.is_empty() {
                if !group.rows.is_empty() && visit(&group)?.is_break() {
                    return Ok(());
                }
                group.begin(key);
            }
            group.push(resource, value)?;
            found.next();
        }
        found.status().map_err(ViewError::engine("read"))?;
        if !group.rows.is_empty() {
            let _ = visit(&group)?;
        }
        Ok(())
    }

    /// All groups that a resource has a row in, and perhaps others.
    pub(in super::super) fn of_resource(
        &self,
        entry: &ViewEntry,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&Group) -> Step,
    ) -> Result<()> {
        if !entry.member {
            return self.of_space(entry.space, entry.partition, after, visit);
        }
        let mut group = Group::default();
        let prefix = keys::members_of(entry.resource);
        let mut members = self.iterator(entry.partition, &prefix)?;
        let mut rows = self.iterator(entry.partition, &keys::rows_of_space(entry.space))?;
        let mut start = prefix;
        if let Some(after) = after {
            keys::member_into(&mut start, entry.resource, after);
            start.push(0);
        }
        members.seek(&start);
        while let Some(key) = members.key() {
            let key = keys::row_of_member(key).ok_or(ViewError::Damaged { what: "member key" })?;
            self.load(&mut rows, entry.space, key, &mut group)?;
            if !group.rows.is_empty() && visit(&group)?.is_break() {
                return Ok(());
            }
            members.next();
        }
        members.status().map_err(ViewError::engine("read"))
    }

    /// The group of one key; it has no rows if there are none.
    pub(in super::super) fn group(
        &self,
        space: SpaceNo,
        partition: PartitionId,
        key: &[u8],
    ) -> Result<Group> {
        let mut group = Group::default();
        if let Some(members) = self.core.directory.members(space)
            && members.len() <= ASK_EACH
        {
            // Filters answer most of these; an iterator would have to look into every file.
            group.begin(key);
            let (family, options) = (self.core.store.family(partition)?, self.options());
            let mut stored = Vec::with_capacity(key.len() + 16);
            for resource in members.iter() {
                keys::row_into(&mut stored, space, key, *resource);
                let found = self.core.store.db.get_pinned_cf_opt(family, &stored, &options);
                if let Some(value) = found.map_err(ViewError::engine("read"))? {
                    group.push(*resource, &value)?;
                }
            }
            return Ok(group);
        }
        let mut rows = self.iterator(partition, &keys::rows_of_space(space))?;
        self.load(&mut rows, space, key, &mut group)?;
        Ok(group)
    }

    fn load(
        &self,
        rows: &mut DBRawIterator<'_>,
        space: SpaceNo,
        key: &[u8],
        group: &mut Group,
    ) -> Result<()> {
        let mut prefix = Vec::with_capacity(key.len() + 8);
        keys::rows_of_key_into(&mut prefix, space, key);
        group.begin(key);
        rows.seek(&prefix);
        while let Some((stored, value)) = rows.item() {
            match keys::parse_row(stored) {
                Some((found, resource)) if found == key => group.push(resource, value)?,
                Some(_) | None => break,
            }
            rows.next();
        }
        rows.status().map_err(ViewError::engine("read"))
    }

    /// All rows of a place behind a key: a resource's own, or a library's records.
    pub(in super::super) fn rows(
        &self,
        place: Place,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], RowRef<'_>) -> Step,
    ) -> Result<()> {
        match place {
            Place::Resource(resource) => {
                let entry = self.core.entry(resource)?;
                self.of_resource(&entry, after, |group| match group.of(resource) {
                    Some(row) => visit(group.key(), row.row()?),
                    None => Ok(ControlFlow::Continue(())),
                })
            }
            Place::Library(library) => {
                let space = SpaceNo::library(library);
                let library = self.core.library(library)?;
                let mut scratch = RowBuf::new();
                self.of_space(space, self.core.partition(space), after, |group| {
                    match group.record(self.core, library, &mut scratch)? {
                        Some(row) => visit(group.key(), row),
                        None => Ok(ControlFlow::Continue(())),
                    }
                })
            }
        }
    }
}

impl Core {
    pub(in super::super) fn partition(&self, space: SpaceNo) -> PartitionId {
        partition_of(space, self.store.data_partitions())
    }

    pub(in super::super) fn entry(
        &self,
        resource: ResourceNo,
    ) -> Result<std::sync::Arc<ViewEntry>> {
        self.directory.entry(resource).ok_or(ViewError::UnknownResource(resource))
    }

    pub(in super::super) fn library(
        &self,
        library: hutong_schema::library::LibraryId,
    ) -> Result<&'static Library> {
        hutong_schema::library::definition(library)
            .ok_or_else(|| ViewError::UnknownTarget(format!("library {}", library.0)))
    }

    /// Where a place's rows and feed live.
    pub(in super::super) fn partition_of(&self, place: Place) -> Result<PartitionId> {
        Ok(match place {
            Place::Resource(resource) => self.entry(resource)?.partition,
            Place::Library(library) => {
                self.library(library)?;
                self.partition(SpaceNo::library(library))
            }
        })
    }
}
