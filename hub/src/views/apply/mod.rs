//! Applying the log: one applier per data partition, deterministic and total.
//!
//! ```text
//! log ─► range    entries judged one by one; batches opened
//!      ► ops      their changes, sorted by key
//!      ► lookup   what the keys held before
//!      ► settle   rows, index entries, what each feed must say
//!      ► emit     feed entries, in log order
//!      ► sink     one write, or one sorted file: all of it, and how far the log is applied
//! ```

mod barriers;
pub(super) mod emit;
mod filter;
mod images;
mod lookup;
mod ops;
mod range;
mod settle;
mod sink;
mod steps;

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use hutong_schema::block::Block;

use super::{
    Inner,
    error::{Result, ViewError},
    records::Finding,
    state::PartitionState,
    store::Store,
};
use crate::{
    log::{Log, Offset, Position, StoredEntry},
    numbers::SpaceNo,
};
use emit::Ask;
use filter::KeyFilter;
use lookup::Lookup;
use ops::Ops;
use range::{Range, Taken};
use settle::Settler;
use sink::Sink;

/// Entries and compressed bytes read from the log at a time.
const READ_ENTRIES: usize = 4_096;
const READ_BYTES: usize = 8 << 20;

/// Keys looked up together: enough for the store to work in batches, few enough to stay in cache.
const LOOKUP_KEYS: usize = 512;

/// A space that holds at most so many times the rows of a range is read for its filter: reading a key
/// in order costs a tenth of looking for it.
const FILTER_KNOWN: u64 = 8;

/// Bytes of all filters: enough for a province of 45 million people.
const FILTER_BYTES: usize = 128 << 20;

/// Applies one partition.
pub(super) struct Applier {
    pub(super) state: PartitionState,
    /// Read from the log, not yet applied.
    read: VecDeque<StoredEntry>,
    filters: HashMap<SpaceNo, KeyFilter>,
    unflushed_rows: usize,
    unflushed_since: Option<Instant>,
    /// Whether files are merged seldom, because changes come fast.
    filling: bool,
}

impl Applier {
    pub(super) fn new(state: PartitionState) -> Self {
        Self {
            state,
            read: VecDeque::new(),
            filters: HashMap::new(),
            unflushed_rows: 0,
            unflushed_since: None,
            filling: true,
        }
    }

    /// Applies what the log has next; false when there is nothing.
    pub(super) fn next(&mut self, inner: &Inner) -> Result<bool> {
        let mut range = Range::new(self.state.applied.offset);
        let limits = &inner.core.options;
        while range.rows < limits.range_rows && range.bytes < limits.range_bytes {
            let Some(entry) = self.entry(inner, range.last)? else { break };
            match range.offer(&mut self.state, &inner.core.directory, entry) {
                Taken::Yes => {}
                Taken::Later(entry) => {
                    self.read.push_front(entry);
                    break;
                }
                Taken::Alone(step) => {
                    self.step(inner, step)?;
                    return Ok(true);
                }
            }
        }
        if range.is_empty(self.state.applied.offset) {
            return Ok(false);
        }
        self.apply(inner, &range)?;
        Ok(true)
    }

    fn entry(&mut self, inner: &Inner, last: Offset) -> Result<Option<StoredEntry>> {
        if self.read.is_empty() {
            let from = last.next();
            let entries = inner.log.read(self.state.partition, from, READ_ENTRIES, READ_BYTES)?;
            self.read.extend(entries);
        }
        Ok(self.read.pop_front())
    }

