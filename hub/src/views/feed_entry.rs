//! Entries of feeds as they are stored.
//!
//! An entry does not repeat a batch's rows: it names the batch in the log, the changes in it that
//! had no effect, and what the changed rows were before. Changes that stand in no batch (the deletes
//! that end a replacement, records that another binding changed) are written out.
//!
//! ```text
//! version u8 = 1 · kind u8 · as_of u32 · log time i64 · hash 32 · body
//! batch       offset · resource · entry version · skipped runs · before images · after images
//! written     changes, each: key · before · after
//! checkpoint  nothing (its record stands in the checkpoint table)
//! clock       from u32 · rows, each: key · row
//! ```
//!
//! Integers are little endian or in seven-bit groups; an absent image has the length 0, a present
//! one its length + 1.

use hutong_schema::grant::AsOf;

use super::{
    records::FeedHash,
    varint::{push, push_slice, read, read_slice},
};
use crate::{log::Offset, numbers::ResourceNo};

const VERSION: u8 = 1;
const HEAD: usize = 1 + 1 + 4 + 8 + 32;

/// What an entry says, before its body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    /// The date in force at this entry.
    pub(super) as_of: AsOf,
    pub(super) log_time_ms: i64,
    pub(super) hash: FeedHash,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Batch = 0,
    Written = 1,
    Checkpoint = 2,
    Clock = 3,
}

/// The body of a batch entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct BatchBody<'a> {
    pub(super) offset: Offset,
    pub(super) resource: ResourceNo,
    pub(super) entry_version: u32,
    pub(super) skipped: Runs<'a>,
    pub(super) before: Images<'a>,
    pub(super) after: Images<'a>,
}

/// The hash of a feed after an entry. It covers what the entry changes, not where the log keeps it:
/// a rebuilt feed has the same hashes.
pub(super) fn extend(previous: &FeedHash, seq: u64, kind: Kind, content: &[&[u8]]) -> FeedHash {
    let mut hasher = blake3::Hasher::new();
    hasher.update(b"hutong/1 feed");
    hasher.update(previous);
    hasher.update(&seq.to_le_bytes());
    hasher.update(&[kind as u8]);
    for part in content {
        hasher.update(&(part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    *hasher.finalize().as_bytes()
}

/// Begins an entry.
pub(super) fn begin(head: &Head) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEAD + 64);
    out.push(VERSION);
    out.push(head.kind as u8);
    out.extend_from_slice(&head.as_of.number().to_le_bytes());
    out.extend_from_slice(&head.log_time_ms.to_le_bytes());
    out.extend_from_slice(&head.hash);
    out
}

/// Takes an entry apart into head and body.
pub(super) fn split(bytes: &[u8]) -> Option<(Head, &[u8])> {
    let (head, body) = bytes.split_at_checked(HEAD)?;
    let kind = match head[1] {
        0 => Kind::Batch,
        1 => Kind::Written,
        2 => Kind::Checkpoint,
        3 => Kind::Clock,
        _ => return None,
    };
    (head[0] == VERSION).then_some(())?;
    let as_of = AsOf::from_number(u32::from_le_bytes(head[2..6].try_into().ok()?))?;
    let log_time_ms = i64::from_le_bytes(head[6..14].try_into().ok()?);
    Some((Head { kind, as_of, log_time_ms, hash: head[14..].try_into().ok()? }, body))
}

/// Appends the runs of an ascending list of row indexes.
pub(super) fn push_runs(out: &mut Vec<u8>, rows: &[u32]) {
    let mut runs = Vec::new();
    let mut count = 0u64;
    let mut next = 0;
    let mut at = 0;
    while at < rows.len() {
        let start = rows[at];
        let mut end = start + 1;
        at += 1;
        while at < rows.len() && rows[at] == end {
            end += 1;
            at += 1;
        }
        push(&mut runs, u64::from(start - next));
        push(&mut runs, u64::from(end - start));
        next = end;
        count += 1;
    }
    push(out, count);
    push_slice(out, &runs);
}

/// Appends images, ascending by row.
pub(super) fn push_images<'v>(
    out: &mut Vec<u8>,
    images: impl Iterator<Item = (u32, Option<&'v [u8]>)>,
) {
    let mut body = Vec::new();
    let mut next = 0;
    for (row, image) in images {
        push(&mut body, u64::from(row - next));
        push_image(&mut body, image);
        next = row + 1;
    }
    push_slice(out, &body);
}

/// Appends an image that may be absent.
pub(super) fn push_image(out: &mut Vec<u8>, image: Option<&[u8]>) {
    match image {
        None => push(out, 0),
        Some(bytes) => {
            push(out, bytes.len() as u64 + 1);
            out.extend_from_slice(bytes);
        }
    }
}

fn read_image(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = read(bytes)?;
    let Some(length) = length.checked_sub(1) else {
        return Some((None, rest));
    };
    let (image, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
    Some((Some(image), rest))
}

impl<'a> BatchBody<'a> {
    pub(super) fn push_place(
        out: &mut Vec<u8>,
        offset: Offset,
        resource: ResourceNo,
        version: u32,
    ) {
        push(out, offset.0);
        push(out, u64::from(resource.0));
        push(out, u64::from(version));
    }

    pub(super) fn parse(body: &'a [u8]) -> Option<Self> {
        let (offset, rest) = read(body)?;
        let (resource, rest) = read(rest)?;
        let (entry_version, rest) = read(rest)?;
        let (_, rest) = read(rest)?;
        let (runs, rest) = read_slice(rest)?;
        let (before, rest) = read_slice(rest)?;
        let (after, rest) = read_slice(rest)?;
        rest.is_empty().then_some(Self {
            offset: Offset(offset),
            resource: ResourceNo(u32::try_from(resource).ok()?),
            entry_version: u32::try_from(entry_version).ok()?,
            skipped: Runs { bytes: runs, start: 0, end: 0 },
            before: Images { bytes: before, next: 0, ahead: None },
            after: Images { bytes: after, next: 0, ahead: None },
        })
    }
}

/// Ascending row indexes, asked in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Runs<'a> {
    bytes: &'a [u8],
    start: u64,
    end: u64,
}

impl Runs<'_> {
    /// Whether a row is among them; rows are asked in ascending order.
    pub(super) fn has(&mut self, row: u32) -> bool {
        let row = u64::from(row);
        while self.end <= row {
            let Some((gap, rest)) = read(self.bytes) else { return false };
            let Some((length, rest)) = read(rest) else { return false };
            self.start = self.end.saturating_add(gap);
            self.end = self.start.saturating_add(length);
            self.bytes = rest;
        }
        self.start <= row
    }
}

