//! How full the disk is. Low: batches are refused, everything else goes on. Full: the hub ends,
//! before the file system does it for us at a worse moment.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::sync::watch;

use crate::tasks::Tasks;

/// Settings of the watch over the disk.
#[derive(Clone, Copy, Debug)]
pub struct DiskOptions {
    /// Below this much free space batches are refused, percent.
    pub low_percent: u8,
    /// Below this much free space the hub ends, percent.
    pub full_percent: u8,
    /// How often it is looked at.
    pub every: Duration,
}

impl Default for DiskOptions {
    fn default() -> Self {
        Self { low_percent: 10, full_percent: 3, every: Duration::from_secs(5) }
    }
}

/// How much of the disk is free.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DiskLevel {
    /// Enough.
    Enough,
    /// Too little to take more batches.
    Low {
        /// Free space.
        free_percent: u8,
    },
    /// Too little to go on.
    Full {
        /// Free space.
        free_percent: u8,
    },
}

/// Watches the file system of a folder. A file system that cannot be asked counts as it did before.
///
/// # Errors
/// When it cannot be asked the first time.
pub fn watch(
    dir: &Path,
    options: DiskOptions,
    tasks: &Tasks,
) -> io::Result<watch::Receiver<DiskLevel>> {
    let first = level(free_percent(dir)?, options);
    report(first);
    let (sender, receiver) = watch::channel(first);
    let dir: PathBuf = dir.to_owned();
    let closing = tasks.closing.clone();
    tasks.spawn_vital("disk watch", async move {
        let mut ticks = tokio::time::interval(options.every);
        loop {
            tokio::select! {
                () = closing.cancelled() => return,
                _ = ticks.tick() => {}
            }
            match free_percent(&dir) {
                Ok(free) => {
                    metrics::gauge!("hutong_disk_free_percent").set(f64::from(free));
                    let now = level(free, options);
                    let changed = |before: &mut DiskLevel| std::mem::replace(before, now) != now;
                    if sender.send_if_modified(changed) {
                        report(now);
                    }
                }
                Err(error) => {
                    tracing::warn!(%error, dir = %dir.display(), "cannot ask how full the disk is")
                }
            }
        }
    });
    Ok(receiver)
}

fn report(level: DiskLevel) {
    match level {
        DiskLevel::Enough => tracing::info!("the disk has room"),
        DiskLevel::Low { free_percent } => {
            tracing::error!(
                free_percent,
                "the disk is nearly full: batches are refused until there is room"
            );
        }
        DiskLevel::Full { free_percent } => {
            tracing::error!(
                free_percent,
                "the disk is full: the hub ends; make room, then start it again"
            );
        }
    }
}

fn level(free_percent: u8, options: DiskOptions) -> DiskLevel {
    if free_percent < options.full_percent {
        DiskLevel::Full { free_percent }
    } else if free_percent < options.low_percent {
        DiskLevel::Low { free_percent }
    } else {
        DiskLevel::Enough
    }
}

/// Space that this user can still write to, in percent of all.
fn free_percent(dir: &Path) -> io::Result<u8> {
    let found = rustix::fs::statvfs(dir)?;
    let percent = u128::from(found.f_bavail) * 100 / u128::from(found.f_blocks.max(1));
    Ok(u8::try_from(percent).unwrap_or(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_begin_below_their_bounds() {
        let at = |free| level(free, DiskOptions::default());
        assert_eq!(at(10), DiskLevel::Enough);
        assert_eq!(at(9), DiskLevel::Low { free_percent: 9 });
        assert_eq!(at(3), DiskLevel::Low { free_percent: 3 });
        assert_eq!(at(2), DiskLevel::Full { free_percent: 2 });
    }

    #[tokio::test]
    async fn a_disk_that_fills_is_noticed() {
        let dir = tempfile::tempdir().expect("a folder");
        let tasks = Tasks::new();
        // Bounds above what any file system has free stand for a full one.
        let options =
            DiskOptions { low_percent: 101, full_percent: 0, every: Duration::from_secs(5) };
        let level = watch(dir.path(), options, &tasks).expect("asked");
        assert!(matches!(*level.borrow(), DiskLevel::Low { .. }));
        assert!(watch(Path::new("/no/such/folder"), options, &tasks).is_err());
    }
}
