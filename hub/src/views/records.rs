//! Small records of the views: one value each, in the wire encoding.

use hutong_schema::{
    batch::ChainHash,
    digest::Digest,
    grant::{AsOf, GrantId},
    wire::codec,
};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::error::{Result, ViewError};
use crate::{
    log::Offset,
    numbers::{FeedNo, NodeNo, ResourceNo},
};

/// The date before the first clock date: nobody has any age yet.
pub(super) fn first_date() -> AsOf {
    AsOf::new(jiff::civil::Date::constant(1, 1, 1))
}

/// How far a partition of the log is applied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Applied {
    /// Last entry applied.
    pub offset: Offset,
    /// The log's chain hash there: whether the log is still the same.
    pub chain: [u8; 32],
    /// Last governance event applied, by its place in the meta partition.
    pub meta_offset: Offset,
    /// The date that filters count ages to.
    pub as_of: AsOf,
    /// How far the entry behind `offset` is applied, when it takes several writes.
    pub step: Option<Step>,
}

impl Default for Applied {
    fn default() -> Self {
        Self {
            offset: Offset::NONE,
            chain: [0; 32],
            meta_offset: Offset::NONE,
            as_of: first_date(),
            step: None,
        }
    }
}

/// How far an entry that takes several writes is applied: all feeds below this one, and this one up
/// to a key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The feed.
    pub feed: FeedNo,
    /// Last key done.
    pub after: Vec<u8>,
    /// The date before this entry.
    pub from: AsOf,
}

/// A publication: what is the last batch applied, and where its source's chain stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LaneState {
    /// The publishing node.
    pub node: NodeNo,
    /// The epoch.
    pub epoch: u32,
    /// Last batch of the epoch, 0 for none.
    pub last_seq: u64,
    /// The source's chain hash after it.
    pub chain: ChainHash,
    /// Seq of the resource's feed when a replacement began that has not ended.
    pub replace: Option<u64>,
}

/// Counters of a resource.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceState {
    /// Rows.
    pub rows: u64,
    /// Changes that took effect, in all.
    pub changes: u64,
    /// Rows rejected, in all.
    pub rejected: u64,
    /// Log time of the last batch, Unix milliseconds; 0 before the first.
    pub last_log_time_ms: i64,
}

/// What a batch counts among the bytes of its resource: as stored or opened, whichever is more. A
/// payload that opens to much more than itself costs the views what it opens to.
pub(crate) fn volume(payload: usize, raw_len: u32) -> u64 {
    (payload as u64).max(raw_len.into())
}

/// Hash of a feed's content up to an entry.
pub type FeedHash = [u8; 32];

/// The last entry of a feed; seq 0 and zeros before the first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeedState {
    /// Its seq: dense from 1.
    pub seq: u64,
    /// Hash of the feed's content up to it.
    pub hash: FeedHash,
}

/// The digests of one checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointRecord {
    /// The resource whose source set the checkpoint.
    pub resource: ResourceNo,
    /// Epoch of the publication.
    pub epoch: u32,
    /// Number of the checkpoint in its epoch.
    pub batch_seq: u64,
    /// Log time, Unix milliseconds.
    pub log_time_ms: i64,
    /// The date that filters count ages to.
    pub as_of: AsOf,
    /// What the source says it holds.
    pub source: Digest,
    /// What the hub found.
    pub hub: HubDigests,
}

/// What the hub found at a checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubDigests {
    /// Not counted yet.
    Pending,
    /// Counted on the views exactly as they were at the checkpoint.
    Found {
        /// All rows of the resource; absent for a library, whose resources are counted instead.
        full: Option<Digest>,
        /// What each grant in force on this feed's target covers: grant, its generation, digest.
        grants: Vec<(GrantId, u32, Digest)>,
    },
    /// The hub stopped before it was counted, or a later checkpoint of the same library came before
    /// its turn: a later checkpoint tells.
    Missed,
}

/// An entry that was not applied, or was applied although something is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// The entry, in its partition.
    pub offset: Offset,
    /// The resource concerned, if it is known.
    pub resource: Option<ResourceNo>,
    /// Log time, Unix milliseconds.
    pub log_time_ms: i64,
    /// What is wrong, in words.
    pub reason: String,
}

pub(super) fn write<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>> {
    codec::encode(value).map_err(ViewError::record(what))
}

pub(super) fn read<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    codec::decode(bytes).map_err(ViewError::record(what))
}

pub(super) fn read_json<T: DeserializeOwned>(what: &'static str, bytes: &[u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|source| ViewError::Json { what, source })
}

pub(super) fn write_json<T: Serialize>(what: &'static str, value: &T) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(|source| ViewError::Json { what, source })
}

/// A row as stored: the seq of the resource's feed at which it got this form, then the row.
pub(super) fn split_versioned(stored: &[u8]) -> Result<(u64, &[u8])> {
    super::varint::read(stored).ok_or(ViewError::Damaged { what: "row" })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn again<T: Serialize + DeserializeOwned + PartialEq + std::fmt::Debug>(bytes: &[u8]) {
        if let Ok(record) = read::<T>("test", bytes) {
            let written = write("test", &record).expect("what was read can be written");
            assert_eq!(read::<T>("test", &written).expect("and read again"), record);
        }
    }

    proptest! {
        #[test]
        fn arbitrary_bytes_are_no_record_or_one_that_stays(
            bytes in prop::collection::vec(any::<u8>(), 0..160),
        ) {
            again::<Applied>(&bytes);
            again::<LaneState>(&bytes);
            again::<ResourceState>(&bytes);
            again::<FeedState>(&bytes);
            again::<CheckpointRecord>(&bytes);
            again::<Finding>(&bytes);
            let _ = split_versioned(&bytes);
        }
    }
}
