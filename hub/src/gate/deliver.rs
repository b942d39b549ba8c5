//! A subscribe stream: snapshot and tail out, credit and reports in.

use std::time::Instant;

use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_schema::{
    limits::{CONTROL_FRAME_BYTES_MAX, KEY_BYTES_MAX},
    wire::{
        frame::{self, Message},
        v1::{
            RefusalCode, Refused,
            subscribe::{CheckpointReport, Credit, SubscribeOpen, Withdrawn},
        },
    },
};

use super::session::{Peer, StreamFailure};
use crate::routes::{Delivery, Parcel};

/// Serves a subscription until the grant ends, the node goes, or the hub drains.
pub(super) async fn serve(
    peer: &Peer,
    open: SubscribeOpen,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    peer.share.command(Instant::now())?;
    if open.resume.as_ref().is_some_and(|resume| resume.last_key.0.len() > KEY_BYTES_MAX) {
        let detail = format!("a key has at most {KEY_BYTES_MAX} bytes");
        return Err(Refused::new(RefusalCode::Protocol, detail).into());
    }
    let (ready, mut delivery) =
        peer.rooms().router.attach(peer.node, &peer.department, &open).await?;
    writer.send(&ready).await?;
    let _wide = peer.share.subscribes();
    let mut credit = open.credit_bytes;
    // Room for the next part is taken before it is made and given back when it is sent.
    let room = peer.share.deliveries();
    loop {
        if credit == 0 {
            delivery.rest();
        }
        // Everything raced here may be dropped while it waits: a delivery advances only in the
        // same step in which it hands out a parcel.
        let (parcel, _held) = tokio::select! {
            content = reader.next(CONTROL_FRAME_BYTES_MAX) => {
                let Some(content) = content? else { return Ok(()) };
                credit = credit.saturating_add(heed(&mut delivery, &content)?);
                continue;
            }
            parcel = delivery.next(room), if credit > 0 => parcel?,
            () = peer.cancel.cancelled() => return Ok(()),
        };
        credit = credit.saturating_sub(parcel.payload_bytes());
        match &parcel {
            Parcel::Chunk(chunk) => writer.send(&chunk.message()).await?,
            Parcel::End(end) => writer.send(end).await?,
            Parcel::Tail(tail) => writer.send(&tail.message()).await?,
            Parcel::Mark(mark) => writer.send(mark).await?,
            Parcel::Repair(repair) => writer.send(&repair.message()).await?,
            Parcel::Withdrawn(reason) => {
                writer.send(&Withdrawn { reason: reason.clone() }).await?;
                writer.finish();
                writer.delivered().await;
                return Ok(());
            }
        }
    }
}

/// Heeds what the receiver says; returns the credit it gave.
fn heed(delivery: &mut Delivery, content: &[u8]) -> Result<u64, StreamFailure> {
    match frame::split(content)?.0 {
        Credit::KIND => {
            let credit: Credit = frame::expect(content)?;
            if let Some(cursor) = credit.cursor {
                delivery.durable(cursor);
            }
            Ok(credit.bytes)
        }
        CheckpointReport::KIND => {
            delivery.report(frame::expect(content)?);
            Ok(0)
        }
        other => {
            let detail =
                format!("a message of kind {other:#04x} has no place on a subscribe stream");
            Err(Refused::new(RefusalCode::Protocol, detail).into())
        }
    }
}
