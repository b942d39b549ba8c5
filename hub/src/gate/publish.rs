//! A publish stream: batches in, cumulative acknowledgements out.

use std::{collections::VecDeque, time::Instant};

use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_schema::{
    batch::BatchKind,
    limits::{FRAME_BYTES_MAX, REJECTIONS_MAX},
    wire::{
        frame::{self, Message},
        v1::{
            RefusalCode, Refused,
            publish::{Ack, Batch, PublishClose, PublishOpen},
        },
    },
};
use tokio::sync::oneshot;

use super::session::{Peer, StreamFailure};
use crate::intake::Admitted;

/// Batches of this stream that wait for the disk.
struct UnderWay {
    batches: VecDeque<(usize, oneshot::Receiver<Result<Admitted, Refused>>)>,
    bytes: usize,
    /// A result that came while an acknowledgement was made and does not belong into it: more
    /// rejections than one frame holds, or a refusal.
    held: Option<Result<Admitted, Refused>>,
}

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
    let credit = usize::try_from(peer.hall.limits.publish_credit).unwrap_or(usize::MAX);
    let mut under_way = UnderWay { batches: VecDeque::new(), bytes: 0, held: None };
    let mut refusal = None;
    loop {
        tokio::select! {
            biased;
            admitted = under_way.first() => {
                let ack = under_way.acknowledge(admitted?);
                writer.send(&ack).await?;
            }
            content = reader.next(FRAME_BYTES_MAX), if under_way.bytes < credit => {
                let Some(content) = content? else { break };
                let (kind, _) = frame::split(&content)?;
                if kind == PublishClose::KIND {
                    break;
                }
                let batch: Batch<'_> = frame::expect(&content)?;
                // The hub counts all rows for a checkpoint.
                if batch.header.kind == BatchKind::Checkpoint
                    && let Err(refused) = peer.share.command(Instant::now())
                {
                    refusal = Some(refused);
                    break;
                }
                let payload = content.slice_ref(batch.payload);
                let bytes = payload.len();
                let intake = &peer.rooms().intake;
                match intake.submit(&lane, batch.header, batch.chain, payload).await {
                    Ok(admitted) => {
                        under_way.bytes += bytes;
                        under_way.batches.push_back((bytes, admitted));
                    }
                    // What is under way is acknowledged first: a node that drops what is refused
                    // must not use a number again that is stored.
                    Err(refused) => {
                        refusal = Some(refused);
                        break;
                    }
                }
            }
            () = peer.cancel.cancelled() => break,
        }
    }
    while !under_way.is_empty() {
        let admitted = under_way.first().await?;
        let ack = under_way.acknowledge(admitted);
        writer.send(&ack).await?;
    }
    refusal.map_or(Ok(()), |refused| Err(refused.into()))
}

impl UnderWay {
    /// Waits for the oldest batch; for ever when there is none. Safe to drop while it waits.
    async fn first(&mut self) -> Result<Admitted, Refused> {
        if let Some(held) = self.held.take() {
            return held;
        }
        let Some((bytes, receiver)) = self.batches.front_mut() else {
            return std::future::pending().await;
        };
        let result = receiver.await;
        self.bytes -= *bytes;
        self.batches.pop_front();
        result.unwrap_or_else(|_| Err(lost()))
    }

    fn is_empty(&self) -> bool {
        self.batches.is_empty() && self.held.is_none()
    }

    /// One acknowledgement for this batch and all that are stored behind it already.
    fn acknowledge(&mut self, first: Admitted) -> Ack {
        let mut ack = Ack {
            stored_through: first.seq,
            chain: first.chain,
            settled_through: first.seq,
            rejected: first.rejected,
        };
        while let Some((bytes, receiver)) = self.batches.front_mut() {
            let result = match receiver.try_recv() {
                Ok(result) => result,
                Err(oneshot::error::TryRecvError::Empty) => break,
                Err(oneshot::error::TryRecvError::Closed) => Err(lost()),
            };
            self.bytes -= *bytes;
            self.batches.pop_front();
            match result {
                Ok(next) if ack.rejected.len() + next.rejected.len() <= REJECTIONS_MAX => {
                    ack.stored_through = next.seq;
                    ack.settled_through = next.seq;
                    ack.chain = next.chain;
                    ack.rejected.extend(next.rejected);
                }
                other => {
                    self.held = Some(other);
                    break;
                }
            }
        }
        ack
    }
}

fn lost() -> Refused {
    Refused::new(
        RefusalCode::NotReady,
        "the hub stopped before the batch was stored; send it again",
    )
}
