//! Where a range's changes go: one write batch, or one sorted file that is taken in as a whole.

use std::path::PathBuf;

use rocksdb::{ColumnFamily, SstFileWriter, WriteBatch};

use super::super::{
    error::{Result, ViewError},
    store::Store,
};
use crate::log::PartitionId;

/// Takes pairs in ascending order of their keys, each key once.
pub(super) enum Sink<'s> {
    Batch { family: &'s ColumnFamily, batch: WriteBatch },
    File { writer: SstFileWriter<'s>, path: PathBuf },
}

impl<'s> Sink<'s> {
    pub(super) fn batch(store: &'s Store, partition: PartitionId) -> Result<Self> {
        Ok(Self::Batch { family: store.family(partition)?, batch: WriteBatch::default() })
    }

    pub(super) fn file(store: &'s Store, partition: PartitionId) -> Result<Self> {
        let path = store.bulk_path(partition);
        let writer = SstFileWriter::create(store.file_options());
        writer.open(&path).map_err(ViewError::engine("begin a bulk file"))?;
        Ok(Self::File { writer, path })
    }

    pub(super) fn put(&mut self, key: &[u8], value: &[u8]) -> Result<()> {
        match self {
            Self::Batch { family, batch } => batch.put_cf(*family, key, value),
            Self::File { writer, .. } => {
                writer.put(key, value).map_err(ViewError::engine("write a bulk file"))?;
            }
        }
        Ok(())
    }

    pub(super) fn delete(&mut self, key: &[u8]) -> Result<()> {
        match self {
            Self::Batch { family, batch } => batch.delete_cf(*family, key),
            Self::File { writer, .. } => {
                writer.delete(key).map_err(ViewError::engine("write a bulk file"))?;
            }
        }
        Ok(())
    }

    /// Makes everything visible at once.
    pub(super) fn commit(self, store: &Store, partition: PartitionId) -> Result<()> {
        match self {
            Self::Batch { batch, .. } => store.write(batch),
            Self::File { mut writer, path } => {
                writer.finish().map_err(ViewError::engine("finish a bulk file"))?;
                drop(writer);
                store.ingest(partition, path)
            }
        }
    }
}

/// Keys that are made in some order and needed in ascending order: one allocation for all.
#[derive(Default)]
pub(super) struct SortedKeys {
    arena: Vec<u8>,
    refs: Vec<KeyRef>,
}

#[derive(Clone, Copy)]
struct KeyRef {
    /// The first bytes: enough to tell most keys apart without reading them.
    head: u64,
    prefix: u128,
    start: usize,
    length: u32,
    removed: bool,
}

/// Bytes of a usual key of an index.
const USUAL_KEY: usize = 48;

impl SortedKeys {
    /// With room for so many usual keys: growing a large piece of memory copies it.
    pub(super) fn with_room(keys: usize) -> Self {
        Self { arena: Vec::with_capacity(keys * USUAL_KEY), refs: Vec::with_capacity(keys) }
    }

    /// Adds the key that `write` appends.
    pub(super) fn push(&mut self, removed: bool, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.arena.len();
        write(&mut self.arena);
        let key = &self.arena[start..];
        // Table, space and index, which most keys here have in common, apart from the rest.
        let (head, rest) = key.split_at(key.len().min(6));
        let (head, prefix) = ((prefix_of(head) >> 64) as u64, prefix_of(rest));
        self.refs.push(KeyRef { head, prefix, start, length: key.len() as u32, removed });
    }

    fn key(&self, at: &KeyRef) -> &[u8] {
        &self.arena[at.start..at.start + at.length as usize]
    }

    /// Hands the keys, each once and with an empty value, to the sink.
    pub(super) fn drain(mut self, sink: &mut Sink<'_>) -> Result<()> {
        let mut refs = std::mem::take(&mut self.refs);
        refs.sort_unstable_by(|a, b| {
            (a.head, a.prefix).cmp(&(b.head, b.prefix)).then_with(|| self.key(a).cmp(self.key(b)))
        });
        let mut last: Option<&[u8]> = None;
        for at in &refs {
            let key = self.key(at);
            if last == Some(key) {
                continue;
            }
            last = Some(key);
            match at.removed {
                true => sink.delete(key)?,
                false => sink.put(key, &[])?,
            }
        }
        Ok(())
    }
}

/// The first sixteen bytes as a number, so that most comparisons are one instruction.
pub(super) fn prefix_of(bytes: &[u8]) -> u128 {
    let mut first = [0u8; 16];
    let length = bytes.len().min(16);
    first[..length].copy_from_slice(&bytes[..length]);
    u128::from_be_bytes(first)
}
