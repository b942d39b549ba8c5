//! Feeds as they are followed: entries with the rows before and after each change.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use hutong_schema::{
    batch::{self, Codec},
    block::Block,
    grant::AsOf,
    row::{RowBuf, RowRef},
};
use parking_lot::Mutex;

use crate::{
    log::{EntryKind, Log, LogError, Offset, PartitionId, Position},
    numbers::FeedNo,
    views::{
        Core,
        entry::{Place, ViewEntry},
        error::{Result, ViewError},
        feed_entry::{self, BatchBody, Head, Kind},
        keys,
        records::FeedHash,
    },
};

/// An entry of a feed.
#[derive(Debug)]
pub struct FeedItem {
    /// Its place in the feed: dense from 1.
    pub seq: u64,
    /// Hash of the feed's content up to and with it.
    pub hash: FeedHash,
    /// The date that filters count ages to, here.
    pub as_of: AsOf,
    /// Log time, Unix milliseconds.
    pub log_time_ms: i64,
    /// What happened.
    pub what: FeedWhat,
}

/// What a feed entry says.
#[derive(Debug)]
pub enum FeedWhat {
    /// Rows changed.
    Changes(ChangeSet),
    /// The source set a checkpoint: who follows tells the digest of what it holds.
    Checkpoint,
    /// The date moved on. The rows are those whose verdict may differ under some filter; they are
    /// visited with the same row before and after.
    ClockDate {
        /// The date before.
        from: AsOf,
        /// The date from here on.
        to: AsOf,
        /// The rows.
        rows: ChangeSet,
    },
}

/// One change of a feed, or a row that only the date may have changed the verdict on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FeedChange<'a> {
    /// The key.
    pub key: &'a [u8],
    /// The row before; `None` if there was none.
    pub before: Option<RowRef<'a>>,
    /// The row after; `None` if it is gone.
    pub after: Option<RowRef<'a>>,
}

/// The changes of one entry. Owns its bytes; rows are read in place.
#[derive(Debug)]
pub struct ChangeSet(Content);

#[derive(Debug)]
enum Content {
    /// A batch's column block and the feed entry that says what to make of it. `reading` is there
    /// when rows must be read into a library.
    Batch {
        raw: Vec<u8>,
        body: Vec<u8>,
        reading: Option<Arc<ViewEntry>>,
    },
    Written(Vec<u8>),
    Rows(Vec<u8>),
}

const DAMAGED: ViewError = ViewError::Damaged { what: "feed entry" };

impl ChangeSet {
    /// Memory it holds, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        match &self.0 {
            Content::Batch { raw, body, .. } => raw.len() + body.len(),
            Content::Written(bytes) | Content::Rows(bytes) => bytes.len(),
        }
    }

    /// Visits the changes, in the order of the batch or of the keys. Within one entry a key comes
    /// once.
    ///
    /// # Errors
    /// When what is stored does not decode.
    pub fn visit(&self, mut visit: impl FnMut(FeedChange<'_>)) -> Result<()> {
        match &self.0 {
            Content::Batch { raw, body, reading } => {
                visit_batch(raw, body, reading.as_deref(), visit)
            }
            Content::Written(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let ((key, before, after), next) =
                        feed_entry::read_change(rest).ok_or(DAMAGED)?;
                    visit(FeedChange { key, before: parse(before)?, after: parse(after)? });
                    rest = next;
                }
                Ok(())
            }
            Content::Rows(bytes) => {
                let mut rest = &bytes[..];
                while !rest.is_empty() {
                    let (key, row, next) = feed_entry::read_row(rest).ok_or(DAMAGED)?;
                    let row = parse(Some(row))?;
                    visit(FeedChange { key, before: row, after: row });
                    rest = next;
                }
                Ok(())
            }
        }
    }
}

fn parse(row: Option<&[u8]>) -> Result<Option<RowRef<'_>>> {
    row.map(RowRef::parse).transpose().map_err(|_| DAMAGED)
}

