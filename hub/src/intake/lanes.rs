//! Lanes: where the sequence of each publication stands. Pure: a batch's numbers in, a verdict out.

use std::collections::{HashMap, VecDeque};

use hutong_schema::{
    batch::{self, BatchHeader, BatchKind, ChainHash},
    ids::ResourceCode,
    wire::v1::{RefusalCode, Refused},
};

use crate::numbers::ResourceNo;

/// A shard of a resource.
pub type LaneKey = (ResourceNo, u16);

/// Chain hashes kept behind the head of a lane, to tell repeats from forks: more batches than a
/// sender has under way.
const RECENT: usize = 64;

/// Where an epoch stands when it is loaded or opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneStart {
    /// The epoch.
    pub epoch: u32,
    /// Last batch, 0 for none.
    pub last_seq: u64,
    /// Chain hash after it.
    pub chain: ChainHash,
    /// Whether a replacement has begun and not ended.
    pub replacing: bool,
}

impl LaneStart {
    /// An epoch without batches.
    #[must_use]
    pub fn fresh(code: &ResourceCode, shard: u16, epoch: u32) -> Self {
        Self { epoch, last_seq: 0, chain: batch::genesis(code, shard, epoch), replacing: false }
    }
}

/// A batch as its sender numbers it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Numbered<'a> {
    /// Which lane.
    pub(super) key: LaneKey,
    /// The sender's epoch.
    pub(super) epoch: u32,
    /// The batch's header.
    pub(super) header: &'a BatchHeader,
    /// BLAKE3 of its payload.
    pub(super) payload_hash: &'a [u8; 32],
    /// The sender's chain hash after it.
    pub(super) chain: &'a ChainHash,
}

/// What to do with a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// It is the next one: append it.
    Admit,
    /// It is stored already: acknowledge it again.
    Repeat,
    /// It cannot be taken.
    Refuse(Refused),
}

/// The lanes of one data partition.
#[derive(Debug, Default)]
pub(super) struct Lanes(HashMap<LaneKey, Lane>);

#[derive(Debug)]
struct Lane {
    at: LaneStart,
    /// Chain hashes of the batches before the head, newest last; those from before the hub's start
    /// are not known.
    recent: VecDeque<ChainHash>,
}

impl Lanes {
    /// Where a lane stands for this epoch. `loaded` is what the views know, asked after they had
    /// caught up with everything that was in the log when the hub started: it counts only when no
    /// batch was admitted since.
    pub(super) fn open(
        &mut self,
        key: LaneKey,
        loaded: Option<LaneStart>,
        fresh: LaneStart,
    ) -> LaneStart {
        let known = self.0.get(&key).map(|lane| lane.at);
        let at = match known.or(loaded) {
            Some(at) if at.epoch >= fresh.epoch => at,
            Some(_) | None => fresh,
        };
        if known != Some(at) {
            self.0.insert(key, Lane { at, recent: VecDeque::new() });
        }
        at
    }

    /// The last batch of a lane, 0 for none.
    pub(super) fn stored(&self, key: LaneKey) -> u64 {
        self.0.get(&key).map_or(0, |lane| lane.at.last_seq)
    }

    /// Judges a batch and, when it is admitted, moves the lane's head behind it.
    ///
    /// A repeat of a batch from before the hub's start, whose hash is not known any more, is
    /// acknowledged unseen: sequences are dense, so the same sender comes to the last one, whose
    /// hash is known.
    pub(super) fn judge(&mut self, batch: Numbered<'_>) -> Verdict {
        let refuse = |code, detail: String| Verdict::Refuse(Refused::new(code, detail));
        let seq = batch.header.seq;
        let Some(lane) = self.0.get_mut(&batch.key) else {
            return refuse(RefusalCode::Protocol, "the publication was not opened".into());
        };
        if lane.at.epoch != batch.epoch {
            let detail = format!("epoch {} is closed, {} is in force", batch.epoch, lane.at.epoch);
            return refuse(RefusalCode::Fenced, detail);
        }
        if seq == 0 {
            return refuse(RefusalCode::Protocol, "batches are numbered from 1".into());
        }
        if seq <= lane.at.last_seq {
            return match lane.chain_of(seq) {
                Some(known) if known != batch.chain => {
                    let detail =
                        format!("batch {seq} is stored with other content; open a new epoch");
                    refuse(RefusalCode::Forked, detail)
                }
                Some(_) | None => Verdict::Repeat,
            };
        }
        let due = lane.at.last_seq + 1;
        if seq != due {
            let detail = format!("batch {seq} came, {due} is due");
            return Verdict::Refuse(Refused::new(RefusalCode::Gap, detail).expecting(due));
        }
        if batch::extend(&lane.at.chain, batch.header, batch.payload_hash) != *batch.chain {
            let detail =
                format!("the chain hash of batch {seq} does not follow from that of {}", seq - 1);
            return refuse(RefusalCode::Chain, detail);
        }
        let replacing = match (batch.header.kind, lane.at.replacing) {
            (BatchKind::ReplaceEnd, false) => {
                let detail = format!("batch {seq} ends a replacement that was not begun");
                return refuse(RefusalCode::Protocol, detail);
            }
            (BatchKind::ReplaceBegin, _) => true,
            (BatchKind::ReplaceEnd, true) => false,
            (BatchKind::Rows | BatchKind::Checkpoint, replacing) => replacing,
        };
        lane.advance(*batch.chain, replacing);
        Verdict::Admit
    }
}

impl Lane {
    fn chain_of(&self, seq: u64) -> Option<&ChainHash> {
        let behind = usize::try_from(self.at.last_seq - seq).ok()?;
        match behind {
            0 => Some(&self.at.chain),
            _ => self.recent.len().checked_sub(behind).and_then(|at| self.recent.get(at)),
        }
    }

    fn advance(&mut self, chain: ChainHash, replacing: bool) {
        if self.at.last_seq > 0 {
            if self.recent.len() == RECENT {
                self.recent.pop_front();
            }
            self.recent.push_back(self.at.chain);
        }
        self.at = LaneStart { last_seq: self.at.last_seq + 1, chain, replacing, ..self.at };
    }
}

#[cfg(test)]
mod tests;
