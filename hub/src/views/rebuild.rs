//! Making the views anew from the log, beside the ones in use, and comparing the two.

use std::{path::Path, sync::Arc};

use super::{Place, Result, ViewError, ViewOptions, Views, read::DigestSpec};
use crate::{
    log::{Log, RocksLog},
    numbers::ResourceNo,
};
use hutong_schema::digest::Digest;

/// What a rebuild found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RebuildReport {
    /// Resources rebuilt.
    pub resources: usize,
    /// Their rows.
    pub rows: u64,
    /// Resources whose rows were different before: before, after. `None` when there were no views
    /// that could be opened.
    pub different: Vec<(ResourceNo, Option<Digest>, Digest)>,
}

/// What a rebuild is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RebuildStep {
    /// The log is applied.
    Applying {
        /// Entries applied.
        done: u64,
        /// Entries in all data partitions.
        entries: u64,
    },
    /// The rows are compared with those of the old views.
    Comparing,
}

/// Makes the views in `dir` anew from the log and puts them in place of the old ones, which are
/// compared with them and removed. Blocks; nobody else may have the views open.
///
/// # Errors
/// When the log does not reach back to its beginning, or a file operation fails. The old views are
/// then still in place.
pub fn rebuild(
    dir: impl AsRef<Path>,
    options: ViewOptions,
    log: Arc<RocksLog>,
    mut progress: impl FnMut(RebuildStep),
) -> Result<RebuildReport> {
    let dir = dir.as_ref();
    let fresh = sibling(dir, "new");
    let old = sibling(dir, "old");
    remove(&fresh)?;
    remove(&old)?;
    let views = Views::open(&fresh, options.clone(), Arc::clone(&log))?;
    let entries = views.inner.core.store.partitions().map(|partition| log.head(partition).0).sum();
    progress(RebuildStep::Applying { done: 0, entries });
    views.apply_all_telling(|done| progress(RebuildStep::Applying { done, entries }))?;
    views.flush()?;
    progress(RebuildStep::Comparing);
    let before = match dir.join("CURRENT").exists() {
        true => Views::open(dir, options, log).and_then(|views| digests(&views)).ok(),
        false => None,
    };
    let after = digests(&views)?;
    let mut report = RebuildReport { resources: after.len(), ..RebuildReport::default() };
    for (resource, digest) in after {
        report.rows += digest.count;
        let earlier = before.as_ref().and_then(|before| {
            before.iter().find(|(other, _)| *other == resource).map(|(_, digest)| *digest)
        });
        if before.is_some() && earlier != Some(digest) {
            report.different.push((resource, earlier, digest));
        }
    }
    drop(views);
    if dir.exists() {
        std::fs::rename(dir, &old).map_err(ViewError::io("rename", dir))?;
    }
    std::fs::rename(&fresh, dir).map_err(ViewError::io("rename", &fresh))?;
    remove(&old)?;
    Ok(report)
}

fn digests(views: &Views) -> Result<Vec<(ResourceNo, Digest)>> {
    views.apply_all()?;
    let snapshot = views.snapshot();
    let mut resources: Vec<_> =
        views.inner.core.directory.all().iter().map(|entry| entry.resource).collect();
    resources.sort_unstable();
    let mut out = Vec::with_capacity(resources.len());
    for resource in resources {
        let place = Place::Resource(resource);
        let as_of = snapshot.as_of(place)?;
        let found = snapshot.digests(place, &[DigestSpec::default()], as_of)?;
        out.extend(found.into_iter().map(|found| (resource, found.digest)));
    }
    Ok(out)
}

fn sibling(dir: &Path, suffix: &str) -> std::path::PathBuf {
    let mut name = dir.file_name().unwrap_or_default().to_owned();
    name.push(".");
    name.push(suffix);
    dir.with_file_name(name)
}

fn remove(dir: &Path) -> Result<()> {
    match std::fs::remove_dir_all(dir) {
        Ok(()) => Ok(()),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(ViewError::io("remove", dir)(error)),
    }
}