fn visit_batch(
    raw: &[u8],
    body: &[u8],
    reading: Option<&ViewEntry>,
    mut visit: impl FnMut(FeedChange<'_>),
) -> Result<()> {
    let block = Block::parse(raw).map_err(|_| DAMAGED)?;
    let mut body = BatchBody::parse(body).ok_or(DAMAGED)?;
    let mut row = RowBuf::new();
    let mut scratch = RowBuf::new();
    for index in 0..block.rows() {
        let number = index as u32;
        if body.skipped.has(number) {
            continue;
        }
        let key = block.key(index);
        let before = parse(body.before.of(number).flatten())?;
        if let Some(written) = body.after.of(number) {
            visit(FeedChange { key, before, after: parse(written)? });
        } else if block.is_delete(index) {
            visit(FeedChange { key, before, after: None });
        } else {
            row.fill_from_block(&block, index);
            let after = match reading {
                Some(entry) => entry.mapped(row.as_ref(), &mut scratch),
                None => row.as_ref(),
            };
            visit(FeedChange { key, before, after: Some(after) });
        }
    }
    Ok(())
}

impl FeedItem {
    /// Memory it holds, bytes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let rows = match &self.what {
            FeedWhat::Changes(changes) => changes.bytes(),
            FeedWhat::Checkpoint => 0,
            FeedWhat::ClockDate { rows, .. } => rows.bytes(),
        };
        std::mem::size_of::<Self>() + rows
    }
}

/// Items read lately: when many follow one feed, each entry is made ready once.
pub(in super::super) struct FeedCache {
    limit: usize,
    held: Mutex<Held>,
}

#[derive(Default)]
struct Held {
    items: HashMap<(FeedNo, u64), Arc<FeedItem>>,
    order: VecDeque<(FeedNo, u64)>,
    bytes: usize,
}

impl FeedCache {
    pub(in super::super) fn new(limit: usize) -> Self {
        Self { limit, held: Mutex::default() }
    }

    fn get(&self, feed: FeedNo, seq: u64) -> Option<Arc<FeedItem>> {
        self.held.lock().items.get(&(feed, seq)).cloned()
    }

    fn put(&self, feed: FeedNo, item: &Arc<FeedItem>) {
        let mut held = self.held.lock();
        if item.bytes() > self.limit / 4
            || held.items.insert((feed, item.seq), Arc::clone(item)).is_some()
        {
            return;
        }
        held.bytes += item.bytes();
        held.order.push_back((feed, item.seq));
        while held.bytes > self.limit {
            let Some(oldest) = held.order.pop_front() else { break };
            if let Some(item) = held.items.remove(&oldest) {
                held.bytes -= item.bytes();
            }
        }
    }
}

/// Reads feeds: their entries from the store, their rows from the log.
pub(in super::super) struct Reader<'a, L> {
    pub(in super::super) core: &'a Core,
    pub(in super::super) log: &'a L,
    pub(in super::super) cache: &'a FeedCache,
}

