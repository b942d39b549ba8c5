//! One subscribe stream: rows in, credit and digests out.

mod digests;

use std::time::{Duration, Instant};

use bytes::Bytes;
use hutong_certs::{
    clock,
    stream::{FrameReader, FrameWriter, StreamError},
};
use hutong_schema::{
    digest::Digest,
    limits::FRAME_BYTES_MAX,
    wire::{
        frame::Message,
        v1::{
            Refused,
            subscribe::{Credit, Cursor, DeliveryMode, SubscribeOpen, SubscribeReady},
        },
    },
};
use tokio::sync::{MutexGuard, Semaphore};
use tokio_util::sync::CancellationToken;

use super::{
    LinkError, Session,
    check::Desk,
    subscription::{Phase, Subscription},
};
use crate::{
    sinks::{
        Begin, Checked, Dirty, Disposal, Resumption, Sink, SinkError, SinkOptions, TakeError, Taken,
    },
    spool::Store,
};

/// Payload bytes that the hub may send ahead of our durable writes.
const WINDOW: u64 = 8 * 1024 * 1024;

/// Payload bytes after which is committed: the window never runs dry while the disk works.
const COMMIT_PAYLOAD: u64 = WINDOW / 4;

/// Written text after which is committed, bytes.
const COMMIT_TEXT: u64 = 8 * 1024 * 1024;

/// Rows are durable after this time at the latest.
const COMMIT_WITHIN: Duration = Duration::from_millis(200);

/// The same for a position that moved without rows: it costs nothing to hear them again.
const COMMIT_CURSOR_WITHIN: Duration = Duration::from_secs(2);

/// A checkpoint that was passed over is reported when nothing comes for so long.
const QUIET: Duration = Duration::from_millis(100);

/// A quiet stream gives up its place after this time if others wait for one.
const TURN: Duration = Duration::from_secs(2);

/// How a delivery ended in good order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum DeliverEnd {
    /// The agent shuts down.
    Cancelled,
    /// Others wait for a stream.
    Turn,
    /// The file could not be mended: a fresh snapshot is due at once.
    Anew,
    /// The grant ended and the data were disposed of.
    Withdrawn,
}

/// Why a delivery broke off.
#[derive(Debug, thiserror::Error)]
pub(super) enum DeliverFailure {
    #[error(transparent)]
    Link(LinkError),
    #[error("{0}")]
    Refused(Refused),
    #[error(transparent)]
    Sink(#[from] SinkError),
}

impl From<TakeError> for DeliverFailure {
    fn from(error: TakeError) -> Self {
        match error {
            TakeError::Frame(error) => Self::Link(LinkError::Stream(error.into())),
            TakeError::Kind(_) => Self::Link(LinkError::Protocol(error.to_string())),
            TakeError::Sink(error) => Self::Sink(error),
        }
    }
}

impl From<LinkError> for DeliverFailure {
    fn from(error: LinkError) -> Self {
        if let LinkError::Refused(refused) = error {
            Self::Refused(refused)
        } else {
            Self::Link(error)
        }
    }
}

/// What a delivery needs.
pub(super) struct Delivering<'a> {
    pub(super) session: &'a Session,
    pub(super) store: &'a Store,
    pub(super) subscription: &'a Subscription,
    pub(super) sink: &'a SinkOptions,
    pub(super) disposal: Disposal,
    pub(super) digests: &'a Semaphore,
    pub(super) cancel: &'a CancellationToken,
    pub(super) others_wait: &'a (dyn Fn() -> bool + Sync),
}

