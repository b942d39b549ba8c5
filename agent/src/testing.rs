//! What several tests of this crate need: a hub in memory, an entry, a store.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hutong_schema::batch::{self, BatchKind, ChainHash, decompress_into};
use hutong_schema::block::Block;
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::digest::{Digest, DigestBuilder, key_hash, leaf};
use hutong_schema::row::{FieldId, RowBuf};
use hutong_schema::rules::RejectReason;
use hutong_schema::wire::v1::publish::{Ack, PublishReady, RejectedRow};

use crate::quarantine::Quarantine;
use crate::spool::{AckError, Store, StoreOptions, StreamId};

/// Small bounds, so that tests meet them.
pub(crate) const OPTIONS: StoreOptions =
    StoreOptions { cache_bytes: 4 << 20, outbox_cap_bytes: 64 << 20, image_rest: Duration::ZERO };

/// The stream of the first publication, its entry, and the hub that it talks to.
pub(crate) struct Bench {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) store: Store,
    pub(crate) stream: StreamId,
    pub(crate) entry: CatalogueEntry,
    pub(crate) quarantine: Quarantine,
    pub(crate) hub: Hub,
    at: PathBuf,
    crashes: u32,
}

/// What a hub does with batches, in memory.
#[derive(Clone, Debug, Default)]
pub(crate) struct Hub {
    pub(crate) rows: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) epoch: u32,
    pub(crate) last_seq: u64,
    pub(crate) chain: ChainHash,
    named: Option<Vec<Vec<u8>>>,
    /// Rows with this value in column 2 are rejected.
    pub(crate) dislikes: Option<Vec<u8>>,
    pub(crate) checkpoints: Vec<Digest>,
}

impl Bench {
    /// A store in a new folder with one stream in epoch 1.
    pub(crate) fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = dir.path().join("store");
        let store = Store::open(&at, OPTIONS).unwrap();
        let entry = entry();
        let wanted = vec![("n1".parse().unwrap(), entry.code.clone())];
        let stream = runtime().block_on(store.open_streams(wanted)).unwrap()[0];
        let quarantine = Quarantine::new(dir.path().join("quarantine"));
        let hub = Hub::default();
        let mut bench = Self { dir, store, stream, entry, quarantine, hub, at, crashes: 0 };
        bench.begin_epoch();
        bench
    }

    pub(crate) fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    /// The hub opens a new epoch.
    pub(crate) fn begin_epoch(&mut self) {
        self.hub.epoch += 1;
        self.hub.last_seq = 0;
        self.hub.named = None;
        self.hub.chain = batch::genesis(&self.entry.code, 0, self.hub.epoch);
        let ready = self.hub.ready();
        runtime().block_on(self.store.begin_epoch(self.stream, &ready)).unwrap();
    }

    /// Sends what is pending, at most `batches`, and takes the acknowledgement.
    pub(crate) fn exchange(&mut self, batches: usize) -> Result<(), AckError> {
        let state = self.store.stream(self.stream)?.state;
        let mut rejected = Vec::new();
        let pending = self.store.pending(self.stream, state.stored_through, usize::MAX)?;
        for batch in pending.into_iter().take(batches) {
            rejected.extend(self.hub.take(&batch));
        }
        let ack = self.hub.ack(rejected);
        self.store.acknowledge(self.stream, &ack, &self.entry, &self.quarantine).map(|_| ())
    }

    /// Sends everything and the checkpoint behind it.
    pub(crate) fn drain(&mut self) {
        self.exchange(usize::MAX).unwrap();
        if self.store.checkpoint_if_due(self.stream, self.entry.schema_version).unwrap() {
            self.exchange(usize::MAX).unwrap();
        }
        assert!(self.store.stream(self.stream).unwrap().state.is_drained());
    }

    /// Sends everything while a replacement may be under way, in which no checkpoint is due.
    pub(crate) fn drain_unfinished(&mut self) {
        self.exchange(usize::MAX).unwrap();
        assert!(self.store.stream(self.stream).unwrap().state.is_drained());
    }

    /// The digest of the accepted image.
    pub(crate) fn image(&self) -> Digest {
        self.store.view().unwrap().digest(self.stream.into()).unwrap()
    }

    /// Closes the store and opens what a copy of its folder holds, as after a crash.
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        let copy = self.dir.path().join(format!("store-{}", self.crashes));
        copy_folder(&self.at, &copy);
        self.store = Store::open(&copy, OPTIONS).unwrap();
        self.at = copy;
    }
}

