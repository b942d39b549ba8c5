//! Bytes that are no messages, pieces of messages, and messages that claim to be larger than anybody
//! may send.

use anyhow::{Result, ensure};
use hutong_schema::batch::{self, BatchKind, Codec};
use hutong_schema::limits::{BATCH_BYTES_MAX, CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX};
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::command::{CatalogueApply, CatalogueList, GrantList};
use hutong_schema::wire::v1::control::{Goodbye, Heartbeat};
use hutong_schema::wire::v1::publish::{Ack, PublishClose};
use hutong_schema::wire::v1::{Json, RefusalCode, kind};

use super::super::{Rogue, Said, Siege, Windows};
use super::publication::Publication;
use super::refused_with;
use crate::city::rng::Rng;

/// Kinds that a stream may begin with, and some that it may not.
const KINDS: [u8; 14] = [
    kind::PUBLISH_OPEN,
    kind::SUBSCRIBE_OPEN,
    kind::LOOKUP,
    kind::VERIFY,
    kind::CATALOGUE_APPLY,
    kind::CATALOGUE_LIST,
    kind::HELLO,
    kind::BATCH,
    kind::ACK,
    kind::CREDIT,
    kind::REFUSED,
    kind::ENROL,
    0x00,
    0xFF,
];

/// Random bytes instead of the greeting, on the control stream, and on streams of every kind.
pub fn garbage(siege: &mut Siege<'_>) -> Result<()> {
    let mut rng = Rng::new(11);
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    siege.runtime.block_on(async {
        for round in 0..12 {
            let rogue = Rogue::connect(&endpoint, &door, "h0", Windows::default()).await?;
            let mut bytes = random(&mut rng, 64 + 40 * round);
            if round % 2 == 0 {
                // A frame of a length that may be, so that what is within is looked at.
                bytes = framed(kind::HELLO, &bytes);
            }
            rogue.say(&bytes, round % 3 == 0).await?;
            refused_with(&rogue.ended().await?, RefusalCode::Protocol, "garbage for a greeting")?;
        }
        let (rogue, _control) = Rogue::visit(&endpoint, &door, "h0", Windows::default()).await?;
        for round in 0..10 * KINDS.len() {
            let body = random(&mut rng, 1 + round * 7);
            let bytes = framed(KINDS[round % KINDS.len()], &body);
            let said = rogue.ask(&bytes, true).await?;
            ensure!(matches!(said, Said::Refused(_)), "garbage was answered with {said:?}");
        }
        for _ in 0..20 {
            let mut bytes = random(&mut rng, 500);
            // A length beyond what is allowed anywhere.
            bytes[3] |= 0x80;
            let said = rogue.ask(&bytes, false).await?;
            refused_with(&said, RefusalCode::Protocol, "garbage on a stream")?;
        }
        drop(rogue);
        let (rogue, mut control) = Rogue::visit(&endpoint, &door, "h1", Windows::default()).await?;
        control.raw.write_all(&framed(kind::HEARTBEAT, &random(&mut rng, 300))).await?;
        refused_with(&rogue.ended().await?, RefusalCode::Protocol, "garbage on the control stream")
    })?;
    siege.counted(1005, "greeting", 12)?;
    siege.counted(1005, "stream", 20)?;
    siege.counted(1005, "control", 1)
}

/// Frames that end in their middle, at every kind; lengths beyond the limit of their place; bytes
/// behind a message.
pub fn broken_frames(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    siege.runtime.block_on(async {
        let (rogue, _control) = Rogue::visit(&endpoint, &door, "h2", Windows::default()).await?;
        let publication = Publication::register(&rogue, "300100/000001").await?;
        let whole = [
            publication.opening(1)?,
            frame::encode(&CatalogueList { own: true, after: None })?,
            frame::encode(&CatalogueApply { entries: Json::of(&[1, 2, 3])? })?,
            framed(kind::LOOKUP, &[7; 90]),
            framed(kind::SUBSCRIBE_OPEN, &[0; 90]),
        ];
        for frame in &whole {
            for cut in [1, 3, 4, 5, frame.len() / 2, frame.len() - 1] {
                let said = rogue.ask(&frame[..cut], true).await?;
                refused_with(&said, RefusalCode::Protocol, &format!("a frame cut at {cut}"))?;
            }
            let mut longer = frame.clone();
            longer.push(9);
            let length = u32::try_from(longer.len() - frame::PREFIX)?;
            longer[..frame::PREFIX].copy_from_slice(&length.to_le_bytes());
            let said = rogue.ask(&longer, true).await?;
            refused_with(&said, RefusalCode::Protocol, "a byte behind the message")?;
        }
        let said = rogue.ask(&frame::encode(&GrantList {})?, true).await?;
        ensure!(matches!(said, Said::Message(..)), "a whole frame is answered: {said:?}");
        for announced in [0, CONTROL_FRAME_BYTES_MAX + 1, FRAME_BYTES_MAX, u32::MAX as usize] {
            let prefix = u32::try_from(announced)?.to_le_bytes();
            let said = rogue.ask(&prefix, false).await?;
            refused_with(&said, RefusalCode::Protocol, &format!("{announced} announced"))?;
        }
        let mut open = publication.open(&rogue, 0).await?;
        open.raw.write_all(&u32::try_from(FRAME_BYTES_MAX + 1)?.to_le_bytes()).await?;
        let said = rogue.said(&mut open.reader).await?;
        refused_with(&said, RefusalCode::Protocol, "a batch beyond the limit is announced")?;
        for broken in [framed(kind::BATCH, &[7; 40]), vec![0xFF; 4]] {
            let mut open = publication.open(&rogue, 0).await?;
            // At once, so that the batch is not stored yet when the rest is looked at.
            open.raw.write_all(&[open.row()?, broken].concat()).await?;
            let said = rogue.said(&mut open.reader).await?;
            let ack = said.message(Ack::KIND, "a batch before a broken frame was to be stored")?;
            ensure!(frame::expect::<Ack>(&ack)?.stored_through == 1, "one batch is stored");
            let said = rogue.said(&mut open.reader).await?;
            refused_with(&said, RefusalCode::Protocol, "a broken frame behind a batch")?;
        }
        for out_of_place in [
            frame::encode(&Heartbeat {
                clock_ms: 0,
                queued_batches: 0,
                queued_bytes: 0,
                oldest_unacked_ms: 0,
                resources: Vec::new(),
            })?,
            frame::encode(&Goodbye { reason: "x".repeat(100_000) })?,
            frame::encode(&PublishClose {})?,
        ] {
            let said = rogue.ask(&out_of_place, true).await?;
            refused_with(&said, RefusalCode::Protocol, "a message out of its place")?;
        }
        anyhow::Ok(())
    })?;
    siege.counted(1005, "stream", whole_refusals())
}