impl Delivering<'_> {
    /// Receives until the grant ends, the connection breaks or the agent shuts down.
    pub(super) async fn run(&self) -> Result<DeliverEnd, DeliverFailure> {
        // Nobody else touches the file until the stream has ended.
        let desk = self.subscription.checks.desk().await;
        let sink = self.open_sink().await?;
        let (mut reader, mut writer) = self.session.open().await?;
        let Resumption { cursor, consistent_at, resume } = sink.record().resumption();
        let open = SubscribeOpen {
            grant: self.subscription.key.grant,
            cursor,
            consistent_at,
            resume,
            credit_bytes: WINDOW,
        };
        writer.send(&open).await.map_err(|error| self.session.broken(error))?;
        let ready: SubscribeReady = self.session.opened(&mut reader).await?;
        let mut delivery = Delivery {
            of: self,
            sink,
            desk,
            writer,
            consumed: 0,
            due: None,
            mark: None,
            told: None,
            digest_done: Instant::now(),
            digest_took: Duration::ZERO,
        };
        delivery.begin(&ready).await?;
        match delivery.receive(&mut reader).await? {
            Received::Withdrawn(reason) => {
                self.dispose(delivery.sink, &reason).await?;
                Ok(DeliverEnd::Withdrawn)
            }
            Received::Lost => Ok(DeliverEnd::Anew),
            Received::Enough if self.cancel.is_cancelled() => Ok(DeliverEnd::Cancelled),
            Received::Enough => Ok(DeliverEnd::Turn),
        }
    }

    /// The hub says that there is no such grant any more, before anything was delivered. Whether there
    /// was anything to dispose of, be it half a snapshot.
    pub(super) async fn withdrawn_while_away(&self, reason: &str) -> Result<bool, SinkError> {
        let _desk = self.subscription.checks.desk().await;
        let sink = self.open_sink().await?;
        if !sink.holds_anything() {
            return Ok(false);
        }
        self.dispose(sink, reason).await.map(|()| true)
    }

    async fn open_sink(&self) -> Result<Sink, SinkError> {
        Sink::open(self.store.clone(), self.subscription.key.clone(), self.sink).await
    }

    async fn dispose(&self, sink: Sink, reason: &str) -> Result<(), SinkError> {
        let kept = sink.dispose(reason, self.disposal, clock::now()).await?;
        let grant = self.subscription.key.grant;
        match kept {
            Some(kept) => tracing::warn!(%grant, reason, %kept,
                "the grant ended; its data are kept aside, delete them when they are no longer needed"),
            None => tracing::warn!(%grant, reason, "the grant ended; its data are deleted"),
        }
        self.subscription.set(Phase::Ended(reason.to_owned()));
        Ok(())
    }
}

/// Why a stream is not read any further.
enum Received {
    /// The agent shuts down, or others wait.
    Enough,
    /// The grant ended: why.
    Withdrawn(String),
    /// What was received is no longer there.
    Lost,
}

/// A delivery under way.
struct Delivery<'a> {
    of: &'a Delivering<'a>,
    sink: Sink,
    desk: MutexGuard<'a, Desk>,
    writer: FrameWriter,
    /// Payload bytes taken since credit was given last.
    consumed: u64,
    /// When must be committed.
    due: Option<Instant>,
    /// A checkpoint whose state is still the present one, not yet reported.
    mark: Option<Cursor>,
    /// The digest of the present rows, if it is known.
    told: Option<Digest>,
    digest_done: Instant,
    digest_took: Duration,
}

