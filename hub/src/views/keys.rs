//! Keys of the views' store. Every key begins with its table's byte; numbers are big-endian, so that
//! bytes sort as numbers do.
//!
//! ```text
//! rows        space u32 · key · 00 · resource u32          row
//! index       space u32 · index u8 · value · 00 · key      nothing
//! member      resource u32 · key                           nothing
//! feed        feed u32 · seq u64                           feed entry
//! applied                                                  how far the log is applied
//! entry       resource u32 · version u32                   catalogue entry, JSON
//! lane        resource u32 · shard u16                     state of a publication
//! resource    resource u32                                 counters
//! feed state  feed u32                                     last seq and hash
//! grant       grant u64                                    grant, JSON
//! checkpoint  feed u32 · seq u64                           digests
//! finding     offset u64 · sub u32                         a parked entry, or what was noticed in it
//! volume      resource u32                                 bytes of batches that the log holds
//! ```
//!
//! Keys of rows hold no byte below 0x20 (intake sees to it), so the 00 behind them ends them without
//! doubt and sorts before every continuation: rows of one key stand together, in key order. Bulk
//! files are written in one pass, therefore rows come first and what is known last comes last.

use hutong_schema::grant::GrantId;

use crate::{
    log::Offset,
    numbers::{FeedNo, ResourceNo, SpaceNo},
};

/// First byte of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Table {
    Rows = 0x10,
    Index = 0x20,
    Member = 0x28,
    Feed = 0x30,
    Applied = 0x40,
    Entry = 0x41,
    Lane = 0x42,
    Resource = 0x43,
    FeedState = 0x44,
    Grant = 0x45,
    Checkpoint = 0x46,
    Finding = 0x47,
    Volume = 0x48,
}

/// Ends a row's key and an index value.
const END: u8 = 0;
/// Bytes of a row's key around the row's own: table and space before, end and resource after.
const ROW_HEAD: usize = 1 + 4;
const ROW_TAIL: usize = 1 + 4;

/// Longest part of a value that an index holds, bytes. Longer values are told apart when the row is
/// read.
pub(super) const INDEX_VALUE_MAX: usize = 128;

fn with(out: &mut Vec<u8>, table: Table) -> &mut Vec<u8> {
    out.clear();
    out.push(table as u8);
    out
}

fn key(table: Table, parts: &[&[u8]]) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + parts.iter().map(|part| part.len()).sum::<usize>());
    with(&mut out, table);
    parts.iter().for_each(|part| out.extend_from_slice(part));
    out
}

/// A row's key, into `out`.
pub(super) fn row_into(out: &mut Vec<u8>, space: SpaceNo, row: &[u8], resource: ResourceNo) {
    rows_of_key_into(out, space, row);
    out.extend_from_slice(&resource.0.to_be_bytes());
}

/// What all rows of one key begin with.
pub(super) fn rows_of_key_into(out: &mut Vec<u8>, space: SpaceNo, row: &[u8]) {
    with(out, Table::Rows).extend_from_slice(&space.0.to_be_bytes());
    out.extend_from_slice(row);
    out.push(END);
}

/// What all rows of a space begin with.
pub(super) fn rows_of_space(space: SpaceNo) -> Vec<u8> {
    key(Table::Rows, &[&space.0.to_be_bytes()])
}

/// Behind all rows of a key: where a scan goes on.
pub(super) fn rows_after(space: SpaceNo, row: &[u8]) -> Vec<u8> {
    key(Table::Rows, &[&space.0.to_be_bytes(), row, &[END + 1]])
}

/// The row's own key and its resource.
pub(super) fn parse_row(stored: &[u8]) -> Option<(&[u8], ResourceNo)> {
    let body = stored.get(ROW_HEAD..)?;
    let (row, tail) = body.split_at_checked(body.len().checked_sub(ROW_TAIL)?)?;
    let (end, resource) = tail.split_first_chunk::<1>()?;
    (*end == [END]).then_some(())?;
    Some((row, ResourceNo(u32::from_be_bytes(resource.try_into().ok()?))))
}

/// What the entries of an index begin with.
pub(super) fn index_prefix(space: SpaceNo, index: u8) -> Vec<u8> {
    key(Table::Index, &[&space.0.to_be_bytes(), &[index]])
}

/// The part of a value that an index holds: up to a length, and up to the byte that ends it.
pub(super) fn index_value(value: &[u8]) -> &[u8] {
    let short = &value[..value.len().min(INDEX_VALUE_MAX)];
    let end = short.iter().position(|byte| *byte == END).unwrap_or(short.len());
    &short[..end]
}

/// Appends an index entry's key to an arena.
pub(super) fn push_index(arena: &mut Vec<u8>, space: SpaceNo, index: u8, value: &[u8], row: &[u8]) {
    arena.push(Table::Index as u8);
    arena.extend_from_slice(&space.0.to_be_bytes());
    arena.push(index);
    arena.extend_from_slice(value);
    arena.push(END);
    arena.extend_from_slice(row);
}

