//! Whether what is held is still what was written.

use hutong_schema::digest::Digest;
use tokio_util::sync::CancellationToken;

use super::{
    super::{SinkError, subscription::digest, target::Finding},
    Sink,
};

/// What became of a check.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// It holds what was written, or there is nothing to look at.
    Same,
    /// The image now is what is held.
    Changed {
        /// Keys that differed.
        keys: usize,
    },
    /// It could not be mended; the next delivery is a fresh snapshot.
    Lost,
}

impl Sink {
    /// The digest of what is held; everything taken must be committed.
    ///
    /// # Errors
    /// When the store fails.
    pub async fn digest(&self) -> Result<Digest, SinkError> {
        digest(&self.ledger.store, self.ledger.live()).await
    }

    /// Compares what is held with what was written, and brings the image to what is held. While a
    /// snapshot is under way there is nothing to check: what is held is about to be replaced.
    ///
    /// # Errors
    /// When it cannot be read, is being changed meanwhile, or the check was cancelled: then nothing
    /// happened. When the store fails; the sink is then to be opened again.
    pub async fn check(&mut self, cancel: &CancellationToken) -> Result<Checked, SinkError> {
        self.commit().await?;
        if self.record().cursor.is_none() || self.record().staged.is_some() {
            return Ok(Checked::Same);
        }
        match self.target.check(&mut self.ledger, cancel).await? {
            Finding::Same => Ok(Checked::Same),
            Finding::Changed { keys } => {
                tracing::warn!(
                    place = self.target.place(),
                    keys,
                    "another program changed what was delivered; `hutong-hub reconcile --repair` mends the keys that differ"
                );
                Ok(Checked::Changed { keys })
            }
            Finding::Broken(broken) => {
                let kept = self.give_up().await?.map(|kept| kept.to_string());
                tracing::error!(place = self.target.place(), line = broken.line,
                    found = broken.what, kept = ?kept,
                    "what was delivered was changed so that rows sent again cannot mend it; it is delivered anew");
                Ok(Checked::Lost)
            }
        }
    }
}
