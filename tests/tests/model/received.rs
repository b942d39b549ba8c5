//! What is told to a subscriber, and what it holds: read again from messages and files.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hutong_agent::sinks::Record;
use hutong_schema::batch::decompress_into;
use hutong_schema::block::Block;
use hutong_schema::grant::Grant;
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::v1::subscribe::{Packed, Repair, SnapshotChunk, TailBatch};
use serde::Deserialize;

use super::truth::Truth;
use super::world;

/// A line of a received file.
#[derive(Deserialize)]
struct Line {
    op: String,
    key: String,
    row: Option<BTreeMap<String, String>>,
}

/// The rows that a received file holds durably.
pub(crate) fn read_file(path: &Path, record: &Record) -> Result<world::Rows> {
    let view = record.grant_view().context("a view")?;
    let bytes = fs::read(path)?;
    let durable = usize::try_from(record.length)?;
    let bytes = bytes.get(..durable).with_context(|| format!("only {} bytes", bytes.len()))?;
    let mut rows = world::Rows::new();
    for line in std::str::from_utf8(bytes)?.lines() {
        let line: Line = serde_json::from_str(line)?;
        match (&*line.op, line.row) {
            ("delete", None) => {
                rows.remove(&line.key);
            }
            ("upsert", Some(row)) => {
                let mut fields = world::Fields::new();
                for (name, value) in row {
                    let item = view.items.iter().find(|item| item.name == name);
                    match item {
                        Some(item) => _ = fields.insert(item.id.0, value),
                        None => ensure!(
                            view.keys.iter().any(|item| item.name == name),
                            "{name} was not granted"
                        ),
                    }
                }
                rows.insert(line.key, fields);
            }
            (op, _) => bail!("{op} with or without a row"),
        }
    }
    Ok(rows)
}

/// No message names a key outside of the grant, or a field.
pub(crate) fn nothing_else_is_named(truth: &Truth, grant: &Grant, message: &Bytes) -> Result<()> {
    let kind = frame::split(message)?.0;
    let block: Packed<'_> = if kind == SnapshotChunk::<'_>::KIND {
        let chunk: SnapshotChunk<'_> = frame::expect(message)?;
        chunk.block
    } else if kind == TailBatch::<'_>::KIND {
        let tail: TailBatch<'_> = frame::expect(message)?;
        tail.block
    } else if kind == Repair::<'_>::KIND {
        let repair: Repair<'_> = frame::expect(message)?;
        repair.block
    } else {
        return Ok(());
    };
    if block.raw_len == 0 {
        return Ok(());
    }
    let mut raw = Vec::new();
    decompress_into(block.payload, block.codec, block.raw_len as usize, &mut raw)?;
    let block = Block::parse(&raw)?;
    for column in 0..block.columns() {
        let field = block.field(column);
        ensure!(grant.fields.contains(&field), "field {field} is told to grant {}", grant.id);
    }
    for index in 0..block.rows() {
        let key = block.key(index);
        ensure!(
            truth.covers(grant.id, key),
            "key {} is named to grant {}, which never covered it",
            String::from_utf8_lossy(key),
            grant.id
        );
    }
    Ok(())
}
