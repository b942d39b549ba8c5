//! The first pass over a range of the log: entries are judged one after another against the state in
//! memory, until something must be written before the next can be judged.

use std::{collections::HashSet, sync::Arc};

use hutong_schema::{
    batch::{self, Codec},
    block::Block,
    digest::Digest,
    grant::AsOf,
    wire::codec,
};

use super::super::{
    directory::Directory,
    entry::ViewEntry,
    records::{self, Finding, LaneState},
    state::PartitionState,
};
use crate::{
    log::{BatchHeader, BatchKind, EntryKind, Hash, Offset, StoredEntry},
    numbers::{ResourceNo, SpaceNo},
};

/// Entries that can be applied in one write.
pub(in super::super) struct Range {
    /// Batches of rows, in log order.
    pub(super) works: Vec<Work>,
    /// What gets an entry in a feed, in log order.
    pub(super) items: Vec<Item>,
    /// Changes in the batches.
    pub(super) rows: usize,
    /// Bytes of the batches, opened.
    pub(super) bytes: usize,
    /// Last entry taken.
    pub(super) last: Offset,
    /// The log's chain hash there.
    pub(super) chain: Hash,
    /// Spaces with a checkpoint in this range: no later row of theirs may be in it, for the digest
    /// is counted on the state after the range.
    closed: HashSet<SpaceNo>,
}

/// A batch of rows.
pub(super) struct Work {
    /// The column block; known to parse.
    pub(super) raw: Vec<u8>,
    pub(super) offset: Offset,
    pub(super) entry: Arc<ViewEntry>,
    /// Its place in the resource's feed.
    pub(super) seq: u64,
    /// Whether keys are being named for a replacement.
    pub(super) replacing: bool,
    /// Ascending.
    pub(super) rejected: Vec<u32>,
    pub(super) log_time_ms: i64,
    pub(super) payload_hash: Hash,
}

/// What gets an entry in a feed.
pub(super) enum Item {
    /// The batch of rows at this place.
    Rows(usize),
    Checkpoint(Mark),
}

/// A checkpoint.
pub(super) struct Mark {
    pub(super) entry: Arc<ViewEntry>,
    /// Its place in the resource's feed.
    pub(super) seq: u64,
    pub(super) epoch: u32,
    pub(super) batch_seq: u64,
    pub(super) log_time_ms: i64,
    pub(super) source: Digest,
}

/// What became of an entry that was offered.
pub(super) enum Taken {
    /// It is part of the range, or it is of no further consequence.
    Yes,
    /// The range must be written before it can be judged.
    Later(StoredEntry),
    /// It takes writes of its own; the range is empty.
    Alone(Step),
}

/// An entry that takes writes of its own.
pub(super) enum Step {
    /// Keys not named since the replacement began are deleted.
    ReplaceEnd { at: At, entry: Arc<ViewEntry>, begun: u64, lane: LaneState, shard: u16 },
    /// Ages are counted to another date.
    Clock { at: At, meta_offset: Offset, to: AsOf },
    /// A resource's rows are read into its library in another way.
    Remap { at: At, meta_offset: Offset, from: Arc<ViewEntry>, to: Arc<ViewEntry> },
}

impl Step {
    pub(super) fn at(&self) -> At {
        match self {
            Self::ReplaceEnd { at, .. } | Self::Clock { at, .. } | Self::Remap { at, .. } => *at,
        }
    }
}

/// Where and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct At {
    pub(super) offset: Offset,
    pub(super) log_time_ms: i64,
    pub(super) payload_hash: Hash,
    /// The log's chain hash there.
    pub(super) chain: Hash,
}

impl Range {
    pub(super) fn new(applied: Offset) -> Self {
        Self {
            works: Vec::new(),
            items: Vec::new(),
            rows: 0,
            bytes: 0,
            last: applied,
            chain: Hash::default(),
            closed: HashSet::new(),
        }
    }

    /// Whether nothing was taken.
    pub(super) fn is_empty(&self, applied: Offset) -> bool {
        self.last == applied
    }

    /// Judges an entry and takes it, changing the state accordingly.
    pub(super) fn offer(
        &mut self,
        state: &mut PartitionState,
        directory: &Directory,
        stored: StoredEntry,
    ) -> Taken {
        let at = At {
            offset: stored.position.offset,
            log_time_ms: stored.envelope.log_time_ms,
            payload_hash: stored.envelope.payload_hash,
            chain: stored.chain,
        };
        let verdict = match &stored.envelope.kind {
            EntryKind::Batch(header) => self.batch(state, at, header, &stored.payload),
            EntryKind::Barrier { meta_offset } if *meta_offset <= state.applied.meta_offset => {
                Verdict::Done
            }
            EntryKind::Barrier { meta_offset } => {
                let verdict = self.barrier(state, directory, at, *meta_offset, &stored.payload);
                if matches!(verdict, Verdict::Done) {
                    state.applied.meta_offset = *meta_offset;
                }
                verdict
            }
            // A redaction changes a payload in the log, not what was applied of it.
            EntryKind::Redact(_) => Verdict::Done,
            EntryKind::Event | EntryKind::Access => {
                find(
                    state,
                    at,
                    None,
                    "an entry of this kind does not belong into a data partition",
                );
                Verdict::Done
            }
        };
        match verdict {
            Verdict::Done => {
                self.last = at.offset;
                self.chain = at.chain;
                Taken::Yes
            }
            Verdict::Later => Taken::Later(stored),
            Verdict::Alone(_) if !self.is_empty(state.applied.offset) => Taken::Later(stored),
            Verdict::Alone(step) => Taken::Alone(step),
        }
    }

