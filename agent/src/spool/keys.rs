//! Every table of the store and the form of its keys. Keys sort as the tables are read.

use hutong_schema::digest::KeyHash;
use redb::TableDefinition;

/// Number of a publishing stream: one node's publication of one resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub u32);

/// Number of an image: the set of (key, leaf) that a peer is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(pub u32);

/// A stream's accepted image has the stream's number.
impl From<StreamId> for ImageId {
    fn from(stream: StreamId) -> Self {
        Self(stream.0)
    }
}

/// Small records by area; the key's form is the business of whoever owns the area.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Area {
    /// Names of images that belong to no stream → number.
    Images,
    /// Where a source was read to, and what waits for confirmation: stream → record.
    Sources,
    /// Keys to be sent whatever the image says: stream, key → nothing.
    Resend,
    /// Subscriptions: the key is the subscriber's choice.
    Subscriptions,
    /// Facts about nodes and the exchange, such as the catalogue applied last.
    Nodes,
    /// Pieces of delivered files: image, number of the piece → its hash.
    Pieces,
    /// Requests of programs that were answered: stream, hash of their key → the answer.
    Answers,
    /// What a subscriber's web service has not taken yet: the subscription's key.
    Outgoing,
}

impl Area {
    /// First byte of the keys. A number is never used twice.
    pub(super) fn prefix(self) -> u8 {
        match self {
            Self::Images => 1,
            Self::Sources => 2,
            Self::Resend => 3,
            Self::Subscriptions => 4,
            Self::Nodes => 5,
            Self::Pieces => 6,
            Self::Answers => 16,
            Self::Outgoing => 7,
        }
    }

    pub(super) fn key(self, key: &[u8]) -> Vec<u8> {
        let mut full = Vec::with_capacity(key.len() + 1);
        full.push(self.prefix());
        full.extend_from_slice(key);
        full
    }
}

/// Facts about the store itself: `instance`, `format`, `next id`.
pub(super) const META: TableDefinition<'_, &str, &[u8]> = TableDefinition::new("meta");
/// Stream → [`super::stream::StreamRecord`].
pub(super) const STREAMS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("streams");
/// (stream, sequence number) → facts of a batch. Asked far more often than the batch is read.
pub(super) const HEADS: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("heads");
/// (stream, sequence number) → row numbers and payload of a batch.
pub(super) const OUTBOX: TableDefinition<'_, (u32, u64), &[u8]> = TableDefinition::new("outbox");
/// Image → its runs, oldest first.
pub(super) const RUNS: TableDefinition<'_, u32, &[u8]> = TableDefinition::new("runs");
/// (image, run, first key hash) → chunk of entries in the order of their key hash.
pub(super) const CHUNKS: TableDefinition<'_, &[u8; CHUNK_KEY], &[u8]> =
    TableDefinition::new("chunks");
/// Area, key → small record.
pub(super) const RECORDS: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("records");

/// Length of a chunk's key.
pub(super) const CHUNK_KEY: usize = 4 + 4 + 16;

/// The key of the chunk of a run that begins with this key hash.
pub(super) fn chunk_key(image: ImageId, run: u32, first: &KeyHash) -> [u8; CHUNK_KEY] {
    let mut key = [0u8; CHUNK_KEY];
    key[..4].copy_from_slice(&image.0.to_be_bytes());
    key[4..8].copy_from_slice(&run.to_be_bytes());
    key[8..].copy_from_slice(first);
    key
}