impl<L: Log> Reader<'_, L> {
    /// Entries behind `after`, until they hold `max_bytes` (at least one, if there is one).
    pub(in super::super) fn after(
        &self,
        place: Place,
        after: u64,
        max_bytes: usize,
    ) -> Result<Vec<Arc<FeedItem>>> {
        let partition = self.core.partition_of(place)?;
        let feed = place.feed();
        let mut options = rocksdb::ReadOptions::default();
        options.set_iterate_upper_bound(keys::feed(feed, u64::MAX));
        let family = self.core.store.family(partition)?;
        let mut found = self.core.store.db.raw_iterator_cf_opt(family, options);
        let mut out: Vec<Arc<FeedItem>> = Vec::new();
        let mut bytes = 0;
        found.seek(keys::feed(feed, after.saturating_add(1)));
        while let Some((key, value)) = found.item() {
            let seq = keys::seq_of(key).ok_or(DAMAGED)?;
            let expected = after + 1 + out.len() as u64;
            if seq != expected {
                return Err(ViewError::NoSuchPosition { feed, seq: expected });
            }
            let item = match self.cache.get(feed, seq) {
                Some(item) => item,
                None => {
                    let item = Arc::new(self.item(place, partition, seq, value)?);
                    self.cache.put(feed, &item);
                    item
                }
            };
            bytes += item.bytes();
            out.push(item);
            if bytes >= max_bytes {
                break;
            }
            found.next();
        }
        found.status().map_err(ViewError::engine("read"))?;
        Ok(out)
    }

    /// The hash at an entry; zeros before the first, `None` for an entry that is not there.
    pub(in super::super) fn hash(&self, place: Place, seq: u64) -> Result<Option<FeedHash>> {
        if seq == 0 {
            return Ok(Some(FeedHash::default()));
        }
        let family = self.core.store.family(self.core.partition_of(place)?)?;
        let found = self.core.store.db.get_pinned_cf(family, keys::feed(place.feed(), seq));
        let Some(bytes) = found.map_err(ViewError::engine("read"))? else { return Ok(None) };
        Ok(Some(feed_entry::split(&bytes).ok_or(DAMAGED)?.0.hash))
    }

    fn item(
        &self,
        place: Place,
        partition: PartitionId,
        seq: u64,
        stored: &[u8],
    ) -> Result<FeedItem> {
        let (head, body) = feed_entry::split(stored).ok_or(DAMAGED)?;
        let Head { kind, as_of, log_time_ms, hash } = head;
        let what = match kind {
            Kind::Batch => FeedWhat::Changes(self.batch(place, partition, seq, body)?),
            Kind::Written => FeedWhat::Changes(ChangeSet(Content::Written(body.to_vec()))),
            Kind::Checkpoint => FeedWhat::Checkpoint,
            Kind::Clock => {
                let (from, rows) = body.split_first_chunk::<4>().ok_or(DAMAGED)?;
                let from = AsOf::from_number(u32::from_le_bytes(*from)).ok_or(DAMAGED)?;
                FeedWhat::ClockDate {
                    from,
                    to: as_of,
                    rows: ChangeSet(Content::Rows(rows.to_vec())),
                }
            }
        };
        Ok(FeedItem { seq, hash, as_of, log_time_ms, what })
    }

    fn batch(
        &self,
        place: Place,
        partition: PartitionId,
        seq: u64,
        body: &[u8],
    ) -> Result<ChangeSet> {
        let batch = BatchBody::parse(body).ok_or(DAMAGED)?;
        let reading = match place {
            Place::Resource(_) => None,
            Place::Library(_) => Some(
                self.core
                    .directory
                    .version(batch.resource, batch.entry_version)
                    .ok_or(ViewError::UnknownResource(batch.resource))?,
            ),
        };
        let raw = match self.payload(partition, batch.offset) {
            // The log was trimmed behind a slow follower: it starts again from a snapshot.
            Err(ViewError::Log(LogError::Trimmed { .. })) => {
                return Err(ViewError::NoSuchPosition { feed: place.feed(), seq });
            }
            raw => raw?,
        };
        Ok(ChangeSet(Content::Batch { raw, body: body.to_vec(), reading }))
    }

    fn payload(&self, partition: PartitionId, offset: Offset) -> Result<Vec<u8>> {
        let position = Position { partition, offset };
        let missing = || ViewError::Damaged { what: "reference into the log" };
        let entry = self.log.read_one(position)?.ok_or_else(missing)?;
        let EntryKind::Batch(header) = &entry.envelope.kind else { return Err(missing()) };
        let codec = Codec::from_code(header.codec).ok_or_else(missing)?;
        let mut raw = Vec::new();
        batch::decompress_into(&entry.payload, codec, header.raw_len as usize, &mut raw)
            .map_err(|source| ViewError::Payload { position, source })?;
        Ok(raw)
    }
}