    fn apply(&mut self, inner: &Inner, range: &Range) -> Result<()> {
        let began = Instant::now();
        let store = &inner.core.store;
        let partition = self.state.partition;
        let blocks = parse_blocks(range, partition)?;
        let (ops, impossible) = Ops::collect(&range.works, &blocks);
        let bulk = ops.len() >= inner.core.options.bulk_rows;
        let mut sink = match bulk {
            true => Sink::file(store, partition)?,
            false => Sink::batch(store, partition)?,
        };
        self.prepare_filters(store, &ops, bulk)?;
        let mut settler = Settler::new(&ops, &self.state, range.works.len());
        settle(&mut settler, &ops, &mut sink, &self.state, store, &mut self.filters)?;
        let mut settled = settler.out;
        for (work, row) in impossible {
            settled.notes[work].own.skip(row);
            settled.notes[work].library.skip(row);
            let work = &range.works[work];
            self.state.find(Finding {
                offset: work.offset,
                resource: Some(work.entry.resource),
                log_time_ms: work.log_time_ms,
                reason: format!("row {row} has a key that no row can have"),
            });
        }
        for (resource, (won, changes)) in std::mem::take(&mut settled.counts) {
            let counters = self.state.resource_mut(resource);
            counters.rows = counters.rows.saturating_add_signed(won);
            counters.changes += changes;
        }
        std::mem::take(&mut settled.index).drain(&mut sink)?;
        std::mem::take(&mut settled.members).drain(&mut sink)?;
        let (feeds, asks) = emit::emit(range, &mut settled, &mut self.state)?;
        for (key, entry) in feeds {
            sink.put(&key, &entry)?;
        }
        self.state.applied.offset = range.last;
        self.state.applied.chain = range.chain;
        self.state.applied.step = None;
        self.commit(inner, sink, ops.len(), asks)?;
        metrics::counter!("hutong_views_changes_total").increment(ops.len() as u64);
        tracing::debug!(
            %partition, through = %range.last, batches = range.works.len(), changes = ops.len(), bulk,
            ms = began.elapsed().as_millis() as u64, "applied"
        );
        Ok(())
    }

    /// Spaces that are being filled, libraries or in bulk, get a filter that grows with them, as long as
    /// there is memory for it.
    fn prepare_filters(&mut self, store: &Store, ops: &Ops<'_>, bulk: bool) -> Result<()> {
        let used = self.filters.values().map(KeyFilter::bytes).sum();
        let mut free = FILTER_BYTES.saturating_sub(used);
        self.filters.retain(|_, filter| match filter.wants() {
            None => true,
            Some(more) if more <= free => {
                free -= more;
                filter.grow();
                true
            }
            Some(_) => {
                free += filter.bytes();
                false
            }
        });
        // A library gets it with its first rows, however few: the first of millions come one batch
        // at a time, as long as the applier waits for them.
        for (space, coming) in ops.spaces() {
            let of_library = space.as_library().is_some();
            if !(bulk || of_library) || self.filters.contains_key(&space) {
                continue;
            }
            let rows = self.state.rows_in(space);
            let expected = usize::try_from(rows).unwrap_or(usize::MAX).saturating_add(coming);
            let first_layer = KeyFilter::first_layer((!of_library).then_some(expected));
            if free < first_layer {
                continue;
            }
            let filter = if rows == 0 {
                KeyFilter::new(first_layer)
            } else if bulk && rows <= ops.len() as u64 * FILTER_KNOWN {
                KeyFilter::of_space(store, self.state.partition, space, first_layer)?
            } else {
                continue;
            };
            free = free.saturating_sub(filter.bytes());
            self.filters.insert(space, filter);
        }
        Ok(())
    }

    /// Writes a range or a step together with the state, and tells those who wait for it.
    fn commit(
        &mut self,
        inner: &Inner,
        mut sink: Sink<'_>,
        rows: usize,
        asks: Vec<Ask>,
    ) -> Result<()> {
        let partition = self.state.partition;
        let feeds = self.state.changed_feeds();
        for (key, value) in self.state.take_changes()? {
            match value {
                Some(value) => sink.put(&key, &value)?,
                None => sink.delete(&key)?,
            }
        }
        let bulk = matches!(sink, Sink::File { .. });
        if bulk {
            // The file is durable at once, so everything that came before it must be; this also
            // waits for a flush that is under way.
            self.flush(inner, true)?;
            self.set_filling(inner, true)?;
        }
        sink.commit(&inner.core.store, partition)?;
        if !bulk {
            self.unflushed_rows += rows;
            self.unflushed_since.get_or_insert_with(Instant::now);
            self.flush_when_due(inner)?;
        }
        inner.digests.ask(inner, &self.state, asks)?;
        inner.ready.advance(feeds);
        if let Some(applied) = inner.applied(partition) {
            applied.send_replace(self.state.applied.offset);
        }
        Ok(())
    }

