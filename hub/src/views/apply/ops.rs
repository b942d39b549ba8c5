//! The changes of a range in the order of their keys.

use hutong_schema::block::Block;

use super::{range::Work, sink::prefix_of};
use crate::numbers::SpaceNo;

/// One change of one batch.
#[derive(Clone, Copy, Debug)]
pub(super) struct Op {
    prefix: u128,
    pub(super) space: SpaceNo,
    pub(super) work: u32,
    pub(super) row: u32,
    /// The row was rejected: it only tells that its key is still named by the source.
    pub(super) touch: bool,
}

/// All changes of a range, sorted by space, key, and then in log order.
pub(super) struct Ops<'a> {
    ops: Vec<Op>,
    works: &'a [Work],
    blocks: &'a [Block<'a>],
}

impl<'a> Ops<'a> {
    /// Collects and sorts. Keys that no row can have are left out and named, by batch and row.
    pub(super) fn collect(works: &'a [Work], blocks: &'a [Block<'a>]) -> (Self, Vec<(usize, u32)>) {
        let mut ops = Vec::with_capacity(blocks.iter().map(Block::rows).sum());
        let mut impossible = Vec::new();
        for (number, (work, block)) in works.iter().zip(blocks).enumerate() {
            let mut rejected = work.rejected.iter().copied().peekable();
            for row in 0..block.rows() as u32 {
                let touch = rejected.next_if_eq(&row).is_some();
                if touch && !work.replacing {
                    continue;
                }
                let key = block.key(row as usize);
                if key.is_empty() || key.contains(&0) {
                    if !touch {
                        impossible.push((number, row));
                    }
                    continue;
                }
                let prefix = prefix_of(key);
                ops.push(Op { prefix, space: work.entry.space, work: number as u32, row, touch });
            }
        }
        let key = |op: &Op| blocks[op.work as usize].key(op.row as usize);
        ops.sort_unstable_by(|a, b| {
            (a.space, a.prefix)
                .cmp(&(b.space, b.prefix))
                .then_with(|| key(a).cmp(key(b)))
                .then_with(|| (a.work, a.row).cmp(&(b.work, b.row)))
        });
        (Self { ops, works, blocks }, impossible)
    }

    pub(super) fn len(&self) -> usize {
        self.ops.len()
    }

    pub(super) fn slice(&self, range: std::ops::Range<usize>) -> &[Op] {
        &self.ops[range]
    }

    pub(super) fn work(&self, op: &Op) -> &'a Work {
        &self.works[op.work as usize]
    }

    pub(super) fn block(&self, op: &Op) -> &'a Block<'a> {
        &self.blocks[op.work as usize]
    }

    pub(super) fn key(&self, op: &Op) -> &'a [u8] {
        self.blocks[op.work as usize].key(op.row as usize)
    }

    /// The spaces in ascending order, and how many changes each has.
    pub(super) fn spaces(&self) -> impl Iterator<Item = (SpaceNo, usize)> {
        let spaces = self.ops.chunk_by(|a, b| a.space == b.space);
        spaces.map(|ops| (ops[0].space, ops.len()))
    }

    /// Where the changes of the key at `start` end.
    pub(super) fn end_of_key(&self, start: usize) -> usize {
        let first = &self.ops[start];
        let key = self.key(first);
        let same =
            |op: &Op| op.space == first.space && op.prefix == first.prefix && self.key(op) == key;
        start + self.ops[start..].iter().take_while(|op| same(op)).count()
    }
}
