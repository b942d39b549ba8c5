//! A log, views over it, and a model beside them.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use hutong_schema::{
    batch::{self, Codec},
    block::BlockBuilder,
    catalogue::CatalogueEntry,
    digest::Digest,
    grant::{AsOf, Grant, GrantId, RowFilter, Target},
    library::LibraryId,
    row::FieldId,
    wire::codec,
};
use serde_json::json;

use super::{
    super::{Place, ViewOptions, Views},
    model::{Change, Model, Reading},
};
use crate::{
    log::{
        BatchHeader, BatchKind, EntryKind, Log, LogOptions, NewEntry, Offset, PartitionId,
        RejectedRow, RocksLog, event::Event,
    },
    numbers::{NodeNo, ResourceNo},
};

/// Everything lives in one partition, so that resources meet in one range.
pub(super) const PARTITION: PartitionId = PartitionId::data(0);
pub(super) const ALONE: ResourceNo = ResourceNo(1);
pub(super) const POLICE: ResourceNo = ResourceNo(2);
pub(super) const HEALTH: ResourceNo = ResourceNo(3);
pub(super) const RESOURCES: [ResourceNo; 3] = [ALONE, POLICE, HEALTH];
pub(super) const PEOPLE: Place = Place::Library(LibraryId::POPULATION);
pub(super) const PLACES: [Place; 4] =
    [Place::Resource(ALONE), Place::Resource(POLICE), Place::Resource(HEALTH), PEOPLE];
/// Adults, of the population library: names and divisions.
pub(super) const ADULTS: GrantId = GrantId(1);
pub(super) const GRANTED: [u16; 2] = [2, 6];

/// Items of each resource beside its key (which is 1).
pub(super) fn items(resource: ResourceNo) -> &'static [u16] {
    match resource {
        POLICE => &[2, 5, 6],
        HEALTH => &[2, 3, 4],
        _ => &[2, 3],
    }
}

pub(super) fn police_reading() -> Reading {
    (20, vec![(2, 2), (5, 5), (6, 6)])
}

/// Item numbers that differ from the library's, and in another order.
pub(super) fn health_reading(first: bool) -> Reading {
    let fields = if first { vec![(2, 9), (3, 6), (4, 2)] } else { vec![(4, 2), (2, 10)] };
    (if first { 10 } else { 30 }, fields)
}

pub(super) struct World {
    pub(super) dir: tempfile::TempDir,
    pub(super) log: Arc<RocksLog>,
    pub(super) options: ViewOptions,
    pub(super) views: Option<Views>,
    pub(super) model: Model,
    /// Expected digests of checkpoints: resource, its feed's rows, what the adults' grant covers.
    pub(super) checkpoints: Vec<(ResourceNo, Digest)>,
    /// Whether the grant of adults was made.
    pub(super) granted: bool,
    runtime: tokio::runtime::Runtime,
    meta: u64,
    lanes: BTreeMap<ResourceNo, (u32, u64)>,
    versions: BTreeMap<ResourceNo, u32>,
}

