//! What is durably known of a subscription: pure transitions, no I/O.

use hutong_schema::{
    grant::GrantView,
    wire::{
        codec,
        v1::{
            Json,
            control::Key,
            subscribe::{Cursor, DeliveryMode, SnapshotEnd, SnapshotResume},
        },
    },
};
use serde::{Deserialize, Serialize};

use super::SinkError;

/// The durable state of one subscription. File contents behind the lengths named here do not count.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// What is delivered, as last told by the hub: a [`GrantView`] as JSON.
    pub view: Option<Json>,
    /// Position, once a snapshot is complete.
    pub cursor: Option<Cursor>,
    /// What is held is consistent once the cursor has passed this.
    pub consistent_at: Option<Cursor>,
    /// Durable length of the live file, bytes.
    pub length: u64,
    /// Which of the two images is the live file's; the other belongs to the staged one.
    pub side: Side,
    /// The snapshot under way.
    pub staged: Option<Staged>,
    /// The staged file has become the live one, but may still have its old name.
    pub rename_due: bool,
    /// Changes written to the live file, the snapshot's rows included.
    pub changes: u64,
    /// The grant ended: why.
    pub ended: Option<String>,
}

/// One of a subscription's two images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The first.
    #[default]
    A,
    /// The second.
    B,
}

impl Side {
    /// The other one.
    pub fn other(self) -> Self {
        match self {
            Self::A => Self::B,
            Self::B => Self::A,
        }
    }
}

/// A snapshot under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Staged {
    /// What it delivers.
    pub view: Json,
    /// Position of its first chunk.
    pub start: Cursor,
    /// Last key held; `None` before the first chunk.
    pub last_key: Option<Key>,
    /// Position of the last chunk held.
    pub consistent_at: Cursor,
    /// Durable length of the staged file, bytes.
    pub length: u64,
    /// Rows in it.
    pub rows: u64,
}

/// Where delivery is to go on.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resumption {
    /// Position, once a snapshot is complete.
    pub cursor: Option<Cursor>,
    /// What is held is consistent only once the cursor has passed this; `None` when it is already.
    pub consistent_at: Option<Cursor>,
    /// Where an unfinished snapshot stands.
    pub resume: Option<SnapshotResume>,
}

/// What beginning a delivery means for the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Begin {
    /// The live file goes on.
    Live,
    /// The staged file goes on.
    Staged,
    /// A new staged file is begun; an older one is dropped.
    Fresh,
}

impl Record {
    /// Reads the stored form.
    ///
    /// # Errors
    /// When it is damaged.
    pub fn decode(bytes: &[u8]) -> Result<Self, SinkError> {
        codec::decode(bytes).map_err(|_| SinkError::Record)
    }

    /// The stored form.
    ///
    /// # Errors
    /// Never for a record that fits in memory.
    pub fn encode(&self) -> Result<Vec<u8>, SinkError> {
        codec::encode(self).map_err(|_| SinkError::Record)
    }

    /// Where delivery is to go on.
    pub fn resumption(&self) -> Resumption {
        // An unfinished snapshot replaces what is held: the older cursor is not told.
        if let Some(staged) = &self.staged
            && let Some(last_key) = staged.last_key.clone()
        {
            let resume = SnapshotResume { start: staged.start, last_key };
            let consistent_at = Some(staged.consistent_at);
            return Resumption { cursor: None, consistent_at, resume: Some(resume) };
        }
        let consistent_at = if self.consistent() { None } else { self.consistent_at };
        Resumption { cursor: self.cursor, consistent_at, resume: None }
    }

    /// Rows were read at a position that the cursor may not have reached.
    pub(super) fn ahead(&mut self, at: Cursor) {
        if self.consistent_at.is_none_or(|known| known.seq < at.seq) {
            self.consistent_at = Some(at);
        }
    }

    /// The hub begins to deliver.
    pub fn begin(&mut self, view: &Json, mode: &DeliveryMode) -> Result<Begin, SinkError> {
        self.ended = None;
        match mode {
            DeliveryMode::Tail => {
                if self.cursor.is_none() {
                    return Err(SinkError::Delivery("a tail without a snapshot".to_owned()));
                }
                self.staged = None;
                self.view = Some(view.clone());
                Ok(Begin::Live)
            }
            DeliveryMode::Resume { start } => match &mut self.staged {
                Some(staged) if staged.start == *start => {
                    staged.view = view.clone();
                    Ok(Begin::Staged)
                }
                Some(_) | None => Err(SinkError::Delivery(
                    "a snapshot that was never begun is resumed".to_owned(),
                )),
            },
            DeliveryMode::Snapshot { start, because: _ } => {
                self.staged = Some(Staged {
                    view: view.clone(),
                    start: *start,
                    last_key: None,
                    consistent_at: *start,
                    length: 0,
                    rows: 0,
                });
                Ok(Begin::Fresh)
            }
        }
    }