impl Delivery<'_> {
    async fn begin(&mut self, ready: &SubscribeReady) -> Result<(), DeliverFailure> {
        let grant = self.of.subscription.key.grant;
        match self.sink.begin(ready).await? {
            Begin::Fresh => {
                let because = match &ready.mode {
                    DeliveryMode::Snapshot { because: Some(because), .. } => because.as_str(),
                    DeliveryMode::Snapshot { .. }
                    | DeliveryMode::Resume { .. }
                    | DeliveryMode::Tail => "it is new",
                };
                tracing::info!(%grant, because, "a snapshot begins");
                self.of.subscription.set(Phase::Snapshot);
            }
            Begin::Staged => {
                tracing::info!(%grant, "an unfinished snapshot goes on");
                self.of.subscription.set(Phase::Snapshot);
            }
            Begin::Live => self.of.subscription.set(Phase::Tail),
        }
        Ok(())
    }

    /// Receives; checks the file in between.
    async fn receive(&mut self, reader: &mut FrameReader) -> Result<Received, DeliverFailure> {
        loop {
            let due = self.due.map(tokio::time::Instant::from_std);
            let content = tokio::select! {
                biased;
                () = self.of.cancel.cancelled() => {
                    self.commit().await?;
                    self.writer.finish();
                    return Ok(Received::Enough);
                }
                () = tokio::time::sleep_until(due.unwrap_or_else(tokio::time::Instant::now)), if due.is_some() => {
                    self.commit().await?;
                    continue;
                }
                asked = self.desk.asked() => {
                    if self.check(asked).await? == Checked::Lost {
                        self.writer.finish();
                        return Ok(Received::Lost);
                    }
                    continue;
                }
                content = reader.next(FRAME_BYTES_MAX) => content,
                () = tokio::time::sleep(QUIET), if self.mark.is_some() => {
                    self.report().await?;
                    continue;
                }
                () = tokio::time::sleep(TURN), if (self.of.others_wait)() => {
                    self.commit().await?;
                    self.writer.finish();
                    return Ok(Received::Enough);
                }
            };
            let content = match content {
                Ok(Some(content)) => content,
                Ok(None) => {
                    self.commit_quietly().await;
                    return Err(
                        LinkError::Goodbye("it finished the subscription".to_owned()).into()
                    );
                }
                Err(error) => {
                    // What was taken is worth keeping although the credit can no longer be told.
                    self.commit_quietly().await;
                    return Err(self.of.session.broken(error).into());
                }
            };
            if let Some(reason) = self.take(&content).await? {
                return Ok(Received::Withdrawn(reason));
            }
            if self.consumed >= COMMIT_PAYLOAD || self.sink.uncommitted() >= COMMIT_TEXT {
                self.commit().await?;
            }
            self.schedule();
        }
    }

    /// Takes one message; returns the reason when the grant ended.
    async fn take(&mut self, content: &Bytes) -> Result<Option<String>, DeliverFailure> {
        match self.sink.take(content).await? {
            Taken::Chunk { payload } => self.consumed += payload,
            Taken::Changes { payload, rows, cursor } => {
                self.rows_come(rows);
                self.consumed += payload;
                tracing::debug!(grant = %self.of.subscription.key.grant, seq = ?cursor.map(|at| at.seq),
                    rows, "changes taken");
            }
            Taken::Complete => {
                self.told = None;
                let grant = self.of.subscription.key.grant;
                tracing::info!(%grant, rows = self.sink.record().changes, "the snapshot is complete");
                self.of.subscription.set(Phase::Tail);
                self.of.subscription.moved(self.sink.record());
                self.credit().await?;
            }
            Taken::Mark(cursor) => self.pass(cursor).await?,
            Taken::Withdrawn(reason) => return Ok(Some(reason)),
            Taken::Refused(refused) => return Err(DeliverFailure::Refused(refused)),
        }
        Ok(None)
    }

    fn schedule(&mut self) {
        let within = match self.sink.dirty() {
            None => return,
            Some(Dirty::Rows) => COMMIT_WITHIN,
            Some(Dirty::Cursor) => COMMIT_CURSOR_WITHIN,
        };
        let at = Instant::now() + within;
        self.due = Some(self.due.map_or(at, |due| due.min(at)));
    }

    /// Makes durable what was taken, then lets more come.
    async fn commit(&mut self) -> Result<(), DeliverFailure> {
        self.sink.commit().await?;
        self.due = None;
        self.of.subscription.moved(self.sink.record());
        self.credit().await
    }

    async fn commit_quietly(&mut self) {
        if let Err(error) = self.sink.commit().await {
            tracing::warn!(%error, grant = %self.of.subscription.key.grant, "the last changes were not kept");
        }
    }

    async fn credit(&mut self) -> Result<(), DeliverFailure> {
        let record = self.sink.record();
        let cursor = if record.staged.is_none() { record.cursor } else { None };
        let credit = Credit { bytes: std::mem::take(&mut self.consumed), cursor };
        self.send(&credit).await
    }

    async fn send<M: Message + serde::Serialize>(
        &mut self,
        message: &M,
    ) -> Result<(), DeliverFailure> {
        match self.writer.send(message).await {
            Ok(()) => Ok(()),
            // The hub has ended the stream; what it sent before says why.
            Err(StreamError::Write(_)) => Ok(()),
            Err(error) => Err(self.of.session.broken(error).into()),
        }
    }
}
