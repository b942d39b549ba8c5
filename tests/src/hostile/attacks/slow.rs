//! Peers that take their time: frames begun and never finished, streams left open, answers not read,
//! deliveries not acknowledged.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_schema::grant::GrantId;
use hutong_schema::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX};
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::subscribe::{SnapshotChunk, SubscribeOpen, SubscribeReady};
use hutong_schema::wire::v1::{RefusalCode, kind};

use super::super::{Control, HOSTILE_NODES, Rogue, Said, Siege, Windows};
use super::publication::{Open, Publication};
use super::refused_with;
use crate::harness::exchange::SOON;
use crate::harness::wait::until_true;

/// Streams that a node has left beside its control stream.
const STREAMS: usize = 31;

/// Streams on which a node begins the largest frame. What waits unread is in the way of the node's
/// others, so that more would only take longer.
const PUBLISHING: usize = 8;

/// Every node begins the largest frame on every stream and keeps its last byte back: what the hub holds
/// for them stays within the department's share, and each stream is told why it ends.
pub fn frames_never_finished(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    let told = siege.runtime.block_on(async {
        let mut nodes = tokio::task::JoinSet::new();
        for node in 0..HOSTILE_NODES {
            let (door, endpoint) = (door.clone(), endpoint.clone());
            nodes.spawn(async move {
                let name = format!("h{node}");
                let (rogue, control) =
                    Rogue::visit(&endpoint, &door, &name, Windows::default()).await?;
                // A publication each: of several streams of one only the newest has a say. What waits unread
                // is in the way of what comes behind it, so all are opened first.
                let mut opened = Vec::new();
                for number in 1..=PUBLISHING {
                    let code = format!("30011{node}/{number:06}");
                    let publication = Publication::register(&rogue, &code).await?;
                    opened.push(publication.open(&rogue, 0).await?);
                }
                let codes = begin_everywhere(&rogue, opened).await?;
                drop(control);
                anyhow::Ok(codes)
            });
        }
        let mut told = Vec::new();
        while let Some(codes) = nodes.join_next().await {
            told.extend(codes??);
        }
        anyhow::Ok(told)
    })?;
    let streams = HOSTILE_NODES * PUBLISHING;
    ensure!(told.len() == streams, "{} of {streams} streams were told", told.len());
    for code in &told {
        let known = [RefusalCode::Slow.number(), RefusalCode::Busy.number()].map(u64::from);
        ensure!(known.contains(code), "a stream was told HT-{code}");
    }
    // Most find no room at all: all departments have 32 MiB here for frames, one a quarter of that.
    siege.counted(RefusalCode::Busy.number(), "stream", streams / 2)?;
    siege.counted(RefusalCode::Slow.number(), "stream", 2)
}

async fn begin_everywhere(rogue: &Rogue, opened: Vec<Open>) -> Result<Vec<u64>> {
    let mut begun = tokio::task::JoinSet::new();
    for open in opened {
        let connection = rogue.connection.clone();
        begun.spawn(async move {
            let (mut raw, mut reader) = (open.raw, open.reader);
            let content = vec![kind::BATCH; FRAME_BYTES_MAX - 1];
            raw.write_all(&u32::try_from(FRAME_BYTES_MAX)?.to_le_bytes()).await?;
            // The hub stops reading sooner or later.
            let writing = tokio::spawn(async move {
                // Dropped, the stream would be finished.
                let _ = raw.write_all(&content).await;
                raw
            });
            let next = tokio::time::timeout(SOON, reader.next(CONTROL_FRAME_BYTES_MAX)).await;
            let content = next.context("a stream was not told")??.context("a refusal")?;
            drop((writing, connection));
            let refused: hutong_schema::wire::v1::Refused = frame::expect(&content)?;
            anyhow::Ok(u64::from(refused.code))
        });
    }
    let mut codes = Vec::new();
    while let Some(code) = begun.join_next().await {
        codes.push(code??);
    }
    Ok(codes)
}

