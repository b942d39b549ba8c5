//! A resource of the hostile department and streams that publish it.

use anyhow::{Context, Result};
use hutong_certs::stream::FrameReader;
use hutong_schema::batch::{self, BatchHeader, BatchKind, Codec};
use hutong_schema::block::BlockBuilder;
use hutong_schema::ids::ResourceCode;
use hutong_schema::row::FieldId;
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::Json;
use hutong_schema::wire::v1::command::{CatalogueApplied, CatalogueApply};
use hutong_schema::wire::v1::publish::{Batch, PublishOpen, PublishReady};

use super::super::Rogue;
use crate::harness::entries::{department_code, people};
use crate::harness::rows;

/// The hostile department's position in the exchange.
pub(super) const HOSTILE: usize = 1;

/// A registered resource.
#[derive(Clone, Debug)]
pub(super) struct Publication {
    pub(super) resource: ResourceCode,
}

/// A stream that the hub is ready to take batches on.
pub(super) struct Open {
    pub(super) raw: quinn::SendStream,
    pub(super) reader: FrameReader,
    pub(super) ready: PublishReady,
}

impl Publication {
    /// Registers a resource.
    pub(super) async fn register(rogue: &Rogue, code: &str) -> Result<Self> {
        let entry = people(code, department_code(HOSTILE)?)?;
        let apply = CatalogueApply { entries: Json::of(&[&entry])? };
        let said = rogue.ask(&frame::encode(&apply)?, true).await?;
        said.message(CatalogueApplied::KIND, "an entry was to be registered")?;
        Ok(Self { resource: entry.code })
    }

    /// The frame that opens a stream of it; epoch 0 asks for a new one.
    pub(super) fn opening(&self, epoch: u32) -> Result<Vec<u8>> {
        let resource = self.resource.clone();
        Ok(frame::encode(&PublishOpen { resource, shard: 0, epoch, schema_version: 1 })?)
    }

    /// Opens a stream of it.
    pub(super) async fn open(&self, rogue: &Rogue, epoch: u32) -> Result<Open> {
        let (raw, mut reader) = rogue.say(&self.opening(epoch)?, false).await?;
        let said = rogue.said(&mut reader).await?;
        let content = said.message(PublishReady::KIND, "a publication was to be opened")?;
        Ok(Open { raw, reader, ready: frame::expect(&content)? })
    }
}

impl Open {
    /// The frame of a next batch with one row, as an honest node sends it.
    pub(super) fn row(&self) -> Result<Vec<u8>> {
        let mut block = BlockBuilder::new(&[2, 5, 6, 7].map(FieldId));
        let people = rows::people(1)?;
        let person = people.first().context("a person")?;
        let values = [&person.xm, &person.csrq, &person.hjqh, &person.je];
        block.upsert(person.sfzh.as_bytes(), values.map(|value| Some(value.as_bytes())));
        let raw = block.finish();
        let (codec, payload) = batch::compress(&raw, Codec::Lz4)?;
        self.batch(BatchKind::Rows, 1, (u32::try_from(raw.len())?, codec, &payload))
    }

    /// The frame of a next batch with this payload, chained as it should be.
    pub(super) fn batch(
        &self,
        kind: BatchKind,
        rows: u32,
        (raw_len, codec, payload): (u32, Codec, &[u8]),
    ) -> Result<Vec<u8>> {
        let seq = self.ready.last_seq + 1;
        let header = BatchHeader { seq, kind, schema_version: 1, rows, raw_len, codec };
        let chain = batch::extend(&self.ready.chain, &header, blake3::hash(payload).as_bytes());
        frame::encode(&Batch { header, chain, payload }).context("a batch")
    }
}
