//! The state of one publishing stream: pure transitions, no I/O.

use hutong_schema::{
    batch::{self, BatchHeader, BatchKind, ChainHash, Codec},
    ids::{NodeName, ResourceCode},
    wire::v1::publish::PublishReady,
};
use serde::{Deserialize, Serialize};

use super::Conflict;

/// The only shard there is until resources are split.
pub const SHARD: u16 = 0;

/// What a stream is, and where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamRecord {
    /// The publishing node.
    pub node: NodeName,
    /// The resource.
    pub resource: ResourceCode,
    /// Where it stands.
    pub state: StreamState,
}

/// Where a stream stands.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct StreamState {
    /// Epoch in force; 0 before the hub opened one.
    pub epoch: u32,
    /// Sequence number of the next batch, from 1.
    pub next_seq: u64,
    /// Chain hash after the last batch appended.
    pub chain: ChainHash,
    /// All batches up to this one are acknowledged and in the image.
    pub stored_through: u64,
    /// Chain hash after that batch.
    pub stored_chain: ChainHash,
    /// All batches up to this one are settled and gone from the outbox.
    pub settled_through: u64,
    /// Whether the epoch must begin, or has begun, by naming every key.
    pub replace: Replace,
    /// Sequence number of the last checkpoint appended, 0 for none in this epoch.
    pub checkpoint_seq: u64,
    /// Batches in the outbox.
    pub queued_batches: u64,
    /// Their size, bytes.
    pub queued_bytes: u64,
    /// Figures since the stream exists.
    pub counters: Counters,
    /// Raised when what was appended or accepted is forgotten: a scan that began before must not
    /// append any more.
    pub generation: u64,
}

/// Figures of a stream since it exists.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// Rows read from the source.
    pub read: u64,
    /// Changes accepted by the hub.
    pub accepted: u64,
    /// Rows written to quarantine, by this agent's checks or the hub's.
    pub rejected: u64,
}

/// `ReplaceBegin … ReplaceEnd` around the first full scan of an epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Replace {
    /// Not needed, or done.
    #[default]
    No,
    /// The hub holds rows of an earlier epoch that this image does not know.
    Due,
    /// The begin marker is in the outbox or stored; the end marker is not.
    Begun,
}

/// How to go on after the hub told its last batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resume {
    /// Send the batches after this one.
    Continue {
        /// Sequence number, 0 for the beginning.
        after: u64,
    },
    /// The hub is in another epoch than this outbox: call `begin_epoch`.
    BeginEpoch,
    /// The two sides do not hold the same batches: open again with epoch 0, then `begin_epoch`.
    Diverged(Divergence),
}

/// How the hub's batches differ from the outbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Divergence {
    /// The hub has batches this outbox never had: this state was restored from a copy.
    HubIsAhead,
    /// The hub lost batches that are settled and no longer here.
    HubIsBehind,
    /// Same number, other content: a cloned or restored machine.
    Forked,
}

/// A batch without its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Unnumbered {
    pub(super) kind: BatchKind,
    pub(super) schema_version: u32,
    pub(super) rows: u32,
    pub(super) raw_len: u32,
    pub(super) codec: Codec,
    pub(super) payload_hash: [u8; 32],
    /// Bytes it takes in the outbox.
    pub(super) stored_len: u64,
}

impl StreamState {
    /// Sequence number of the last batch appended, 0 for none.
    pub fn last_seq(&self) -> u64 {
        self.next_seq.saturating_sub(1)
    }

    /// Whether every batch appended is acknowledged, so that the image is what the hub holds.
    pub fn is_drained(&self) -> bool {
        self.stored_through == self.last_seq()
    }

    /// Whether batches were acknowledged since the last checkpoint.
    pub fn checkpoint_due(&self) -> bool {
        self.epoch != 0
            && self.is_drained()
            && self.replace == Replace::No
            && self.last_seq() > self.checkpoint_seq
    }

