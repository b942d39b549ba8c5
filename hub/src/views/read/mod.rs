//! Reading the views: everything asked of one [`ViewSnapshot`] is as of the same moment.

mod digest;
mod feed;
pub(super) mod groups;
mod search;

use std::ops::ControlFlow;

use hutong_schema::{
    grant::{AsOf, CompiledFilter, RowFilter, Target},
    library::LibraryId,
    row::{FieldId, RowBuf, RowRef},
};
use rocksdb::Snapshot;
use serde::de::DeserializeOwned;

pub(super) use digest::Count;
pub use digest::{DigestFound, DigestSpec};
pub use feed::{ChangeSet, FeedChange, FeedItem, FeedWhat};
pub use search::Found;

pub(super) use feed::{FeedCache, Reader};

use super::{
    Core,
    entry::{self, Place},
    error::{Result, ViewError},
    keys,
    records::{self, Applied, CheckpointRecord, FeedState, Finding, LaneState, ResourceState},
    store::Store,
};
use crate::{
    log::{Offset, PartitionId},
    numbers::{ResourceNo, SpaceNo},
};
use groups::{Groups, Reach};

/// The views at one moment. Holding it for long keeps replaced rows on disk: take one per question,
/// or per chunk of a snapshot delivery.
pub struct ViewSnapshot<'a> {
    pub(super) core: &'a Core,
    /// Absent where nothing can change: in views opened for reading.
    pub(super) snapshot: Option<Snapshot<'a>>,
    reach: Reach,
}

/// One record of a library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LibraryRecord {
    /// The merged fields.
    pub row: RowBuf,
    /// Whose value each present field has, ascending by field.
    pub sources: Vec<(FieldId, ResourceNo)>,
    /// All resources that have a row under the key, the most authoritative first.
    pub resources: Vec<ResourceNo>,
}

/// Where a scan ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScanEnd {
    /// There are no more rows.
    Complete,
    /// The visitor had enough; there may be more.
    Stopped,
}

impl<'a> ViewSnapshot<'a> {
    pub(super) fn new(core: &'a Core) -> Self {
        Self { core, snapshot: Some(core.store.db.snapshot()), reach: Reach::Disk }
    }

    /// Looks into memory only, so that reading never waits for the disk; what is not there is
    /// [`ViewError::NotInMemory`].
    #[must_use]
    pub fn in_memory(self) -> Self {
        Self { reach: Reach::Memory, ..self }
    }

