//! The tail of a delivery: feed entries, judged change by change.

use std::{collections::VecDeque, sync::Arc};

use hutong_schema::{grant::AsOf, wire::v1::subscribe::CheckpointMark};

use super::{
    Delivery, Parcel, RouteError, Tail,
    change::{Told, judge, judge_date},
    delivery::{Position, Step},
    shared::SharedBlock,
    short,
};
use crate::views::{ChangeSet, FeedChange, FeedItem, FeedWhat};

/// Bytes of feed entries read at once.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// Feed entries read and not yet told.
pub(super) type Pending = VecDeque<Arc<FeedItem>>;

impl Delivery {
    /// Tells the next entries. Several small ones go into one block; one that is too large for a
    /// block is told in several, and the cursor moves with the last of them.
    pub(super) fn tail_step(&mut self, seq: u64, hash: [u8; 16]) -> Result<Step, RouteError> {
        if self.reached.is_none() {
            if let Some(shared) = self.shared.get((seq, hash)) {
                return Ok(self.tell_shared(seq, shared));
            }
            if !self.read_on(seq)? {
                return Ok(Step::Idle);
            }
        }
        let (cursor, block) = match (self.packer.spilled.pop_front(), self.reached.take()) {
            (Some(block), reached) => {
                self.reached = reached;
                self.in_pieces = true;
                (self.router.cursor(&self.plan, seq, hash), block)
            }
            (None, Some((to, to_hash))) => {
                self.position = Position::Tail { seq: to, hash: to_hash };
                let cursor = self.router.cursor(&self.plan, to, to_hash);
                if self.at_mark {
                    self.at_mark = false;
                    return Ok(Step::Parcel(Parcel::Mark(CheckpointMark { cursor })));
                }
                let block = self.packer.pack()?;
                if !std::mem::take(&mut self.in_pieces) {
                    let shared = SharedBlock { to: (to, to_hash), block: block.clone() };
                    self.shared.put((seq, hash), shared);
                }
                (cursor, block)
            }
            (None, None) => return Ok(Step::Idle),
        };
        Ok(Step::Parcel(Parcel::Tail(Tail { cursor, from_seq: seq, block })))
    }

    /// Tells what another delivery has put together.
    fn tell_shared(&mut self, from_seq: u64, shared: SharedBlock) -> Step {
        metrics::counter!("hutong_routed_shared_blocks_total").increment(1);
        let (seq, hash) = shared.to;
        while self.pending.pop_front_if(|item| item.seq <= seq).is_some() {}
        self.position = Position::Tail { seq, hash };
        let cursor = self.router.cursor(&self.plan, seq, hash);
        Step::Parcel(Parcel::Tail(Tail { cursor, from_seq, block: shared.block }))
    }

    /// Takes entries up behind `seq` until a block is full; a checkpoint stands alone. `false` when
    /// there are none.
    fn read_on(&mut self, seq: u64) -> Result<bool, RouteError> {
        if self.pending.is_empty() {
            self.pending = self.router.views.feed_after(self.plan.place, seq, READ_BYTES)?.into();
        }
        while let Some(item) = self.pending.front().map(Arc::clone) {
            let checkpoint = matches!(item.what, FeedWhat::Checkpoint);
            if checkpoint && self.reached.is_some() {
                break;
            }
            self.tell(&item)?;
            self.pending.pop_front();
            self.at_mark = checkpoint;
            self.reached = Some((item.seq, short(&item.hash)));
            metrics::counter!("hutong_routed_bytes_total").increment(item.bytes() as u64);
            if checkpoint || self.packer.is_full() || !self.packer.spilled.is_empty() {
                break;
            }
        }
        Ok(self.reached.is_some())
    }

    fn tell(&mut self, item: &FeedItem) -> Result<(), RouteError> {
        match &item.what {
            FeedWhat::Changes(changes) => self.tell_changes(changes, item.as_of),
            FeedWhat::ClockDate { from, to, rows } => self.tell_date(rows, (*from, *to)),
            FeedWhat::Checkpoint => Ok(()),
        }
    }

    fn tell_changes(&mut self, changes: &ChangeSet, as_of: AsOf) -> Result<(), RouteError> {
        let (plan, packer) = (&self.plan, &mut self.packer);
        let mut packed = Ok(());
        changes.visit(|FeedChange { key, before, after }| {
            let told = match judge(&plan.filter, as_of, key, before, after) {
                Told::Upsert => packer.push(key, after, &plan.columns),
                Told::Delete => packer.push(key, None, &plan.columns),
                Told::Nothing => Ok(()),
            };
            if packed.is_ok() {
                packed = told;
            }
        })?;
        packed
    }

    fn tell_date(&mut self, rows: &ChangeSet, dates: (AsOf, AsOf)) -> Result<(), RouteError> {
        let (plan, packer) = (&self.plan, &mut self.packer);
        let mut packed = Ok(());
        rows.visit(|change| {
            let Some(row) = change.after else { return };
            let told = match judge_date(&plan.filter, dates, change.key, row) {
                Told::Upsert => packer.push(change.key, Some(row), &plan.columns),
                Told::Delete => packer.push(change.key, None, &plan.columns),
                Told::Nothing => Ok(()),
            };
            if packed.is_ok() {
                packed = told;
            }
        })?;
        packed
    }
}
