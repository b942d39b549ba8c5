//! Opening the store, strictly; a damaged one is set aside by name, never repaired in silence.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

use hutong_schema::wire::codec;
use parking_lot::{Mutex, RwLock};
use redb::{Database, DatabaseError, ReadableTable, StorageError};
use tokio::runtime::Builder;
use tokio::sync::mpsc;

use super::committer::{Committer, QUEUE};
use super::image::{self, Merges};
use super::keys::{CHUNKS, HEADS, META, OUTBOX, RECORDS, RUNS, STREAMS};
use super::space::Space;
use super::stream::StreamRecord;
use super::{FORMAT, INSTANCE, ImageId, Inner, NEXT_ID, Store, StoreError, StreamId};

/// How the store is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StoreOptions {
    /// Memory for pages, bytes.
    pub cache_bytes: usize,
    /// Sources wait when the outbox has this size, bytes.
    pub outbox_cap_bytes: u64,
    /// How long an image rests before its runs are merged as far as they can be.
    pub image_rest: Duration,
}

/// An opened store.
pub struct Opened {
    /// The store.
    pub store: Store,
    /// Where a damaged one was put. Its streams begin new epochs and send everything again; a person
    /// should know.
    pub set_aside: Option<(PathBuf, StoreError)>,
}

const FILE: &str = "agent.redb";
/// A command that looks into the store of an agent that does not run has it for so long at most:
/// whoever starts the agent meanwhile is not refused for it.
const OTHERS_DONE_WITHIN: Duration = Duration::from_secs(2);
const LOOK_AGAIN: Duration = Duration::from_millis(20);
/// Version of the tables and records in the file.
const FORMAT_VERSION: u32 = 2;

impl Store {
    /// Opens the store of this folder, or makes it. Every page is checked against its checksum.
    /// Blocks for a moment while another process has it.
    ///
    /// # Errors
    /// When another process keeps it, it is damaged, or files cannot be made.
    pub fn open(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let deadline = Instant::now() + OTHERS_DONE_WITHIN;
        loop {
            match Self::open_now(dir, options) {
                Err(StoreError::InUse { .. }) if Instant::now() < deadline => sleep(LOOK_AGAIN),
                opened => return opened,
            }
        }
    }

    fn open_now(dir: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        let file = |doing, source| StoreError::File { doing, path: dir.to_owned(), source };
        fs::create_dir_all(dir).map_err(|error| file("create", error))?;
        let path = dir.join(FILE);
        let opened = Database::builder()
            .set_cache_size(options.cache_bytes)
            .set_check_integrity_on_open(true)
            .create(&path)
            .map_err(|error| refused(&path, error))?;
        sync_folder(dir).map_err(|error| file("sync", error))?;
        let loaded = load(&opened).map_err(|error| as_damage(&path, error))?;
        Ok(Self::start(opened, loaded, options))
    }

    /// As [`Store::open`], but a damaged store is renamed and a new one is made: the sources still
    /// have the rows, and the hub replaces what it holds by them.
    ///
    /// # Errors
    /// As [`Store::open`], but not for damage.
    pub fn open_or_set_aside(dir: &Path, options: StoreOptions) -> Result<Opened, StoreError> {
        let damage = match Self::open(dir, options) {
            Ok(store) => return Ok(Opened { store, set_aside: None }),
            Err(damage @ StoreError::Damaged { .. }) => damage,
            Err(other) => return Err(other),
        };
        let path = dir.join(FILE);
        let aside = (1..)
            .map(|number| dir.join(format!("damaged-{number}.redb")))
            .find(|candidate| !candidate.exists())
            .unwrap_or_else(|| dir.join("damaged.redb"));
        fs::rename(&path, &aside)
            .and_then(|()| sync_folder(dir))
            .map_err(|source| StoreError::File { doing: "set aside", path, source })?;
        tracing::error!(%damage, aside = %aside.display(),
            "the store was damaged and is set aside; everything is read and sent again");
        let store = Self::open(dir, options)?;
        Ok(Opened { store, set_aside: Some((aside, damage)) })
    }

    fn start(database: Database, loaded: Loaded, options: StoreOptions) -> Self {
        let database = Arc::new(database);
        let queued = loaded.streams.iter().map(|(id, record)| (*id, record.state.queued_bytes));
        let space = Arc::new(Space::new(options.outbox_cap_bytes, queued));
        let published = Arc::new(RwLock::new(loaded.streams));
        let (requests, receiver) = mpsc::channel(QUEUE);
        let mut merges = Merges::new(options.image_rest, Box::new(Instant::now));
        loaded.images.into_iter().for_each(|image| merges.changed(image, image::Crowd::Few));
        let committer = Committer {
            database: database.clone(),
            requests: receiver,
            published: published.clone(),
            space: space.clone(),
            merges,
            next_id: loaded.next_id,
        };
        let thread = std::thread::Builder::new()
            .name("spool".to_owned())
            .spawn(move || match Builder::new_current_thread().enable_time().build() {
                Ok(clock) => committer.run(&clock),
                Err(error) => tracing::error!(%error, "the store's thread cannot run"),
            })
            .inspect_err(|error| tracing::error!(%error, "cannot start the store's thread"))
            .ok();
        Self(Arc::new(Inner {
            database,
            requests: Some(requests),
            published,
            space,
            instance: loaded.instance,
            thread: Mutex::new(thread),
        }))
    }
}

