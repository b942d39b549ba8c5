//! What an applier holds of its partition in memory: everything but rows, indexes and feeds. A copy
//! of the store's small tables, changed entry by entry; what changed goes into the next write.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    sync::Arc,
};

use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::{Grant, GrantId},
    library::Library,
};
use rocksdb::IteratorMode;
use serde::{Deserialize, Serialize};

use super::{
    directory::Directory,
    entry::{Place, ViewEntry},
    error::{Result, ViewError},
    keys::{self, Table},
    records::{self, Applied, FeedState, Finding, LaneState, ResourceState},
    store::Store,
};
use crate::{
    log::PartitionId,
    numbers::{FeedNo, ResourceNo, SpaceNo},
};

pub(super) struct PartitionState {
    pub(super) partition: PartitionId,
    pub(super) applied: Applied,
    pub(super) entries: HashMap<ResourceNo, Arc<ViewEntry>>,
    pub(super) spaces: HashMap<SpaceNo, Vec<ResourceNo>>,
    pub(super) grants: BTreeMap<GrantId, (Place, Grant)>,
    lanes: HashMap<(ResourceNo, u16), LaneState>,
    resources: HashMap<ResourceNo, ResourceState>,
    volumes: HashMap<ResourceNo, u64>,
    feeds: HashMap<FeedNo, FeedState>,
    changed: Changed,
}

/// What the next write must carry.
#[derive(Default)]
struct Changed {
    /// Every version, not the newest alone: feeds name the version by which a batch is read.
    entries: BTreeMap<(ResourceNo, u32), Arc<ViewEntry>>,
    lanes: BTreeSet<(ResourceNo, u16)>,
    resources: BTreeSet<ResourceNo>,
    volumes: BTreeSet<ResourceNo>,
    feeds: BTreeSet<FeedNo>,
    grants: BTreeSet<GrantId>,
    findings: Vec<Finding>,
    checkpoints: Vec<(Vec<u8>, Vec<u8>)>,
}

/// An entry as it is stored.
#[derive(Serialize, Deserialize)]
struct StoredEntry {
    member: bool,
    entry: CatalogueEntry,
}

/// Pairs of key and value; no value means that the key is removed.
pub(super) type Puts = Vec<(Vec<u8>, Option<Vec<u8>>)>;

impl PartitionState {
    /// Reads a partition's state, and makes its entries known to readers.
    pub(super) fn load(
        store: &Store,
        partition: PartitionId,
        directory: &Directory,
    ) -> Result<Self> {
        let mut state = Self {
            partition,
            applied: Applied::default(),
            entries: HashMap::new(),
            spaces: HashMap::new(),
            grants: BTreeMap::new(),
            lanes: HashMap::new(),
            resources: HashMap::new(),
            volumes: HashMap::new(),
            feeds: HashMap::new(),
            changed: Changed::default(),
        };
        // Entries come in the order of their versions, so that the newest is put last.
        state.each(store, Table::Entry, |state, key, value| {
            let stored: StoredEntry = records::read_json("entry", value)?;
            let entry = ViewEntry::new(ResourceNo(key), stored.entry, partition, stored.member);
            directory.put(Arc::clone(&entry));
            state.put_entry(entry);
            Ok(())
        })?;
        state.changed = Changed::default();
        state.each(store, Table::Resource, |state, key, value| {
            state.resources.insert(ResourceNo(key), records::read("resource", value)?);
            Ok(())
        })?;
        state.each(store, Table::Volume, |state, key, value| {
            state.volumes.insert(ResourceNo(key), records::read("volume", value)?);
            Ok(())
        })?;
        state.each(store, Table::FeedState, |state, key, value| {
            state.feeds.insert(FeedNo(key), records::read("feed state", value)?);
            Ok(())
        })?;
        scan(store, partition, Table::Lane, |key, value| {
            let key = keys::parse_lane(key).ok_or(ViewError::Damaged { what: "lane" })?;
            state.lanes.insert(key, records::read("lane", value)?);
            Ok(())
        })?;
        scan(store, partition, Table::Grant, |_, value| {
            let grant: Grant = records::read_json("grant", value)?;
            if let Some(place) = directory.place(&grant.target) {
                state.grants.insert(grant.id, (place, grant));
            }
            Ok(())
        })?;
        let family = store.family(partition)?;
        if let Some(bytes) =
            store.db.get_cf(family, keys::applied()).map_err(ViewError::engine("read"))?
        {
            state.applied = records::read("applied offset", &bytes)?;
        }
        Ok(state)
    }

    fn each(
        &mut self,
        store: &Store,
        table: Table,
        mut take: impl FnMut(&mut Self, u32, &[u8]) -> Result<()>,
    ) -> Result<()> {
        scan(store, self.partition, table, |key, value| {
            let number = keys::number(key).ok_or(ViewError::Damaged { what: "key" })?;
            take(self, number, value)
        })
    }

    /// Takes a new entry, or a new version of one.
    pub(super) fn put_entry(&mut self, entry: Arc<ViewEntry>) {
        let members = self.spaces.entry(entry.space).or_default();
        if !members.contains(&entry.resource) {
            members.push(entry.resource);
        }
        self.changed.entries.insert((entry.resource, entry.entry.version), Arc::clone(&entry));
        self.entries.insert(entry.resource, entry);
    }

    pub(super) fn lane(&self, resource: ResourceNo, shard: u16) -> Option<&LaneState> {
        self.lanes.get(&(resource, shard))
    }

    pub(super) fn set_lane(&mut self, resource: ResourceNo, shard: u16, lane: LaneState) {
        self.changed.lanes.insert((resource, shard));
        self.lanes.insert((resource, shard), lane);
    }

