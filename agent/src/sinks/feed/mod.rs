//! The targets that keep nothing themselves: rows go on as JSON lines, to a program behind standard
//! output or to a web service.
//!
//! ```text
//! {"grant":7,"op":"snapshot_begin"}      everything of the grant follows
//! {"grant":7,"op":"upsert","key":"211221…","row":{…}}
//! {"grant":7,"op":"snapshot_end"}        keys not named since snapshot_begin are gone
//! {"grant":7,"op":"delete","key":"211221…"}
//! {"grant":7,"op":"withdrawn","reason":"…"}   the grant ended: dispose of its data
//! ```
//!
//! Standard output is flushed before the position moves: after a crash lines may come twice, never not
//! at all. What is posted lies in the store, with its idempotency key and the position behind it,
//! until the service has taken it: it is posted again as it was, with the same key.

mod webhook;

#[cfg(test)]
mod tests;

use std::io::{self, Write};

use hutong_schema::{
    block::Block,
    grant::{GrantId, GrantView},
    wire::v1::subscribe::SnapshotEnd,
};
use serde_json::json;

use super::{
    Begin, LineFormat, Lines, SinkError, WebhookOptions, ledger::Ledger, pieces, places::blocking,
};
use crate::spool::WriteBatch;
pub use webhook::WebhookError;
use webhook::{Outgoing, Webhook};

/// JSON lines on their way.
pub(super) struct Feed {
    out: Out,
    grant: GrantId,
    lines: Option<Lines>,
    /// Lines not yet committed.
    text: Vec<u8>,
    /// Committed, and not yet taken by the web service.
    outgoing: Option<Outgoing>,
}

/// Where lines go.
enum Out {
    Stdout,
    Webhook(Box<Webhook>),
}

impl Feed {
    /// To standard output.
    pub(super) fn stdout(ledger: &Ledger) -> Self {
        Self::new(Out::Stdout, ledger, None)
    }

    /// To a web service; posts what was left.
    ///
    /// # Errors
    /// When the service does not take it, or the store fails.
    pub(super) async fn webhook(
        options: &WebhookOptions,
        ledger: &Ledger,
    ) -> Result<Self, SinkError> {
        let outgoing = Outgoing::read(ledger)?;
        let out = Out::Webhook(Box::new(Webhook::new(options.clone())));
        let mut feed = Self::new(out, ledger, outgoing);
        feed.committed(ledger).await?;
        Ok(feed)
    }

    fn new(out: Out, ledger: &Ledger, outgoing: Option<Outgoing>) -> Self {
        Self { out, grant: ledger.key.grant, lines: None, text: Vec::new(), outgoing }
    }

    /// For people.
    pub(super) fn place(&self) -> String {
        match &self.out {
            Out::Stdout => "standard output".to_owned(),
            Out::Webhook(webhook) => webhook.url().to_owned(),
        }
    }

    /// Bytes taken and not yet committed.
    pub(super) fn uncommitted(&self) -> u64 {
        self.text.len() as u64
    }

    /// Makes ready for rows.
    pub(super) fn begin(&mut self, begin: Begin, view: &GrantView) {
        self.lines = Some(Lines::new(view, LineFormat::Jsonl));
        match begin {
            Begin::Fresh => self.say(&json!({ "op": "snapshot_begin" })),
            Begin::Live | Begin::Staged => {}
        }
    }

    /// Writes down the changes of a block.
    ///
    /// # Errors
    /// When they do not fit the view.
    pub(super) fn rows(&mut self, block: &Block<'_>) -> Result<(), SinkError> {
        let lines = self.lines.as_ref().ok_or(SinkError::Interrupted)?;
        let layout = lines.layout(block)?;
        let (first, mut line) = (self.first(), Vec::new());
        for index in 0..block.rows() {
            line.clear();
            lines.change(block, &layout, index, &mut line)?;
            self.text.extend_from_slice(&first);
            self.text.extend_from_slice(line.get(1..).unwrap_or_default());
        }
        Ok(())
    }

    /// Puts lines out, or into the store on their way.
    ///
    /// # Errors
    /// When standard output is closed.
    pub(super) async fn commit(
        &mut self,
        ledger: &Ledger,
        writes: &mut WriteBatch,
    ) -> Result<(), SinkError> {
        if self.text.is_empty() {
            return Ok(());
        }
        let text = std::mem::take(&mut self.text);
        match &self.out {
            Out::Stdout => blocking(move || print(&text)).await?,
            Out::Webhook(_) => {
                let outgoing = Outgoing::new(ledger, text);
                outgoing.put(ledger, writes)?;
                self.outgoing = Some(outgoing);
            }
        }
        Ok(())
    }

    /// The position has moved: posts what is on its way.
    ///
    /// # Errors
    /// When the service does not take it, or the store fails.
    pub(super) async fn committed(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        let (Out::Webhook(webhook), Some(outgoing)) = (&self.out, &self.outgoing) else {
            return Ok(());
        };
        webhook.post(outgoing).await?;
        let mut writes = WriteBatch::new();
        Outgoing::remove(ledger, &mut writes);
        ledger.store.commit(writes).await?;
        self.outgoing = None;
        Ok(())
    }

    /// The snapshot is complete.
    ///
    /// # Errors
    /// When no snapshot is under way, the lines are not taken, or the store fails.
    pub(super) async fn complete(
        &mut self,
        ledger: &mut Ledger,
        end: &SnapshotEnd,
    ) -> Result<(), SinkError> {
        let mut writes = WriteBatch::new();
        pieces::clear(&mut writes, ledger.live());
        ledger.record.end_snapshot(end)?;
        ledger.record.rename_due = false;
        self.say(&json!({ "op": "snapshot_end" }));
        self.commit(ledger, &mut writes).await?;
        ledger.put(writes).await?;
        self.committed(ledger).await
    }

    /// Forgets what is not committed.
    pub(super) fn forget_uncommitted(&mut self) {
        self.text.clear();
    }

    /// The grant ended: whoever holds the rows is told.
    ///
    /// # Errors
    /// When the line is not taken, or the store fails.
    pub(super) async fn dispose(&mut self, ledger: &Ledger) -> Result<(), SinkError> {
        self.text.clear();
        let reason = ledger.record.ended.as_deref().unwrap_or_default();
        self.say(&json!({ "op": "withdrawn", "reason": reason }));
        let mut writes = WriteBatch::new();
        self.commit(ledger, &mut writes).await?;
        ledger.put(writes).await?;
        self.committed(ledger).await
    }

    /// A line about the whole grant.
    fn say(&mut self, what: &serde_json::Value) {
        let line = what.to_string();
        self.text.extend_from_slice(&self.first());
        self.text.extend_from_slice(&line.as_bytes()[1..]);
        self.text.push(b'\n');
    }

    /// What each line begins with.
    fn first(&self) -> Vec<u8> {
        format!("{{\"grant\":{},", self.grant.0).into_bytes()
    }
}

/// All or none of the lines of several grants stand together.
fn print(text: &[u8]) -> Result<(), SinkError> {
    let mut out = io::stdout().lock();
    out.write_all(text).and_then(|()| out.flush()).map_err(SinkError::Stdout)
}
