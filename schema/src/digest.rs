//! Digests: the fingerprint of a set of rows, comparable at source, hub and subscriber.
//!
//! A *leaf* is the BLAKE3 hash of a key and its present non-key fields in ascending field id. The
//! key's own hash puts it into one of 4,096 *buckets*; a bucket's hash covers its sorted leaves, the
//! *root* covers all buckets with their counts. Versions and codec bytes are not part of it, and an
//! absent field equals null: two places that hold the same rows have the same root, however the
//! rows came there.

use serde::{Deserialize, Serialize};

use crate::{
    limits::DIGEST_BUCKETS,
    row::{FieldId, RowRef},
};

/// Hash of one row.
pub type Leaf = [u8; 32];

/// Hash of a key; its first twelve bits are its bucket, so that this order groups buckets.
pub type KeyHash = [u8; 16];

/// The fingerprint of a set of rows.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Digest {
    /// Number of rows.
    pub count: u64,
    /// Root over all buckets.
    pub root: [u8; 32],
}

impl Digest {
    /// The digest of no rows at all.
    pub fn empty() -> Self {
        DigestBuilder::new().finish().0
    }

    /// The first eight bytes of the root in hexadecimal: what a person compares.
    pub fn short(&self) -> String {
        self.root[..8].iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

impl std::fmt::Debug for Digest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Digest({} rows, {})", self.count, self.short())
    }
}

/// One bucket of a digest.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BucketSummary {
    /// Rows in the bucket.
    pub count: u32,
    /// Hash of its sorted leaves; all zero for an empty bucket.
    pub hash: [u8; 32],
}

/// Hash of a key.
pub fn key_hash(key: &[u8]) -> KeyHash {
    let mut short = [0u8; 16];
    short.copy_from_slice(&blake3::hash(key).as_bytes()[..16]);
    short
}

/// The bucket of a key hash, `0..4096`.
pub fn bucket_of(hash: &KeyHash) -> u16 {
    u16::from_be_bytes([hash[0], hash[1]]) >> 4
}

/// Hash of one row as it is stored.
pub fn leaf(key: &[u8], row: RowRef<'_>) -> Leaf {
    leaf_of(key, row.iter(), &mut Vec::with_capacity(key.len() + row.as_bytes().len() + 64))
}

/// Hash of one row from its present fields in ascending id. `scratch` is overwritten; reuse it to
/// avoid an allocation per row.
pub fn leaf_of<'v>(
    key: &[u8],
    fields: impl Iterator<Item = (FieldId, &'v [u8])>,
    scratch: &mut Vec<u8>,
) -> Leaf {
    scratch.clear();
    scratch.extend_from_slice(&(key.len() as u32).to_le_bytes());
    scratch.extend_from_slice(key);
    for (field, value) in fields {
        scratch.extend_from_slice(&field.0.to_le_bytes());
        scratch.extend_from_slice(&(value.len() as u32).to_le_bytes());
        scratch.extend_from_slice(value);
    }
    *blake3::hash(scratch).as_bytes()
}

/// Builds a digest from leaves in any order: about 32 bytes of memory per row, and half a kilobyte per
/// bucket that has any.
#[derive(Clone, Debug, Default)]
pub struct DigestBuilder {
    /// Leaves in the order of arrival within their bucket, in pieces that never move: a vector for
    /// each bucket would be copied again and again as it grows.
    pieces: Vec<Vec<Piece>>,
    /// By bucket; empty until the first row.
    buckets: Vec<Bucket>,
}

/// Some leaves of one bucket.
#[derive(Clone, Copy, Debug)]
struct Piece {
    leaves: [Leaf; PIECE_LEAVES],
    before: u32,
}

#[derive(Clone, Copy, Debug, Default)]
struct Bucket {
    rows: u32,
    /// The piece that is being filled.
    last: u32,
}

const PIECE_LEAVES: usize = 15;
/// Pieces allocated together, about 31 KiB.
const SLAB: usize = 64;

