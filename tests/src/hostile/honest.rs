//! A node of another department that publishes all the time, and how long it waits for each
//! acknowledgement.

use std::net::Ipv4Addr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_schema::batch::{self, BatchHeader, BatchKind, Codec};
use hutong_schema::block::BlockBuilder;
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::limits::FRAME_BYTES_MAX;
use hutong_schema::row::FieldId;
use hutong_schema::wire::frame;
use hutong_schema::wire::v1::Json;
use hutong_schema::wire::v1::command::CatalogueApply;
use hutong_schema::wire::v1::publish::{Ack, Batch, PublishOpen, PublishReady};

use super::wire::{Control, Door, Rogue, Windows, endpoint};
use crate::harness::rows::{PersonRow, people};

/// Rows of a batch.
const ROWS: usize = 10;
/// Different rows in all.
const KEYS: usize = 2_000;
/// Pause between an acknowledgement and the next batch.
const PAUSE: Duration = Duration::from_millis(15);

/// The publisher; it runs in a thread of its own.
pub(super) struct Honest {
    over: Arc<AtomicBool>,
    thread: JoinHandle<Result<Heard>>,
}

/// What it saw.
pub(super) struct Heard {
    /// How long each acknowledgement took, in the order of length.
    pub(super) took: Vec<Duration>,
    /// Different rows that were acknowledged.
    pub(super) rows: usize,
}

/// An open publication.
struct Publication {
    endpoint: quinn::Endpoint,
    rogue: Rogue,
    _control: Control,
    reader: FrameReader,
    writer: FrameWriter,
    seq: u64,
    chain: batch::ChainHash,
    people: Vec<PersonRow>,
}

impl Honest {
    /// Begins to publish; returns when the first batch is acknowledged.
    pub(super) fn begin(door: Door, node: &'static str, entry: CatalogueEntry) -> Result<Self> {
        let over = Arc::new(AtomicBool::new(false));
        let (ready, begun) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::spawn({
            let over = Arc::clone(&over);
            move || {
                let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
                runtime.block_on(async {
                    let mut publication = Publication::open(&door, node, &entry).await?;
                    publication.publish(0).await?;
                    // Whoever waits for it may have given up.
                    let _ = ready.send(());
                    publication.run(&over).await
                })
            }
        });
        if begun.recv_timeout(Duration::from_secs(60)).is_err() {
            return match thread.join() {
                Ok(Err(error)) => Err(error.context("the honest node cannot publish")),
                Ok(Ok(_)) | Err(_) => bail!("the honest node does not begin"),
            };
        }
        Ok(Self { over, thread })
    }

    /// Ends it.
    pub(super) fn end(self) -> Result<Heard> {
        self.over.store(true, Ordering::Relaxed);
        let heard = self.thread.join().map_err(|_| anyhow::anyhow!("the honest node panicked"))?;
        heard.context("the honest node could not go on")
    }
}

impl Publication {
    async fn open(door: &Door, node: &str, entry: &CatalogueEntry) -> Result<Self> {
        let endpoint = endpoint(Ipv4Addr::LOCALHOST)?;
        let (rogue, control) = Rogue::visit(&endpoint, door, node, Windows::default()).await?;
        let apply = CatalogueApply { entries: Json::of(&[entry])? };
        rogue.ask(&frame::encode(&apply)?, true).await?;
        let (send, receive) = rogue.connection.open_bi().await?;
        let (mut reader, mut writer) = (FrameReader::new(receive), FrameWriter::new(send));
        let resource = entry.code.clone();
        writer.send(&PublishOpen { resource, shard: 0, epoch: 0, schema_version: 1 }).await?;
        let content = reader.due(FRAME_BYTES_MAX).await?;
        let ready: PublishReady = frame::expect(&content)?;
        let (seq, chain) = (ready.last_seq, ready.chain);
        let people = people(KEYS)?;
        Ok(Self { endpoint, rogue, _control: control, reader, writer, seq, chain, people })
    }

    async fn run(mut self, over: &AtomicBool) -> Result<Heard> {
        let mut took = Vec::new();
        let mut turn = 1;
        while !over.load(Ordering::Relaxed) {
            took.push(self.publish(turn).await?);
            turn += 1;
            tokio::time::sleep(PAUSE).await;
        }
        took.sort_unstable();
        self.rogue.connection.close(0u32.into(), b"");
        self.endpoint.wait_idle().await;
        Ok(Heard { took, rows: (turn * ROWS).min(KEYS) })
    }

    /// Publishes the next batch and waits for its acknowledgement.
    async fn publish(&mut self, turn: usize) -> Result<Duration> {
        let fields = [2, 5, 6, 7].map(FieldId);
        let mut block = BlockBuilder::new(&fields);
        let amount = turn.to_string();
        for row in 0..ROWS {
            let person = &self.people[(turn * ROWS + row) % KEYS];
            let values = [&person.xm, &person.csrq, &person.hjqh, &amount];
            block.upsert(person.sfzh.as_bytes(), values.map(|value| Some(value.as_bytes())));
        }
        let raw = block.finish();
        let (codec, payload) = batch::compress(&raw, Codec::Lz4)?;
        self.seq += 1;
        let header = BatchHeader {
            seq: self.seq,
            kind: BatchKind::Rows,
            schema_version: 1,
            rows: u32::try_from(ROWS)?,
            raw_len: u32::try_from(raw.len())?,
            codec,
        };
        self.chain = batch::extend(&self.chain, &header, blake3::hash(&payload).as_bytes());
        let began = Instant::now();
        self.writer.send(&Batch { header, chain: self.chain, payload: &payload }).await?;
        let content = self.reader.due(FRAME_BYTES_MAX).await?;
        let ack: Ack = frame::expect(&content)?;
        ensure!(
            ack.stored_through == self.seq,
            "{} was acknowledged, not {}",
            ack.stored_through,
            self.seq
        );
        ensure!(ack.rejected.is_empty(), "honest rows were rejected: {:?}", ack.rejected);
        Ok(began.elapsed())
    }
}

impl Heard {
    /// How long 99 of 100 acknowledgements took at most.
    pub(super) fn p99(&self) -> Duration {
        let at = self.took.len() * 99 / 100;
        self.took.get(at).or(self.took.last()).copied().unwrap_or_default()
    }
}
