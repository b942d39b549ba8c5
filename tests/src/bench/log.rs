//! The log alone: the batches of the run before, appended to a fresh log of the hub's own.

use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;
use hutong_hub::log::{EntryKind, Log, LogOptions, NewEntry, Offset, PartitionId, RocksLog};

/// Seconds that the payloads take, `group` of them in each append.
pub(super) fn alone(folder: &Path, payloads: &[Bytes], group: usize) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (log, _) = RocksLog::open(folder.join("alone"), LogOptions::default())?;
    // What it costs to hash them is the intake's.
    let entries: Vec<NewEntry> = payloads
        .iter()
        .map(|payload| NewEntry::new(EntryKind::Access, Offset::NONE, payload.clone()))
        .collect();
    let began = Instant::now();
    runtime.block_on(async {
        for group in entries.chunks(group.max(1)) {
            let group = group.iter().map(|entry| (PartitionId::ACCESS, entry.clone())).collect();
            log.append(group).await?;
        }
        Ok::<_, hutong_hub::log::LogError>(())
    })?;
    let took = began.elapsed().as_secs_f64();
    log.close();
    Ok(took)
}
