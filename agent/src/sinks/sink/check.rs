//! Whether the file still holds what was written to it.

use hutong_schema::digest::Digest;
use tokio_util::sync::CancellationToken;

use super::{
    super::{
        SinkError,
        compare::{Compared, Comparison},
        file::DataFile,
        pieces,
        places::blocking,
        subscription::digest,
    },
    Sink,
};
use crate::spool::{ImageDelta, WriteBatch};

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// The file holds what was written, or there is none to look at.
    Same,
    /// The image now is what the file says.
    Changed {
        /// Keys that differed.
        keys: usize,
    },
    /// The file could not be mended; the next delivery is a fresh snapshot.
    Lost,
}

impl Sink {
    /// The digest of what is held; everything taken must be committed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn digest(&self) -> Result<Digest, SinkError> {
        digest(&self.store, self.images.side(self.record.side)).await
    }

    /// Compares the live file with what was written to it, and brings the image to what the file
    /// says. While a snapshot is under way there is nothing to check: the file is about to be
    /// replaced.
    ///
    /// # Errors
    /// When the file cannot be read, is being changed meanwhile, or the check was cancelled: then
    /// nothing happened. When the store fails; the sink is then to be opened again.
    pub async fn check(&mut self, cancel: &CancellationToken) -> Result<Checked, SinkError> {
        self.commit().await?;
        if self.record.cursor.is_none() || self.record.staged.is_some() {
            return Ok(Checked::Same);
        }
        let comparison = Comparison {
            path: self.live.clone(),
            length: self.record.length,
            lines: self.lines.clone().ok_or(SinkError::Record)?,
            store: self.store.clone(),
            image: self.images.side(self.record.side),
            cancel: cancel.clone(),
        };
        self.apply(blocking(move || comparison.run()).await?).await
    }

    async fn apply(&mut self, compared: Compared) -> Result<Checked, SinkError> {
        match compared {
            Compared::Same(file) => {
                self.go_on_with(file);
                Ok(Checked::Same)
            }
            Compared::Changed(file, delta) => self.follow(file, delta).await,
            Compared::Broken(broken) => {
                let kept = self.give_up().await?;
                tracing::error!(file = %self.live.display(), line = broken.line,
                    found = broken.what, kept = ?kept,
                    "the delivered file was changed so that no added line can mend it; it is delivered anew");
                Ok(Checked::Lost)
            }
        }
    }

    /// The file is what counts.
    async fn follow(
        &mut self,
        mut file: DataFile,
        delta: ImageDelta,
    ) -> Result<Checked, SinkError> {
        let keys = delta.len();
        let image = self.images.side(self.record.side);
        self.record.length = file.length();
        let mut writes = WriteBatch::new();
        writes.image(image, delta);
        pieces::forget(&mut writes, image);
        file.pieces().put(image, &mut writes);
        self.put(writes).await?;
        self.go_on_with(file);
        tracing::warn!(file = %self.live.display(), keys,
            "another program changed the delivered file; `hutong-hub reconcile --repair` mends the keys that differ");
        Ok(Checked::Changed { keys })
    }

    /// Rows are added to the file that was read: under its name there may be another one than when
    /// it was opened.
    fn go_on_with(&mut self, file: DataFile) {
        if self.file.is_some() {
            self.file = Some(file);
        }
    }
}
