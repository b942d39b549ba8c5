//! Entries that change more rows than one write should hold: done in pieces of a fixed number of
//! keys, so that the feeds are the same wherever a crash falls between the pieces.

use std::{ops::ControlFlow, sync::Arc};

use hutong_schema::{
    grant::{AsOf, CompiledFilter},
    library::LibraryId,
    row::{RowBuf, RowRef},
};

use super::{
    Applier,
    emit::advance,
    range::{At, Step},
    settle::{index, parse},
    sink::{Sink, SortedKeys},
};
use crate::{
    numbers::{FeedNo, ResourceNo, SpaceNo},
    views::{
        Inner,
        entry::{self, Place, ViewEntry},
        error::Result,
        feed_entry::{self, Head, Kind},
        keys,
        read::groups::{Group, Groups, Reach},
        records::{LaneState, Step as Progress},
    },
};

/// Changes or rows of one feed entry.
#[derive(Default)]
struct Piece {
    own: Vec<u8>,
    library: Vec<u8>,
    keys: usize,
    last: Vec<u8>,
    deletes: Vec<Vec<u8>>,
    index: SortedKeys,
}

impl Applier {
    pub(super) fn step(&mut self, inner: &Inner, step: Step) -> Result<()> {
        let at = step.at();
        match step {
            Step::ReplaceEnd { at, entry, begun, lane, shard } => {
                self.replace_end(inner, at, &entry, begun)?;
                self.finish_replace(at, &entry, lane, shard);
            }
            Step::Clock { at, meta_offset, to } => {
                self.clock(inner, at, to)?;
                self.state.applied.meta_offset = meta_offset;
            }
            Step::Remap { at, meta_offset, from, to } => {
                inner.core.directory.put(Arc::clone(&to));
                self.remap(inner, at, &from, &to)?;
                self.state.put_entry(to);
                self.state.applied.meta_offset = meta_offset;
            }
        }
        let sink = Sink::batch(&inner.core.store, self.state.partition)?;
        self.state.applied.offset = at.offset;
        self.state.applied.chain = at.chain;
        self.state.applied.step = None;
        self.commit(inner, sink, 0, Vec::new())
    }

    fn finish_replace(&mut self, at: At, entry: &ViewEntry, lane: LaneState, shard: u16) {
        self.state.resource_mut(entry.resource).last_log_time_ms = at.log_time_ms;
        self.state.set_lane(entry.resource, shard, lane);
    }

    /// Deletes the rows that were not named since the replacement began. Pieces already done leave
    /// no trace to be kept: their rows are gone.
    fn replace_end(&mut self, inner: &Inner, at: At, entry: &ViewEntry, begun: u64) -> Result<()> {
        let mut after = None;
        loop {
            let mut piece = Piece::default();
            let mut scratch = [RowBuf::new(), RowBuf::new()];
            let limit = inner.core.options.step_rows;
            let groups = Groups { core: &inner.core, snapshot: None, reach: Reach::Disk };
            groups.of_resource(entry, after.as_deref(), |group| {
                let Some(stale) = group.of(entry.resource).filter(|row| row.version < begun) else {
                    return Ok(ControlFlow::Continue(()));
                };
                feed_entry::push_change(&mut piece.own, group.key(), Some(stale.bytes), None);
                if let Some(library) = entry.library() {
                    let [before, left] = &mut scratch;
                    let before = self.record(library.id, group, None, before)?;
                    let left = self.record(library.id, group, Some(entry.resource), left)?;
                    push_changed(&mut piece.library, group.key(), before, left);
                }
                piece.delete(entry, group.key());
                Ok(piece.full(limit))
            })?;
            if piece.keys == 0 {
                return Ok(());
            }
            after = Some(piece.last.clone());
            let counters = self.state.resource_mut(entry.resource);
            counters.rows = counters.rows.saturating_sub(piece.keys as u64);
            counters.changes += piece.keys as u64;
            self.write_piece(inner, at, entry, piece)?;
        }
    }

