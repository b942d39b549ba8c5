//! What the machine could do at most with the same bytes.

mod disk;
mod wire;

use std::path::Path;

use anyhow::{Result, bail};
use bytes::Bytes;
use hutong_hub::log::{EntryKind, Log, LogOptions, Offset, PartitionId, RocksLog};

pub(super) use disk::disk;
pub(super) use wire::wire;

/// Entries read from the log at once.
const READ: usize = 64;

/// The batches with rows as they stand in the log of a hub that does not run.
///
/// # Errors
/// When the log holds another number of rows.
pub(super) fn payloads(hub_data: &Path, rows: u64) -> Result<Vec<Bytes>> {
    let (log, _) = RocksLog::open(hub_data.join("log"), LogOptions::default())?;
    let (mut payloads, mut found) = (Vec::new(), 0);
    for partition in (PartitionId::FIXED..log.partitions()).map(PartitionId) {
        let mut from = Offset::FIRST;
        loop {
            let entries = log.read(partition, from, READ, usize::MAX)?;
            let Some(last) = entries.last() else { break };
            from = last.position.offset.next();
            for entry in entries {
                if let EntryKind::Batch(header) = &entry.envelope.kind
                    && header.rows > 0
                {
                    found += u64::from(header.rows);
                    payloads.push(entry.payload);
                }
            }
        }
    }
    if found < rows {
        bail!("{rows} rows were acknowledged, the log holds {found}");
    }
    Ok(payloads)
}
