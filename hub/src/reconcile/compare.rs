//! Comparing two sets of rows by their digests: buckets first, then the leaves of buckets that differ.

use std::collections::BTreeMap;

use hutong_schema::digest::{BucketSummary, Leaf};
use serde::{Deserialize, Serialize};

/// How a key differs between the hub and another party.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Difference {
    /// The other party has the key, the hub does not.
    MissingAtHub,
    /// The hub has the key, the other party does not.
    MissingThere,
    /// Both have the key with other fields.
    Differs,
}

/// The numbers of the buckets that differ, ascending. `there` lists non-empty buckets only.
pub(super) fn differing_buckets(
    here: &[BucketSummary],
    there: &[(u16, BucketSummary)],
) -> Vec<u16> {
    let there: BTreeMap<u16, BucketSummary> = there.iter().copied().collect();
    (0u16..)
        .zip(here)
        .filter(|(number, summary)| there.get(number).copied().unwrap_or_default() != **summary)
        .map(|(number, _)| number)
        .collect()
}

/// The differing keys of one bucket, in key order.
pub(super) fn differing_keys(
    here: &BTreeMap<Vec<u8>, Leaf>,
    there: &BTreeMap<Vec<u8>, Leaf>,
) -> Vec<(Vec<u8>, Difference)> {
    let ours = here.iter().filter_map(|(key, leaf)| match there.get(key) {
        None => Some((key.clone(), Difference::MissingThere)),
        Some(other) if other != leaf => Some((key.clone(), Difference::Differs)),
        Some(_) => None,
    });
    let theirs = there
        .keys()
        .filter(|key| !here.contains_key(*key))
        .map(|key| (key.clone(), Difference::MissingAtHub));
    let mut differences: Vec<_> = ours.chain(theirs).collect();
    differences.sort();
    differences
}

#[cfg(test)]
mod tests {
    use super::*;
    use hutong_schema::digest::{DigestBuilder, bucket_of, key_hash};
    use proptest::prelude::*;

    type Rows = BTreeMap<Vec<u8>, Leaf>;

    fn rows() -> impl Strategy<Value = Rows> {
        prop::collection::btree_map(prop::collection::vec(0u8..4, 1..4), 0u8..3, 0..30).prop_map(
            |rows| rows.into_iter().map(|(key, row)| (key.clone(), leaf(&key, row))).collect(),
        )
    }

    /// As a real leaf does, it covers the key too.
    fn leaf(key: &[u8], row: u8) -> Leaf {
        *blake3::hash(&[key, &[row]].concat()).as_bytes()
    }

    fn buckets(rows: &Rows) -> Vec<BucketSummary> {
        let mut builder = DigestBuilder::new();
        for (key, leaf) in rows {
            builder.push(&key_hash(key), *leaf);
        }
        builder.finish().1
    }

    fn in_bucket(rows: &Rows, bucket: u16) -> Rows {
        let inside = |key: &Vec<u8>| bucket_of(&key_hash(key)) == bucket;
        rows.iter().filter(|(key, _)| inside(key)).map(|(key, leaf)| (key.clone(), *leaf)).collect()
    }

    proptest! {
        #[test]
        fn exactly_the_differing_keys_are_named(here in rows(), there in rows()) {
            let theirs: Vec<_> = (0u16..)
                .zip(buckets(&there))
                .filter(|(_, summary)| summary.count > 0)
                .collect();
            let mut found = Vec::new();
            for bucket in differing_buckets(&buckets(&here), &theirs) {
                found.extend(differing_keys(&in_bucket(&here, bucket), &in_bucket(&there, bucket)));
            }
            found.sort();
            prop_assert_eq!(found, differing_keys(&here, &there));
        }
    }
}