impl DigestBuilder {
    /// No rows yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a row.
    pub fn push(&mut self, key: &KeyHash, leaf: Leaf) {
        if self.buckets.is_empty() {
            self.buckets = vec![Bucket::default(); DIGEST_BUCKETS];
        }
        let Self { pieces, buckets } = self;
        let bucket = &mut buckets[usize::from(bucket_of(key))];
        let within = bucket.rows as usize % PIECE_LEAVES;
        if within == 0 {
            if pieces.last().is_none_or(|slab| slab.len() == SLAB) {
                pieces.push(Vec::with_capacity(SLAB));
            }
            let slabs = pieces.len();
            if let Some(slab) = pieces.last_mut() {
                let leaves = [Leaf::default(); PIECE_LEAVES];
                slab.push(Piece { leaves, before: bucket.last });
                bucket.last = ((slabs - 1) * SLAB + slab.len() - 1) as u32;
            }
        }
        let last = bucket.last as usize;
        pieces[last / SLAB][last % SLAB].leaves[within] = leaf;
        bucket.rows += 1;
    }

    /// The digest and its buckets.
    pub fn finish(self) -> (Digest, Vec<BucketSummary>) {
        let mut buckets = Vec::with_capacity(DIGEST_BUCKETS);
        self.each_bucket(|bucket| buckets.push(bucket));
        (root(&buckets), buckets)
    }

    /// The digest alone.
    pub fn finish_root(self) -> Digest {
        let mut root = Root::default();
        self.each_bucket(|bucket| root.push(&bucket));
        root.finish()
    }

    fn each_bucket(&self, mut visit: impl FnMut(BucketSummary)) {
        let mut leaves = Vec::new();
        for bucket in &self.buckets {
            leaves.clear();
            let (mut left, mut at) = (bucket.rows as usize, bucket.last as usize);
            while left > 0 {
                let piece = &self.pieces[at / SLAB][at % SLAB];
                let filled = (left - 1) % PIECE_LEAVES + 1;
                leaves.extend_from_slice(&piece.leaves[..filled]);
                left -= filled;
                at = piece.before as usize;
            }
            visit(summarise(&mut leaves));
        }
        (self.buckets.len()..DIGEST_BUCKETS).for_each(|_| visit(BucketSummary::default()));
    }
}

/// Builds a digest from leaves that arrive in the order of their key hash: memory of one bucket.
#[derive(Clone, Debug, Default)]
pub struct StreamDigest {
    closed: usize,
    current: Vec<Leaf>,
    root: Root,
    /// Buckets closed, for who wants them.
    buckets: Option<Vec<BucketSummary>>,
}

/// A leaf came after a leaf of a later bucket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a row of bucket {found} arrived after bucket {reached} was begun")]
pub struct OutOfOrder {
    /// Bucket of the late leaf.
    pub found: u16,
    /// Bucket already reached.
    pub reached: u16,
}

impl StreamDigest {
    /// No rows yet; keeps the buckets.
    pub fn new() -> Self {
        Self { buckets: Some(Vec::with_capacity(DIGEST_BUCKETS)), ..Self::default() }
    }

    /// No rows yet; only the digest is wanted.
    pub fn without_buckets() -> Self {
        Self::default()
    }

    /// Adds a row whose bucket is not before that of the row added last.
    ///
    /// # Errors
    /// When it is.
    pub fn push(&mut self, key: &KeyHash, leaf: Leaf) -> Result<(), OutOfOrder> {
        let bucket = usize::from(bucket_of(key));
        if bucket < self.closed {
            return Err(OutOfOrder { found: bucket as u16, reached: self.closed as u16 });
        }
        self.close_until(bucket);
        self.current.push(leaf);
        Ok(())
    }

    /// The digest and its buckets, empty if they were not kept.
    pub fn finish(mut self) -> (Digest, Vec<BucketSummary>) {
        self.close_until(DIGEST_BUCKETS);
        (self.root.finish(), self.buckets.unwrap_or_default())
    }

    fn close_until(&mut self, bucket: usize) {
        while self.closed < bucket {
            let summary = summarise(&mut self.current);
            self.current.clear();
            self.root.push(&summary);
            if let Some(buckets) = &mut self.buckets {
                buckets.push(summary);
            }
            self.closed += 1;
        }
    }
}

fn summarise(leaves: &mut [Leaf]) -> BucketSummary {
    if leaves.is_empty() {
        return BucketSummary::default();
    }
    // The first half of a hash tells nearly all leaves apart, in one comparison of numbers.
    let head = |leaf: &Leaf| leaf.first_chunk::<16>().map(|head| u128::from_be_bytes(*head));
    leaves.sort_unstable_by(|a, b| head(a).cmp(&head(b)).then_with(|| a.cmp(b)));
    let hash = blake3::hash(leaves.as_flattened());
    BucketSummary { count: leaves.len() as u32, hash: *hash.as_bytes() }
}

