//! From differing roots down to differing keys.

use std::collections::{BTreeMap, BTreeSet};

use hutong_schema::{
    digest::{BucketSummary, Leaf},
    wire::v1::control::{Depth, DigestFound, Key, Subject},
};

use super::{
    Comparison, KeyDifference, Reconciler,
    compare::{Difference, differing_buckets, differing_keys},
    report::KEYS_MAX,
};
use crate::{
    nodes::NoAnswer,
    numbers::NodeNo,
    views::{DigestSpec, Place, ViewError},
};

/// Buckets looked into per comparison: with evenly spread differences these hold more keys than are
/// named.
const BUCKETS_MAX: usize = 1_024;

/// Why the differing keys are not known.
#[derive(Debug, thiserror::Error)]
enum NotDrilled {
    /// The other party does not answer.
    #[error(transparent)]
    NoAnswer(#[from] NoAnswer),
    /// The other party answers something else.
    #[error("the node's answer does not fit the question")]
    Misfit,
    /// The hub's own rows cannot be read.
    #[error(transparent)]
    Views(#[from] ViewError),
}

/// What the hub holds of a subject, and who holds it too.
pub(super) struct Held<'a> {
    pub(super) node: NodeNo,
    pub(super) subject: &'a Subject,
    pub(super) place: Place,
    pub(super) spec: &'a DigestSpec,
    pub(super) buckets: &'a [BucketSummary],
}

impl Reconciler {
    /// Adds the differing keys to a comparison; without them it still says that there are some.
    pub(super) async fn name_keys(&self, held: Held<'_>, comparison: &mut Comparison) {
        match self.drill(held).await {
            Ok(keys) => {
                let named = keys.iter().map(|(key, found)| KeyDifference::new(key, *found));
                comparison.differences = named.collect();
            }
            Err(error) => {
                tracing::warn!(%error, subject = comparison.subject, "differing keys are not known")
            }
        }
    }

    /// The differing keys, at most [`KEYS_MAX`].
    async fn drill(&self, held: Held<'_>) -> Result<Vec<(Vec<u8>, Difference)>, NotDrilled> {
        let Held { node, subject, place, spec, buckets: here } = held;
        let found = self.nodes.digest(node, subject.clone(), Depth::Buckets).await?;
        let DigestFound::Buckets { buckets, .. } = found else { return Err(NotDrilled::Misfit) };
        let mut differing = differing_buckets(here, &buckets);
        differing.truncate(BUCKETS_MAX);
        let ours = tokio::task::block_in_place(|| self.leaves(place, spec, &differing))?;
        let mut differences = Vec::new();
        for bucket in differing {
            let theirs = self.their_leaves(node, subject, bucket).await?;
            let empty = BTreeMap::new();
            differences.extend(differing_keys(ours.get(&bucket).unwrap_or(&empty), &theirs));
            if differences.len() >= KEYS_MAX {
                differences.truncate(KEYS_MAX);
                break;
            }
        }
        Ok(differences)
    }

    fn leaves(
        &self,
        place: Place,
        spec: &DigestSpec,
        buckets: &[u16],
    ) -> Result<BTreeMap<u16, BTreeMap<Vec<u8>, Leaf>>, ViewError> {
        let snapshot = self.views.snapshot();
        let as_of = snapshot.as_of(place)?;
        let wanted: BTreeSet<u16> = buckets.iter().copied().collect();
        let mut found: BTreeMap<u16, BTreeMap<Vec<u8>, Leaf>> = BTreeMap::new();
        for (bucket, key, leaf) in snapshot.leaves_in(place, spec, as_of, &wanted)? {
            found.entry(bucket).or_default().insert(key, leaf);
        }
        Ok(found)
    }

    async fn their_leaves(
        &self,
        node: NodeNo,
        subject: &Subject,
        bucket: u16,
    ) -> Result<BTreeMap<Vec<u8>, Leaf>, NotDrilled> {
        let mut all = BTreeMap::new();
        let mut after: Option<Key> = None;
        loop {
            let depth = Depth::Leaves { bucket, after: after.take() };
            let found = self.nodes.digest(node, subject.clone(), depth).await?;
            let DigestFound::Leaves { leaves, complete, .. } = found else {
                return Err(NotDrilled::Misfit);
            };
            let last = leaves.last().map(|(key, _)| key.clone());
            all.extend(leaves.into_iter().map(|(key, leaf)| (key.0, leaf)));
            match last {
                Some(last) if !complete => after = Some(last),
                Some(_) | None => return Ok(all),
            }
        }
    }
}