impl World {
    pub(super) fn new(options: ViewOptions) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let log_options = LogOptions { data_partitions: 1, ..LogOptions::default() };
        let (log, _) = RocksLog::open(dir.path().join("log"), log_options).unwrap();
        let log = Arc::new(log);
        let views =
            Views::open(dir.path().join("views"), options.clone(), Arc::clone(&log)).unwrap();
        let mut world = Self {
            dir,
            log,
            options,
            views: Some(views),
            model: Model::new(),
            checkpoints: Vec::new(),
            granted: false,
            runtime: tokio::runtime::Builder::new_current_thread().build().unwrap(),
            meta: 0,
            lanes: BTreeMap::new(),
            versions: BTreeMap::new(),
        };
        for resource in RESOURCES {
            let reading = match resource {
                POLICE => Some(police_reading()),
                HEALTH => Some(health_reading(true)),
                _ => None,
            };
            world.publish(resource, reading);
            world.epoch(resource);
        }
        world
    }

    pub(super) fn views(&self) -> &Views {
        self.views.as_ref().unwrap()
    }

    pub(super) fn views_dir(&self) -> PathBuf {
        self.dir.path().join("views")
    }

    /// Closes the views and opens them again.
    pub(super) fn reopen(&mut self) {
        self.views = None;
        self.views = Some(
            Views::open(self.views_dir(), self.options.clone(), Arc::clone(&self.log)).unwrap(),
        );
    }

    /// Copies what the views have in files. They are closed for it: while open, files come and go.
    pub(super) fn back_up(&mut self) {
        self.views().flush().unwrap();
        self.views = None;
        copy_dir(&self.views_dir(), &self.dir.path().join("saved"));
        self.reopen();
    }

    /// The machine loses everything since the last copy.
    pub(super) fn crash(&mut self) {
        let saved = self.dir.path().join("saved");
        self.views = None;
        std::fs::remove_dir_all(self.views_dir()).unwrap();
        if saved.exists() {
            copy_dir(&saved, &self.views_dir());
        }
        self.reopen();
    }

    pub(super) fn append(&self, kind: EntryKind, payload: Vec<u8>) {
        let entry = NewEntry::new(kind, Offset(self.meta), payload);
        self.runtime.block_on(self.log.append(vec![(PARTITION, entry)])).unwrap();
    }

    pub(super) fn event(&mut self, event: &Event) {
        self.meta += 1;
        self.append(EntryKind::Barrier { meta_offset: Offset(self.meta) }, event.encode().unwrap());
    }

    pub(super) fn publish(&mut self, resource: ResourceNo, reading: Option<Reading>) {
        let version = self.versions.entry(resource).or_default();
        *version += 1;
        let entry = entry(resource, *version, reading.as_ref());
        if let Some(reading) = reading {
            self.model.readings.insert(resource, reading);
        }
        self.event(&Event::EntryPublished { resource, entry });
    }

    pub(super) fn epoch(&mut self, resource: ResourceNo) {
        let lane = self.lanes.entry(resource).or_default();
        *lane = (lane.0 + 1, 0);
        let epoch = lane.0;
        self.model.named.insert(resource, None);
        self.event(&Event::EpochOpened { resource, shard: 0, epoch, node: NodeNo(1) });
    }

    pub(super) fn clock(&mut self, date: u32) {
        let as_of = AsOf::from_number(date).unwrap();
        self.model.as_of = as_of;
        self.event(&Event::ClockDate { as_of });
    }

    pub(super) fn grant_adults(&mut self) {
        self.granted = true;
        let grant = Grant {
            id: ADULTS,
            target: Target::Library(LibraryId::POPULATION),
            grantee: "11100000000013338W".parse().unwrap(),
            fields: GRANTED.map(FieldId).to_vec(),
            filter: Some(adults()),
            purpose: "test".into(),
            modes: hutong_schema::grant::Modes { deliver: true, lookup: true, verify: true },
            from: jiff::civil::date(2020, 1, 1),
            until: None,
            generation: 1,
        };
        self.event(&Event::GrantMade { grant });
    }

    pub(super) fn batch(&mut self, resource: ResourceNo, changes: &[Change]) {
        let columns: Vec<_> = items(resource).iter().map(|item| FieldId(*item)).collect();
        let mut block = BlockBuilder::new(&columns);
        for change in changes {
            match &change.row {
                Some(row) => block.upsert(
                    &change.key,
                    items(resource).iter().map(|item| row.get(item).map(Vec::as_slice)),
                ),
                None => block.delete(&change.key),
            }
        }
        let rejected = (0u32..).zip(changes).filter(|(_, change)| change.rejected);
        let rejected =
            rejected.map(|(index, _)| RejectedRow { index, field: 0, reason: 1 }).collect();
        self.model.batch(resource, changes);
        self.send(resource, BatchKind::Rows, changes.len(), &block.finish(), rejected);
    }

    pub(super) fn replace_begin(&mut self, resource: ResourceNo) {
        self.model.replace_begin(resource);
        self.send(resource, BatchKind::ReplaceBegin, 0, &[], Vec::new());
    }

    pub(super) fn replace_end(&mut self, resource: ResourceNo) {
        self.model.replace_end(resource);
        self.send(resource, BatchKind::ReplaceEnd, 0, &[], Vec::new());
    }

    pub(super) fn checkpoint(&mut self, resource: ResourceNo) {
        let digest = super::model::digest(&self.model.place(Place::Resource(resource)));
        self.checkpoints.push((resource, digest));
        self.send(resource, BatchKind::Checkpoint, 0, &codec::encode(&digest).unwrap(), Vec::new());
    }

    fn send(
        &mut self,
        resource: ResourceNo,
        content: BatchKind,
        rows: usize,
        raw: &[u8],
        rejected: Vec<RejectedRow>,
    ) {
        let lane = self.lanes.get_mut(&resource).unwrap();
        lane.1 += 1;
        let (epoch, seq) = *lane;
        let (header, payload) = header(resource, (epoch, seq), content, rows, raw, rejected);
        self.append(EntryKind::Batch(header), payload);
    }
}

pub(super) fn header(
    resource: ResourceNo,
    (epoch, seq): (u32, u64),
    content: BatchKind,
    rows: usize,
    raw: &[u8],
    rejected: Vec<RejectedRow>,
) -> (BatchHeader, Vec<u8>) {
    let (codec, payload) = batch::compress(raw, Codec::Lz4).unwrap();
    let header = BatchHeader {
        node: 1,
        resource: resource.0,
        shard: 0,
        epoch,
        seq,
        content,
        schema_version: 1,
        rules_version: 1,
        rows: rows as u32,
        raw_len: raw.len() as u32,
        codec: codec.code(),
        rejected,
        source_chain: [seq as u8; 32],
    };
    (header, payload)
}

pub(super) fn adults() -> RowFilter {
    RowFilter::AgeAtLeast(FieldId(5), 18)
}

fn entry(resource: ResourceNo, version: u32, reading: Option<&Reading>) -> CatalogueEntry {
    let item = |id: u16, key: bool| {
        json!({ "id": id, "name": format!("f{id}"), "label": format!("示例{id}"), "data_type": "C",
                "required": key, "key": key })
    };
    let all: Vec<_> = std::iter::once(item(1, true))
        .chain(items(resource).iter().map(|id| item(*id, false)))
        .collect();
    let binding = reading.map(|(authority, fields)| {
        let fields: Vec<_> = std::iter::once((1, 1)).chain(fields.iter().copied()).collect();
        json!({ "library": 1, "fields": fields, "authority": authority })
    });
    serde_json::from_value(json!({
        "code": format!("300001/{:06}", resource.0), "name": "示例", "provider": "11100000000013338W",
        "provider_name": "示例局", "format": 3, "items": all,
        "sharing": { "kind": 1 }, "update_cycle": 2, "binding": binding,
        "version": version, "schema_version": 1
    }))
    .unwrap()
}

fn copy_dir(from: &std::path::Path, to: &std::path::Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        if entry.file_type().unwrap().is_file() {
            std::fs::copy(entry.path(), to.join(entry.file_name())).unwrap();
        }
    }
}
