//! A subscribe stream: snapshot and tail out, credit and reports in.

use std::time::Instant;

use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_schema::wire::{
    order::{Subscribe, subscribe::Heard},
    v1::subscribe::{SubscribeOpen, Withdrawn},
};

use super::session::{Peer, StreamFailure};
use crate::routes::Parcel;

/// Serves a subscription until the grant ends, the node goes, or the hub drains.
pub(super) async fn serve(
    peer: &Peer,
    open: SubscribeOpen,
    reader: &mut FrameReader,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    peer.share.command(Instant::now())?;
    let mut order = Subscribe::new(&open)?;
    let (ready, mut delivery) =
        peer.rooms().router.attach(peer.node, &peer.department, &open).await?;
    writer.send(&ready).await?;
    let _wide = peer.share.subscribes();
    // Room for the next part is taken before it is made and given back when it is sent.
    let room = peer.share.deliveries();
    loop {
        if !order.may_send() {
            delivery.rest();
        }
        let limit = order.limit();
        // Everything raced here may be dropped while it waits: a delivery advances only in the
        // same step in which it hands out a parcel.
        let (parcel, _held) = tokio::select! {
            content = reader.next(limit.unwrap_or_default()), if limit.is_some() => {
                let Some(content) = content? else { return Ok(()) };
                match order.on(&content)? {
                    Heard::Credit(Some(cursor)) => delivery.durable(cursor),
                    Heard::Credit(None) => {}
                    Heard::Report(report) => delivery.report(report),
                }
                continue;
            }
            parcel = delivery.next(room), if order.may_send() => parcel?,
            () = peer.cancel.cancelled() => return Ok(()),
        };
        order.sent(parcel.payload_bytes());
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