pub(crate) fn copy_folder(from: &Path, to: &Path) {
    let _ = std::fs::remove_dir_all(to);
    std::fs::create_dir_all(to).unwrap();
    for file in std::fs::read_dir(from).unwrap() {
        let file = file.unwrap();
        // The store's thread may still be merging: what a crash leaves is one moment of the file.
        let mut content = std::fs::read(file.path()).unwrap();
        loop {
            let again = std::fs::read(file.path()).unwrap();
            if again == content {
                break;
            }
            content = again;
        }
        std::fs::write(to.join(file.file_name()), content).unwrap();
    }
}

impl Hub {
    pub(crate) fn ready(&self) -> PublishReady {
        PublishReady {
            epoch: self.epoch,
            last_seq: self.last_seq,
            chain: self.chain,
            settled_through: self.last_seq,
            has_rows: !self.rows.is_empty(),
            credit_bytes: 1 << 20,
        }
    }

    pub(crate) fn ack(&self, rejected: Vec<RejectedRow>) -> Ack {
        Ack {
            stored_through: self.last_seq,
            chain: self.chain,
            settled_through: self.last_seq,
            rejected,
        }
    }

    pub(crate) fn digest(&self) -> Digest {
        let mut digest = DigestBuilder::new();
        for (key, row) in &self.rows {
            let row = hutong_schema::row::RowRef::parse(row).unwrap();
            digest.push(&key_hash(key), leaf(key, row));
        }
        digest.finish().0
    }

    /// Admits one batch.
    pub(crate) fn take(&mut self, batch: &crate::spool::OutboxBatch) -> Vec<RejectedRow> {
        let header = &batch.header;
        assert_eq!(header.seq, self.last_seq + 1, "batches are dense");
        let hash = *blake3::hash(&batch.payload).as_bytes();
        self.chain = batch::extend(&self.chain, header, &hash);
        assert_eq!(self.chain, batch.chain, "the chain continues");
        self.last_seq = header.seq;
        let mut raw = Vec::new();
        decompress_into(&batch.payload, header.codec, header.raw_len as usize, &mut raw).unwrap();
        match header.kind {
            BatchKind::Rows => self.rows(header.seq, &Block::parse(&raw).unwrap()),
            BatchKind::ReplaceBegin => {
                self.named = Some(Vec::new());
                Vec::new()
            }
            BatchKind::ReplaceEnd => {
                let named = self.named.take().expect("a replacement was begun");
                self.rows.retain(|key, _| named.contains(key));
                Vec::new()
            }
            BatchKind::Checkpoint => {
                let said: Digest = hutong_schema::wire::codec::decode(&raw).unwrap();
                assert_eq!(said, self.digest(), "a checkpoint says what the hub holds");
                self.checkpoints.push(said);
                Vec::new()
            }
        }
    }

    fn rows(&mut self, seq: u64, block: &Block<'_>) -> Vec<RejectedRow> {
        let mut rejected = Vec::new();
        for index in 0..block.rows() {
            let key = block.key(index).to_vec();
            if let Some(named) = &mut self.named {
                named.push(key.clone());
            }
            if block.is_delete(index) {
                self.rows.remove(&key);
                continue;
            }
            if self.dislikes.is_some() && block.value(0, index) == self.dislikes.as_deref() {
                let reason = RejectReason::Length.code();
                let field = FieldId(2);
                rejected.push(RejectedRow { seq, index: index as u32, field, reason });
                continue;
            }
            let mut row = RowBuf::new();
            row.fill_from_block(block, index);
            self.rows.insert(key, row.into_bytes());
        }
        rejected
    }
}

/// Key `id` (text), `name` (text, at most 10 characters, required), `day` (date), `amount` (number).
pub(crate) fn entry() -> CatalogueEntry {
    let item =
        |id: u16, name: &str, label: &str, kind: &str, length: u32, required: bool, key: bool| {
            serde_json::json!({
                "id": id, "name": name, "label": label, "data_type": kind, "length": length,
                "required": required, "key": key
            })
        };
    serde_json::from_value(serde_json::json!({
        "code": "303084122704/000001", "name": "示例资源", "provider": "11100000000013338W",
        "provider_name": "示例单位", "format": 3, "update_cycle": 2, "version": 1,
        "schema_version": 1, "sharing": { "kind": 1 },
        "items": [
            item(1, "id", "编号", "C", 20, true, true),
            item(2, "name", "名称", "C", 10, true, false),
            item(3, "day", "日期", "D", 0, false, false),
            item(4, "amount", "数量", "N", 8, false, false),
        ]
    }))
    .expect("the entry of the tests is valid")
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().build().unwrap()
}
