//! One publish stream: batches of the outbox out, acknowledgements in.

use std::{collections::VecDeque, pin::Pin, sync::Arc, time::Duration};

use hutong_certs::{
    clock,
    stream::{FrameReader, FrameWriter},
};
use hutong_schema::{
    batch::BatchKind,
    catalogue::CatalogueEntry,
    limits::{FRAME_BYTES_MAX, REJECTIONS_MAX},
    wire::{
        order::{Disorder, node::Acknowledged},
        v1::publish::{Ack, Batch, PublishClose, PublishOpen, PublishReady},
    },
};
use parking_lot::Mutex;
use tokio::{sync::Notify, task::JoinHandle};
use tokio_util::sync::CancellationToken;

use super::{Hindrance, LinkError, Publication, Session, publish_end::PublishFailure, session};
use crate::{
    quarantine::Quarantine,
    spool::{AckError, AckOutcome, NewBatch, Resume, SHARD, Store, StoreError},
};

/// Batches read from the outbox at once, bytes.
const READ_BYTES: usize = 2 * 1024 * 1024;

/// A drained stream stays open so long for the next batch, if nobody waits for its place.
const LINGER: Duration = Duration::from_millis(500);

/// What a publish stream needs.
pub(super) struct Publishing<'a> {
    pub(super) session: &'a Session,
    pub(super) store: &'a Store,
    pub(super) quarantine: &'a Quarantine,
    pub(super) publication: &'a Publication,
    /// No new batches from now on; what is under way is still acknowledged.
    pub(super) cancel: &'a CancellationToken,
    /// Others wait for a stream: a drained one leaves at once.
    pub(super) others_wait: &'a (dyn Fn() -> bool + Sync),
    /// The source has to be read.
    pub(super) want_scan: &'a (dyn Fn() + Sync),
}

