//! One feed to eight subscribers: how many changes a second arrive. The receivers speak the protocol
//! and give credit; they keep nothing, so that what is measured is the hub.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use hutong_certs::clock;
use hutong_certs::enrol::NodeFolder;
use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_certs::tls::{self, SERVER_NAME};
use hutong_schema::batch::decompress_into;
use hutong_schema::block::Block;
use hutong_schema::grant::GrantId;
use hutong_schema::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX};
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::Refused;
use hutong_schema::wire::v1::control::{Hello, Welcome};
use hutong_schema::wire::v1::subscribe::{
    Credit, Cursor, DeliveryMode, Packed, SnapshotChunk, SnapshotEnd, SubscribeOpen,
    SubscribeReady, TailBatch,
};
use hutong_schema::wire::version::Version;
use quinn::{Connection, Endpoint, TransportConfig, VarInt};

use super::Options;
use super::figure::{Figure, Wanted};
use super::stage::{FIRST_ROWS, Stage, department};
use crate::harness::Machine;
use crate::harness::entries::department_code;
use crate::harness::exchange::{Wish, make_grant};

/// Subscribers of one feed.
const SUBSCRIBERS: usize = 8;
/// Name of each subscriber's node.
const NODE: &str = "n0";
/// Payload bytes that the hub may send ahead of credit, as an agent allows.
const WINDOW: u64 = 8 * 1024 * 1024;
/// No frame takes longer to come.
const PATIENCE: Duration = Duration::from_secs(120);

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut stage = Stage::prepare(options)?;
    stage.publish_first()?;
    let machines: Vec<_> =
        (0..SUBSCRIBERS).map(|at| subscriber(&stage, at)).collect::<Result<_>>()?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let hub = stage.hub.quic()?;
    // Where the feed stands before the rows come.
    let starts = runtime.block_on(async {
        let mut starts = Vec::new();
        for (machine, grant) in &machines {
            let mut subscriber = Subscriber::connect(machine, hub).await?;
            subscriber.open(*grant, None).await?;
            starts.push(subscriber.take_snapshot().await?);
        }
        Ok::<_, anyhow::Error>(starts)
    })?;
    stage.give_all()?;
    let more = stage.rows - FIRST_ROWS as u64;
    stage.searchable(stage.rows)?;
    stage.holds(stage.rows)?;
    stage.machine.stop()?;
    let before = stage.used();
    let (took, rows) = runtime.block_on(async {
        let mut all = Vec::new();
        for ((machine, grant), start) in machines.iter().zip(starts) {
            all.push((Subscriber::connect(machine, hub).await?, *grant, start));
        }
        let began = Instant::now();
        let mut tasks = Vec::new();
        for (number, (mut subscriber, grant, start)) in all.into_iter().enumerate() {
            tasks.push(tokio::spawn(async move {
                subscriber.open(grant, Some(start)).await?;
                // One of them looks into every block.
                let rows = subscriber.follow(more, number == 0).await?;
                Ok::<_, anyhow::Error>(rows)
            }));
        }
        let mut rows = 0;
        for task in tasks {
            rows += task.await??;
        }
        Ok::<_, anyhow::Error>((began.elapsed().as_secs_f64(), rows))
    })?;
    let used = stage.used().since(before);
    let (memory, _) = stage.memory();
    stage.hub.stop()?;
    if rows != more * SUBSCRIBERS as u64 {
        bail!("{rows} changes arrived, {} were due", more * SUBSCRIBERS as u64);
    }
    Ok(vec![
        Figure::new(
            "one feed to eight subscribers",
            rows as f64 / took,
            "changes/s",
            Wanted::at_least(1_500_000.0, 3_000_000.0),
        )
        .seen(used.per_row(rows))
        .seen(format!("memory: hub {memory:.0} MiB")),
    ])
}

/// A department with a node and a grant of all people.
fn subscriber(stage: &Stage, at: usize) -> Result<(Machine, GrantId)> {
    let (name, code) = (format!("subscriber-{at}"), department_code(at + 1)?);
    let machine = department(&stage.hub, stage.folder.path(), (&name, code), 1)?;
    machine.command(["enrol"])?.ok()?;
    let wish = Wish { target: "population", ..Wish::default() };
    let grant = make_grant(&stage.hub, code.as_str(), &wish)?;
    Ok((machine, GrantId(grant)))
}

