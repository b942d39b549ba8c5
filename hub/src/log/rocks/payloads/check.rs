//! Whether the newest payloads are there: looked at whenever the log is opened, so that a file that
//! lost its end cannot pass for whole. Older files are compared when they are read.

use rocksdb::{DB, Direction, IteratorMode};

use super::{PayloadFiles, Reference};
use crate::log::entry::{Body, Parts};
use crate::log::rocks::key;
use crate::log::rocks::open::family;
use crate::log::rocks::read::once;
use crate::log::{LogError, Offset, PartitionId};

/// Entries of a partition that are looked through for a payload in a file, from its end on: what lies
/// further back was synced long before the last of them.
const LOOK_BACK: usize = 65_536;

/// What was found at the end of the payload files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in super::super) struct Checked {
    /// Partitions with the first entry whose payload is not there, and why.
    pub(in super::super) damaged: Vec<(PartitionId, Offset, String)>,
    /// The newest file that an entry refers to, and the byte behind the last payload in it.
    pub(in super::super) newest: Option<(u32, u64)>,
}

/// Reads every payload of the newest file.
pub(in super::super) fn check(
    db: &DB,
    files: &PayloadFiles,
    partitions: u16,
) -> Result<Checked, LogError> {
    let mut checked = Checked::default();
    let data = || (PartitionId::FIXED..partitions).map(PartitionId);
    let mut newest = None;
    for partition in data() {
        backwards(db, partition, |_, reference, _| {
            newest = newest.max(Some(reference.file));
            false
        })?;
    }
    let Some(newest) = newest else { return Ok(checked) };
    let mut end = 0;
    for partition in data() {
        let mut first = None;
        backwards(db, partition, |offset, reference, hash| {
            if reference.file < newest {
                return false;
            }
            end = end.max(reference.end());
            if let Err(reason) = files.read(reference, hash) {
                first = Some((partition, offset, reason));
            }
            true
        })?;
        checked.damaged.extend(first);
    }
    checked.newest = Some((newest, end));
    Ok(checked)
}

/// Shows the references of a partition from its end on, as long as `visit` wants more.
fn backwards(
    db: &DB,
    partition: PartitionId,
    visit: impl FnMut(Offset, Reference, &crate::log::Hash) -> bool,
) -> Result<(), LogError> {
    walk(db, partition, IteratorMode::End, LOOK_BACK, visit)
}

/// The oldest file that an entry from `first` on refers to.
pub(in super::super) fn first_file(
    db: &DB,
    partition: PartitionId,
    first: Offset,
) -> Result<Option<u32>, LogError> {
    let mut found = None;
    let from = key(first);
    let mode = IteratorMode::From(&from, Direction::Forward);
    walk(db, partition, mode, usize::MAX, |_, reference, _| {
        found = Some(reference.file);
        false
    })?;
    Ok(found)
}

fn walk(
    db: &DB,
    partition: PartitionId,
    mode: IteratorMode<'_>,
    most: usize,
    mut visit: impl FnMut(Offset, Reference, &crate::log::Hash) -> bool,
) -> Result<(), LogError> {
    for item in db.iterator_cf_opt(family(db, partition)?, once(), mode).take(most) {
        let (found, stored) = item.map_err(LogError::engine("look for payloads"))?;
        let Ok(found) = <[u8; 8]>::try_from(&found[..]) else { continue };
        // What does not parse is damage of the store, which is met when it is read.
        let Ok(parts) = Parts::of(&stored) else { continue };
        let Body::Elsewhere(reference) = parts.body else { continue };
        let (Ok(reference), Ok(envelope)) = (Reference::from_bytes(reference), parts.envelope())
        else {
            continue;
        };
        let offset = Offset(u64::from_be_bytes(found));
        if !visit(offset, reference, &envelope.payload_hash) {
            break;
        }
    }
    Ok(())
}
