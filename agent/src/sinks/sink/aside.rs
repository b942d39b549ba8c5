//! A subscription's file is put away: its grant ended, or somebody else changed it.

use std::path::PathBuf;

use hutong_certs::clock;

use super::{
    super::{
        Disposal, SinkError, pieces,
        places::{blocking, put_aside, put_changed_aside},
    },
    Sink,
};
use crate::spool::WriteBatch;

impl Sink {
    /// The grant ended: the data are disposed of and the position is forgotten. Returns where the
    /// file was moved to.
    ///
    /// # Errors
    /// When file or store fail.
    pub async fn dispose(
        mut self,
        reason: &str,
        disposal: Disposal,
        now: jiff::Timestamp,
    ) -> Result<Option<PathBuf>, SinkError> {
        self.file = None;
        let live = self.live.clone();
        let held = self.record.cursor.is_some() || self.record.length > 0;
        let aside = blocking(move || put_aside(&live, held, disposal, now)).await?;
        let side = self.record.side;
        self.record.lost();
        self.record.ended = Some(reason.to_owned());
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, self.images.side(side));
        pieces::clear(&mut writes, self.images.side(side.other()));
        self.put(writes).await?;
        Ok(aside)
    }

    /// What was delivered is no longer there: the file is kept aside, and the next delivery is a
    /// fresh snapshot. Returns where the file is, if there was one.
    ///
    /// # Errors
    /// When file or store fail.
    pub(super) async fn give_up(&mut self) -> Result<Option<PathBuf>, SinkError> {
        // A staged file that does not fit has no live one that anybody complained of.
        let aside = if self.record.staged.is_none() {
            let (live, now) = (self.live.clone(), clock::now());
            blocking(move || put_changed_aside(&live, now)).await?
        } else {
            None
        };
        self.forget_uncommitted();
        self.record.lost();
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, self.images.side(self.record.side));
        self.put(writes).await?;
        Ok(aside)
    }
}