/// Payloads that open to far more than they are, in truth or by what they claim.
pub fn bombs(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    siege.runtime.block_on(async {
        let (rogue, _control) = Rogue::visit(&endpoint, &door, "h3", Windows::default()).await?;
        let publication = Publication::register(&rogue, "300101/000001").await?;
        let epoch = publication.open(&rogue, 0).await?.ready.epoch;
        let largest = u32::try_from(BATCH_BYTES_MAX)?;
        let zeros = vec![0; BATCH_BYTES_MAX];
        let lz4 = batch::compress(&zeros, Codec::Lz4)?.1;
        let zstd = batch::compress(&zeros, Codec::Zstd)?.1;
        ensure!(zstd.len() < 4_096 && lz4.len() < 40_000, "{} {}", zstd.len(), lz4.len());
        for _ in 0..8 {
            for (raw_len, codec, payload) in [
                (largest, Codec::Lz4, &lz4),
                (largest, Codec::Zstd, &zstd),
                (largest + 1, Codec::Zstd, &zstd),
                (u32::MAX, Codec::Lz4, &lz4),
                (10, Codec::Zstd, &zstd),
                (10, Codec::Lz4, &lz4),
                (largest, Codec::Plain, &zstd),
            ] {
                let mut open = publication.open(&rogue, epoch).await?;
                let frame = open.batch(BatchKind::Rows, 8_192, (raw_len, codec, payload))?;
                open.raw.write_all(&frame).await?;
                let said = rogue.said(&mut open.reader).await?;
                let what = format!("{codec:?} that claims {raw_len} bytes");
                refused_with(&said, RefusalCode::Damaged, &what)?;
            }
        }
        anyhow::Ok(())
    })?;
    siege.counted(1109, "stream", 56)
}

/// JSON that nests deeper than any reader should follow, and entries of the wrong shape.
pub fn nesting(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    siege.runtime.block_on(async {
        let (rogue, _control) = Rogue::visit(&endpoint, &door, "h4", Windows::default()).await?;
        let depth = 200_000;
        let nested = [
            "[".repeat(depth),
            format!("{}{}", "[".repeat(depth), "]".repeat(depth)),
            format!("[{}1{}]", "{\"items\":".repeat(depth / 2), "}".repeat(depth / 2)),
            format!("[{}", "{\"code\":\"1\",".repeat(depth / 3)),
        ];
        for text in nested {
            let said = rogue.ask(&catalogue_of(text.as_bytes()), true).await?;
            refused_with(&said, RefusalCode::Catalogue, "a catalogue that nests")?;
        }
        anyhow::Ok(())
    })?;
    siege.counted(1301, "stream", 4)
}

/// The least that [`broken_frames`] must have had counted.
fn whole_refusals() -> usize {
    5 * 7 + 4 + 1 + 2 + 3
}

/// A command with this text for its entries, which no type of ours would hold.
fn catalogue_of(text: &[u8]) -> Vec<u8> {
    let mut body = vec![252];
    body.extend_from_slice(&(text.len() as u32).to_le_bytes());
    body.extend_from_slice(text);
    framed(CatalogueApply::KIND, &body)
}

fn framed(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut frame = (body.len() as u32 + 1).to_le_bytes().to_vec();
    frame.push(kind);
    frame.extend_from_slice(body);
    frame
}

fn random(rng: &mut Rng, length: usize) -> Vec<u8> {
    (0..length).map(|_| rng.below(256) as u8).collect()
}