/// Images by row, asked in ascending order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Images<'a> {
    bytes: &'a [u8],
    next: u64,
    ahead: Option<(u64, Option<&'a [u8]>)>,
}

impl<'a> Images<'a> {
    /// What is noted for a row: nothing, that it is absent, or its image.
    pub(super) fn of(&mut self, row: u32) -> Option<Option<&'a [u8]>> {
        let row = u64::from(row);
        loop {
            match self.ahead {
                Some((at, image)) if at == row => return Some(image),
                Some((at, _)) if at > row => return None,
                Some(_) | None => {
                    let (gap, rest) = read(self.bytes)?;
                    let (image, rest) = read_image(rest)?;
                    let at = self.next.saturating_add(gap);
                    self.ahead = Some((at, image));
                    self.next = at.saturating_add(1);
                    self.bytes = rest;
                }
            }
        }
    }
}

/// Appends a change of a written entry.
pub(super) fn push_change(
    out: &mut Vec<u8>,
    key: &[u8],
    before: Option<&[u8]>,
    after: Option<&[u8]>,
) {
    push_slice(out, key);
    push_image(out, before);
    push_image(out, after);
}

/// A change of a written entry and what follows it.
pub(super) type Written<'a> = (&'a [u8], Option<&'a [u8]>, Option<&'a [u8]>);

pub(super) fn read_change(bytes: &[u8]) -> Option<(Written<'_>, &[u8])> {
    let (key, rest) = read_slice(bytes)?;
    let (before, rest) = read_image(rest)?;
    let (after, rest) = read_image(rest)?;
    Some(((key, before, after), rest))
}

/// Appends a row of a clock entry.
pub(super) fn push_row(out: &mut Vec<u8>, key: &[u8], row: &[u8]) {
    push_slice(out, key);
    push_slice(out, row);
}

/// Key and row of a clock entry, and what follows them.
pub(super) fn read_row(bytes: &[u8]) -> Option<(&[u8], &[u8], &[u8])> {
    let (key, rest) = read_slice(bytes)?;
    let (row, rest) = read_slice(rest)?;
    Some((key, row, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::{BTreeMap, BTreeSet};

    fn head() -> Head {
        Head {
            kind: Kind::Batch,
            as_of: AsOf::from_number(20_261_121).unwrap(),
            log_time_ms: -5,
            hash: [7; 32],
        }
    }

    proptest! {
        #[test]
        fn a_batch_entry_round_trips(
            skipped in prop::collection::btree_set(0u32..200, 0..150),
            images in prop::collection::btree_map(0u32..200, prop::option::of(prop::collection::vec(any::<u8>(), 0..5)), 0..60),
        ) {
            let mut bytes = begin(&head());
            BatchBody::push_place(&mut bytes, Offset(900), ResourceNo(77), 3);
            push_runs(&mut bytes, &skipped.iter().copied().collect::<Vec<_>>());
            push_images(&mut bytes, images.iter().map(|(row, image)| (*row, image.as_deref())));
            push_images(&mut bytes, std::iter::empty());
            let (read_head, body) = split(&bytes).unwrap();
            prop_assert_eq!(read_head, head());
            let mut body = BatchBody::parse(body).unwrap();
            prop_assert_eq!((body.offset, body.resource, body.entry_version), (Offset(900), ResourceNo(77), 3));
            let found: BTreeSet<_> = (0..200).filter(|row| body.skipped.has(*row)).collect();
            prop_assert_eq!(found, skipped);
            let found: BTreeMap<_, _> = (0..200)
                .filter_map(|row| Some((row, body.before.of(row)?.map(<[u8]>::to_vec))))
                .collect();
            prop_assert_eq!(found, images);
            prop_assert_eq!(body.after.of(0), None);
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes in prop::collection::vec(any::<u8>(), 0..120)) {
            if let Some((_, body)) = split(&bytes) {
                let _ = BatchBody::parse(body);
            }
            if let Some(mut body) = BatchBody::parse(&bytes) {
                for row in 0..300 {
                    let _ = (body.skipped.has(row), body.before.of(row), body.after.of(row));
                }
            }
            let _ = (read_change(&bytes), read_row(&bytes));
        }
    }
}
