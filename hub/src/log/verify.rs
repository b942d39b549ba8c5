//! Recomputes every chain and payload hash of a log and names the first broken place of each
//! partition.

use std::collections::HashMap;

use super::chain::{base_of, link};
use super::{
    EntryKind, Hash, Log, LogError, Offset, PartitionId, Position, StoredEntry, payload_hash,
};

/// Entries and bytes read at a time: enough to keep the disk busy, small beside the hub's memory.
const READ_ENTRIES: usize = 1_024;
const READ_BYTES: usize = 8 * 1024 * 1024;

/// How far a verification has come.
#[derive(Clone, Copy, Debug)]
pub struct VerifyProgress {
    /// The partition being walked.
    pub partition: PartitionId,
    /// The last offset that was found good.
    pub verified: Offset,
    /// The partition's head when the walk began.
    pub head: Offset,
}

/// What a verification found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VerifyReport {
    /// Good entries.
    pub entries: u64,
    /// Bytes of their payloads.
    pub payload_bytes: u64,
    /// Entries whose payload was replaced under a redaction event.
    pub redacted: u64,
    /// The first broken place of each partition that has one. Nothing behind it was looked at.
    pub broken: Vec<Broken>,
}

impl VerifyReport {
    /// Whether every entry is as it was appended.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.broken.is_empty()
    }
}

/// A place where the log is not what was appended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{position}: {reason}")]
pub struct Broken {
    /// Where.
    pub position: Position,
    /// What is wrong.
    pub reason: BrokenReason,
}

/// What is wrong with an entry.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenReason {
    /// It is missing or cannot be read.
    #[error("unreadable: {0}")]
    Unreadable(String),
    /// Its envelope, or its place in the chain, was changed.
    #[error("the chain hash does not follow from the entry before")]
    Chain,
    /// Its payload is not the one that was appended, and no redaction event names it.
    #[error("the payload is not the one that was appended")]
    Payload,
    /// It claims to be older than the entry before it.
    #[error("its log time lies before the previous entry's")]
    LogTime,
}

/// Walks every partition up to its present head. Blocks; `progress` is called every few megabytes.
pub fn verify<L: Log>(log: &L, mut progress: impl FnMut(VerifyProgress)) -> VerifyReport {
    let mut walk = Walk::default();
    for partition in (0..log.partitions()).map(PartitionId) {
        walk.partition(log, partition, &mut progress);
    }
    walk.finish()
}

#[derive(Default)]
struct Walk {
    report: VerifyReport,
    /// Payloads that differ from their envelope's hash, with the hash they have: good only if a
    /// redaction, which may stand anywhere later in the log, says so.
    replaced: Vec<(Position, Hash)>,
    redactions: HashMap<Position, Hash>,
}

impl Walk {
    fn partition<L: Log>(
        &mut self,
        log: &L,
        partition: PartitionId,
        progress: &mut impl FnMut(VerifyProgress),
    ) {
        let history = log.incarnations();
        let head = log.head(partition);
        let floor = log.floor(partition);
        let mut next = floor.first;
        let mut chain = floor.chain;
        let mut time = i64::MIN;
        while next <= head {
            let entries = match log.read(partition, next, READ_ENTRIES, READ_BYTES) {
                Ok(entries) => entries,
                Err(LogError::Trimmed { first, .. }) if first > next => {
                    // Retention overtook the walk: go on from where the log begins now.
                    let floor = log.floor(partition);
                    (next, chain) = (floor.first, floor.chain);
                    continue;
                }
                Err(error) => return self.broken(partition, next, unreadable(&error)),
            };
            if entries.is_empty() {
                let reason = BrokenReason::Unreadable("it is missing".to_owned());
                return self.broken(partition, next, reason);
            }
            for entry in entries {
                let base = base_of(&history, partition, next, chain);
                if link(&base, entry.envelope_bytes(), &entry.envelope.payload_hash) != entry.chain
                {
                    return self.broken(partition, next, BrokenReason::Chain);
                }
                if entry.envelope.log_time_ms < time {
                    return self.broken(partition, next, BrokenReason::LogTime);
                }
                time = entry.envelope.log_time_ms;
                chain = entry.chain;
                next = next.next();
                self.payload(entry);
            }
            progress(VerifyProgress { partition, verified: next.previous(), head });
        }
    }

    fn payload(&mut self, entry: StoredEntry) {
        let hash = payload_hash(&entry.payload);
        if hash != entry.envelope.payload_hash {
            self.replaced.push((entry.position, hash));
        }
        self.report.entries += 1;
        self.report.payload_bytes += entry.payload.len() as u64;
        if let EntryKind::Redact(redaction) = entry.envelope.kind {
            self.redactions.insert(redaction.position, redaction.new_hash);
        }
    }

    fn broken(&mut self, partition: PartitionId, offset: Offset, reason: BrokenReason) {
        self.report.broken.push(Broken { position: Position { partition, offset }, reason });
    }

    fn finish(mut self) -> VerifyReport {
        for (position, hash) in self.replaced {
            if self.redactions.get(&position) == Some(&hash) {
                self.report.redacted += 1;
                continue;
            }
            let broken = Broken { position, reason: BrokenReason::Payload };
            let first =
                self.report.broken.iter_mut().find(|b| b.position.partition == position.partition);
            match first {
                Some(first) if first.position > position => *first = broken,
                Some(_) => {}
                None => self.report.broken.push(broken),
            }
        }
        self.report.broken.sort_by_key(|broken| broken.position);
        self.report
    }
}

fn unreadable(error: &LogError) -> BrokenReason {
    if let LogError::Damaged { reason, .. } = error {
        return BrokenReason::Unreadable(reason.clone());
    }
    BrokenReason::Unreadable(error.to_string())
}
