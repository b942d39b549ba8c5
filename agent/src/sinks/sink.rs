//! One subscription's target, its record and its image, moved on together.

mod aside;
mod check;
mod take;

pub use check::Checked;
pub use take::{TakeError, Taken};

use hutong_schema::{
    batch,
    block::Block,
    digest::leaf_of,
    wire::v1::{
        control::Key,
        subscribe::{Cursor, Packed, SnapshotEnd, SubscribeReady},
    },
};

use super::{
    Begin, Record, SinkError, SinkOptions, ledger::Ledger, pieces, subscription::SubscriptionKey,
    target::Target,
};
use crate::spool::{ImageDelta, Store, WriteBatch};

/// What is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// Rows.
    Rows,
    /// The position alone.
    Cursor,
}

/// One subscription's target, its record and its image.
pub struct Sink {
    ledger: Ledger,
    target: Target,
    delta: ImageDelta,
    raw: Vec<u8>,
    scratch: Vec<u8>,
    /// Something is not committed.
    dirty: bool,
    /// Rows are among it.
    wrote: bool,
}

impl Sink {
    /// Opens what is held of a subscription, and brings target and record together: ends an
    /// interrupted swap, cuts a file to its durable length. What was changed by somebody else is given
    /// up, so that it is delivered anew.
    ///
    /// # Errors
    /// When target or store fail.
    pub async fn open(
        store: Store,
        key: SubscriptionKey,
        options: &SinkOptions,
    ) -> Result<Self, SinkError> {
        let mut ledger = Ledger::open(store, key).await?;
        let before = ledger.record.clone();
        let target = Target::open(options, &mut ledger).await?;
        if ledger.record != before {
            let mut writes = WriteBatch::new();
            if ledger.record.cursor.is_none() {
                pieces::clear(&mut writes, ledger.live());
            }
            ledger.put(writes).await?;
        }
        Ok(Self {
            ledger,
            target,
            delta: ImageDelta::new(),
            raw: Vec::new(),
            scratch: Vec::new(),
            dirty: false,
            wrote: false,
        })
    }

    /// Bytes taken and not yet committed.
    pub fn uncommitted(&self) -> u64 {
        self.target.uncommitted(&self.ledger.record)
    }

    /// Whether something taken is not committed; with rows, or the cursor alone.
    pub fn dirty(&self) -> Option<Dirty> {
        match (self.dirty, self.wrote) {
            (false, _) => None,
            (true, true) => Some(Dirty::Rows),
            (true, false) => Some(Dirty::Cursor),
        }
    }

    /// What is known; durable after [`commit`](Self::commit).
    pub fn record(&self) -> &Record {
        &self.ledger.record
    }

    /// Whether anything of this subscription is here: rows, an unfinished snapshot, or something that
    /// a store of before knew of.
    pub fn holds_anything(&self) -> bool {
        let record = self.record();
        record.cursor.is_some() || record.staged.is_some() || self.target.is_there()
    }

    /// The live file.
    #[cfg(test)]
    pub(super) fn path(&self) -> &std::path::Path {
        self.target.path()
    }

    /// Delivery begins.
    ///
    /// # Errors
    /// When it does not fit what is held, or target or store fail.
    pub async fn begin(&mut self, ready: &SubscribeReady) -> Result<Begin, SinkError> {
        let view = ready
            .view
            .read()
            .map_err(|error| SinkError::Delivery(format!("the grant's view: {error}")))?;
        let mut record = self.record().clone();
        let begin = record.begin(&ready.view, &ready.mode)?;
        self.ledger.record = record;
        self.forget_uncommitted();
        let mut writes = WriteBatch::new();
        match begin {
            // A snapshot that was never finished has left its keys in the other image.
            Begin::Live | Begin::Fresh => pieces::clear(&mut writes, self.ledger.staged()),
            Begin::Staged => {}
        }
        if !self.target.begin(&mut self.ledger, begin, &view, &mut writes).await? {
            // Somebody changed it since it was opened; everything is delivered anew.
            self.give_up().await?;
            return Err(SinkError::Delivery(format!(
                "{} was changed by another program",
                self.target.place()
            )));
        }
        self.ledger.put(writes).await?;
        Ok(begin)
    }

    /// Takes a part of the snapshot, read at a position. Not durable before [`commit`](Self::commit).
    ///
    /// # Errors
    /// When no snapshot is under way, the part does not fit its description, or the target fails.
    pub fn chunk(
        &mut self,
        at: Cursor,
        last_key: &[u8],
        block: Packed<'_>,
    ) -> Result<(), SinkError> {
        if self.ledger.record.staged.is_none() {
            return Err(SinkError::Delivery("a part of no snapshot".to_owned()));
        }
        let rows = self.rows(block)?;
        if let Some(staged) = &mut self.ledger.record.staged {
            staged.last_key = Some(Key(last_key.to_vec()));
            staged.consistent_at = at;
            staged.rows += rows;
        }
        Ok(())
    }

