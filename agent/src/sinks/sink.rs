//! One subscription's file, its record and its image, moved on together.

mod aside;
mod check;
mod take;

pub use check::Checked;
pub use take::{TakeError, Taken};

use std::path::{Path, PathBuf};

use hutong_certs::clock;
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
    Begin, LineFormat, Lines, Record, SinkError, SinkOptions,
    file::{self, DataFile, FileFailure},
    pieces,
    places::{LastPieces, blocking, settle, staged_path},
    subscription::{Images, SubscriptionKey},
};
use crate::spool::{Area, ImageDelta, ImageId, Store, WriteBatch};

/// Text collected before it is written to the file, bytes.
const WRITE_AT: usize = 1024 * 1024;

/// What is not committed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dirty {
    /// Rows.
    Rows,
    /// The position alone.
    Cursor,
}

/// One subscription's file, its record and its image.
pub struct Sink {
    store: Store,
    key: SubscriptionKey,
    images: Images,
    format: LineFormat,
    live: PathBuf,
    record: Record,
    lines: Option<Lines>,
    /// Where rows are written at present; `None` before delivery begins and after an error.
    file: Option<DataFile>,
    /// Written by rows, not yet by the file.
    text: Vec<u8>,
    delta: ImageDelta,
    raw: Vec<u8>,
    scratch: Vec<u8>,
    /// Something is not committed.
    dirty: bool,
    /// Rows are among it.
    wrote: bool,
}

impl Sink {
    /// Opens what is held of a subscription: ends an interrupted swap, cuts the file to its
    /// durable length. What was changed by somebody else is given up, so that it is delivered anew.
    ///
    /// # Errors
    /// When file or store fail.
    pub async fn open(
        store: Store,
        key: SubscriptionKey,
        options: &SinkOptions,
    ) -> Result<Self, SinkError> {
        let SinkOptions::Files { folder, format } = options;
        let format = *format;
        let images = Images::of(&store, &key).await?;
        let mut record = key.record(&store)?.unwrap_or_default();
        let live = folder.join(format!("{}.{}", key.grant, format.suffix()));
        let before = record.clone();
        let last = LastPieces::of(&store, images, &record)?;
        let now = clock::now();
        let (live, record) = blocking(move || {
            settle(&live, &mut record, last, now)?;
            Ok::<_, FileFailure>((live, record))
        })
        .await?;
        let lines = record.grant_view().map(|view| Lines::new(&view, format));
        let sink = Self {
            store,
            key,
            images,
            format,
            live,
            record,
            lines,
            file: None,
            text: Vec::new(),
            delta: ImageDelta::new(),
            raw: Vec::new(),
            scratch: Vec::new(),
            dirty: false,
            wrote: false,
        };
        if sink.record != before {
            let mut writes = WriteBatch::new();
            if sink.record.cursor.is_none() {
                pieces::clear(&mut writes, sink.images.side(sink.record.side));
            }
            sink.put(writes).await?;
        }
        Ok(sink)
    }

    /// Text bytes taken and not yet committed.
    pub fn uncommitted(&self) -> u64 {
        match &self.file {
            Some(file) => {
                let durable = self.record.staged.as_ref().map_or(self.record.length, |s| s.length);
                file.length().saturating_sub(durable) + self.text.len() as u64
            }
            None => 0,
        }
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
        &self.record
    }

    /// Whether anything of this subscription is here: rows, an unfinished snapshot, or a file that a
    /// store of before knew of.
    pub fn holds_anything(&self) -> bool {
        let known = self.record.cursor.is_some() || self.record.staged.is_some();
        known || self.live.exists() || self.staged_path().exists()
    }

    /// The live file.
    pub fn path(&self) -> &Path {
        &self.live
    }

