//! RocksDB's settings, and the ways to open it.

use std::path::Path;

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamilyDescriptor, DB, DBCompressionType, DBRecoveryMode,
    Options, WriteBufferManager,
};

use super::LogOptions;
use crate::log::{LogError, PartitionId};

/// Holds the log's own records (see `state`).
pub(super) const STATE_FAMILY: &str = "default";

/// Values from here on go to blob files, bytes: large governance events, and batches of a log from
/// before payload files.
const BLOB_BYTES_MIN: u64 = 4 * 1024;

/// Bytes of a blob file.
const BLOB_FILE_BYTES: u64 = 64 * 1024 * 1024;

/// Bytes of read cache. Envelopes and offsets only: payloads are read once, by the next reader.
const BLOCK_CACHE_BYTES: usize = 16 * 1024 * 1024;

/// Write-ahead log that may have to be replayed at start, bytes.
const WAL_BYTES_MAX: u64 = 128 * 1024 * 1024;

/// Bytes of a file being written out that may be ahead of the disk. A journalling file system makes
/// the sync of an append wait for all new data of other files.
const FLUSH_BYTES_AHEAD: u64 = 512 * 1024;

/// Threads that open a family's files; RocksDB starts as many for each family, also for one file.
const OPENING_THREADS: i32 = 2;

/// Open files: each blob file of the retained log may be one; the rest is opened when read.
const OPEN_FILES_MAX: i32 = 512;

/// How the write-ahead log is taken at opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    /// Every byte must verify.
    Strict,
    /// Up to the first damage.
    PointInTime,
    /// Whatever can be read, before and behind the damage.
    Salvage,
}

/// Name of a partition's column family.
pub(super) fn family_name(partition: PartitionId) -> String {
    format!("p{:05}", partition.0)
}

/// Creates a new database with `partitions` families.
pub(super) fn create(dir: &Path, partitions: u16, options: &LogOptions) -> Result<DB, LogError> {
    let mut db = database(options);
    db.create_if_missing(true);
    db.create_missing_column_families(true);
    db.set_error_if_exists(true);
    db.set_track_and_verify_wals_in_manifest(true);
    let names = (0..partitions).map(|id| family_name(PartitionId(id)));
    let names = std::iter::once(STATE_FAMILY.to_owned()).chain(names).collect();
    DB::open_cf_descriptors(&db, dir, families(names, options))
        .map_err(LogError::engine("create the log"))
}

/// Opens an existing database.
pub(super) fn open(dir: &Path, mode: Mode, options: &LogOptions) -> Result<DB, rocksdb::Error> {
    let mut db = database(options);
    db.set_wal_recovery_mode(match mode {
        Mode::Strict => DBRecoveryMode::AbsoluteConsistency,
        Mode::PointInTime => DBRecoveryMode::PointInTime,
        Mode::Salvage => DBRecoveryMode::SkipAnyCorruptedRecord,
    });
    // Otherwise a file of the write-ahead log that is missing or short as a whole is accepted.
    db.set_track_and_verify_wals_in_manifest(mode == Mode::Strict);
    let names = DB::list_cf(&db, dir)?;
    DB::open_cf_descriptors(&db, dir, families(names, options))
}

fn database(options: &LogOptions) -> Options {
    let mut db = Options::default();
    db.set_paranoid_checks(true);
    // All families reach their files together: files are then never ahead of the write-ahead log,
    // and any prefix of it is a consistent state of all partitions.
    db.set_atomic_flush(true);
    db.set_max_background_jobs(2);
    db.set_max_open_files(OPEN_FILES_MAX);
    db.set_max_file_opening_threads(OPENING_THREADS);
    db.set_max_total_wal_size(WAL_BYTES_MAX);
    db.set_write_buffer_manager(&WriteBufferManager::new_write_buffer_manager(
        options.write_buffer_bytes + options.write_buffer_bytes / 2,
        true,
    ));
    db.set_bytes_per_sync(FLUSH_BYTES_AHEAD);
    db.set_max_log_file_size(1024 * 1024);
    db.set_keep_log_file_num(4);
    db.set_stats_dump_period_sec(0);
    db
}

fn families(names: Vec<String>, options: &LogOptions) -> Vec<ColumnFamilyDescriptor> {
    let cache = Cache::new_lru_cache(BLOCK_CACHE_BYTES);
    names
        .into_iter()
        .map(|name| ColumnFamilyDescriptor::new(name, family(&cache, options)))
        .collect()
}

fn family(cache: &Cache, options: &LogOptions) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    let mut family = Options::default();
    family.set_block_based_table_factory(&table);
    family.set_write_buffer_size(options.write_buffer_bytes / 2);
    family.set_compression_type(DBCompressionType::Lz4);
    family.set_enable_blob_files(true);
    family.set_min_blob_size(BLOB_BYTES_MIN);
    family.set_blob_file_size(BLOB_FILE_BYTES);
    // Batches come compressed.
    family.set_blob_compression_type(DBCompressionType::None);
    family
}