impl Publishing<'_> {
    /// Publishes what there is. `fresh` asks the hub for a new epoch.
    pub(super) async fn run(&self, fresh: bool) -> Result<(), PublishFailure> {
        let entry = self.publication.entry().ok_or(PublishFailure::NoEntry)?;
        let (mut reader, mut writer) = self.session.open().await?;
        let state = self.publication.state(self.store)?;
        let open = PublishOpen {
            resource: self.publication.resource.clone(),
            shard: SHARD,
            epoch: if fresh { 0 } else { state.epoch },
            schema_version: entry.schema_version,
        };
        writer.send(&open).await.map_err(|error| self.session.broken(error))?;
        let ready: PublishReady = self.session.opened(&mut reader).await?;
        let after = self.settle(&ready, open.epoch == 0).await?;
        self.publication.set_unverified(false);
        self.publication.free(Hindrance::Hub);
        let flow = Flow::new(after, ready.credit_bytes);
        let receive = self.receive(&mut reader, &flow, &entry);
        {
            let mut receive = std::pin::pin!(receive);
            let sent = tokio::select! {
                // The hub never ends the stream first, unless it refuses or drains.
                received = &mut receive => return received.and(Err(PublishFailure::Interrupted)),
                sent = self.send(&mut writer, &flow, entry.schema_version) => sent,
            };
            match sent {
                Ok(()) => {}
                // A refusal explains a broken stream: it has been sent before.
                Err(PublishFailure::Link(LinkError::Stream(_))) => {
                    receive.await?;
                    return sent;
                }
                Err(error) => return Err(error),
            }
            writer.send(&PublishClose {}).await.map_err(|error| self.session.broken(error))?;
            writer.finish();
            receive.await?;
        }
        Ok(())
    }

    /// Compares the hub's answer with the outbox; the number after which batches are sent.
    async fn settle(&self, ready: &PublishReady, new: bool) -> Result<u64, PublishFailure> {
        match self.store.resume(self.publication.stream, ready, new)? {
            Resume::Continue { after } => {
                self.take_settled(ready).await?;
                Ok(after)
            }
            Resume::BeginEpoch => {
                tracing::info!(resource = %self.publication.resource, epoch = ready.epoch,
                    hub_has_rows = ready.has_rows, "an epoch is open; the source is read as a whole");
                self.begin_epoch(ready).await?;
                (self.want_scan)();
                Ok(0)
            }
            Resume::Diverged(divergence) => Err(PublishFailure::Diverged(divergence)),
        }
    }

    async fn begin_epoch(&self, ready: &PublishReady) -> Result<(), PublishFailure> {
        let stream = self.publication.stream;
        if !self.publication.keeps_outbox() {
            return Ok(self.store.begin_epoch(stream, ready).await?);
        }
        let entry = self.publication.entry().ok_or(PublishFailure::NoEntry)?;
        let begin = NewBatch::marker(BatchKind::ReplaceBegin, entry.schema_version)?;
        Ok(self.store.begin_epoch_keeping(stream, ready, begin).await?)
    }

    /// What was settled while we were away may be forgotten.
    async fn take_settled(&self, ready: &PublishReady) -> Result<(), PublishFailure> {
        let state = self.publication.state(self.store)?;
        let entry = self.publication.entry().ok_or(PublishFailure::NoEntry)?;
        if ready.settled_through.min(state.stored_through) <= state.settled_through {
            return Ok(());
        }
        let ack = Ack {
            stored_through: state.stored_through,
            chain: state.stored_chain,
            settled_through: ready.settled_through,
            rejected: Vec::new(),
        };
        self.acknowledge(ack, &entry).await.map(|_| ())
    }

    async fn acknowledge(
        &self,
        ack: Ack,
        entry: &Arc<CatalogueEntry>,
    ) -> Result<AckOutcome, PublishFailure> {
        let (store, quarantine) = (self.store.clone(), self.quarantine.clone());
        let (stream, entry) = (self.publication.stream, Arc::clone(entry));
        let take = move || store.acknowledge(stream, &ack, &entry, &quarantine);
        let taken =
            tokio::task::spawn_blocking(take).await.map_err(|_| PublishFailure::Interrupted)?;
        taken.map_err(|error| match error {
            AckError::Forked(seq) => PublishFailure::Forked(seq),
            AckError::Quarantine(error) => PublishFailure::Quarantine(error),
            AckError::Store(error) => PublishFailure::Store(error),
        })
    }

    /// Sends until there is nothing more, or the agent shuts down.
    async fn send(
        &self,
        writer: &mut FrameWriter,
        flow: &Flow,
        schema_version: u32,
    ) -> Result<(), PublishFailure> {
        let stream = self.publication.stream;
        let mut sent = flow.after;
        let read = |after| {
            let store = self.store.clone();
            tokio::task::spawn_blocking(move || store.pending(stream, after, READ_BYTES))
        };
        // What is sent next is read while the network takes what was read before.
        let mut ahead = None;
        loop {
            // Asked in memory first: most often there is nothing, and another thread is dear.
            let appended = self.publication.state(self.store)?.last_seq();
            let reading = ahead.take().or_else(|| (appended > sent).then(|| read(sent)));
            let batches = match reading {
                Some(reading) => joined(reading).await?,
                None => Vec::new(),
            };
            ahead = batches
                .last()
                .map(|last| last.header.seq)
                .filter(|last| *last < appended)
                .map(read);
            for batch in &batches {
                let bytes = batch.payload.len() as u64;
                while !flow.fits(bytes) {
                    tokio::select! {
                        () = flow.acked.notified() => {}
                        () = self.cancel.cancelled() => return Ok(()),
                    }
                }
                if self.cancel.is_cancelled() {
                    return Ok(());
                }
                let message =
                    Batch { header: batch.header, chain: batch.chain, payload: &batch.payload };
                writer.send(&message).await.map_err(|error| self.session.broken(error))?;
                self.publication.progress.sent(batch.header.rows);
                sent = batch.header.seq;
                flow.sent(sent, bytes);
            }
            if !batches.is_empty() {
                continue;
            }
            if self.cancel.is_cancelled() {
                return Ok(());
            }
            if flow.is_empty() && self.publication.take_scan_when_drained() {
                (self.want_scan)();
            }
            if flow.is_empty()
                && !self.publication.is_scanning()
                && self.publication.state(self.store)?.checkpoint_due()
            {
                let store = self.store.clone();
                if blocking(move || store.checkpoint_if_due(stream, schema_version)).await? {
                    continue;
                }
            }
            tokio::select! {
                () = self.publication.news() => {}
                () = flow.acked.notified() => {}
                () = self.cancel.cancelled() => return Ok(()),
                () = self.idle(), if flow.is_empty() => return Ok(()),
            }
        }
    }

    /// Waits until a drained stream may be closed.
    async fn idle(&self) {
        if (self.others_wait)() {
            return;
        }
        tokio::time::sleep(LINGER).await;
    }

    /// Takes acknowledgements until the hub finishes the stream. Those that come while one is being
    /// written down are written down together.
    async fn receive(
        &self,
        reader: &mut FrameReader,
        flow: &Flow,
        entry: &Arc<CatalogueEntry>,
    ) -> Result<(), PublishFailure> {
        let mut waiting: Option<Ack> = None;
        let mut taking = None;
        let end = loop {
            if taking.is_none() {
                taking = waiting.take().map(|ack| Box::pin(self.take(ack, flow, entry)));
            }
            let room = waiting.as_ref().is_none_or(|ack| ack.rejected.len() < REJECTIONS_MAX);
            tokio::select! {
                content = reader.next(FRAME_BYTES_MAX), if room => match content {
                    Ok(Some(content)) => match session::answer::<Ack>(&content) {
                        Ok(ack) => match flow.acks(&ack) {
                            Ok(()) => waiting = Some(joined_acks(waiting.take(), ack)),
                            Err(disorder) => {
                                break Err(LinkError::Protocol(disorder.to_string()).into());
                            }
                        },
                        Err(error) => break Err(error.into()),
                    },
                    Ok(None) => break Ok(()),
                    Err(error) => break Err(self.session.broken(error).into()),
                },
                taken = settled(&mut taking), if taking.is_some() => {
                    taken?;
                    taking = None;
                }
            }
        };
        // What came before the end counts all the same.
        if let Some(taking) = taking {
            taking.await?;
        }
        if let Some(ack) = waiting {
            self.take(ack, flow, entry).await?;
        }
        end
    }

    /// Writes an acknowledgement down and lets the next batches go.
    async fn take(
        &self,
        ack: Ack,
        flow: &Flow,
        entry: &Arc<CatalogueEntry>,
    ) -> Result<(), PublishFailure> {
        let (through, settled) = (ack.stored_through, ack.settled_through);
        let outcome = self.acknowledge(ack, entry).await?;
        if outcome.rejected > 0 {
            tracing::warn!(resource = %self.publication.resource, rows = outcome.rejected,
                "the hub rejected rows; they are in quarantine");
        }
        tracing::debug!(resource = %self.publication.resource, through, accepted = outcome.accepted,
            "acknowledged");
        self.publication.progress.acknowledged(through, settled, clock::now());
        self.publication.free(Hindrance::Busy);
        flow.acknowledged(through);
        Ok(())
    }
}