/// Streams that are opened and left with a byte or none of their first frame, a greeting that comes
/// byte by byte, and thousands of streams that are opened and reset.
pub fn streams_left_and_reset(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    siege.runtime.block_on(async {
        let (rogue, _control) = Rogue::visit(&endpoint, &door, "h0", Windows::default()).await?;
        let mut left = Vec::new();
        for _ in 0..STREAMS {
            left.push(rogue.say(&[200], false).await?);
        }
        // No further stream is to be had, so nothing more can be held.
        let more = tokio::time::timeout(Duration::from_millis(300), rogue.connection.open_bi());
        ensure!(more.await.is_err(), "a node has more than {STREAMS} streams");
        for (_send, reader) in &mut left {
            refused_with(&rogue.said(reader).await?, RefusalCode::Slow, "a stream that was left")?;
        }
        drop(left);
        for number in 0..5_000u32 {
            let (mut send, _receive) = rogue.connection.open_bi().await?;
            send.write_all(&[1, 2, 3]).await?;
            send.reset(number.into())?;
        }
        let slow = Rogue::connect(&endpoint, &door, "h1", Windows::default()).await?;
        let (mut raw, _reader) = slow.say(&[200, 0, 0, 0], false).await?;
        let dripping = tokio::spawn(async move {
            while raw.write_all(&[1]).await.is_ok() {
                tokio::time::sleep(Duration::from_millis(200)).await;
            }
        });
        refused_with(&slow.ended().await?, RefusalCode::Slow, "a greeting byte by byte")?;
        dripping.await?;
        anyhow::Ok(())
    })?;
    siege.counted(RefusalCode::Slow.number(), "stream", STREAMS)?;
    siege.counted(RefusalCode::Slow.number(), "greeting", 1)
}

/// Every node opens its deliveries on every stream, with all the credit there is, and reads nothing.
pub fn slow_readers(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint, grant) = (siege.door.clone(), siege.endpoint.clone(), siege.grant);
    let before = siege.refused(RefusalCode::Slow.number(), "stream")?;
    let nodes = siege.runtime.block_on(async {
        let mut nodes: Vec<(Rogue, Control)> = Vec::new();
        let mut streams = Vec::new();
        for node in 0..HOSTILE_NODES {
            let windows = Windows { stream: 4_096, connection: 1 << 20 };
            let name = format!("h{node}");
            let (rogue, control) = Rogue::visit(&endpoint, &door, &name, windows).await?;
            for _ in 0..STREAMS {
                streams.push(rogue.say(&subscribe(grant, u64::MAX)?, false).await?);
            }
            nodes.push((rogue, control));
        }
        anyhow::Ok((nodes, streams))
    })?;
    until_true(SOON, "slow readers are told that they are", || {
        let slow = siege.refused(RefusalCode::Slow.number(), "stream")? - before;
        Ok(slow >= HOSTILE_NODES as f64)
    })?;
    drop(nodes);
    Ok(())
}

/// A subscriber that takes its first part and never gives credit again costs the hub nothing, and is
/// refused nothing.
pub fn silent_subscribers(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint, grant) = (siege.door.clone(), siege.endpoint.clone(), siege.grant);
    let held = siege.runtime.block_on(async {
        let (rogue, control) = Rogue::visit(&endpoint, &door, "h5", Windows::default()).await?;
        let (raw, mut reader) = rogue.say(&subscribe(grant, 1)?, false).await?;
        for due in [SubscribeReady::KIND, SnapshotChunk::KIND] {
            let said = rogue.said(&mut reader).await?;
            ensure!(matches!(said, Said::Message(found, _) if found == due), "{due}: {said:?}");
        }
        anyhow::Ok((rogue, control, raw, reader))
    })?;
    until_true(SOON, "nothing is held for a subscriber that takes nothing", || {
        let metrics = siege.exchange.hub.metrics()?;
        let held: f64 =
            metrics.with("hutong_gate_memory_bytes", "deliveries").map(|(_, bytes)| bytes).sum();
        Ok(held == 0.0)
    })?;
    drop(held);
    Ok(())
}

fn subscribe(grant: u64, credit_bytes: u64) -> Result<Vec<u8>> {
    let grant = GrantId(grant);
    let open =
        SubscribeOpen { grant, cursor: None, consistent_at: None, resume: None, credit_bytes };
    Ok(frame::encode(&open)?)
}