/// One node's connection and its subscribe stream.
struct Subscriber {
    connection: Connection,
    /// The control stream: closed, it would end the session.
    _control: (FrameReader, FrameWriter),
    stream: Option<(FrameReader, FrameWriter)>,
}

impl Subscriber {
    async fn connect(machine: &Machine, hub: SocketAddr) -> Result<Self> {
        let tls = NodeFolder::new(machine.state().join("nodes").join(NODE)).load()?.into_tls();
        let mut transport = TransportConfig::default();
        transport
            .stream_receive_window(VarInt::from_u32(WINDOW as u32))
            .receive_window(VarInt::from_u32(2 * WINDOW as u32))
            .keep_alive_interval(Some(Duration::from_secs(4)));
        let config = tls::agent_client_config(&tls, Arc::new(transport))?;
        let endpoint = Endpoint::client(([127, 0, 0, 1], 0).into())?;
        let connection = endpoint.connect_with(config, hub, SERVER_NAME)?.await?;
        let (mut reader, mut writer) = open(&connection).await?;
        let hello = Hello {
            min: Version::MIN.number(),
            max: Version::MAX.number(),
            software: "hutong-bench".to_owned(),
            instance: *machine.code.as_str().as_bytes().first_chunk().context("a number")?,
            clock_ms: clock::now().as_millisecond(),
        };
        writer.send(&hello).await?;
        let content = reader.due(CONTROL_FRAME_BYTES_MAX).await?;
        frame::expect::<Welcome>(&content)?;
        Ok(Self { connection, _control: (reader, writer), stream: None })
    }

    async fn open(&mut self, grant: GrantId, cursor: Option<Cursor>) -> Result<()> {
        let (mut reader, mut writer) = open(&self.connection).await?;
        let message = SubscribeOpen {
            grant,
            cursor,
            consistent_at: None,
            resume: None,
            credit_bytes: WINDOW,
        };
        writer.send(&message).await?;
        let content = reader.due(CONTROL_FRAME_BYTES_MAX).await?;
        if frame::split(&content)?.0 == Refused::KIND {
            bail!("{}", frame::expect::<Refused>(&content)?);
        }
        let ready: SubscribeReady = frame::expect(&content)?;
        if cursor.is_some() && ready.mode != DeliveryMode::Tail {
            bail!("the hub does not go on from the cursor: {:?}", ready.mode);
        }
        self.stream = Some((reader, writer));
        Ok(())
    }

    /// Takes the snapshot; the cursor behind it.
    async fn take_snapshot(&mut self) -> Result<Cursor> {
        let (reader, _) = self.stream.as_mut().context("an open stream")?;
        loop {
            let content = tokio::time::timeout(PATIENCE, reader.due(FRAME_BYTES_MAX)).await??;
            match frame::split(&content)?.0 {
                SnapshotEnd::KIND => {
                    return Ok(frame::expect::<SnapshotEnd>(&content)?.consistent_at);
                }
                SnapshotChunk::KIND => {}
                kind => bail!("a frame of kind {kind} within a snapshot"),
            }
        }
    }

    /// Takes the tail until so many changes came.
    async fn follow(&mut self, wanted: u64, look: bool) -> Result<u64> {
        let (reader, writer) = self.stream.as_mut().context("an open stream")?;
        let (mut rows, mut consumed, mut raw) = (0u64, 0, Vec::new());
        while rows < wanted {
            let content = tokio::time::timeout(PATIENCE, reader.due(FRAME_BYTES_MAX)).await??;
            if frame::split(&content)?.0 != TailBatch::KIND {
                continue;
            }
            let batch: TailBatch<'_> = frame::expect(&content)?;
            let Packed { rows: count, raw_len, codec, payload } = batch.block;
            if look {
                decompress_into(payload, codec, raw_len as usize, &mut raw)?;
                if Block::parse(&raw)?.rows() != count as usize {
                    bail!("a block that holds another number of rows than it says");
                }
            }
            rows += u64::from(count);
            consumed += payload.len() as u64;
            if consumed > WINDOW / 4 {
                let bytes = std::mem::take(&mut consumed);
                writer.send(&Credit { bytes, cursor: Some(batch.cursor) }).await?;
            }
        }
        Ok(rows)
    }
}

async fn open(connection: &Connection) -> Result<(FrameReader, FrameWriter)> {
    let (send, receive) = connection.open_bi().await?;
    Ok((FrameReader::new(receive), FrameWriter::new(send)))
}
