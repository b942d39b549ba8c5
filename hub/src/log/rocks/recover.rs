//! Recovering a log that the strict open refused.
//!
//! The damaged directory is not written to. A copy is recovered up to the damage, judged, and only
//! when everything about it is durable renamed to `….recovered`: from then on, also after a crash, it
//! takes the log's place, and the damaged directory is kept beside it.

use std::fs::{self, File};
use std::path::Path;

use super::LogOptions;
use super::engine::{self, Mode};
use super::marks::Found;
use super::open::{MarksVerdict, Opened, Opening, family, lose};
use super::paths::{Paths, sync_dir};
use super::read::tail;
use crate::log::{IncarnationRecord, LogError, MissingRange, PartitionId};

/// Ends what a crash interrupted: an incomplete copy is removed, a complete one takes its place.
pub(super) fn finish_interrupted(paths: &Paths, now_ms: i64) -> Result<(), LogError> {
    paths.remove_unfinished()?;
    if paths.recovered.exists() {
        if paths.log.exists() {
            paths.rename(&paths.log, &paths.damaged(now_ms))?;
        }
        paths.rename(&paths.recovered, &paths.log)?;
    }
    Ok(())
}

/// What the judgement over a recovered copy was, and the new incarnation, if entries that had been
/// durable are missing.
pub(super) type Judgement = (MarksVerdict, Option<IncarnationRecord>);

/// Recovers a copy, judges it and puts it in the log's place.
pub(super) fn recover(
    paths: &Paths,
    found: &Found,
    refusal: String,
    options: &LogOptions,
) -> Result<(Opening, Judgement), LogError> {
    let now_ms = (options.clock)();
    copy(&paths.log, &paths.incomplete)?;
    let judgement = match judge(paths, found, options, now_ms) {
        Ok(judgement) => judgement,
        Err(source) => {
            paths.remove_unfinished()?;
            return Err(LogError::Unrecoverable { refusal, source: Box::new(source) });
        }
    };
    paths.remove_probe()?;
    sync_dir(&paths.incomplete)?;
    paths.rename(&paths.incomplete, &paths.recovered)?;
    let damaged = paths.damaged(now_ms);
    paths.rename(&paths.log, &damaged)?;
    paths.rename(&paths.recovered, &paths.log)?;
    tracing::warn!(damaged = %damaged.display(), "a recovered copy of the log is used");
    Ok((Opening::Recovered { refusal, damaged }, judgement))
}

fn judge(
    paths: &Paths,
    found: &Found,
    options: &LogOptions,
    now_ms: i64,
) -> Result<Judgement, LogError> {
    let db = engine::open(&paths.incomplete, Mode::PointInTime, options)
        .map_err(LogError::engine("recover a copy of the log"))?;
    let mut opened = Opened::read(db, &paths.incomplete)?;
    let mut lost = behind_the_damage(paths, &opened, options);
    for (partition, from, reason) in std::mem::take(&mut opened.checked.damaged) {
        tracing::warn!(%partition, %from, %reason, "the recovered copy ends before an entry");
        lose(&mut lost, partition, from, opened.head(partition));
        opened.cut(partition, from)?;
    }
    opened.compare(found, lost, now_ms)
}

/// Entries that can be read behind the damage. There is one writer, and it begins a write only when
/// the one before is synced: so whatever the damage cut off from them had been durable, and this is
/// no torn tail.
fn behind_the_damage(paths: &Paths, opened: &Opened, options: &LogOptions) -> Vec<MissingRange> {
    let mut lost = Vec::new();
    let probe = copy(&paths.log, &paths.probe).and_then(|()| {
        engine::open(&paths.probe, Mode::Salvage, options)
            .map_err(LogError::engine("look behind its damage"))
    });
    let probe = match probe {
        Ok(probe) => probe,
        Err(error) => {
            tracing::warn!(%error, "nothing can be read behind the damage of the log");
            return lost;
        }
    };
    for partition in (0..opened.state.partitions()).map(PartitionId) {
        let seen = family(&probe, partition).and_then(|family| tail(&probe, family, partition));
        match seen {
            Ok(tail) if tail.head > opened.head(partition) => {
                lose(&mut lost, partition, opened.head(partition).next(), tail.head);
            }
            Ok(_) => {}
            Err(error) => tracing::warn!(%error, %partition, "unreadable behind the damage"),
        }
    }
    lost
}

/// Copies a database: files that are never changed again are linked, the others copied and synced.
fn copy(from: &Path, to: &Path) -> Result<(), LogError> {
    fs::create_dir(to).map_err(LogError::io("create", to))?;
    for file in fs::read_dir(from).map_err(LogError::io("list", from))? {
        let file = file.map_err(LogError::io("list", from))?;
        let (source, target) = (file.path(), to.join(file.file_name()));
        let name = file.file_name();
        let name = name.to_string_lossy();
        if name == "LOCK" || name.starts_with("LOG") {
            continue;
        }
        let immutable = [".sst", ".blob", ".payloads"].iter().any(|suffix| name.ends_with(suffix));
        if immutable && fs::hard_link(&source, &target).is_ok() {
            continue;
        }
        fs::copy(&source, &target).map_err(LogError::io("copy", &source))?;
        let copied = File::open(&target).map_err(LogError::io("open", &target))?;
        copied.sync_all().map_err(LogError::io("sync", &target))?;
    }
    sync_dir(to)
}