    /// Takes changes after the snapshot; `from_seq` must be where this subscription stands.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub fn tail(
        &mut self,
        from_seq: u64,
        cursor: Cursor,
        block: Packed<'_>,
    ) -> Result<(), SinkError> {
        self.continues(from_seq)?;
        let rows = self.rows(block)?;
        self.ledger.record.changes += rows;
        self.ledger.record.cursor = Some(cursor);
        self.dirty = true;
        Ok(())
    }

    /// Takes rows that are sent again, read at a position; the cursor stays.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub fn repair(&mut self, at: Cursor, block: Packed<'_>) -> Result<(), SinkError> {
        if self.ledger.record.staged.is_some() || self.ledger.record.cursor.is_none() {
            return Err(SinkError::Delivery(
                "a repair before the snapshot was complete".to_owned(),
            ));
        }
        let rows = self.rows(block)?;
        self.ledger.record.changes += rows;
        self.ledger.record.ahead(at);
        Ok(())
    }

    /// Moves to a checkpoint.
    ///
    /// # Errors
    /// When the checkpoint lies behind.
    pub fn checkpoint(&mut self, cursor: Cursor) -> Result<(), SinkError> {
        match self.ledger.record.cursor {
            Some(held) if held.seq <= cursor.seq && self.ledger.record.staged.is_none() => {
                self.dirty |= held != cursor;
                self.ledger.record.cursor = Some(cursor);
                Ok(())
            }
            Some(_) | None => Err(SinkError::Delivery("a checkpoint out of order".to_owned())),
        }
    }

    /// The snapshot is complete: the staged rows take the live ones' place, durably.
    ///
    /// # Errors
    /// When no snapshot is under way, or target or store fail.
    pub async fn end_snapshot(&mut self, end: &SnapshotEnd) -> Result<(), SinkError> {
        self.commit().await?;
        self.target.complete(&mut self.ledger, end).await
    }

    /// Makes everything taken so far durable: the target first, then cursor and leaves at once.
    ///
    /// # Errors
    /// When target or store fail; the sink is then to be opened again.
    pub async fn commit(&mut self) -> Result<(), SinkError> {
        if !self.dirty {
            return Ok(());
        }
        let mut writes = WriteBatch::new();
        writes.image(self.ledger.written(), std::mem::take(&mut self.delta));
        let wrote = std::mem::take(&mut self.wrote);
        self.target.commit(&mut self.ledger, wrote, &mut writes).await?;
        self.ledger.put(writes).await?;
        self.target.committed(&self.ledger).await?;
        self.dirty = false;
        Ok(())
    }

    fn rows(&mut self, packed: Packed<'_>) -> Result<u64, SinkError> {
        let damaged =
            |error: &dyn std::fmt::Display| SinkError::Delivery(format!("a block: {error}"));
        let raw_len = packed.raw_len as usize;
        batch::decompress_into(packed.payload, packed.codec, raw_len, &mut self.raw)
            .map_err(|error| damaged(&error))?;
        if raw_len == 0 {
            return Ok(0);
        }
        let block = Block::parse(&self.raw).map_err(|error| damaged(&error))?;
        if block.rows() == 0 {
            return Ok(0);
        }
        self.target.rows(&block)?;
        (self.dirty, self.wrote) = (true, true);
        for index in 0..block.rows() {
            let key = block.key(index);
            if block.is_delete(index) {
                self.delta.delete(key);
            } else {
                let fields = (0..block.columns())
                    .filter_map(|column| Some((block.field(column), block.value(column, index)?)));
                self.delta.upsert(key, leaf_of(key, fields, &mut self.scratch));
            }
        }
        Ok(block.rows() as u64)
    }

    fn continues(&self, from_seq: u64) -> Result<(), SinkError> {
        match self.ledger.record.cursor {
            Some(cursor) if self.ledger.record.staged.is_none() && cursor.seq == from_seq => Ok(()),
            Some(cursor) => Err(SinkError::Delivery(format!(
                "changes after entry {from_seq} were delivered, those after {} are due",
                cursor.seq
            ))),
            None => Err(SinkError::Delivery("changes before the snapshot was complete".to_owned())),
        }
    }

    fn forget_uncommitted(&mut self) {
        self.target.forget_uncommitted();
        self.delta = ImageDelta::new();
        (self.dirty, self.wrote) = (false, false);
    }
}
