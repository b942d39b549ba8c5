//! The snapshot of a delivery: rows in key order, chunk by chunk, each as of one moment.

use std::ops::ControlFlow;

use hutong_schema::wire::v1::subscribe::{Cursor, SnapshotEnd};

use super::{
    Chunk, Delivery, Parcel, RouteError,
    delivery::{Position, Step},
    short,
};
use crate::views::ScanEnd;

/// Rows looked at in one slice: a filter that hides nearly everything must not hold a turn for long.
const SLICE_ROWS: usize = 20_000;

impl Delivery {
    pub(super) fn snapshot_step(
        &mut self,
        start: Cursor,
        last: Cursor,
        after: Option<Vec<u8>>,
    ) -> Result<Step, RouteError> {
        let plan = self.plan.clone();
        let snapshot = self.router.views.snapshot();
        let feed = snapshot.feed_state(plan.place)?;
        let as_of = snapshot.as_of(plan.place)?;
        let at = self.router.cursor(&plan, feed.seq, short(&feed.hash));

        let mut looked = 0;
        let mut looked_bytes = 0;
        let mut last_key = Vec::new();
        let packer = &mut self.packer;
        let mut packed = Ok(());
        let end = snapshot.scan(plan.place, after.as_deref(), |key, row| {
            // A row that would spill a block begins the next chunk.
            if !packer.fits(key, row) {
                return ControlFlow::Break(());
            }
            looked += 1;
            looked_bytes += key.len() + row.as_bytes().len();
            last_key.clear();
            last_key.extend_from_slice(key);
            if plan.filter.matches(key, row, as_of) {
                packed = packer.push(key, Some(row), &plan.columns);
            }
            let enough = packed.is_err() || packer.is_full() || looked >= SLICE_ROWS;
            if enough { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        packed?;

        if end == ScanEnd::Complete && looked == 0 {
            self.position = Position::Tail { seq: start.seq, hash: start.feed_hash };
            // With no chunk at all the moment of looking is the moment of consistency.
            let consistent_at = if after.is_none() { start } else { last };
            return Ok(Step::Parcel(Parcel::End(SnapshotEnd { start, consistent_at })));
        }
        // The end of the keys is told by the next step, which will find none behind the last.
        self.position = Position::Snapshot { start, last: at, after: Some(last_key.clone()) };
        if self.packer.is_empty() {
            return Ok(Step::Work(looked_bytes));
        }
        let block = self.packer.pack()?;
        Ok(Step::Parcel(Parcel::Chunk(Chunk { at, last_key, block })))
    }
}
