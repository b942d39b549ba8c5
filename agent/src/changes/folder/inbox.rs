//! Which files of a watched folder are there, and which of them are complete.

use std::collections::HashMap;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::FolderSource;
use crate::sources::Identity;

/// Since when each file has its size and time. Of this process only: after a restart a file has to rest
/// once more.
#[derive(Clone, Debug, Default)]
pub struct Settling(Arc<Mutex<HashMap<String, (Identity, Instant)>>>);

/// A file in the folder.
#[derive(Clone, Debug)]
pub(super) struct Dropped {
    pub(super) name: String,
    pub(super) path: PathBuf,
    /// Whether it rested long enough to be complete.
    pub(super) settled: bool,
}

/// The files that are meant, by name.
pub(super) fn list(
    folder: &FolderSource,
    settling: &Settling,
    now: Instant,
) -> io::Result<Vec<Dropped>> {
    let mut seen = Vec::new();
    for entry in std::fs::read_dir(&folder.folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if !folder.pattern.takes(&name) {
            continue;
        }
        // Moved away meanwhile, or a link to nothing.
        let Ok(facts) = std::fs::metadata(entry.path()) else { continue };
        if facts.is_file() {
            seen.push((name, entry.path(), Identity::from_facts(&facts)));
        }
    }
    seen.sort_by(|a, b| a.0.cmp(&b.0));
    let mut settling = settling.0.lock();
    settling.retain(|name, _| seen.iter().any(|(seen, _, _)| seen == name));
    let dropped = |(name, path, identity): (String, PathBuf, Identity)| {
        let since = settling.entry(name.clone()).or_insert((identity, now));
        if since.0 != identity {
            *since = (identity, now);
        }
        let rested = now.saturating_duration_since(since.1);
        let settled = folder.settle == Duration::ZERO || rested >= folder.settle;
        Dropped { name, path, settled }
    };
    Ok(seen.into_iter().map(dropped).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{FolderMode, NamePattern, SourceForm, TextEncoding};

    #[test]
    fn a_file_that_still_changes_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let folder = FolderSource {
            folder: dir.path().to_owned(),
            pattern: NamePattern::new("*.csv").unwrap(),
            done: dir.path().join("done"),
            failed: dir.path().join("failed"),
            mode: FolderMode::Changes,
            settle: Duration::from_secs(5),
            form: SourceForm::CSV,
            encoding: TextEncoding::Utf8,
        };
        let (settling, begin) = (Settling::default(), Instant::now());
        let at = |seconds| {
            let dropped = list(&folder, &settling, begin + Duration::from_secs(seconds)).unwrap();
            dropped.into_iter().map(|each| (each.name, each.settled)).collect::<Vec<_>>()
        };
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("b.csv", "1");
        write("b.csv.part", "1");
        write(".a.csv", "1");
        std::fs::create_dir(dir.path().join("c.csv")).unwrap();
        assert_eq!(at(0), [("b.csv".to_owned(), false)]);
        assert_eq!(at(4), [("b.csv".to_owned(), false)]);
        write("b.csv", "12");
        assert_eq!(at(6), [("b.csv".to_owned(), false)], "it grew");
        assert_eq!(at(11), [("b.csv".to_owned(), true)]);
        write("a.csv", "1");
        assert_eq!(at(12), [("a.csv".to_owned(), false), ("b.csv".to_owned(), true)]);
    }
}