    /// Flushes when enough was written or enough time has passed.
    pub(super) fn flush_when_due(&mut self, inner: &Inner) -> Result<()> {
        let options = &inner.core.options;
        let old =
            self.unflushed_since.is_some_and(|since| since.elapsed() >= options.flush_interval);
        let many = self.unflushed_rows >= options.flush_rows;
        if old || many {
            let filling = self.unflushed_rows >= options.flush_rows / 8;
            self.flush(inner, false)?;
            self.set_filling(inner, filling)?;
        }
        Ok(())
    }

    /// Nothing has come for a while: what was filled is merged, so that it is read from few files.
    pub(super) fn quiet(&mut self, inner: &Inner) -> Result<()> {
        self.flush_when_due(inner)?;
        self.set_filling(inner, false)
    }

    fn set_filling(&mut self, inner: &Inner, filling: bool) -> Result<()> {
        if self.filling != filling {
            inner.core.store.set_filling(self.state.partition, filling)?;
            self.filling = filling;
        }
        Ok(())
    }

    /// Puts what is in memory into files.
    pub(super) fn flush(&mut self, inner: &Inner, wait: bool) -> Result<()> {
        inner.core.store.flush(self.state.partition, wait)?;
        self.unflushed_rows = 0;
        self.unflushed_since = None;
        Ok(())
    }
}

fn parse_blocks(range: &Range, partition: crate::log::PartitionId) -> Result<Vec<Block<'_>>> {
    let parse = |work: &'_ range::Work| -> Result<()> {
        Block::parse(&work.raw).map(|_| ()).map_err(|source| ViewError::Block {
            position: Position { partition, offset: work.offset },
            source,
        })
    };
    range.works.iter().try_for_each(parse)?;
    Ok(range.works.iter().filter_map(|work| Block::parse(&work.raw).ok()).collect())
}

/// Goes through all keys of a range in order.
fn settle<'a>(
    settler: &mut Settler<'a>,
    ops: &'a Ops<'a>,
    sink: &mut Sink<'_>,
    state: &PartitionState,
    store: &Store,
    filters: &mut HashMap<SpaceNo, KeyFilter>,
) -> Result<()> {
    let mut at = 0;
    let mut ends = Vec::new();
    let mut rows = Vec::new();
    let mut olds = Vec::new();
    let mut lookup: Option<Lookup<'_>> = None;
    while at < ops.len() {
        let space = ops.slice(at..at + 1)[0].space;
        ends.clear();
        rows.clear();
        let mut end = at;
        while end < ops.len()
            && ends.len() < LOOKUP_KEYS
            && ops.slice(end..end + 1)[0].space == space
        {
            rows.push(ops.key(&ops.slice(end..end + 1)[0]));
            end = ops.end_of_key(end);
            ends.push(end);
        }
        if lookup.as_ref().is_none_or(|lookup| lookup.space != space) {
            let holders = state.holders(space);
            lookup = Some(Lookup { store, partition: state.partition, space, holders });
        }
        if let Some(lookup) = &lookup {
            lookup.find(&rows, filters.get_mut(&space), &mut settler.out.arena, &mut olds)?;
        }
        for (end, old) in ends.iter().zip(&olds) {
            settler.key(ops.slice(at..*end), old, sink)?;
            at = *end;
        }
    }
    Ok(())
}