    fn batch(
        &mut self,
        state: &mut PartitionState,
        at: At,
        header: &BatchHeader,
        payload: &[u8],
    ) -> Verdict {
        let resource = ResourceNo(header.resource);
        let Some(entry) = state.entries.get(&resource).cloned() else {
            find(state, at, Some(resource), "a batch of a resource that no event made known");
            return Verdict::Done;
        };
        let lane = match next_in_lane(state, at, header) {
            Ok(lane) => lane,
            Err(reason) => {
                find(state, at, Some(resource), reason);
                return Verdict::Done;
            }
        };
        match header.content {
            BatchKind::Rows if self.closed.contains(&entry.space) => return Verdict::Later,
            BatchKind::Rows => self.rows(state, at, header, payload, entry, &lane),
            BatchKind::ReplaceBegin => {
                let replace = Some(state.feed(resource.feed()).seq + 1);
                state.set_lane(resource, header.shard, LaneState { replace, ..lane });
                return Verdict::Done;
            }
            BatchKind::ReplaceEnd => match lane.replace {
                Some(begun) => {
                    let lane = LaneState { replace: None, ..lane };
                    return Verdict::Alone(Step::ReplaceEnd {
                        at,
                        entry,
                        begun,
                        lane,
                        shard: header.shard,
                    });
                }
                None => {
                    find(state, at, Some(resource), "the end of a replacement that did not begin")
                }
            },
            BatchKind::Checkpoint => self.checkpoint(state, at, header, payload, entry),
        }
        state.set_lane(resource, header.shard, lane);
        Verdict::Done
    }

    fn rows(
        &mut self,
        state: &mut PartitionState,
        at: At,
        header: &BatchHeader,
        payload: &[u8],
        entry: Arc<ViewEntry>,
        lane: &LaneState,
    ) {
        let mut raw = Vec::new();
        let rows = match open(header, payload, &mut raw) {
            Ok(rows) => rows,
            Err(reason) => return find(state, at, Some(entry.resource), &reason),
        };
        state.add_volume(entry.resource, records::volume(payload.len(), header.raw_len));
        let feed = state.feed_mut(entry.resource.feed());
        feed.seq += 1;
        let seq = feed.seq;
        let counters = state.resource_mut(entry.resource);
        counters.rejected += header.rejected.len() as u64;
        counters.last_log_time_ms = at.log_time_ms;
        self.rows += rows;
        self.bytes += raw.len();
        self.items.push(Item::Rows(self.works.len()));
        self.works.push(Work {
            raw,
            offset: at.offset,
            seq,
            replacing: lane.replace.is_some(),
            rejected: header
                .rejected
                .iter()
                .map(|row| row.index)
                .filter(|row| (*row as usize) < rows)
                .collect(),
            log_time_ms: at.log_time_ms,
            payload_hash: at.payload_hash,
            entry,
        });
    }

    fn checkpoint(
        &mut self,
        state: &mut PartitionState,
        at: At,
        header: &BatchHeader,
        payload: &[u8],
        entry: Arc<ViewEntry>,
    ) {
        let source = match read_digest(header, payload) {
            Ok(source) => source,
            Err(reason) => return find(state, at, Some(entry.resource), &reason),
        };
        let feed = state.feed_mut(entry.resource.feed());
        feed.seq += 1;
        self.closed.insert(entry.space);
        self.items.push(Item::Checkpoint(Mark {
            seq: feed.seq,
            epoch: header.epoch,
            batch_seq: header.seq,
            log_time_ms: at.log_time_ms,
            source,
            entry,
        }));
    }
}

/// What becomes of an entry.
pub(super) enum Verdict {
    Done,
    Later,
    Alone(Step),
}

/// The lane after this batch, or why the batch has no place in it.
fn next_in_lane(
    state: &mut PartitionState,
    at: At,
    header: &BatchHeader,
) -> Result<LaneState, &'static str> {
    let resource = ResourceNo(header.resource);
    let lane = state.lane(resource, header.shard).cloned();
    let lane = lane.ok_or("a batch of a publication that no event opened")?;
    if lane.epoch != header.epoch {
        return Err("a batch of another epoch than the one in force");
    }
    if header.seq <= lane.last_seq {
        return Err("a batch that was applied before");
    }
    if header.seq > lane.last_seq + 1 {
        // What is here is applied all the same: less is missing then.
        find(state, at, Some(resource), "the batch before this one is missing");
    }
    Ok(LaneState { last_seq: header.seq, chain: header.source_chain, ..lane })
}

/// Opens a batch's payload and tells how many changes it has.
fn open(header: &BatchHeader, payload: &[u8], raw: &mut Vec<u8>) -> Result<usize, String> {
    let codec =
        Codec::from_code(header.codec).ok_or_else(|| format!("unknown codec {}", header.codec))?;
    batch::decompress_into(payload, codec, header.raw_len as usize, raw)
        .map_err(|error| error.to_string())?;
    Ok(Block::parse(raw).map_err(|error| error.to_string())?.rows())
}

fn read_digest(header: &BatchHeader, payload: &[u8]) -> Result<Digest, String> {
    let codec =
        Codec::from_code(header.codec).ok_or_else(|| format!("unknown codec {}", header.codec))?;
    let mut raw = Vec::new();
    batch::decompress_into(payload, codec, header.raw_len as usize, &mut raw)
        .map_err(|error| error.to_string())?;
    codec::decode(&raw).map_err(|error| error.to_string())
}

/// Notes what is wrong with an entry.
pub(super) fn find(state: &mut PartitionState, at: At, resource: Option<ResourceNo>, reason: &str) {
    state.find(Finding {
        offset: at.offset,
        resource,
        log_time_ms: at.log_time_ms,
        reason: reason.to_owned(),
    });
}
