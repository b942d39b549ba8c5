//! What the keys of a range held before it.

use rocksdb::ReadOptions;

use super::{
    super::{
        error::{Result, ViewError},
        keys, records,
        store::Store,
    },
    filter::KeyFilter,
};
use crate::{
    log::PartitionId,
    numbers::{ResourceNo, SpaceNo},
};

/// A row as it was, in an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Old {
    pub(super) resource: ResourceNo,
    pub(super) version: u64,
    pub(super) row: Place,
}

/// A part of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Place {
    pub(super) fn push(arena: &mut Vec<u8>, bytes: &[u8]) -> Self {
        let start = arena.len();
        arena.extend_from_slice(bytes);
        Self { start, end: arena.len() }
    }

    pub(super) fn of(self, arena: &[u8]) -> &[u8] {
        &arena[self.start..self.end]
    }
}

/// How the earlier rows of a space are found.
pub(super) struct Lookup<'a> {
    pub(super) store: &'a Store,
    pub(super) partition: PartitionId,
    pub(super) space: SpaceNo,
    /// Resources that have rows in the space.
    pub(super) holders: Vec<ResourceNo>,
}

impl Lookup<'_> {
    /// Finds the rows under ascending keys; the answer has, per key, its rows by resource.
    pub(super) fn find(
        &self,
        rows: &[&[u8]],
        filter: Option<&mut KeyFilter>,
        arena: &mut Vec<u8>,
        out: &mut Vec<Vec<Old>>,
    ) -> Result<()> {
        out.iter_mut().for_each(Vec::clear);
        out.resize_with(rows.len(), Vec::new);
        // The filter learns every key, also while there is nothing to be found.
        let mut wanted: Vec<usize> = match filter {
            Some(filter) => (0..rows.len()).filter(|at| filter.insert(rows[*at])).collect(),
            None => (0..rows.len()).collect(),
        };
        match self.holders[..] {
            [] => wanted.clear(),
            [holder] => self.one(rows, &wanted, holder, arena, out)?,
            _ => self.several(rows, &wanted, arena, out)?,
        }
        Ok(())
    }

    fn one(
        &self,
        rows: &[&[u8]],
        wanted: &[usize],
        holder: ResourceNo,
        arena: &mut Vec<u8>,
        out: &mut [Vec<Old>],
    ) -> Result<()> {
        if wanted.is_empty() {
            return Ok(());
        }
        let mut key = Vec::new();
        let mut stored = Vec::with_capacity(wanted.len() * 40);
        let mut ends = Vec::with_capacity(wanted.len());
        for at in wanted {
            keys::row_into(&mut key, self.space, rows[*at], holder);
            stored.extend_from_slice(&key);
            ends.push(stored.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let slices: Vec<&[u8]> =
            starts.zip(&ends).map(|(start, end)| &stored[start..*end]).collect();
        let family = self.store.family(self.partition)?;
        let found = self.store.db.batched_multi_get_cf(family, slices.iter().copied(), true);
        for (at, value) in wanted.iter().zip(found) {
            if let Some(value) = value.map_err(ViewError::engine("read"))? {
                let (version, row) = records::split_versioned(&value)?;
                out[*at].push(Old { resource: holder, version, row: Place::push(arena, row) });
            }
        }
        Ok(())
    }

    fn several(
        &self,
        rows: &[&[u8]],
        wanted: &[usize],
        arena: &mut Vec<u8>,
        out: &mut [Vec<Old>],
    ) -> Result<()> {
        let mut options = ReadOptions::default();
        options.set_iterate_upper_bound(keys::after_prefix(&keys::rows_of_space(self.space)));
        let mut found =
            self.store.db.raw_iterator_cf_opt(self.store.family(self.partition)?, options);
        let mut prefix = Vec::new();
        for at in wanted {
            keys::rows_of_key_into(&mut prefix, self.space, rows[*at]);
            found.seek(&prefix);
            while let Some((key, value)) = found.item() {
                if !key.starts_with(&prefix) {
                    break;
                }
                let (_, resource) =
                    keys::parse_row(key).ok_or(ViewError::Damaged { what: "row key" })?;
                let (version, row) = records::split_versioned(value)?;
                out[*at].push(Old { resource, version, row: Place::push(arena, row) });
                found.next();
            }
            found.status().map_err(ViewError::engine("read"))?;
        }
        Ok(())
    }
}