    /// Numbers and chains a batch.
    pub(super) fn append(&mut self, batch: &Unnumbered) -> Result<BatchHeader, Conflict> {
        if self.epoch == 0 {
            return Err(Conflict::NoEpoch);
        }
        let header = BatchHeader {
            seq: self.next_seq,
            kind: batch.kind,
            schema_version: batch.schema_version,
            rows: batch.rows,
            raw_len: batch.raw_len,
            codec: batch.codec,
        };
        self.chain = batch::extend(&self.chain, &header, &batch.payload_hash);
        self.next_seq += 1;
        self.queued_batches += 1;
        self.queued_bytes += batch.stored_len;
        match batch.kind {
            BatchKind::Rows => {}
            BatchKind::ReplaceBegin => self.replace = Replace::Begun,
            BatchKind::ReplaceEnd => self.replace = Replace::No,
            BatchKind::Checkpoint => self.checkpoint_seq = header.seq,
        }
        Ok(header)
    }

    /// Takes an acknowledgement; the caller removes what is settled from the outbox.
    pub(super) fn acknowledge(&mut self, ack: &Acknowledged) -> Result<(), Conflict> {
        if ack.epoch != self.epoch {
            return Err(Conflict::Moved { expected: ack.epoch.into(), found: self.epoch.into() });
        }
        if ack.stored_before != self.stored_through {
            return Err(Conflict::Moved {
                expected: ack.stored_before,
                found: self.stored_through,
            });
        }
        if ack.stored_through > self.last_seq() {
            return Err(Conflict::NeverSent {
                acknowledged: ack.stored_through,
                appended: self.last_seq(),
            });
        }
        self.stored_through = ack.stored_through;
        self.stored_chain = ack.chain;
        self.settled_through =
            ack.settled_through.min(ack.stored_through).max(self.settled_through);
        self.counters.accepted += ack.accepted;
        self.counters.rejected += ack.rejected;
        Ok(())
    }

    /// Begins an epoch: nothing is known of what the hub holds.
    pub(super) fn begin_epoch(&mut self, resource: &ResourceCode, epoch: u32, has_rows: bool) {
        let chain = batch::genesis(resource, SHARD, epoch);
        *self = Self {
            epoch,
            next_seq: 1,
            chain,
            stored_chain: chain,
            replace: if has_rows { Replace::Due } else { Replace::No },
            counters: self.counters,
            generation: self.generation + 1,
            ..Self::default()
        };
    }

    /// Forgets the batches that were never stored; their numbers are used again.
    pub(super) fn drop_pending(&mut self, replace: Replace) {
        self.next_seq = self.stored_through + 1;
        self.chain = self.stored_chain;
        self.checkpoint_seq = self.checkpoint_seq.min(self.stored_through);
        self.replace = replace;
        self.generation += 1;
    }

    /// How to go on. `chain_at` is the outbox's chain hash after the hub's last batch, if the outbox
    /// or this state still knows it. `new` tells that a new epoch was asked for: a hub that lost the
    /// event of this one gives it its number again, and it is a new one all the same.
    pub(super) fn resume(
        &self,
        ready: &PublishReady,
        chain_at: Option<ChainHash>,
        new: bool,
    ) -> Resume {
        if new || ready.epoch != self.epoch {
            return Resume::BeginEpoch;
        }
        if ready.last_seq > self.last_seq() {
            return Resume::Diverged(Divergence::HubIsAhead);
        }
        if ready.last_seq < self.settled_through {
            return Resume::Diverged(Divergence::HubIsBehind);
        }
        match chain_at {
            Some(chain) if chain == ready.chain => {
                Resume::Continue { after: ready.last_seq.min(self.stored_through) }
            }
            Some(_) | None => Resume::Diverged(Divergence::Forked),
        }
    }
}

/// An acknowledgement as the state takes it: rejected rows are counted, the image is prepared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) epoch: u32,
    pub(super) stored_before: u64,
    pub(super) stored_through: u64,
    pub(super) chain: ChainHash,
    pub(super) settled_through: u64,
    pub(super) accepted: u64,
    pub(super) rejected: u64,
}
