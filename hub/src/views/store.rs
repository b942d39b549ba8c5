//! The store under the views: one column family per data partition, so that a partition's changes
//! and how far it is applied are always written, flushed and ingested together.

use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedIndexType, BlockBasedOptions, Cache, ColumnFamily, ColumnFamilyDescriptor, DB,
    DBCompressionType, FlushOptions, IngestExternalFileOptions, Options, WriteBatch, WriteOptions,
};

use super::{
    ViewOptions,
    error::{Result, ViewError},
};
use crate::log::PartitionId;

/// Where bulk files are written before they become part of the store.
const BULK_DIR: &str = "bulk";

/// How many files, or bytes, of the first level are merged with the rest.
struct MergeAt {
    files: u32,
    bytes: u64,
}

/// While a partition is being filled. Each merge rewrites the partition, so that one being filled
/// would be rewritten again and again; a question asked meanwhile looks into each file's filter.
const MERGE_FILLING: MergeAt = MergeAt { files: 256, bytes: 16 << 30 };

/// When changes come at their usual pace.
const MERGE_USUAL: MergeAt = MergeAt { files: 8, bytes: 512 << 20 };

/// Bytes of a file being written that may be ahead of the disk: a sync of the log may have to wait
/// for them.
const FLUSH_BYTES_AHEAD: u64 = 1 << 20;

/// Bytes of each file read at a time when files are merged: very many may be merged at once.
const MERGE_READ_AHEAD: usize = 256 << 10;

/// Threads that open a family's files; RocksDB starts as many for each family, also for one file.
const OPENING_THREADS: i32 = 2;

pub(super) struct Store {
    pub(super) db: DB,
    names: Vec<String>,
    bulk: PathBuf,
    file_options: Options,
}

impl Store {
    /// Opens the store, or creates it.
    pub(super) fn open(dir: &Path, options: &ViewOptions, data_partitions: u16) -> Result<Self> {
        let bulk = dir.join(BULK_DIR);
        std::fs::create_dir_all(dir).map_err(ViewError::io("create", dir))?;
        // What a crash left of unfinished bulk files is of no use.
        match std::fs::remove_dir_all(&bulk) {
            Ok(()) => {}
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(ViewError::io("remove", &bulk)(error)),
        }
        std::fs::create_dir_all(&bulk).map_err(ViewError::io("create", &bulk))?;
        let names = names(data_partitions);
        let existing = existing(dir)?;
        if !existing.is_empty() && existing != names {
            let found = u16::try_from(existing.len()).unwrap_or(u16::MAX);
            return Err(ViewError::Partitions { found, expected: data_partitions });
        }
        let cache = block_cache(options);
        let family = family_options(options, &cache);
        let families: Vec<_> = std::iter::once("default")
            .chain(names.iter().map(String::as_str))
            .map(|name| ColumnFamilyDescriptor::new(name, family.clone()))
            .collect();
        let db = DB::open_cf_descriptors(&db_options(options), dir, families)
            .map_err(ViewError::engine("open"))?;
        Ok(Self { db, names, bulk, file_options: family })
    }

    /// Opens what is in files, without writing anything; another process may have it open.
    pub(super) fn open_read_only(dir: &Path, options: &ViewOptions) -> Result<Self> {
        let names = existing(dir)?;
        let cache = block_cache(options);
        let family = family_options(options, &cache);
        let families = std::iter::once("default")
            .chain(names.iter().map(String::as_str))
            .map(|name| ColumnFamilyDescriptor::new(name, family.clone()));
        let mut db_options = Options::default();
        // All files are opened at once: whoever writes may remove one later.
        db_options.set_max_open_files(-1);
        db_options.set_max_file_opening_threads(OPENING_THREADS);
        let db = DB::open_cf_descriptors_read_only(&db_options, dir, families, false)
            .map_err(ViewError::engine("open for reading"))?;
        Ok(Self { db, names, bulk: dir.join(BULK_DIR), file_options: family })
    }

