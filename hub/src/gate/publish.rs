//! A publish stream: batches in, cumulative acknowledgements out. What may come when, and what is
//! acknowledged, is decided by [`Publish`]; here it is read, submitted, waited for and sent.

use std::{collections::VecDeque, time::Instant};

use bytes::Bytes;
use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_schema::{
    batch::BatchKind,
    wire::{
        order::{
            Publish,
            publish::{Heard, Stored},
        },
        v1::{
            RefusalCode, Refused,
            publish::{Batch, PublishOpen},
        },
    },
};
use tokio::sync::oneshot;

use super::session::{Peer, StreamFailure, refusal_of};
use crate::intake::{Admitted, Lane};

/// What will become of a batch.
type Outcome = oneshot::Receiver<Result<Admitted, Refused>>;

/// Serves a publish stream until the node closes it or a batch is refused.
pub(super) async fn serve(
    peer: &Peer,
    open: PublishOpen,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    if open.epoch == 0 {
        peer.share.command(Instant::now())?;
    }
    let (lane, mut ready) = peer.rooms().intake.open(peer.node, &open).await?;
    let _wide = peer.share.publishes();
    ready.credit_bytes = peer.hall.limits.publish_credit;
    writer.send(&ready).await?;
    let mut order = Publish::new(peer.hall.limits.publish_credit);
    // As many as the order has under way, in the same sequence.
    let mut outcomes: VecDeque<Outcome> = VecDeque::new();
    loop {
        while order.has_room()
            && let Some(outcome) = told(&mut outcomes)
        {
            order.outcome(outcome);
        }
        if let Some(ack) = order.ack() {
            writer.send(&ack).await?;
            continue;
        }
        if let Some(ended) = order.ended() {
            return Ok(ended?);
        }
        let limit = order.limit();
        tokio::select! {
            biased;
            outcome = oldest(&mut outcomes) => order.outcome(outcome),
            content = reader.next(limit.unwrap_or_default()), if limit.is_some() => match content {
                Ok(None) => order.end(),
                Ok(Some(content)) => match order.on(&content) {
                    Ok(Heard::Close) => {}
                    Ok(Heard::Batch(batch)) => match submit(peer, &lane, &content, batch).await {
                        Ok(outcome) => {
                            outcomes.push_back(outcome);
                            order.taken();
                        }
                        Err(refused) => order.not_taken(refused),
                    },
                    Err(disorder) => tracing::debug!(%disorder, "a publish stream takes no more"),
                },
                // Whoever can still be told is told what is stored first.
                Err(error) => match refusal_of(&error) {
                    Some(refused) => order.stop(refused),
                    None => return Err(error.into()),
                },
            },
            refused = lane.taken_over(), if order.takes() => order.stop(refused),
            () = peer.cancel.cancelled(), if order.takes() => order.end(),
        }
    }
}

/// Hands a batch to the intake; `content` is the frame that it lies in.
async fn submit(
    peer: &Peer,
    lane: &Lane,
    content: &Bytes,
    batch: Batch<'_>,
) -> Result<Outcome, Refused> {
    // The hub counts all rows for a checkpoint.
    if batch.header.kind == BatchKind::Checkpoint {
        peer.share.command(Instant::now())?;
    }
    let payload = content.slice_ref(batch.payload);
    peer.rooms().intake.submit(lane, batch.header, batch.chain, payload).await
}

/// Waits for the oldest batch; for ever when there is none. Safe to drop while it waits.
async fn oldest(outcomes: &mut VecDeque<Outcome>) -> Result<Stored, Refused> {
    let Some(first) = outcomes.front_mut() else { return std::future::pending().await };
    let outcome = first.await;
    outcomes.pop_front();
    outcome.unwrap_or_else(|_| Err(lost())).map(stored)
}

/// What became of the oldest batch, if that is known.
fn told(outcomes: &mut VecDeque<Outcome>) -> Option<Result<Stored, Refused>> {
    let outcome = match outcomes.front_mut()?.try_recv() {
        Ok(outcome) => outcome,
        Err(oneshot::error::TryRecvError::Empty) => return None,
        Err(oneshot::error::TryRecvError::Closed) => Err(lost()),
    };
    outcomes.pop_front();
    Some(outcome.map(stored))
}

fn stored(Admitted { seq, chain, rejected }: Admitted) -> Stored {
    Stored { seq, chain, rejected }
}

fn lost() -> Refused {
    Refused::new(
        RefusalCode::NotReady,
        "the hub stopped before the batch was stored; send it again",
    )
}
