//! Taking back what no sync had covered, last change first.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

use super::PowerCutError;
use super::journal::{Event, Position, Record};

/// What a power cut took away.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Discarded {
    /// Files whose content went back.
    pub files: usize,
    /// Bytes cut off or set back, in all.
    pub bytes: u64,
    /// Names created, removed or changed that went back.
    pub names: usize,
}

pub(super) fn roll_back(
    dir: &Path,
    journal: &Path,
    records: &[Record],
) -> Result<Discarded, PowerCutError> {
    for record in records {
        if let Event::Warning(words) = &record.event {
            return Err(PowerCutError::CannotUndo(words.clone()));
        }
    }
    let covered = Coverage::of(records);
    let mut discarded = Discarded::default();
    // Contents first: they are addressed by inode, wherever the file's name is now.
    undo_contents(&files_by_inode(&[dir, journal])?, records, &covered, &mut discarded)?;
    for record in records.iter().rev() {
        if !covered.name(record) && undo_name(&record.event)? {
            discarded.names += 1;
        }
    }
    Ok(discarded)
}

/// Up to where each file's content and each directory's names are durable.
struct Coverage {
    inodes: HashMap<u64, Position>,
    all: Position,
    /// Every path a sync went to, with the time; keeps new directories.
    synced_paths: Vec<(Position, PathBuf)>,
}

impl Coverage {
    fn of(records: &[Record]) -> Coverage {
        let mut coverage =
            Coverage { inodes: HashMap::new(), all: (0, 0), synced_paths: Vec::new() };
        for Record { at, event } in records {
            match event {
                Event::FileSync { inode, upto, path } | Event::DirSync { inode, upto, path } => {
                    // A sync that began earlier may end, and be noted, later than another one.
                    let covered = coverage.inodes.entry(*inode).or_default();
                    *covered = (*covered).max((at.0, *upto));
                    coverage.synced_paths.push((*at, path.clone()));
                }
                Event::SyncAll { upto } => coverage.all = coverage.all.max((at.0, *upto)),
                // The number now belongs to a new file; syncs of the old one say nothing about it.
                Event::Create { inode, .. } | Event::MakeDir { inode, .. } => {
                    coverage.inodes.remove(inode);
                }
                Event::Write { .. }
                | Event::Link { .. }
                | Event::Unlink { .. }
                | Event::Rename { .. }
                | Event::RemoveDir { .. }
                | Event::Warning(_) => {}
            }
        }
        coverage
    }

    fn inode(&self, inode: u64, at: Position) -> bool {
        at < self.all || self.inodes.get(&inode).is_some_and(|upto| at < *upto)
    }

    /// True when the record changed no name, or the change is durable.
    fn name(&self, record: &Record) -> bool {
        let at = record.at;
        match &record.event {
            Event::Create { parent, .. }
            | Event::Link { parent, .. }
            | Event::Unlink { parent, .. }
            | Event::RemoveDir { parent, .. } => self.inode(*parent, at),
            // One transaction of a journaling file system: either directory's sync carries both ends.
            Event::Rename { parents, .. } => parents.iter().any(|parent| self.inode(*parent, at)),
            Event::MakeDir { parent, path, .. } => {
                self.inode(*parent, at)
                    || self.synced_paths.iter().any(|(when, p)| *when > at && p.starts_with(path))
            }
            Event::Write { .. }
            | Event::FileSync { .. }
            | Event::DirSync { .. }
            | Event::SyncAll { .. }
            | Event::Warning(_) => true,
        }
    }
}

fn undo_contents(
    files: &HashMap<u64, PathBuf>,
    records: &[Record],
    covered: &Coverage,
    discarded: &mut Discarded,
) -> Result<(), PowerCutError> {
    let mut changed = HashSet::new();
    let mut born = HashSet::new();
    for Record { at, event } in records.iter().rev() {
        match event {
            Event::Write { inode, size, offset, image } => {
                // No path: the file's removal was durable. Born: the record is about a former file of that number.
                let Some(path) = files.get(inode) else { continue };
                if born.contains(inode) || covered.inode(*inode, *at) {
                    continue;
                }
                let failed = |error| PowerCutError::io("cannot roll back", path)(error);
                let file = File::options().read(true).write(true).open(path).map_err(failed)?;
                let now = file.metadata().map_err(failed)?.len();
                file.set_len(*size).map_err(failed)?;
                file.write_all_at(image, *offset).map_err(failed)?;
                discarded.bytes += now.saturating_sub(*size) + image.len() as u64;
                changed.insert(*inode);
            }
            Event::Create { inode, .. } => {
                born.insert(*inode);
            }
            Event::FileSync { .. }
            | Event::Link { .. }
            | Event::Unlink { .. }
            | Event::Rename { .. }
            | Event::MakeDir { .. }
            | Event::RemoveDir { .. }
            | Event::DirSync { .. }
            | Event::SyncAll { .. }
            | Event::Warning(_) => {}
        }
    }
    discarded.files = changed.len();
    Ok(())
}

/// Takes back one change of a name; false when there was nothing left to take back.
fn undo_name(event: &Event) -> Result<bool, PowerCutError> {
    match event {
        Event::Create { inode, path, .. } | Event::Link { inode, path, .. } => {
            if inode_at(path) != Some(*inode) {
                return Ok(false);
            }
            fs::remove_file(path).map_err(PowerCutError::io("cannot take back", path))?;
        }
        Event::Unlink { saved: Some(saved), path, .. } => {
            fs::rename(saved, path).map_err(PowerCutError::io("cannot bring back", path))?;
        }
        Event::Rename { saved, old, new, .. } => {
            if inode_at(new).is_none() {
                return Ok(false);
            }
            fs::rename(new, old).map_err(PowerCutError::io("cannot rename back", new))?;
            if let Some(saved) = saved {
                fs::rename(saved, new).map_err(PowerCutError::io("cannot bring back", new))?;
            }
        }
        Event::MakeDir { path, .. } => {
            if inode_at(path).is_none() {
                return Ok(false);
            }
            fs::remove_dir_all(path).map_err(PowerCutError::io("cannot take back", path))?;
        }
        Event::RemoveDir { path, .. } => {
            fs::create_dir_all(path).map_err(PowerCutError::io("cannot bring back", path))?;
        }
        Event::Unlink { saved: None, .. }
        | Event::Write { .. }
        | Event::FileSync { .. }
        | Event::DirSync { .. }
        | Event::SyncAll { .. }
        | Event::Warning(_) => return Ok(false),
    }
    Ok(true)
}

fn inode_at(path: &Path) -> Option<u64> {
    fs::symlink_metadata(path).ok().map(|metadata| metadata.ino())
}

/// One path for each file below the folders.
fn files_by_inode(folders: &[&Path]) -> Result<HashMap<u64, PathBuf>, PowerCutError> {
    let mut files = HashMap::new();
    let mut open: Vec<PathBuf> = folders.iter().map(|folder| (*folder).to_owned()).collect();
    while let Some(folder) = open.pop() {
        let listing = fs::read_dir(&folder).map_err(PowerCutError::io("cannot read", &folder))?;
        for entry in listing {
            let entry = entry.map_err(PowerCutError::io("cannot read", &folder))?;
            let metadata =
                entry.metadata().map_err(PowerCutError::io("cannot read", &entry.path()))?;
            if metadata.is_dir() {
                open.push(entry.path());
            } else if metadata.is_file() {
                files.insert(metadata.ino(), entry.path());
            }
        }
    }
    Ok(files)
}
