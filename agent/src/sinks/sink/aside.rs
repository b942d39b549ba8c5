//! What is held of a subscription is put away: its grant ended, or somebody else changed it.

use super::{
    super::{Disposal, Kept, SinkError, pieces},
    Sink,
};
use crate::spool::WriteBatch;

impl Sink {
    /// The grant ended: the data are disposed of and the position is forgotten. Returns where the
    /// data are kept.
    ///
    /// # Errors
    /// When target or store fail.
    pub async fn dispose(
        mut self,
        reason: &str,
        disposal: Disposal,
        now: jiff::Timestamp,
    ) -> Result<Option<Kept>, SinkError> {
        let record = &mut self.ledger.record;
        let held = record.cursor.is_some() || record.length > 0;
        record.lost();
        record.ended = Some(reason.to_owned());
        let kept = self.target.dispose(&self.ledger, held, disposal, now).await?;
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, self.ledger.live());
        pieces::clear(&mut writes, self.ledger.staged());
        self.ledger.put(writes).await?;
        Ok(kept)
    }

    /// What was delivered is no longer there: it is kept aside, and the next delivery is a fresh
    /// snapshot. Returns where it is, if there was anything.
    ///
    /// # Errors
    /// When target or store fail.
    pub(super) async fn give_up(&mut self) -> Result<Option<Kept>, SinkError> {
        let staged = self.ledger.record.staged.is_some();
        self.ledger.record.lost();
        let kept = self.target.give_up(&self.ledger, staged).await?;
        self.forget_uncommitted();
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, self.ledger.live());
        self.ledger.put(writes).await?;
        Ok(kept)
    }
}