    pub(super) fn resource(&self, resource: ResourceNo) -> ResourceState {
        self.resources.get(&resource).copied().unwrap_or_default()
    }

    pub(super) fn resource_mut(&mut self, resource: ResourceNo) -> &mut ResourceState {
        self.changed.resources.insert(resource);
        self.resources.entry(resource).or_default()
    }

    /// The log holds so many more bytes of a resource.
    pub(super) fn add_volume(&mut self, resource: ResourceNo, bytes: u64) {
        self.changed.volumes.insert(resource);
        let volume = self.volumes.entry(resource).or_default();
        *volume = volume.saturating_add(bytes);
    }

    pub(super) fn feed(&self, feed: FeedNo) -> FeedState {
        self.feeds.get(&feed).copied().unwrap_or_default()
    }

    pub(super) fn feed_mut(&mut self, feed: FeedNo) -> &mut FeedState {
        self.changed.feeds.insert(feed);
        self.feeds.entry(feed).or_default()
    }

    pub(super) fn put_grant(&mut self, place: Place, grant: Grant) {
        self.changed.grants.insert(grant.id);
        self.grants.insert(grant.id, (place, grant));
    }

    pub(super) fn remove_grant(&mut self, grant: GrantId) {
        self.changed.grants.insert(grant);
        self.grants.remove(&grant);
    }

    /// Notes that something is wrong with the entry being applied. A person must look at it, but
    /// nothing waits for that.
    pub(super) fn find(&mut self, finding: Finding) {
        tracing::error!(
            code = "HT-VIEW-PARKED", partition = %self.partition, resource = ?finding.resource,
            reason = %finding.reason, "an entry of the log is not as it should be"
        );
        metrics::counter!("hutong_views_findings_total").increment(1);
        self.changed.findings.push(finding);
    }

    pub(super) fn put_checkpoint(&mut self, key: Vec<u8>, record: Vec<u8>) {
        self.changed.checkpoints.push((key, record));
    }

    /// The resources of a space that hold rows.
    pub(super) fn holders(&self, space: SpaceNo) -> Vec<ResourceNo> {
        let mut holders: Vec<_> = self
            .spaces
            .get(&space)
            .into_iter()
            .flatten()
            .copied()
            .filter(|resource| self.resource(*resource).rows > 0)
            .collect();
        holders.sort_unstable();
        holders
    }

    /// Rows that a space holds, of all its resources.
    pub(super) fn rows_in(&self, space: SpaceNo) -> u64 {
        let resources = self.spaces.get(&space).into_iter().flatten();
        resources.map(|resource| self.resource(*resource).rows).sum()
    }

    /// The library of a space, if it is one.
    pub(super) fn library(space: SpaceNo) -> Option<&'static Library> {
        space.as_library().and_then(hutong_schema::library::definition)
    }

    /// The feeds that changed since the last write.
    pub(super) fn changed_feeds(&self) -> Vec<(FeedNo, u64)> {
        self.changed.feeds.iter().map(|feed| (*feed, self.feed(*feed).seq)).collect()
    }

    /// What changed since the last write, sorted by key; nothing is changed any more.
    pub(super) fn take_changes(&mut self) -> Result<Puts> {
        let changed = std::mem::take(&mut self.changed);
        let mut puts: Puts =
            vec![(keys::applied(), Some(records::write("applied offset", &self.applied)?))];
        for ((resource, version), known) in changed.entries {
            let stored = StoredEntry { member: known.member, entry: known.entry.clone() };
            puts.push((
                keys::entry(resource, version),
                Some(records::write_json("entry", &stored)?),
            ));
        }
        for (resource, shard) in changed.lanes {
            if let Some(lane) = self.lanes.get(&(resource, shard)) {
                puts.push((keys::lane(resource, shard), Some(records::write("lane", lane)?)));
            }
        }
        for resource in changed.resources {
            let record = records::write("resource", &self.resource(resource))?;
            puts.push((keys::resource(resource), Some(record)));
        }
        for resource in changed.volumes {
            let volume = self.volumes.get(&resource).copied().unwrap_or_default();
            puts.push((keys::volume(resource), Some(records::write("volume", &volume)?)));
        }
        for feed in changed.feeds {
            let record = records::write("feed state", &self.feed(feed))?;
            puts.push((keys::feed_state(feed), Some(record)));
        }
        for grant in changed.grants {
            let record = match self.grants.get(&grant) {
                Some((_, grant)) => Some(records::write_json("grant", grant)?),
                None => None,
            };
            puts.push((keys::grant(grant), record));
        }
        for (sub, finding) in changed.findings.iter().enumerate() {
            let key = keys::finding(finding.offset, sub as u32);
            puts.push((key, Some(records::write("finding", finding)?)));
        }
        puts.extend(changed.checkpoints.into_iter().map(|(key, record)| (key, Some(record))));
        puts.sort();
        Ok(puts)
    }
}

/// Reads all pairs of a table.
pub(super) fn scan(
    store: &Store,
    partition: PartitionId,
    table: Table,
    mut take: impl FnMut(&[u8], &[u8]) -> Result<()>,
) -> Result<()> {
    let prefix = keys::table(table);
    let mut options = rocksdb::ReadOptions::default();
    options.set_iterate_upper_bound(keys::after_prefix(&prefix));
    let mode = IteratorMode::From(&prefix, rocksdb::Direction::Forward);
    for pair in store.db.iterator_cf_opt(store.family(partition)?, options, mode) {
        let (key, value) = pair.map_err(ViewError::engine("read"))?;
        take(&key, &value)?;
    }
    Ok(())
}
