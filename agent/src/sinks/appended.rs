//! The target that is one append-only file per grant.

use std::path::{Path, PathBuf};

use hutong_certs::clock;
use hutong_schema::{block::Block, grant::GrantView, wire::v1::subscribe::SnapshotEnd};
use tokio_util::sync::CancellationToken;

use super::{
    Begin, Disposal, Kept, LineFormat, Lines, Record, SinkError,
    compare::{Compared, Comparison},
    file::{self, DataFile, FileFailure},
    ledger::Ledger,
    pieces,
    places::{LastPieces, blocking, put_aside, put_changed_aside, settle, staged_path},
    target::Finding,
};
use crate::spool::WriteBatch;

/// Text collected before it is written to the file, bytes.
const WRITE_AT: usize = 1024 * 1024;

/// One append-only file, with a staged one beside it while a snapshot is received.
pub(super) struct AppendedFile {
    format: LineFormat,
    live: PathBuf,
    lines: Option<Lines>,
    /// Where rows are written at present; `None` before delivery begins and after an error.
    file: Option<DataFile>,
    /// Written by rows, not yet by the file.
    text: Vec<u8>,
}

impl AppendedFile {
    /// Ends an interrupted swap and cuts the file to its durable length. What was changed by
    /// somebody else is given up in the record.
    ///
    /// # Errors
    /// When file or store fail.
    pub(super) async fn open(
        folder: &Path,
        format: LineFormat,
        ledger: &mut Ledger,
    ) -> Result<Self, SinkError> {
        let mut record = ledger.record.clone();
        let live = folder.join(format!("{}.{}", ledger.key.grant, format.suffix()));
        let last = LastPieces::of(&ledger.store, ledger.images, &record)?;
        let now = clock::now();
        let (live, record) = blocking(move || {
            settle(&live, &mut record, last, now)?;
            Ok::<_, FileFailure>((live, record))
        })
        .await?;
        let lines = record.grant_view().map(|view| Lines::new(&view, format));
        ledger.record = record;
        Ok(Self { format, live, lines, file: None, text: Vec::new() })
    }

    /// The live file.
    pub(super) fn path(&self) -> &Path {
        &self.live
    }

    /// Text bytes taken and not yet committed.
    pub(super) fn uncommitted(&self, record: &Record) -> u64 {
        match &self.file {
            Some(file) => {
                let durable = record.staged.as_ref().map_or(record.length, |s| s.length);
                file.length().saturating_sub(durable) + self.text.len() as u64
            }
            None => 0,
        }
    }

    /// Whether there is a file, be it one that the store does not know of.
    pub(super) fn is_there(&self) -> bool {
        self.live.exists() || staged_path(&self.live).exists()
    }

    /// Makes ready for rows; whether the file is the one that the record knows.
    ///
    /// # Errors
    /// When file or store fail.
    pub(super) async fn begin(
        &mut self,
        ledger: &mut Ledger,
        begin: Begin,
        view: &GrantView,
        writes: &mut WriteBatch,
    ) -> Result<bool, SinkError> {
        let lines = Lines::new(view, self.format);
        let (live, staged) = (self.live.clone(), staged_path(&self.live));
        let record = ledger.record.clone();
        let last = LastPieces::of(&ledger.store, ledger.images, &record)?;
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
        let Some(mut file) = file else { return Ok(false) };
        let image = ledger.staged();
        if let (Begin::Fresh, Some(staged)) = (begin, &mut ledger.record.staged) {
            staged.length = file.length();
            file.pieces().put(image, writes);
        }
        self.file = Some(file);
        self.lines = Some(lines);
        Ok(true)
    }

    /// Writes down the changes of a block.
    ///
    /// # Errors
    /// When they do not fit the view, or the file fails.
    pub(super) fn rows(&mut self, block: &Block<'_>) -> Result<(), SinkError> {
        let lines = self.lines.as_ref().ok_or(SinkError::Interrupted)?;
        let layout = lines.layout(block)?;
        for index in 0..block.rows() {
            lines.change(block, &layout, index, &mut self.text)?;
        }
        if self.text.len() >= WRITE_AT {
            self.file.as_mut().ok_or(SinkError::Interrupted)?.append(&self.text)?;
            self.text.clear();
        }
        Ok(())
    }

