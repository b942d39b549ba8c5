//! What a delivery tells of its rows: digests at checkpoints, and whether the file still holds them.

use std::time::Instant;

use hutong_schema::wire::v1::subscribe::{CheckpointReport, Cursor};
use hutong_schema::words::in_full;

use super::{
    super::check::{Asked, answer_all},
    DeliverFailure, Delivery,
};
use crate::sinks::{Checked, SinkError};

/// Digests take at most one part in so many of the time.
const DIGEST_SHARE: u32 = 10;

impl Delivery<'_> {
    /// Rows change what a checkpoint before them saw.
    pub(super) fn rows_come(&mut self, rows: u32) {
        if rows > 0 {
            (self.mark, self.told) = (None, None);
        }
    }

    /// A checkpoint was reached; reports it if that is cheap.
    pub(super) async fn pass(&mut self, at: Cursor) -> Result<(), DeliverFailure> {
        if self.sink.record().consistent() {
            self.mark = Some(at);
            // Many resources feed one library: its checkpoints come faster than a large image can be
            // read, so some are passed over, but never all.
            if self.told.is_some() || self.digest_done.elapsed() >= self.digest_took * DIGEST_SHARE
            {
                self.report().await?;
            }
        }
        Ok(())
    }

    /// The hub wants to know whether the file still holds what was delivered.
    pub(super) async fn check(&mut self, asked: Vec<Asked>) -> Result<Checked, DeliverFailure> {
        self.commit().await?;
        let grant = self.of.subscription.key.grant;
        let checked = match self.of.digests.acquire().await {
            Ok(_turn) => self.sink.check(self.of.cancel).await,
            Err(_) => Err(SinkError::Interrupted),
        };
        let checked = match checked {
            Ok(checked) => checked,
            Err(
                error @ (SinkError::File(_) | SinkError::Unsettled(_) | SinkError::Interrupted),
            ) => {
                // Nothing happened: rows are taken as before.
                if !self.of.cancel.is_cancelled() {
                    tracing::warn!(%grant, reason = in_full(&error), "the delivered file could not be checked");
                }
                answer_all(asked, false);
                return Ok(Checked::Same);
            }
            Err(
                error @ (SinkError::Store(_)
                | SinkError::Delivery(_)
                | SinkError::Record
                | SinkError::Sql(_)
                | SinkError::Database(_)
                | SinkError::Table { .. }
                | SinkError::Webhook(_)
                | SinkError::Stdout(_)),
            ) => return Err(error.into()),
        };
        if checked != Checked::Same {
            self.told = None;
            self.of.subscription.moved(self.sink.record());
        }
        answer_all(asked, true);
        Ok(checked)
    }

    /// Reports the checkpoint whose state is still the present one.
    pub(super) async fn report(&mut self) -> Result<(), DeliverFailure> {
        let Some(cursor) = self.mark.take() else { return Ok(()) };
        self.commit().await?;
        let digest = match self.told {
            Some(digest) => digest,
            None => {
                let began = Instant::now();
                let digest = self.sink.digest().await?;
                self.digest_done = Instant::now();
                self.digest_took = began.elapsed();
                digest
            }
        };
        self.told = Some(digest);
        self.of.subscription.counted(digest.count);
        tracing::debug!(grant = %self.of.subscription.key.grant, seq = cursor.seq, ?digest, "checkpoint");
        self.send(&CheckpointReport { cursor, digest }).await
    }
}