    pub(super) fn groups(&self) -> Groups<'_> {
        Groups { core: self.core, snapshot: self.snapshot.as_ref(), reach: self.reach }
    }

    fn get<T: DeserializeOwned>(
        &self,
        what: &'static str,
        partition: PartitionId,
        key: &[u8],
    ) -> Result<Option<T>> {
        let family = self.core.store.family(partition)?;
        let bytes = self
            .core
            .store
            .db
            .get_pinned_cf_opt(family, key, &self.groups().options())
            .map_err(ViewError::engine("read"))?;
        bytes.map(|bytes| records::read(what, &bytes)).transpose()
    }

    /// The place of a target, as of the barriers applied; `None` when it is not known yet.
    #[must_use]
    pub fn place(&self, target: &Target) -> Option<Place> {
        self.core.directory.place(target)
    }

    /// Prepares a filter over the fields of a place.
    ///
    /// # Errors
    /// When the place is not known.
    pub fn filter(&self, place: Place, filter: Option<&RowFilter>) -> Result<CompiledFilter> {
        self.core
            .directory
            .filter(place, filter)
            .ok_or_else(|| ViewError::UnknownTarget(format!("{place:?}")))
    }

    /// How far a partition is applied.
    ///
    /// # Errors
    /// When the store fails.
    pub fn applied(&self, partition: PartitionId) -> Result<Applied> {
        Ok(self.get("applied offset", partition, &keys::applied())?.unwrap_or_default())
    }

    /// The date that filters over a place count ages to.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn as_of(&self, place: Place) -> Result<AsOf> {
        Ok(self.applied(self.core.partition_of(place)?)?.as_of)
    }

    /// The last entry of a place's feed.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn feed_state(&self, place: Place) -> Result<FeedState> {
        let partition = self.core.partition_of(place)?;
        Ok(self.get("feed state", partition, &keys::feed_state(place.feed()))?.unwrap_or_default())
    }

    /// The state of a publication; `None` before its first epoch.
    ///
    /// # Errors
    /// When the store fails or the resource is not known.
    pub fn lane(&self, resource: ResourceNo, shard: u16) -> Result<Option<LaneState>> {
        let partition = self.core.entry(resource)?.partition;
        self.get("lane", partition, &keys::lane(resource, shard))
    }

    /// Counters of a resource.
    ///
    /// # Errors
    /// When the store fails or the resource is not known.
    pub fn resource_state(&self, resource: ResourceNo) -> Result<ResourceState> {
        let partition = self.core.entry(resource)?.partition;
        Ok(self.get("resource", partition, &keys::resource(resource))?.unwrap_or_default())
    }

    /// Bytes of a resource's batches that the log holds, opened.
    ///
    /// # Errors
    /// When the store fails or the resource is not known.
    pub fn volume(&self, resource: ResourceNo) -> Result<u64> {
        let partition = self.core.entry(resource)?.partition;
        Ok(self.get("volume", partition, &keys::volume(resource))?.unwrap_or_default())
    }

    /// Rows per resource of a library, by resource.
    ///
    /// # Errors
    /// When the store fails.
    pub fn library_rows(&self, library: LibraryId) -> Result<Vec<(ResourceNo, u64)>> {
        let space = SpaceNo::library(library);
        let mut found = Vec::new();
        for entry in self.core.directory.all().iter().filter(|entry| entry.space == space) {
            found.push((entry.resource, self.resource_state(entry.resource)?.rows));
        }
        found.sort_unstable();
        Ok(found)
    }

    /// One row of a place; for a library its merged record.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn row(&self, place: Place, key: &[u8]) -> Result<Option<RowBuf>> {
        match place {
            Place::Library(library) => {
                let definition = self.core.library(library)?;
                let group = self.library_group(library, key)?;
                let mut scratch = RowBuf::new();
                let row = group.record(self.core, definition, &mut scratch)?.map(copy);
                Ok(row)
            }
            Place::Resource(resource) => {
                let entry = self.core.entry(resource)?;
                let mut stored = Vec::new();
                keys::row_into(&mut stored, entry.space, key, resource);
                let family = self.core.store.family(entry.partition)?;
                let options = self.groups().options();
                let found = self.core.store.db.get_pinned_cf_opt(family, &stored, &options);
                let Some(value) = found.map_err(ViewError::engine("read"))? else {
                    return Ok(None);
                };
                let (_, row) = records::split_versioned(&value)?;
                let row = RowRef::parse(row).map_err(|_| ViewError::Damaged { what: "row" })?;
                Ok(Some(copy(row)))
            }
        }
    }

    fn library_group(&self, library: LibraryId, key: &[u8]) -> Result<groups::Group> {
        let space = SpaceNo::library(library);
        self.groups().group(space, self.core.partition(space), key)
    }

    /// One record of a library, and who said what in it.
    ///
    /// # Errors
    /// When the store fails or the library is not defined.
    pub fn library_record(&self, library: LibraryId, key: &[u8]) -> Result<Option<LibraryRecord>> {
        let definition = self.core.library(library)?;
        let group = self.library_group(library, key)?;
        let mut entries = Vec::new();
        for row in group.rows() {
            if let Some(entry) = self.core.directory.entry(row.resource) {
                entries.push((entry, row.row()?));
            }
        }
        if entries.is_empty() {
            return Ok(None);
        }
        entries.sort_by_key(|(entry, _)| entry.rank());
        let said: Vec<_> = entries.iter().map(|(entry, row)| (&**entry, *row)).collect();
        let mut row = RowBuf::new();
        let mut sources = Vec::new();
        entry::merge(definition, &said, &mut row, |field, resource| {
            sources.push((field, resource))
        });
        let resources = entries.iter().map(|(entry, _)| entry.resource).collect();
        Ok(Some(LibraryRecord { row, sources, resources }))
    }

    /// Visits the rows of a place in the order of their keys, behind `after`, until the visitor
    /// breaks off.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn scan(
        &self,
        place: Place,
        after: Option<&[u8]>,
        mut visit: impl FnMut(&[u8], RowRef<'_>) -> ControlFlow<()>,
    ) -> Result<ScanEnd> {
        let mut end = ScanEnd::Complete;
        self.groups().rows(place, after, |key, row| {
            let step = visit(key, row);
            if step.is_break() {
                end = ScanEnd::Stopped;
            }
            Ok(step)
        })?;
        Ok(end)
    }

    /// The checkpoints of a place's feed, newest first.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn checkpoints(&self, place: Place, limit: usize) -> Result<Vec<(u64, CheckpointRecord)>> {
        let partition = self.core.partition_of(place)?;
        let first = keys::checkpoint(place.feed(), 0);
        let mut found = self.groups().iterator(partition, &first[..5])?;
        found.seek_for_prev(keys::checkpoint(place.feed(), u64::MAX));
        let mut out = Vec::new();
        while let Some((key, value)) = found.item() {
            if out.len() == limit || key < &first[..] {
                break;
            }
            let seq = keys::seq_of(key).ok_or(ViewError::Damaged { what: "checkpoint key" })?;
            out.push((seq, records::read("checkpoint", value)?));
            found.prev();
        }
        found.status().map_err(ViewError::engine("read"))?;
        Ok(out)
    }

    /// The checkpoint at a seq of a place's feed.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn checkpoint(&self, place: Place, seq: u64) -> Result<Option<CheckpointRecord>> {
        let partition = self.core.partition_of(place)?;
        self.get("checkpoint", partition, &keys::checkpoint(place.feed(), seq))
    }

    /// Findings of a partition behind an entry, oldest first: entries that were parked, or applied
    /// although something is wrong with them.
    ///
    /// # Errors
    /// When the store fails.
    pub fn findings(
        &self,
        partition: PartitionId,
        after: Offset,
        limit: usize,
    ) -> Result<Vec<Finding>> {
        let mut found = self.groups().iterator(partition, &keys::table(keys::Table::Finding))?;
        found.seek(keys::finding(after.next(), 0));
        let mut out = Vec::new();
        while let Some(value) = found.value()
            && out.len() < limit
        {
            out.push(records::read("finding", value)?);
            found.next();
        }
        found.status().map_err(ViewError::engine("read"))?;
        Ok(out)
    }
}

/// Views opened for reading by another process, as of their last flush.
pub struct ReadOnlyViews {
    core: Core,
}

impl ReadOnlyViews {
    /// Opens the views in `dir`. The hub may be running: what it has flushed is seen, so ask it to
    /// flush first.
    ///
    /// # Errors
    /// When there are no views, or they cannot be read.
    pub fn open(dir: impl AsRef<std::path::Path>) -> Result<Self> {
        let options = super::ViewOptions { block_cache_bytes: 32 << 20, ..Default::default() };
        let store = Store::open_read_only(dir.as_ref(), &options)?;
        let core = Core { store, directory: Default::default(), options };
        for partition in core.store.partitions() {
            super::state::PartitionState::load(&core.store, partition, &core.directory)?;
        }
        Ok(Self { core })
    }

    /// Reads them.
    #[must_use]
    pub fn snapshot(&self) -> ViewSnapshot<'_> {
        ViewSnapshot { core: &self.core, snapshot: None, reach: Reach::Disk }
    }
}

pub(super) fn copy(row: RowRef<'_>) -> RowBuf {
    let mut out = RowBuf::new();
    row.iter().for_each(|(field, value)| out.push(field, value));
    out
}