    /// Delivery begins.
    ///
    /// # Errors
    /// When it does not fit what is held, or file or store fail.
    pub async fn begin(&mut self, ready: &SubscribeReady) -> Result<Begin, SinkError> {
        let view = ready
            .view
            .read()
            .map_err(|error| SinkError::Delivery(format!("the grant's view: {error}")))?;
        let mut record = self.record.clone();
        let begin = record.begin(&ready.view, &ready.mode)?;
        let lines = Lines::new(&view, self.format);
        self.record = record;
        self.forget_uncommitted();
        let (live, staged) = (self.live.clone(), self.staged_path());
        let record = self.record.clone();
        let last = LastPieces::of(&self.store, self.images, &record)?;
        let mut header = Vec::new();
        if begin == Begin::Fresh {
            lines.header(&mut header);
        }
        let file = blocking(move || match begin {
            Begin::Live => {
                file::remove(&staged)?;
                DataFile::reopen(&live, record.length, last.live)
            }
            Begin::Staged => {
                let length = record.staged.map_or(0, |staged| staged.length);
                DataFile::reopen(&staged, length, last.staged)
            }
            Begin::Fresh => {
                let mut file = DataFile::create(&staged)?;
                file.append(&header)?;
                file.sync()?;
                Ok(Some(file))
            }
        })
        .await?;
        let Some(mut file) = file else {
            // Somebody changed the file since it was opened; everything is delivered anew.
            self.give_up().await?;
            return Err(SinkError::Delivery("the file was changed by another program".to_owned()));
        };
        let mut writes = WriteBatch::new();
        match begin {
            // A snapshot that was never finished has left its keys in the other image.
            Begin::Live | Begin::Fresh => {
                pieces::clear(&mut writes, self.images.side(self.record.side.other()));
            }
            Begin::Staged => {}
        }
        if let (Begin::Fresh, Some(staged)) = (begin, &mut self.record.staged) {
            staged.length = file.length();
            file.pieces().put(self.images.side(self.record.side.other()), &mut writes);
        }
        self.put(writes).await?;
        self.file = Some(file);
        self.lines = Some(lines);
        Ok(begin)
    }

    /// Takes a part of the snapshot, read at a position. Not durable before [`commit`](Self::commit).
    ///
    /// # Errors
    /// When no snapshot is under way, the part does not fit its description, or the file fails.
    pub fn chunk(
        &mut self,
        at: Cursor,
        last_key: &[u8],
        block: Packed<'_>,
    ) -> Result<(), SinkError> {
        if self.record.staged.is_none() {
            return Err(SinkError::Delivery("a part of no snapshot".to_owned()));
        }
        let rows = self.rows(block)?;
        if let Some(staged) = &mut self.record.staged {
            staged.last_key = Some(Key(last_key.to_vec()));
            staged.consistent_at = at;
            staged.rows += rows;
        }
        Ok(())
    }

