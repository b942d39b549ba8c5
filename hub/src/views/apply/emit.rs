//! The third pass: entries of the feeds, in log order.

use super::{
    super::{
        entry::Place,
        error::{Result, ViewError},
        feed_entry::{self, BatchBody, Head, Kind},
        keys,
        records::{self, CheckpointRecord, HubDigests},
        state::PartitionState,
    },
    images::{BatchNotes, Notes},
    range::{Item, Mark, Range, Work},
    settle::Settled,
};
use crate::numbers::FeedNo;
use hutong_schema::wire::codec;

/// A checkpoint whose digests the hub must count, on the state right after the range.
#[derive(Clone, Debug)]
pub(in super::super) struct Ask {
    pub(in super::super) place: Place,
    pub(in super::super) seq: u64,
    pub(in super::super) record: CheckpointRecord,
}

/// Feed entries by key.
type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// Makes the feed entries of a range; answers them sorted by key, and the checkpoints to be counted.
pub(super) fn emit(
    range: &Range,
    settled: &mut Settled,
    state: &mut PartitionState,
) -> Result<(Entries, Vec<Ask>)> {
    let mut puts = Vec::with_capacity(range.items.len());
    let mut asks = Vec::new();
    for item in &range.items {
        match item {
            Item::Rows(number) => {
                let work = &range.works[*number];
                let mut notes = std::mem::take(&mut settled.notes[*number]);
                batch(work, &mut notes, &settled.arena, state, &mut puts);
            }
            Item::Checkpoint(mark) => checkpoint(mark, state, &mut puts, &mut asks)?,
        }
    }
    puts.sort();
    Ok((puts, asks))
}

fn batch(
    work: &Work,
    notes: &mut BatchNotes,
    arena: &[u8],
    state: &mut PartitionState,
    puts: &mut Entries,
) {
    for rejected in &work.rejected {
        notes.own.skip(*rejected);
        notes.library.skip(*rejected);
    }
    notes.own.sort();
    let own = work.entry.resource.feed();
    puts.push(batch_entry(work, own, work.seq, &notes.own, arena, state));
    if let Some(library) = work.entry.library()
        && notes.library.visible > 0
    {
        notes.library.sort();
        let feed = FeedNo::library(library.id);
        let seq = state.feed(feed).seq + 1;
        puts.push(batch_entry(work, feed, seq, &notes.library, arena, state));
    }
}

fn batch_entry(
    work: &Work,
    feed: FeedNo,
    seq: u64,
    notes: &Notes,
    arena: &[u8],
    state: &mut PartitionState,
) -> (Vec<u8>, Vec<u8>) {
    let as_of = state.applied.as_of;
    let resource = work.entry.resource;
    let (mut skipped, mut after) = (Vec::new(), Vec::new());
    feed_entry::push_runs(&mut skipped, notes.skipped());
    feed_entry::push_images(&mut after, notes.afters(arena));
    let content = [&work.payload_hash[..], &resource.0.to_le_bytes(), &skipped, &after];
    let hash = advance(state, feed, seq, Kind::Batch, &content);
    let head = Head { kind: Kind::Batch, as_of, log_time_ms: work.log_time_ms, hash };
    let mut entry = feed_entry::begin(&head);
    BatchBody::push_place(&mut entry, work.offset, resource, work.entry.entry.version);
    entry.extend_from_slice(&skipped);
    feed_entry::push_images(&mut entry, notes.befores(arena));
    entry.extend_from_slice(&after);
    (keys::feed(feed, seq), entry)
}

fn checkpoint(
    mark: &Mark,
    state: &mut PartitionState,
    puts: &mut Entries,
    asks: &mut Vec<Ask>,
) -> Result<()> {
    let record = CheckpointRecord {
        resource: mark.entry.resource,
        epoch: mark.epoch,
        batch_seq: mark.batch_seq,
        log_time_ms: mark.log_time_ms,
        as_of: state.applied.as_of,
        source: mark.source,
        hub: HubDigests::Pending,
    };
    let own = Place::Resource(mark.entry.resource);
    let library = mark.entry.library().map(|library| Place::Library(library.id));
    for place in std::iter::once(own).chain(library) {
        let feed = place.feed();
        let seq = match place {
            Place::Resource(_) => mark.seq,
            Place::Library(_) => state.feed(feed).seq + 1,
        };
        let source = codec::encode(&mark.source).map_err(ViewError::record("digest"))?;
        let content = [&mark.entry.resource.0.to_le_bytes()[..], &source];
        let hash = advance(state, feed, seq, Kind::Checkpoint, &content);
        let head = Head {
            kind: Kind::Checkpoint,
            as_of: record.as_of,
            log_time_ms: record.log_time_ms,
            hash,
        };
        puts.push((keys::feed(feed, seq), feed_entry::begin(&head)));
        state.put_checkpoint(keys::checkpoint(feed, seq), records::write("checkpoint", &record)?);
        asks.push(Ask { place, seq, record: record.clone() });
    }
    Ok(())
}

/// Moves a feed on to `seq` (which the first pass may have counted already) and answers its hash.
pub(super) fn advance(
    state: &mut PartitionState,
    feed: FeedNo,
    seq: u64,
    kind: Kind,
    content: &[&[u8]],
) -> records::FeedHash {
    let feed = state.feed_mut(feed);
    feed.seq = feed.seq.max(seq);
    feed.hash = feed_entry::extend(&feed.hash, seq, kind, content);
    feed.hash
}