    /// Synchronises the file, and notes its length and pieces.
    ///
    /// # Errors
    /// When the file fails; it is then to be opened again.
    pub(super) async fn commit(
        &mut self,
        ledger: &mut Ledger,
        wrote: bool,
        writes: &mut WriteBatch,
    ) -> Result<(), SinkError> {
        let (file, text) = (self.file.take(), std::mem::take(&mut self.text));
        let mut file = file.ok_or(SinkError::Interrupted)?;
        let (mut file, length, text) = if wrote {
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
        match &mut ledger.record.staged {
            Some(staged) => staged.length = length,
            None => ledger.record.length = length,
        }
        file.pieces().put(ledger.written(), writes);
        self.file = Some(file);
        self.text = text;
        self.text.clear();
        Ok(())
    }

    /// The staged file takes the live one's place, durably.
    ///
    /// # Errors
    /// When no snapshot is under way, or file or store fail.
    pub(super) async fn complete(
        &mut self,
        ledger: &mut Ledger,
        end: &SnapshotEnd,
    ) -> Result<(), SinkError> {
        let old = ledger.live();
        ledger.record.end_snapshot(end)?;
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, old);
        ledger.put(writes).await?;
        let file = self.file.take();
        let live = self.live.clone();
        self.file = blocking(move || match file {
            Some(mut file) => file.rename(&live).map(|()| Some(file)),
            None => Ok(None),
        })
        .await?;
        ledger.record.rename_due = false;
        ledger.put(WriteBatch::new()).await
    }

    /// Forgets what is not committed.
    pub(super) fn forget_uncommitted(&mut self) {
        self.text.clear();
        self.file = None;
    }

    /// The grant ended: the file is removed, or moved aside.
    ///
    /// # Errors
    /// When the system could not.
    pub(super) async fn dispose(
        &mut self,
        held: bool,
        disposal: Disposal,
        now: jiff::Timestamp,
    ) -> Result<Option<Kept>, SinkError> {
        self.file = None;
        let live = self.live.clone();
        let aside = blocking(move || put_aside(&live, held, disposal, now)).await?;
        Ok(aside.map(Kept::File))
    }

    /// Somebody changed the file so that it cannot be gone on with: it is moved aside.
    ///
    /// # Errors
    /// When the system could not.
    pub(super) async fn give_up(&mut self, staged: bool) -> Result<Option<Kept>, SinkError> {
        // A staged file that does not fit has no live one that anybody complained of.
        if staged {
            return Ok(None);
        }
        let (live, now) = (self.live.clone(), clock::now());
        let aside = blocking(move || put_changed_aside(&live, now)).await?;
        Ok(aside.map(Kept::File))
    }

    /// Compares the live file with what was written to it.
    ///
    /// # Errors
    /// When the file cannot be read, is being changed meanwhile, or the check was cancelled.
    pub(super) async fn check(
        &mut self,
        ledger: &mut Ledger,
        cancel: &CancellationToken,
    ) -> Result<Finding, SinkError> {
        let image = ledger.live();
        let comparison = Comparison {
            path: self.live.clone(),
            length: ledger.record.length,
            lines: self.lines.clone().ok_or(SinkError::Record)?,
            store: ledger.store.clone(),
            image,
            cancel: cancel.clone(),
        };
        match blocking(move || comparison.run()).await? {
            Compared::Same(file) => {
                self.go_on_with(file);
                Ok(Finding::Same)
            }
            Compared::Changed(mut file, delta) => {
                ledger.record.length = file.length();
                let keys = delta.len();
                let mut writes = WriteBatch::new();
                writes.image(image, delta);
                pieces::forget(&mut writes, image);
                file.pieces().put(image, &mut writes);
                ledger.put(writes).await?;
                self.go_on_with(file);
                Ok(Finding::Changed { keys })
            }
            Compared::Broken(broken) => Ok(Finding::Broken(broken)),
        }
    }

    /// Rows are added to the file that was read: under its name there may be another one than when
    /// it was opened.
    fn go_on_with(&mut self, file: DataFile) {
        if self.file.is_some() {
            self.file = Some(file);
        }
    }
}