/// The row's key at the end of an index entry: it holds no byte that could end it earlier.
pub(super) fn row_of_index(stored: &[u8]) -> Option<&[u8]> {
    let end = stored.iter().rposition(|byte| *byte == END)?;
    stored.get(end + 1..)
}

/// A row of a resource that shares its space and was not the first there.
pub(super) fn member_into(out: &mut Vec<u8>, resource: ResourceNo, row: &[u8]) {
    with(out, Table::Member).extend_from_slice(&resource.0.to_be_bytes());
    out.extend_from_slice(row);
}

/// The row's key in a member entry.
pub(super) fn row_of_member(stored: &[u8]) -> Option<&[u8]> {
    stored.get(ROW_HEAD..)
}

/// What the members of a resource begin with.
pub(super) fn members_of(resource: ResourceNo) -> Vec<u8> {
    key(Table::Member, &[&resource.0.to_be_bytes()])
}

/// An entry of a feed.
pub(super) fn feed(feed: FeedNo, seq: u64) -> Vec<u8> {
    key(Table::Feed, &[&feed.0.to_be_bytes(), &seq.to_be_bytes()])
}

/// The seq in a feed entry's or checkpoint's key.
pub(super) fn seq_of(stored: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(stored.get(ROW_HEAD..ROW_HEAD + 8)?.try_into().ok()?))
}

pub(super) fn applied() -> Vec<u8> {
    key(Table::Applied, &[])
}

pub(super) fn entry(resource: ResourceNo, version: u32) -> Vec<u8> {
    key(Table::Entry, &[&resource.0.to_be_bytes(), &version.to_be_bytes()])
}

pub(super) fn lane(resource: ResourceNo, shard: u16) -> Vec<u8> {
    key(Table::Lane, &[&resource.0.to_be_bytes(), &shard.to_be_bytes()])
}

pub(super) fn parse_lane(stored: &[u8]) -> Option<(ResourceNo, u16)> {
    let shard = stored.get(5..7)?.try_into().ok()?;
    Some((ResourceNo(number(stored)?), u16::from_be_bytes(shard)))
}

/// The key of a resource's volume.
pub(super) fn volume(resource: ResourceNo) -> Vec<u8> {
    key(Table::Volume, &[&resource.0.to_be_bytes()])
}

pub(super) fn resource(resource: ResourceNo) -> Vec<u8> {
    key(Table::Resource, &[&resource.0.to_be_bytes()])
}

pub(super) fn feed_state(feed: FeedNo) -> Vec<u8> {
    key(Table::FeedState, &[&feed.0.to_be_bytes()])
}

pub(super) fn grant(grant: GrantId) -> Vec<u8> {
    key(Table::Grant, &[&grant.0.to_be_bytes()])
}

pub(super) fn checkpoint(feed: FeedNo, seq: u64) -> Vec<u8> {
    key(Table::Checkpoint, &[&feed.0.to_be_bytes(), &seq.to_be_bytes()])
}

pub(super) fn finding(offset: Offset, sub: u32) -> Vec<u8> {
    key(Table::Finding, &[&offset.0.to_be_bytes(), &sub.to_be_bytes()])
}

/// The number behind the table's byte.
pub(super) fn number(stored: &[u8]) -> Option<u32> {
    Some(u32::from_be_bytes(stored.get(1..5)?.try_into().ok()?))
}

/// What all keys of a table begin with.
pub(super) fn table(table: Table) -> Vec<u8> {
    vec![table as u8]
}

/// The first key behind everything that begins with `prefix`, which is never all 0xFF.
pub(super) fn after_prefix(prefix: &[u8]) -> Vec<u8> {
    let mut next = prefix.to_vec();
    while let Some(last) = next.pop() {
        if last < u8::MAX {
            next.push(last + 1);
            break;
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(0x20u8.., 1..6)
    }

    proptest! {
        #[test]
        fn rows_sort_by_space_key_and_resource(
            left in (any::<u32>(), text(), any::<u32>()),
            right in (any::<u32>(), text(), any::<u32>()),
        ) {
            let stored = |(space, row, resource): &(u32, Vec<u8>, u32)| {
                let mut out = Vec::new();
                row_into(&mut out, SpaceNo(*space), row, ResourceNo(*resource));
                out
            };
            prop_assert_eq!(stored(&left).cmp(&stored(&right)), left.cmp(&right));
            let bytes = stored(&left);
            prop_assert_eq!(parse_row(&bytes), Some((&left.1[..], ResourceNo(left.2))));
            let next = rows_after(SpaceNo(left.0), &left.1);
            prop_assert_eq!(stored(&right) < next, (right.0, &right.1) <= (left.0, &left.1));
        }

        #[test]
        fn an_index_entry_gives_its_row_back(value in prop::collection::vec(any::<u8>(), 0..200), row in text()) {
            let mut arena = Vec::new();
            push_index(&mut arena, SpaceNo(1), 0, index_value(&value), &row);
            prop_assert_eq!(row_of_index(&arena), Some(&row[..]));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..20)) {
            let _ = (parse_row(&bytes), row_of_index(&bytes), row_of_member(&bytes));
            let _ = (seq_of(&bytes), parse_lane(&bytes), number(&bytes), after_prefix(&bytes));
        }
    }
}