    /// Moves the date; rows whose verdict under a grant may change with it go into the feeds.
    fn clock(&mut self, inner: &Inner, at: At, to: AsOf) -> Result<()> {
        let from = match &self.state.applied.step {
            // A crash came between two pieces; the date they began with is in the feed they wrote.
            Some(step) => step.from,
            None => self.state.applied.as_of,
        };
        self.state.applied.as_of = to;
        let mut watched: Vec<(Place, Vec<CompiledFilter>)> = Vec::new();
        let mut grants: Vec<_> = self.state.grants.values().collect();
        grants.sort_by_key(|(place, grant)| (place.feed(), grant.id));
        for (place, grant) in grants {
            let filter = inner.core.directory.filter(*place, grant.filter.as_ref());
            let Some(filter) = filter.filter(CompiledFilter::depends_on_date) else { continue };
            match watched.last_mut() {
                Some((last, filters)) if last == place => filters.push(filter),
                Some(_) | None => watched.push((*place, vec![filter])),
            }
        }
        for (place, filters) in watched {
            self.clock_place(inner, at, (from, to), place, &filters)?;
        }
        Ok(())
    }

    fn clock_place(
        &mut self,
        inner: &Inner,
        at: At,
        (from, to): (AsOf, AsOf),
        place: Place,
        filters: &[CompiledFilter],
    ) -> Result<()> {
        let feed = place.feed();
        let mut after = match self.state.applied.step.take() {
            Some(step) if step.feed > feed => {
                self.state.applied.step = Some(step);
                return Ok(());
            }
            Some(step) if step.feed == feed => Some(step.after),
            Some(_) | None => None,
        };
        let turns = |key: &[u8], row: RowRef<'_>| {
            filters
                .iter()
                .any(|filter| filter.matches(key, row, from) != filter.matches(key, row, to))
        };
        loop {
            let mut rows = from.number().to_le_bytes().to_vec();
            let mut count = 0;
            let mut last = Vec::new();
            let groups = Groups { core: &inner.core, snapshot: None, reach: Reach::Disk };
            groups.rows(place, after.as_deref(), |key, row| {
                if turns(key, row) {
                    feed_entry::push_row(&mut rows, key, row.as_bytes());
                    last.clear();
                    last.extend_from_slice(key);
                    count += 1;
                }
                Ok(if count < inner.core.options.step_rows {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })?;
            if count == 0 {
                return Ok(());
            }
            let mut sink = Sink::batch(&inner.core.store, self.state.partition)?;
            self.put_feed(&mut sink, feed, Kind::Clock, at, &rows)?;
            self.state.applied.step = Some(Progress { feed, after: last.clone(), from });
            after = Some(last);
            self.commit(inner, sink, 0, Vec::new())?;
        }
    }

    /// Reads a resource's rows into its library in another way; records that change by it go into
    /// the library's feed.
    fn remap(
        &mut self,
        inner: &Inner,
        at: At,
        from: &Arc<ViewEntry>,
        to: &Arc<ViewEntry>,
    ) -> Result<()> {
        let mut after = self.state.applied.step.take().map(|step| step.after);
        while let Some(library) = to.library() {
            let mut piece = Piece::default();
            let mut scratch = [RowBuf::new(), RowBuf::new()];
            let limit = inner.core.options.step_rows;
            let groups = Groups { core: &inner.core, snapshot: None, reach: Reach::Disk };
            groups.of_resource(to, after.as_deref(), |group| {
                let Some(row) = group.of(to.resource) else {
                    return Ok(ControlFlow::Continue(()));
                };
                let [before, now] = &mut scratch;
                let before = self.record_with(library.id, group, None, from, before)?;
                let now = self.record_with(library.id, group, None, to, now)?;
                push_changed(&mut piece.library, group.key(), before, now);
                index(to, group.key(), parse(row.bytes)?, None, &mut piece.index);
                piece.take(group.key());
                Ok(piece.full(limit))
            })?;
            if piece.keys == 0 {
                break;
            }
            after = Some(piece.last.clone());
            let feed = FeedNo::library(library.id);
            self.state.applied.step =
                Some(Progress { feed, after: piece.last.clone(), from: self.state.applied.as_of });
            self.write_piece(inner, at, to, piece)?;
        }
        Ok(())
    }

    fn write_piece(
        &mut self,
        inner: &Inner,
        at: At,
        entry: &ViewEntry,
        piece: Piece,
    ) -> Result<()> {
        let mut sink = Sink::batch(&inner.core.store, self.state.partition)?;
        for key in &piece.deletes {
            sink.delete(key)?;
        }
        piece.index.drain(&mut sink)?;
        if !piece.own.is_empty() {
            self.put_feed(&mut sink, entry.resource.feed(), Kind::Written, at, &piece.own)?;
        }
        if let Some(library) = entry.library()
            && !piece.library.is_empty()
        {
            self.put_feed(
                &mut sink,
                FeedNo::library(library.id),
                Kind::Written,
                at,
                &piece.library,
            )?;
        }
        self.commit(inner, sink, piece.keys, Vec::new())
    }

    fn put_feed(
        &mut self,
        sink: &mut Sink<'_>,
        feed: FeedNo,
        kind: Kind,
        at: At,
        body: &[u8],
    ) -> Result<()> {
        let seq = self.state.feed(feed).seq + 1;
        let as_of = self.state.applied.as_of;
        let body_hash = blake3::hash(body);
        let hash =
            advance(&mut self.state, feed, seq, kind, &[&at.payload_hash, body_hash.as_bytes()]);
        let mut entry = feed_entry::begin(&Head { kind, as_of, log_time_ms: at.log_time_ms, hash });
        entry.extend_from_slice(body);
        sink.put(&keys::feed(feed, seq), &entry)
    }

    /// The library record of a group, leaving one resource out.
    fn record<'a>(
        &self,
        library: LibraryId,
        group: &'a Group,
        without: Option<ResourceNo>,
        scratch: &'a mut RowBuf,
    ) -> Result<Option<RowRef<'a>>> {
        self.merge(library, group, without, None, scratch)
    }

    /// The library record of a group, with one resource read by this entry.
    fn record_with<'a>(
        &self,
        library: LibraryId,
        group: &'a Group,
        without: Option<ResourceNo>,
        with: &ViewEntry,
        scratch: &'a mut RowBuf,
    ) -> Result<Option<RowRef<'a>>> {
        self.merge(library, group, without, Some(with), scratch)
    }

    fn merge<'a>(
        &self,
        library: LibraryId,
        group: &'a Group,
        without: Option<ResourceNo>,
        with: Option<&ViewEntry>,
        scratch: &'a mut RowBuf,
    ) -> Result<Option<RowRef<'a>>> {
        let Some(library) = hutong_schema::library::definition(library) else { return Ok(None) };
        let mut said = Vec::new();
        for row in group.rows().filter(|row| Some(row.resource) != without) {
            let entry = match with {
                Some(with) if with.resource == row.resource => Some(with),
                Some(_) | None => self.state.entries.get(&row.resource).map(|entry| &**entry),
            };
            if let Some(entry) = entry {
                said.push((entry, parse(row.bytes)?));
            }
        }
        Ok(entry::record(library, &mut said, scratch))
    }
}

impl Piece {
    fn take(&mut self, key: &[u8]) {
        self.keys += 1;
        self.last.clear();
        self.last.extend_from_slice(key);
    }

    fn delete(&mut self, entry: &ViewEntry, key: &[u8]) {
        self.take(key);
        self.deletes.push(row_key(entry.space, key, entry.resource));
        if entry.member {
            let mut member = Vec::new();
            keys::member_into(&mut member, entry.resource, key);
            self.deletes.push(member);
        }
    }

    fn full(&self, limit: usize) -> ControlFlow<()> {
        if self.keys < limit { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    }
}

fn row_key(space: SpaceNo, key: &[u8], resource: ResourceNo) -> Vec<u8> {
    let mut out = Vec::new();
    keys::row_into(&mut out, space, key, resource);
    out
}

fn push_changed(
    out: &mut Vec<u8>,
    key: &[u8],
    before: Option<RowRef<'_>>,
    after: Option<RowRef<'_>>,
) {
    if before != after {
        let bytes = |row: RowRef<'_>| row.as_bytes().to_vec();
        feed_entry::push_change(
            out,
            key,
            before.map(bytes).as_deref(),
            after.map(bytes).as_deref(),
        );
    }
}