/// Waits for what is under way; for ever when nothing is.
async fn settled<F: Future>(taking: &mut Option<Pin<Box<F>>>) -> F::Output {
    match taking {
        Some(taking) => taking.as_mut().await,
        None => std::future::pending().await,
    }
}

/// Two acknowledgements as one: they are cumulative, but each names its own rejected rows.
fn joined_acks(earlier: Option<Ack>, later: Ack) -> Ack {
    let Some(mut earlier) = earlier else { return later };
    earlier.rejected.extend(later.rejected);
    Ack { rejected: earlier.rejected, ..later }
}

/// Batches under way.
struct Flow {
    after: u64,
    credit: u64,
    under_way: Mutex<UnderWay>,
    acked: Notify,
}

struct UnderWay {
    batches: VecDeque<(u64, u64)>,
    bytes: u64,
    order: Acknowledged,
}

impl Flow {
    fn new(after: u64, credit: u64) -> Self {
        let order = Acknowledged::new(after);
        let under_way = UnderWay { batches: VecDeque::new(), bytes: 0, order };
        Self { after, credit, under_way: Mutex::new(under_way), acked: Notify::new() }
    }

    /// One batch always fits, however small the credit.
    fn fits(&self, bytes: u64) -> bool {
        let under_way = self.under_way.lock();
        under_way.bytes == 0 || under_way.bytes.saturating_add(bytes) <= self.credit
    }

    fn is_empty(&self) -> bool {
        self.under_way.lock().batches.is_empty()
    }

    fn sent(&self, seq: u64, bytes: u64) {
        let mut under_way = self.under_way.lock();
        under_way.batches.push_back((seq, bytes));
        under_way.bytes += bytes;
        under_way.order.sent(seq);
    }

    /// Whether the hub may acknowledge this.
    fn acks(&self, ack: &Ack) -> Result<(), Disorder> {
        self.under_way.lock().order.on(ack)
    }

    fn acknowledged(&self, through: u64) {
        let mut under_way = self.under_way.lock();
        while let Some((_, bytes)) = under_way.batches.pop_front_if(|(seq, _)| *seq <= through) {
            under_way.bytes -= bytes;
        }
        drop(under_way);
        self.acked.notify_one();
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StoreError> + Send + 'static,
) -> Result<T, PublishFailure> {
    joined(tokio::task::spawn_blocking(work)).await
}

async fn joined<T>(work: JoinHandle<Result<T, StoreError>>) -> Result<T, PublishFailure> {
    Ok(work.await.map_err(|_| PublishFailure::Interrupted)??)
}

#[cfg(test)]
mod tests {
    use hutong_schema::row::FieldId;
    use hutong_schema::wire::v1::publish::RejectedRow;

    use super::*;

    fn ack(through: u64) -> Ack {
        let row = RejectedRow { seq: through, index: 7, field: FieldId(1), reason: 2 };
        Ack {
            stored_through: through,
            chain: [through as u8; 32],
            settled_through: through,
            rejected: vec![row],
        }
    }

    #[test]
    fn joined_acknowledgements_reach_as_far_as_the_later_and_lose_no_rejected_row() {
        let joined = joined_acks(Some(joined_acks(Some(ack(3)), ack(4))), ack(9));
        assert_eq!(
            Ack { rejected: Vec::new(), ..joined.clone() },
            Ack { rejected: Vec::new(), ..ack(9) }
        );
        let named: Vec<u64> = joined.rejected.iter().map(|row| row.seq).collect();
        assert_eq!(named, [3, 4, 9]);
        assert_eq!(joined_acks(None, ack(1)), ack(1));
    }
}