/// What is read once at opening.
pub(super) struct Loaded {
    instance: [u8; 16],
    pub(super) next_id: u32,
    streams: HashMap<StreamId, StreamRecord>,
    images: Vec<ImageId>,
}

/// Makes missing tables, removes the output of an unfinished merge, reads the states.
pub(super) fn load(database: &Database) -> Result<Loaded, StoreError> {
    let transaction = database
        .begin_write()
        .map_err(|error| StoreError::engine("opened", redb::Error::from(error)))?;
    let loaded = {
        let mut meta = transaction.open_table(META).map_err(opened)?;
        let streams = transaction.open_table(STREAMS).map_err(opened)?;
        let mut runs = transaction.open_table(RUNS).map_err(opened)?;
        let mut chunks = transaction.open_table(CHUNKS).map_err(opened)?;
        transaction.open_table(HEADS).map_err(opened)?;
        transaction.open_table(OUTBOX).map_err(opened)?;
        transaction.open_table(RECORDS).map_err(opened)?;

        let format = read_meta(&meta, FORMAT)?.unwrap_or(FORMAT_VERSION.to_be_bytes());
        if u32::from_be_bytes(format) != FORMAT_VERSION {
            return Err(StoreError::Record("format: this store was written by another version"));
        }
        let instance = match read_meta(&meta, INSTANCE)? {
            Some(instance) => instance,
            None => rand::random(),
        };
        let next_id = read_meta(&meta, NEXT_ID)?.map_or(1, u32::from_be_bytes);
        meta.insert(FORMAT, &format[..]).map_err(opened)?;
        meta.insert(INSTANCE, &instance[..]).map_err(opened)?;

        let mut images = Vec::new();
        for found in runs.iter().map_err(opened)? {
            images.push(ImageId(found.map_err(opened)?.0.value()));
        }
        image::drop_unfinished(&mut runs, &mut chunks, images.iter().copied())?;
        let mut known = HashMap::new();
        for found in streams.iter().map_err(opened)? {
            let (stream, stored) = found.map_err(opened)?;
            let record =
                codec::decode(stored.value()).map_err(|_| StoreError::Record("a stream"))?;
            known.insert(StreamId(stream.value()), record);
        }
        Loaded { instance, next_id, streams: known, images }
    };
    transaction.commit().map_err(|error| StoreError::engine("opened", redb::Error::from(error)))?;
    Ok(loaded)
}

fn read_meta<const N: usize>(
    meta: &impl ReadableTable<&'static str, &'static [u8]>,
    name: &str,
) -> Result<Option<[u8; N]>, StoreError> {
    let Some(stored) = meta.get(name).map_err(opened)? else { return Ok(None) };
    let fixed = stored.value().try_into().map_err(|_| StoreError::Record("a fact of the store"))?;
    Ok(Some(fixed))
}

fn refused(path: &Path, error: DatabaseError) -> StoreError {
    let damaged = |detail: String| StoreError::Damaged { path: path.to_owned(), detail };
    if matches!(error, DatabaseError::DatabaseAlreadyOpen) {
        return StoreError::InUse { path: path.to_owned() };
    }
    if let DatabaseError::Storage(StorageError::Corrupted(detail)) = error {
        return damaged(detail);
    }
    // A file that is no database at all, or cut off, reports so as invalid data.
    if let DatabaseError::Storage(StorageError::Io(error)) = &error
        && matches!(error.kind(), ErrorKind::InvalidData | ErrorKind::UnexpectedEof)
    {
        return damaged(error.to_string());
    }
    StoreError::engine("was opened", redb::Error::from(error))
}

fn as_damage(path: &Path, error: StoreError) -> StoreError {
    if let StoreError::Record(what) = error {
        return StoreError::Damaged { path: path.to_owned(), detail: what.to_owned() };
    }
    error
}

fn opened(error: impl Into<redb::Error>) -> StoreError {
    StoreError::engine("was opened", error)
}

fn sync_folder(dir: &Path) -> std::io::Result<()> {
    #[cfg(unix)]
    File::open(dir)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = dir;
    Ok(())
}