    /// Takes changes after the snapshot; `from_seq` must be where this file stands.
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
        self.record.changes += rows;
        self.record.cursor = Some(cursor);
        self.dirty = true;
        Ok(())
    }

    /// Takes rows that are sent again, read at a position; the cursor stays.
    ///
    /// # Errors
    /// As [`chunk`](Self::chunk).
    pub fn repair(&mut self, at: Cursor, block: Packed<'_>) -> Result<(), SinkError> {
        if self.record.staged.is_some() || self.record.cursor.is_none() {
            return Err(SinkError::Delivery(
                "a repair before the snapshot was complete".to_owned(),
            ));
        }
        let rows = self.rows(block)?;
        self.record.changes += rows;
        self.record.ahead(at);
        Ok(())
    }

    /// Moves to a checkpoint.
    ///
    /// # Errors
    /// When the checkpoint lies behind.
    pub fn checkpoint(&mut self, cursor: Cursor) -> Result<(), SinkError> {
        match self.record.cursor {
            Some(held) if held.seq <= cursor.seq && self.record.staged.is_none() => {
                self.dirty |= held != cursor;
                self.record.cursor = Some(cursor);
                Ok(())
            }
            Some(_) | None => Err(SinkError::Delivery("a checkpoint out of order".to_owned())),
        }
    }

    /// The snapshot is complete: the staged file takes the live one's place, durably.
    ///
    /// # Errors
    /// When no snapshot is under way, or file or store fail.
    pub async fn end_snapshot(&mut self, end: &SnapshotEnd) -> Result<(), SinkError> {
        self.commit().await?;
        let old = self.images.side(self.record.side);
        self.record.end_snapshot(end)?;
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, old);
        self.put(writes).await?;
        let file = self.file.take();
        let live = self.live.clone();
        self.file = blocking(move || match file {
            Some(mut file) => file.rename(&live).map(|()| Some(file)),
            None => Ok(None),
        })
        .await?;
        self.record.rename_due = false;
        self.put(WriteBatch::new()).await
    }

    /// Makes everything taken so far durable: file first, then cursor, length, pieces and leaves at
    /// once.
    ///
    /// # Errors
    /// When file or store fail; the sink is then to be opened again.
    pub async fn commit(&mut self) -> Result<(), SinkError> {
        if !self.dirty {
            return Ok(());
        }
        let (file, text) = (self.file.take(), std::mem::take(&mut self.text));
        let mut file = file.ok_or(SinkError::Interrupted)?;
        let (mut file, length, text) = if std::mem::take(&mut self.wrote) {
            blocking(move || {
                file.append(&text)?;
                let length = file.sync()?;
                Ok::<_, FileFailure>((file, length, text))
            })
            .await?
        } else {
            // Only the cursor moved.
            let length = file.length();
            (file, length, text)
        };
        match &mut self.record.staged {
            Some(staged) => staged.length = length,
            None => self.record.length = length,
        }
        let mut writes = WriteBatch::new();
        let image = self.written_image();
        writes.image(image, std::mem::take(&mut self.delta));
        file.pieces().put(image, &mut writes);
        self.put(writes).await?;
        self.file = Some(file);
        self.text = text;
        self.text.clear();
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
        let lines = self.lines.as_ref().ok_or(SinkError::Interrupted)?;
        let layout = lines.layout(&block)?;
        (self.dirty, self.wrote) = (true, true);
        for index in 0..block.rows() {
            lines.change(&block, &layout, index, &mut self.text)?;
            let key = block.key(index);
            if block.is_delete(index) {
                self.delta.delete(key);
            } else {
                let fields = (0..block.columns())
                    .filter_map(|column| Some((block.field(column), block.value(column, index)?)));
                self.delta.upsert(key, leaf_of(key, fields, &mut self.scratch));
            }
        }
        let rows = block.rows() as u64;
        if self.text.len() >= WRITE_AT {
            self.file.as_mut().ok_or(SinkError::Interrupted)?.append(&self.text)?;
            self.text.clear();
        }
        Ok(rows)
    }

    fn continues(&self, from_seq: u64) -> Result<(), SinkError> {
        match self.record.cursor {
            Some(cursor) if self.record.staged.is_none() && cursor.seq == from_seq => Ok(()),
            Some(cursor) => Err(SinkError::Delivery(format!(
                "changes after entry {from_seq} were delivered, those after {} are due",
                cursor.seq
            ))),
            None => Err(SinkError::Delivery("changes before the snapshot was complete".to_owned())),
        }
    }

    fn forget_uncommitted(&mut self) {
        self.text.clear();
        self.delta = ImageDelta::new();
        (self.dirty, self.wrote) = (false, false);
        self.file = None;
    }

    fn written_image(&self) -> ImageId {
        match self.record.staged {
            Some(_) => self.images.side(self.record.side.other()),
            None => self.images.side(self.record.side),
        }
    }

    fn staged_path(&self) -> PathBuf {
        staged_path(&self.live)
    }

    async fn put(&self, mut writes: WriteBatch) -> Result<(), SinkError> {
        writes.put(Area::Subscriptions, &self.key.bytes(), self.record.encode()?);
        self.store.commit(writes).await?;
        Ok(())
    }
}
