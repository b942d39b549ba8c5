//! Questions: a lookup or a verification, one stream each.

use std::time::Instant;

use hutong_certs::stream::FrameWriter;
use hutong_schema::wire::v1::ask::{Lookup, Verify};

use super::session::{Peer, StreamFailure};

/// Answers a lookup with granted fields only.
pub(super) async fn lookup(
    peer: &Peer,
    lookup: Lookup,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    peer.share.question(Instant::now())?;
    let answer = peer.rooms().asker.lookup(peer.node, &peer.department, lookup).await?;
    writer.send(&answer).await?;
    Ok(())
}

/// Answers a verification without any value.
pub(super) async fn verify(
    peer: &Peer,
    verify: Verify,
    writer: &mut FrameWriter,
) -> Result<(), StreamFailure> {
    peer.share.question(Instant::now())?;
    let answer = peer.rooms().asker.verify(peer.node, &peer.department, verify).await?;
    writer.send(&answer).await?;
    Ok(())
}