    /// The snapshot is complete: the staged file becomes the live one.
    pub fn end_snapshot(&mut self, end: &SnapshotEnd) -> Result<(), SinkError> {
        let staged = self.staged.take();
        let staged =
            staged.ok_or_else(|| SinkError::Delivery("the end of no snapshot".to_owned()))?;
        if staged.start != end.start {
            return Err(SinkError::Delivery("the end of another snapshot".to_owned()));
        }
        self.view = Some(staged.view);
        self.cursor = Some(end.start);
        self.consistent_at = Some(end.consistent_at);
        self.length = staged.length;
        self.changes = staged.rows;
        self.side = self.side.other();
        self.rename_due = true;
        Ok(())
    }

    /// What was delivered is no longer there: the next delivery is a fresh snapshot.
    pub fn lost(&mut self) {
        *self = Self { side: self.side, view: self.view.take(), ..Self::default() };
    }

    /// Whether what is held is the state of the feed at some position.
    pub fn consistent(&self) -> bool {
        match (self.cursor, self.consistent_at) {
            (Some(cursor), Some(at)) => cursor.seq >= at.seq,
            (Some(_) | None, Some(_) | None) => false,
        }
    }

    /// What is delivered, as last told.
    pub fn grant_view(&self) -> Option<GrantView> {
        self.view.as_ref().and_then(|view| view.read().ok())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sinks::testing::{cursor, view_json};

    fn snapshot(start: Cursor) -> DeliveryMode {
        DeliveryMode::Snapshot { start, because: None }
    }

    #[test]
    fn a_snapshot_is_resumed_at_its_last_key_and_swapped_at_its_end() {
        let mut record = Record::default();
        assert_eq!(record.resumption(), Resumption::default());
        assert_eq!(record.begin(&view_json(1), &snapshot(cursor(5))).unwrap(), Begin::Fresh);
        assert_eq!(
            record.resumption(),
            Resumption::default(),
            "nothing to resume before the first chunk"
        );
        let staged = record.staged.as_mut().unwrap();
        (staged.last_key, staged.length, staged.rows) = (Some(Key(b"k".to_vec())), 70, 3);
        staged.consistent_at = cursor(6);
        let resume = SnapshotResume { start: cursor(5), last_key: Key(b"k".to_vec()) };
        let consistent_at = Some(cursor(6));
        let resumption = Resumption { cursor: None, consistent_at, resume: Some(resume) };
        assert_eq!(record.resumption(), resumption);
        let mut record = Record::decode(&record.encode().unwrap()).unwrap();
        let resumed = DeliveryMode::Resume { start: cursor(5) };
        assert_eq!(record.begin(&view_json(1), &resumed).unwrap(), Begin::Staged);
        record.end_snapshot(&SnapshotEnd { start: cursor(5), consistent_at: cursor(7) }).unwrap();
        assert_eq!((record.length, record.changes, record.side), (70, 3, Side::B));
        assert!(record.rename_due && !record.consistent());
        let resumption = |cursor, consistent_at| Resumption { cursor, consistent_at, resume: None };
        assert_eq!(record.resumption(), resumption(Some(cursor(5)), Some(cursor(7))));
        record.cursor = Some(cursor(7));
        assert!(record.consistent());
        assert_eq!(record.resumption(), resumption(Some(cursor(7)), None));
        record.ahead(cursor(9));
        assert!(!record.consistent());
        record.ahead(cursor(8));
        assert_eq!(record.resumption(), resumption(Some(cursor(7)), Some(cursor(9))));
    }

    #[test]
    fn while_a_new_snapshot_is_staged_the_old_data_stay() {
        let mut record = Record { cursor: Some(cursor(9)), length: 100, ..Record::default() };
        record.begin(&view_json(2), &snapshot(cursor(11))).unwrap();
        assert_eq!((record.length, record.cursor), (100, Some(cursor(9))));
        assert!(record.begin(&view_json(2), &DeliveryMode::Resume { start: cursor(12) }).is_err());
    }

    #[test]
    fn what_was_not_begun_is_refused() {
        assert!(Record::default().begin(&view_json(1), &DeliveryMode::Tail).is_err());
        let end = SnapshotEnd { start: cursor(1), consistent_at: cursor(1) };
        assert!(Record::default().end_snapshot(&end).is_err());
    }
}
