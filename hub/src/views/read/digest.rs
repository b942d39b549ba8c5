//! Digests of what the hub holds: of a place as a whole, or of the part that a grant covers.

use std::{collections::BTreeSet, ops::ControlFlow};

use hutong_schema::{
    digest::{BucketSummary, Digest, DigestBuilder, Leaf, bucket_of, key_hash, leaf_of},
    grant::{AsOf, CompiledFilter},
    row::{FieldId, RowRef},
};

use super::ViewSnapshot;
use crate::views::{entry::Place, error::Result};

/// What a digest is counted of.
#[derive(Clone, Debug, Default)]
pub struct DigestSpec {
    /// Non-key fields, ascending; all when absent.
    pub fields: Option<Vec<FieldId>>,
    /// Rows; all when absent.
    pub filter: Option<CompiledFilter>,
}

/// A digest with its buckets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestFound {
    /// Count and root.
    pub digest: Digest,
    /// All 4,096 buckets in order.
    pub buckets: Vec<BucketSummary>,
}

/// A digest being counted.
pub(in super::super) struct Count<'s> {
    spec: &'s DigestSpec,
    as_of: AsOf,
    builder: DigestBuilder,
    scratch: Vec<u8>,
}

impl<'s> Count<'s> {
    pub(in super::super) fn new(spec: &'s DigestSpec, as_of: AsOf) -> Self {
        Self { spec, as_of, builder: DigestBuilder::new(), scratch: Vec::new() }
    }

    pub(in super::super) fn row(&mut self, key: &[u8], row: RowRef<'_>) {
        if let Some(leaf) = self.spec.leaf(key, row, self.as_of, &mut self.scratch) {
            self.builder.push(&key_hash(key), leaf);
        }
    }

    pub(in super::super) fn finish_root(self) -> Digest {
        self.builder.finish_root()
    }

    fn finish(self) -> DigestFound {
        let (digest, buckets) = self.builder.finish();
        DigestFound { digest, buckets }
    }
}

impl DigestSpec {
    /// The leaf of a row, if the row is covered.
    fn leaf(
        &self,
        key: &[u8],
        row: RowRef<'_>,
        as_of: AsOf,
        scratch: &mut Vec<u8>,
    ) -> Option<Leaf> {
        if self.filter.as_ref().is_some_and(|filter| !filter.matches(key, row, as_of)) {
            return None;
        }
        Some(match &self.fields {
            None => leaf_of(key, row.iter(), scratch),
            Some(fields) => {
                let granted = row.iter().filter(|(field, _)| fields.binary_search(field).is_ok());
                leaf_of(key, granted, scratch)
            }
        })
    }
}

impl ViewSnapshot<'_> {
    /// Counts several digests of a place in one walk over its rows. Takes 32 to 64 bytes of memory
    /// per covered row and digest, and about a microsecond.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn digests(
        &self,
        place: Place,
        specs: &[DigestSpec],
        as_of: AsOf,
    ) -> Result<Vec<DigestFound>> {
        let mut counts: Vec<_> = specs.iter().map(|spec| Count::new(spec, as_of)).collect();
        self.groups().rows(place, None, |key, row| {
            counts.iter_mut().for_each(|count| count.row(key, row));
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(counts.into_iter().map(Count::finish).collect())
    }

    /// Keys and leaves of the covered rows in one bucket, in the order of their keys.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn leaves(
        &self,
        place: Place,
        spec: &DigestSpec,
        as_of: AsOf,
        bucket: u16,
    ) -> Result<Vec<(Vec<u8>, Leaf)>> {
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        self.groups().rows(place, None, |key, row| {
            if bucket_of(&key_hash(key)) == bucket
                && let Some(leaf) = spec.leaf(key, row, as_of, &mut scratch)
            {
                out.push((key.to_vec(), leaf));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(out)
    }

    /// Bucket, key and leaf of the covered rows in these buckets, in one walk, in the order of keys.
    ///
    /// # Errors
    /// When the store fails or the place is not known.
    pub fn leaves_in(
        &self,
        place: Place,
        spec: &DigestSpec,
        as_of: AsOf,
        buckets: &BTreeSet<u16>,
    ) -> Result<Vec<(u16, Vec<u8>, Leaf)>> {
        let mut out = Vec::new();
        let mut scratch = Vec::new();
        self.groups().rows(place, None, |key, row| {
            let bucket = bucket_of(&key_hash(key));
            if buckets.contains(&bucket)
                && let Some(leaf) = spec.leaf(key, row, as_of, &mut scratch)
            {
                out.push((bucket, key.to_vec(), leaf));
            }
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(out)
    }
}
