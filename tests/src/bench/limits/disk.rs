//! The same bytes appended to a file that was written through before, synced as often.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;
use bytes::Bytes;

/// Bytes written at once when the file is prepared.
const PREPARED: usize = 1024 * 1024;

/// Seconds that the payloads take, `group` of them before each sync.
pub(in super::super) fn disk(folder: &Path, payloads: &[Bytes], group: usize) -> Result<f64> {
    let mut file = File::create(folder.join("appended"))?;
    let bytes: usize = payloads.iter().map(Bytes::len).sum();
    let zeros = vec![0; PREPARED];
    for _ in 0..=bytes / PREPARED {
        file.write_all(&zeros)?;
    }
    file.sync_all()?;
    file.seek(SeekFrom::Start(0))?;
    let began = Instant::now();
    let mut together = Vec::new();
    for payloads in payloads.chunks(group.max(1)) {
        together.clear();
        payloads.iter().for_each(|payload| together.extend_from_slice(payload));
        file.write_all(&together)?;
        file.sync_data()?;
    }
    Ok(began.elapsed().as_secs_f64())
}