/// The digest of all buckets in order.
pub fn root(buckets: &[BucketSummary]) -> Digest {
    let mut root = Root::default();
    buckets.iter().for_each(|bucket| root.push(bucket));
    root.finish()
}

/// The root being hashed, bucket after bucket.
#[derive(Clone, Debug, Default)]
struct Root {
    count: u64,
    hasher: blake3::Hasher,
    /// Hashed in pieces of [`ROOT_PIECE`]: in small ones it takes several times as long, and
    /// thousands of small resources have their roots counted.
    waiting: Vec<u8>,
}

const ROOT_PIECE: usize = 16 * 1024;

impl Root {
    fn push(&mut self, bucket: &BucketSummary) {
        self.count += u64::from(bucket.count);
        self.waiting.extend_from_slice(&bucket.count.to_le_bytes());
        self.waiting.extend_from_slice(&bucket.hash);
        if let Some(piece) = self.waiting.get(..ROOT_PIECE) {
            self.hasher.update(piece);
            self.waiting.drain(..ROOT_PIECE);
        }
    }

    fn finish(mut self) -> Digest {
        self.hasher.update(&self.waiting);
        Digest { count: self.count, root: *self.hasher.finalize().as_bytes() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowBuf;
    use proptest::prelude::*;

    fn rows() -> impl Strategy<Value = Vec<(Vec<u8>, Vec<u8>)>> {
        prop::collection::btree_map(
            prop::collection::vec(any::<u8>(), 1..10),
            prop::collection::vec(any::<u8>(), 0..10),
            0..60,
        )
        .prop_map(|map| map.into_iter().collect())
    }

    fn hashed(rows: &[(Vec<u8>, Vec<u8>)]) -> Vec<(KeyHash, Leaf)> {
        let hash = |(key, value): &(Vec<u8>, Vec<u8>)| {
            let mut row = RowBuf::new();
            row.push(FieldId(1), value);
            (key_hash(key), leaf(key, row.as_ref()))
        };
        rows.iter().map(hash).collect()
    }

    proptest! {
        #[test]
        fn order_does_not_matter_and_both_builders_agree(rows in rows(), seed: u64) {
            let mut leaves = hashed(&rows);
            leaves.sort();
            let mut stream = StreamDigest::new();
            let mut root = StreamDigest::without_buckets();
            for (key, leaf) in &leaves {
                stream.push(key, *leaf).unwrap();
                root.push(key, *leaf).unwrap();
            }
            prop_assert_eq!(root.finish().0, stream.clone().finish().0);
            let mut shuffled = leaves.clone();
            shuffled.sort_by_key(|(key, _)| blake3::hash(&[&key[..], &seed.to_le_bytes()].concat()).as_bytes()[..8].to_vec());
            let mut builder = DigestBuilder::new();
            for (key, leaf) in &shuffled {
                builder.push(key, *leaf);
            }
            prop_assert_eq!(builder.clone().finish_root(), builder.clone().finish().0);
            prop_assert_eq!(stream.finish(), builder.finish());
        }

        #[test]
        fn one_changed_byte_changes_the_root(mut rows in rows(), at in any::<prop::sample::Index>()) {
            prop_assume!(!rows.is_empty());
            let digest = |rows: &[(Vec<u8>, Vec<u8>)]| {
                let mut builder = DigestBuilder::new();
                for (key, leaf) in hashed(rows) {
                    builder.push(&key, leaf);
                }
                builder.finish().0
            };
            let before = digest(&rows);
            let at = at.index(rows.len());
            rows[at].1.push(0);
            prop_assert_ne!(before, digest(&rows));
        }
    }

    #[test]
    fn the_frozen_digest_of_two_rows() {
        let rows = [(b"a".to_vec(), b"1".to_vec()), (b"b".to_vec(), b"2".to_vec())];
        let mut builder = DigestBuilder::new();
        for (key, leaf) in hashed(&rows) {
            builder.push(&key, leaf);
        }
        let digest = builder.finish().0;
        assert_eq!((digest.count, digest.short().as_str()), (2, FROZEN));
        assert_ne!(digest, Digest::empty());
    }

    const FROZEN: &str = "ba6379b9b8a49b6d";
}
