//! Every entry of the hub's log, read as it becomes durable.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail, ensure};
use hutong_hub::log::event::Event;
use hutong_hub::log::{EntryKind, Log as _, Offset, PartitionId, RocksLog, StoredEntry};
use hutong_schema::batch::{self, ChainHash};

use super::world;

/// A batch's number: resource, epoch, seq.
pub(crate) type Number = (u32, u32, u64);

/// What is remembered of a batch in the log.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) chain: ChainHash,
    pub(crate) rows: u32,
    pub(crate) rejected: usize,
    is_rows: bool,
}

/// Everything in the log's data partitions.
#[derive(Default)]
pub(crate) struct Book {
    chains: BTreeMap<PartitionId, Vec<[u8; 32]>>,
    lanes: BTreeMap<u32, LaneSeen>,
    batches: BTreeMap<Number, Stored>,
}

#[derive(Clone, Copy)]
struct LaneSeen {
    epoch: u32,
    seq: u64,
    chain: ChainHash,
    schema: u32,
}

impl Book {
    /// Reads what is new and durable; refuses what must not be there.
    pub(crate) fn read_on(&mut self, log: &RocksLog) -> Result<()> {
        for partition in (0..world::DATA_PARTITIONS).map(PartitionId::data) {
            loop {
                let known = self.chains.entry(partition).or_default().len() as u64;
                let entries = log.read(partition, Offset(known + 1), 64, usize::MAX)?;
                if entries.is_empty() {
                    break;
                }
                for entry in entries {
                    self.take(&entry).with_context(|| format!("entry {}", entry.position))?;
                    self.chains.entry(partition).or_default().push(entry.chain);
                }
            }
        }
        Ok(())
    }

    fn take(&mut self, entry: &StoredEntry) -> Result<()> {
        match &entry.envelope.kind {
            EntryKind::Barrier { .. } => {
                self.barrier(&Event::decode(&entry.payload)?);
                Ok(())
            }
            EntryKind::Batch(header) => {
                let number = (header.resource, header.epoch, header.seq);
                let lane = self.lanes.get_mut(&header.resource).context("a batch of nothing")?;
                ensure!(
                    lane.epoch == header.epoch,
                    "a batch of epoch {} was admitted, {} is in force",
                    header.epoch,
                    lane.epoch
                );
                ensure!(
                    header.seq == lane.seq + 1,
                    "batch {} was admitted where {} is due",
                    header.seq,
                    lane.seq + 1
                );
                ensure!(
                    header.schema_version == lane.schema,
                    "a batch of schema {} was admitted, {} is in force",
                    header.schema_version,
                    lane.schema
                );
                let kind = wire_kind(header.content);
                let sent = batch::BatchHeader {
                    seq: header.seq,
                    kind,
                    schema_version: header.schema_version,
                    rows: header.rows,
                    raw_len: header.raw_len,
                    codec: batch::Codec::from_code(header.codec).context("a codec")?,
                };
                let chain = batch::extend(&lane.chain, &sent, &entry.envelope.payload_hash);
                ensure!(chain == header.source_chain, "a batch was admitted out of its chain");
                (lane.seq, lane.chain) = (header.seq, chain);
                let stored = Stored {
                    chain,
                    rows: header.rows,
                    rejected: header.rejected.len(),
                    is_rows: kind == batch::BatchKind::Rows,
                };
                ensure!(
                    self.batches.insert(number, stored).is_none(),
                    "batch {number:?} was admitted twice"
                );
                Ok(())
            }
            EntryKind::Event | EntryKind::Access | EntryKind::Redact(_) => bail!("no data"),
        }
    }

    fn barrier(&mut self, event: &Event) {
        if let Event::EntryPublished { resource, entry } = event {
            let fresh = LaneSeen { epoch: 0, seq: 0, chain: [0; 32], schema: 0 };
            self.lanes.entry(resource.0).or_insert(fresh).schema = entry.schema_version;
        }
        if let Event::EpochOpened { resource, epoch, .. } = event
            && let Some(lane) = self.lanes.get_mut(&resource.0)
            && let Ok(entry) = world::entry(resource.0 as usize - 1, 0)
        {
            (lane.epoch, lane.seq) = (*epoch, 0);
            lane.chain = batch::genesis(&entry.code, 0, *epoch);
        }
    }

    pub(crate) fn batch(&self, number: Number) -> Option<&Stored> {
        self.batches.get(&number)
    }

    /// Batches, and rows sent and rejected in those between two numbers of an epoch.
    pub(crate) fn between(&self, resource: u32, epoch: u32, from: u64, to: u64) -> (u64, u64) {
        let range = (resource, epoch, from + 1)..=(resource, epoch, to);
        let rows = self.batches.range(range).filter(|(_, stored)| stored.is_rows);
        rows.fold((0, 0), |(sent, rejected), (_, stored)| {
            (sent + u64::from(stored.rows), rejected + stored.rejected as u64)
        })
    }

    /// Whether this begins with all that the other one has.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let mut whole = true;
        for (partition, chains) in &before.chains {
            let now = self.chains.get(partition).map_or(&[][..], Vec::as_slice);
            let shared = now.len().min(chains.len());
            whole &= now.len() >= chains.len() && now[..shared] == chains[..shared];
        }
        whole
    }
}

fn wire_kind(kind: hutong_hub::log::BatchKind) -> batch::BatchKind {
    use hutong_hub::log::BatchKind as Logged;
    match kind {
        Logged::Rows => batch::BatchKind::Rows,
        Logged::ReplaceBegin => batch::BatchKind::ReplaceBegin,
        Logged::ReplaceEnd => batch::BatchKind::ReplaceEnd,
        Logged::Checkpoint => batch::BatchKind::Checkpoint,
    }
}
