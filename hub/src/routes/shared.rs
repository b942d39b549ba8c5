//! Blocks that several deliveries tell alike: made once, by whoever comes first.
//!
//! What a tail block holds follows from the feed, the place in it where the block begins, and what is
//! granted of it: fields and filter. Deliveries that agree in all of that get the same bytes; who
//! receives them has no part in it.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use hutong_schema::wire::codec;
use parking_lot::Mutex;

use super::{Plan, parcel::PackedBlock};
use crate::views::Place;

/// Bytes kept: followers of one feed are a few blocks apart, or too far for this to matter.
const KEPT_BYTES: usize = 32 * 1024 * 1024;

/// What is told of which feed. Plans with the same mark tell the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Content {
    place: Place,
    granted: [u8; 32],
}

impl Content {
    /// `None` when the grant cannot be written down: then nothing is shared.
    pub(super) fn of(plan: &Plan) -> Option<Self> {
        let granted = codec::encode(&(&plan.columns, &plan.view.grant.filter)).ok()?;
        Some(Self { place: plan.place, granted: *blake3::hash(&granted).as_bytes() })
    }
}

/// Where a block begins: behind this entry of the feed.
pub(super) type From = (u64, [u8; 16]);

/// A block, and the entry it reaches to.
#[derive(Clone, Debug)]
pub(super) struct SharedBlock {
    pub(super) to: From,
    pub(super) block: PackedBlock,
}

/// The blocks of all feeds. Cloning gives another handle.
#[derive(Clone, Debug, Default)]
pub(super) struct SharedBlocks(Arc<Mutex<Kept>>);

#[derive(Debug, Default)]
struct Kept {
    /// Open deliveries that tell this.
    followers: HashMap<Content, usize>,
    blocks: HashMap<(Content, From), SharedBlock>,
    /// Oldest first.
    order: VecDeque<(Content, From)>,
    bytes: usize,
}

impl SharedBlocks {
    /// Counts a delivery, as long as the returned value lives.
    pub(super) fn follow(&self, plan: &Plan) -> Follower {
        let content = Content::of(plan);
        if let Some(content) = content {
            *self.0.lock().followers.entry(content).or_default() += 1;
        }
        Follower { blocks: self.clone(), content }
    }
}

/// An open delivery's part in what is shared.
#[derive(Debug)]
pub(super) struct Follower {
    blocks: SharedBlocks,
    content: Option<Content>,
}

impl Follower {
    /// The block that begins here, if another delivery made it.
    pub(super) fn get(&self, from: From) -> Option<SharedBlock> {
        self.blocks.0.lock().blocks.get(&(self.content?, from)).cloned()
    }

    /// Offers a block to the others; kept only if there are any.
    pub(super) fn put(&self, from: From, shared: SharedBlock) {
        let Some(content) = self.content else { return };
        let mut kept = self.blocks.0.lock();
        if kept.followers.get(&content).is_none_or(|followers| *followers < 2) {
            return;
        }
        kept.bytes += shared.block.bytes();
        match kept.blocks.insert((content, from), shared) {
            None => kept.order.push_back((content, from)),
            Some(before) => kept.bytes -= before.block.bytes(),
        }
        while kept.bytes > KEPT_BYTES
            && let Some(oldest) = kept.order.pop_front()
        {
            let bytes = kept.blocks.remove(&oldest).map_or(0, |block| block.block.bytes());
            kept.bytes -= bytes;
        }
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let Some(content) = self.content else { return };
        let mut kept = self.blocks.0.lock();
        let Some(followers) = kept.followers.get_mut(&content) else { return };
        *followers -= 1;
        if *followers > 0 {
            return;
        }
        kept.followers.remove(&content);
        let (order, gone): (VecDeque<_>, VecDeque<_>) =
            std::mem::take(&mut kept.order).into_iter().partition(|(of, _)| *of != content);
        kept.order = order;
        for key in gone {
            let bytes = kept.blocks.remove(&key).map_or(0, |block| block.block.bytes());
            kept.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::numbers::ResourceNo;

    fn follower(blocks: &SharedBlocks, granted: u8) -> Follower {
        let place = Place::Resource(ResourceNo(1));
        let content = Content { place, granted: [granted; 32] };
        *blocks.0.lock().followers.entry(content).or_default() += 1;
        Follower { blocks: blocks.clone(), content: Some(content) }
    }

    fn block(bytes: usize) -> SharedBlock {
        SharedBlock { to: (2, [2; 16]), block: PackedBlock::of_bytes(vec![7; bytes]) }
    }

    const BEGIN: From = (1, [1; 16]);

    #[test]
    fn only_deliveries_that_tell_the_same_share() {
        let blocks = SharedBlocks::default();
        let (one, other, stranger) =
            (follower(&blocks, 1), follower(&blocks, 1), follower(&blocks, 2));
        one.put(BEGIN, block(10));
        stranger.put(BEGIN, block(20));
        assert_eq!(other.get(BEGIN).map(|shared| shared.block.bytes()), Some(10));
        assert!(stranger.get(BEGIN).is_none(), "a single follower keeps nothing");
        assert!(other.get((1, [9; 16])).is_none(), "another history of the feed");
        assert!(other.get((2, [1; 16])).is_none());
    }

    #[test]
    fn the_oldest_blocks_go_and_the_last_follower_takes_all_with_it() {
        let blocks = SharedBlocks::default();
        let (one, other) = (follower(&blocks, 1), follower(&blocks, 1));
        for seq in 0..100 {
            one.put((seq, [1; 16]), block(KEPT_BYTES / 10));
            // Made twice at once: counted once.
            other.put((seq, [1; 16]), block(KEPT_BYTES / 10));
            assert!(blocks.0.lock().bytes <= KEPT_BYTES);
        }
        assert!(other.get((50, [1; 16])).is_none());
        assert!(other.get((99, [1; 16])).is_some());
        drop(one);
        assert!(other.get((99, [1; 16])).is_some());
        drop(other);
        let kept = blocks.0.lock();
        assert_eq!((kept.bytes, kept.blocks.len(), kept.order.len()), (0, 0, 0));
        assert!(kept.followers.is_empty());
    }
}