    pub(super) fn data_partitions(&self) -> u16 {
        u16::try_from(self.names.len()).unwrap_or(u16::MAX)
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = PartitionId> + use<> {
        (0..self.data_partitions()).map(PartitionId::data)
    }

    pub(super) fn family(&self, partition: PartitionId) -> Result<&ColumnFamily> {
        partition
            .0
            .checked_sub(PartitionId::FIXED)
            .and_then(|n| self.names.get(usize::from(n)))
            .and_then(|name| self.db.cf_handle(name))
            .ok_or(ViewError::Damaged { what: "partition" })
    }

    /// Writes without a write-ahead log: after a crash the log of the exchange repeats it.
    pub(super) fn write(&self, batch: WriteBatch) -> Result<()> {
        let mut options = WriteOptions::default();
        options.disable_wal(true);
        self.db.write_opt(batch, &options).map_err(ViewError::engine("write"))
    }

    /// Puts what is in memory into files.
    pub(super) fn flush(&self, partition: PartitionId, wait: bool) -> Result<()> {
        let mut options = FlushOptions::default();
        options.set_wait(wait);
        self.db.flush_cf_opt(self.family(partition)?, &options).map_err(ViewError::engine("flush"))
    }

    /// Chooses when files are merged, by how fast changes come. A store is opened for filling.
    pub(super) fn set_filling(&self, partition: PartitionId, filling: bool) -> Result<()> {
        let at = if filling { MERGE_FILLING } else { MERGE_USUAL };
        let settings = [
            ("level0_file_num_compaction_trigger", &*at.files.to_string()),
            ("max_bytes_for_level_base", &*at.bytes.to_string()),
        ];
        self.db
            .set_options_cf(self.family(partition)?, &settings)
            .map_err(ViewError::engine("choose when files are merged"))
    }

    /// Files that are not merged yet.
    pub(super) fn unmerged_files(&self, partition: PartitionId) -> Result<u64> {
        self.number(partition, "rocksdb.num-files-at-level0")
    }

    /// Whether files of a partition are being merged, or will be once it is not filled any more.
    pub(super) fn merge_due(&self, partition: PartitionId) -> Result<bool> {
        Ok(self.unmerged_files(partition)? >= u64::from(MERGE_USUAL.files)
            || self.number(partition, "rocksdb.compaction-pending")? > 0
            || self.number(partition, "rocksdb.num-running-compactions")? > 0)
    }

    fn number(&self, partition: PartitionId, property: &str) -> Result<u64> {
        let family = self.family(partition)?;
        let found = self.db.property_int_value_cf(family, property);
        Ok(found.map_err(ViewError::engine("ask for a figure"))?.unwrap_or(0))
    }

    pub(super) fn bulk_path(&self, partition: PartitionId) -> PathBuf {
        self.bulk.join(format!("{partition}.sst"))
    }

    pub(super) fn file_options(&self) -> &Options {
        &self.file_options
    }

    /// Takes a finished bulk file in. Everything in it becomes visible, and durable, at once.
    pub(super) fn ingest(&self, partition: PartitionId, path: PathBuf) -> Result<()> {
        let mut options = IngestExternalFileOptions::default();
        options.set_move_files(true);
        self.db
            .ingest_external_file_cf_opts(self.family(partition)?, &options, vec![path])
            .map_err(ViewError::engine("take in a bulk file"))
    }
}

fn names(data_partitions: u16) -> Vec<String> {
    (0..data_partitions).map(|n| PartitionId::data(n).to_string()).collect()
}

/// Names of the partitions in a store, in order; none when there is no store yet.
fn existing(dir: &Path) -> Result<Vec<String>> {
    if !dir.join("CURRENT").exists() {
        return Ok(Vec::new());
    }
    let found = DB::list_cf(&Options::default(), dir).map_err(ViewError::engine("open"))?;
    let count = found.iter().filter(|name| *name != "default").count();
    Ok(names(u16::try_from(count).unwrap_or(u16::MAX)))
}

fn db_options(options: &ViewOptions) -> Options {
    let mut db = Options::default();
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_max_background_jobs(2);
    db.set_db_write_buffer_size(options.write_buffer_bytes);
    db.set_max_open_files(1_024);
    db.set_max_file_opening_threads(OPENING_THREADS);
    db.set_bytes_per_sync(FLUSH_BYTES_AHEAD);
    db.set_compaction_readahead_size(MERGE_READ_AHEAD);
    db.set_keep_log_file_num(4);
    db.set_max_log_file_size(4 << 20);
    db
}

/// Without a lock: many questions look into it at once.
fn block_cache(options: &ViewOptions) -> Cache {
    // The entries' sizes are told apart by the cache itself.
    Cache::new_hyper_clock_cache(options.block_cache_bytes, 0)
}

fn family_options(options: &ViewOptions, cache: &Cache) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    // A lookup reads and opens one block; the walks that would like larger ones read ahead.
    table.set_block_size(4 << 10);
    table.set_format_version(6);
    table.set_cache_index_and_filter_blocks(true);
    table.set_pin_l0_filter_and_index_blocks_in_cache(true);
    // In pieces: a whole file's filter has megabytes, and would be read anew for every question
    // once it does not fit into its shard of the cache.
    table.set_index_type(BlockBasedIndexType::TwoLevelIndexSearch);
    table.set_partition_filters(true);
    table.set_metadata_block_size(8 << 10);
    table.set_pin_top_level_index_and_filter(true);
    table.set_bloom_filter(10.0, false);
    table.set_optimize_filters_for_memory(true);
    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_write_buffer_size((options.write_buffer_bytes / 4).max(1 << 20));
    family.set_max_write_buffer_number(3);
    family.set_target_file_size_base(64 << 20);
    family.set_max_bytes_for_level_base(MERGE_FILLING.bytes);
    family.set_level_zero_file_num_compaction_trigger(MERGE_FILLING.files as i32);
    family.set_level_zero_slowdown_writes_trigger(MERGE_FILLING.files as i32 + 32);
    family.set_level_zero_stop_writes_trigger(MERGE_FILLING.files as i32 + 64);
    family
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;

    #[test]
    fn files_are_merged_when_the_filling_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &ViewOptions::default(), 1).unwrap();
        let partition = PartitionId::data(0);
        let files = || store.unmerged_files(partition).unwrap();
        for file in 0..u64::from(MERGE_USUAL.files) * 3 {
            let mut batch = WriteBatch::default();
            batch.put_cf(store.family(partition).unwrap(), b"the same key", file.to_be_bytes());
            store.write(batch).unwrap();
            store.flush(partition, true).unwrap();
        }
        assert_eq!(files(), u64::from(MERGE_USUAL.files) * 3);
        assert!(store.merge_due(partition).unwrap(), "while it is filled, the merge is put off");
        store.set_filling(partition, false).unwrap();
        let deadline = Instant::now() + Duration::from_secs(20);
        while store.merge_due(partition).unwrap() || files() >= u64::from(MERGE_USUAL.files) {
            assert!(Instant::now() < deadline, "{} files are not merged", files());
            std::thread::yield_now();
        }
    }
}
