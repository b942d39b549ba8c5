//! Opening the log: strictly, else through recovery; then compared with the marks.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use rocksdb::DB;
use tokio::sync::{Semaphore, mpsc, watch};

use super::engine::{self, Mode};
use super::marks::{Found, Keeper, Marks};
use super::paths::{DirLock, Paths};
use super::payloads::{Appender, Checked, PayloadFiles, check};
use super::read::{Tail, chain_at, tail};
use super::recover::Judgement;
use super::state::{State, floor, synced};
use super::writer::{Base, Writer, units};
use super::{LogOptions, RocksLog, Shared, Threads, key, marks, recover};
use crate::log::chain::base_of;
use crate::log::{
    Cause, HighWater, Incarnation, IncarnationRecord, LogError, MissingRange, Offset, PartitionId,
};

/// What opening the log found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpenReport {
    /// How it was opened.
    pub opening: Opening,
    /// What the high-water marks say about it.
    pub marks: MarksVerdict,
    /// The new incarnation and what is missing, if one had to begin.
    pub began: Option<IncarnationRecord>,
    /// Heads of all partitions.
    pub heads: Vec<HighWater>,
}

/// How the log was opened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Opening {
    /// It was created.
    Created,
    /// Every byte of the write-ahead log verified.
    Strict,
    /// The strict open was refused and a recovered copy is used. Normal after a power cut, when the
    /// last write was torn before it was acknowledged.
    Recovered {
        /// Why the strict open was refused.
        refusal: String,
        /// Where the damaged directory is kept.
        damaged: PathBuf,
    },
}

/// What the high-water marks say about the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MarksVerdict {
    /// The log holds everything they name.
    Fit,
    /// It does not: a new incarnation began.
    Contradict,
    /// There are none (a new log, or the file was removed): nothing could be compared.
    Absent,
    /// They are unreadable, for this reason: nothing could be compared.
    Unreadable(String),
    /// They are of an earlier incarnation than the log: nothing could be compared. Happens when the
    /// process ended between beginning an incarnation and writing its marks.
    Earlier,
}

/// A database with what was read from it.
pub(super) struct Opened {
    pub(super) db: DB,
    pub(super) state: State,
    pub(super) tails: Vec<Tail>,
    /// What is at the end of its payload files.
    pub(super) checked: Checked,
}

pub(super) fn open(dir: &Path, options: &LogOptions) -> Result<(RocksLog, OpenReport), LogError> {
    let paths = Paths::new(dir);
    let lock = paths.lock()?;
    recover::finish_interrupted(&paths, (options.clock)())?;
    let found = marks::read(&paths.marks)?;
    if !paths.exists() {
        let opened = create(&paths, &found, options)?;
        return start(opened, paths, lock, found, options, Opening::Created, None);
    }
    match engine::open(&paths.log, Mode::Strict, options) {
        Ok(db) => {
            let opened = Opened::read(db, &paths.log)?;
            match opened.refusal() {
                None => start(opened, paths, lock, found, options, Opening::Strict, None),
                Some(refusal) => {
                    drop(opened);
                    mend(paths, lock, found, options, refusal)
                }
            }
        }
        Err(error) if error.kind() == rocksdb::ErrorKind::Corruption => {
            mend(paths, lock, found, options, error.to_string())
        }
        Err(error) => Err(LogError::engine("open the log")(error)),
    }
}

/// Puts a recovered copy into the place of a log that was refused.
fn mend(
    paths: Paths,
    lock: DirLock,
    found: Found,
    options: &LogOptions,
    refusal: String,
) -> Result<(RocksLog, OpenReport), LogError> {
    tracing::warn!(%refusal, "the log was refused; recovering a copy of it");
    let (opening, judgement) = recover::recover(&paths, &found, refusal, options)?;
    let db = engine::open(&paths.log, Mode::Strict, options)
        .map_err(LogError::engine("open its recovered copy"))?;
    start(Opened::read(db, &paths.log)?, paths, lock, found, options, opening, Some(judgement))
}

/// Builds a new log aside and then gives it its name, so that a log always has its state.
fn create(paths: &Paths, found: &Found, options: &LogOptions) -> Result<Opened, LogError> {
    if let Found::Marks(marks) = found
        && marks.name_entries()
    {
        return Err(LogError::Gone(paths.log.clone()));
    }
    let state = State::new(options.data_partitions, (options.clock)());
    let db = engine::create(&paths.incomplete, state.partitions(), options)?;
    state.store(&db)?;
    drop(db);
    paths.rename(&paths.incomplete, &paths.log)?;
    let db = engine::open(&paths.log, Mode::Strict, options)
        .map_err(LogError::engine("open the new log"))?;
    Opened::read(db, &paths.log)
}

impl Opened {
    pub(super) fn read(db: DB, dir: &Path) -> Result<Self, LogError> {
        let state = State::load(&db)?;
        let mut tails = Vec::with_capacity(usize::from(state.partitions()));
        for partition in (0..state.partitions()).map(PartitionId) {
            tails.push(tail(&db, family(&db, partition)?, partition)?);
        }
        let checked = check(&db, &PayloadFiles::new(dir), state.partitions())?;
        Ok(Self { db, state, tails, checked })
    }

    /// Why the log cannot be taken as it is, although the store is whole: newest payloads are not
    /// what was written.
    fn refusal(&self) -> Option<String> {
        let words = self.checked.damaged.iter().map(|(partition, offset, reason)| {
            format!("the entry at {partition}/{offset}: {reason}")
        });
        let words: Vec<_> = words.collect();
        (!words.is_empty()).then(|| words.join("; "))
    }

    /// Ends a partition before `from`: the payloads of what stands there are lost.
    pub(super) fn cut(&mut self, partition: PartitionId, from: Offset) -> Result<(), LogError> {
        let mut batch = rocksdb::WriteBatch::default();
        batch.delete_range_cf(family(&self.db, partition)?, key(from), key(Offset(u64::MAX)));
        self.db.write_opt(batch, &synced()).map_err(LogError::engine("cut a partition"))?;
        let after = tail(&self.db, family(&self.db, partition)?, partition)?;
        if let Some(tail) = self.tails.get_mut(partition.index()) {
            *tail = after;
        }
        Ok(())
    }

    pub(super) fn head(&self, partition: PartitionId) -> Offset {
        self.tails.get(partition.index()).map_or(Offset::NONE, |tail| tail.head)
    }

    /// Compares with the marks; `missing` holds what is known to be lost already and grows. If
    /// anything is lost, begins a new incarnation, durably.
    pub(super) fn compare(
        &mut self,
        found: &Found,
        mut missing: Vec<MissingRange>,
        now_ms: i64,
    ) -> Result<(MarksVerdict, Option<IncarnationRecord>), LogError> {
        let mut beyond = None;
        let mut diverged = false;
        let verdict = match found {
            Found::Nothing => MarksVerdict::Absent,
            Found::Unreadable(reason) => MarksVerdict::Unreadable(reason.clone()),
            Found::Marks(marks) if marks.incarnation < self.state.incarnation() => {
                MarksVerdict::Earlier
            }
            Found::Marks(marks) => {
                beyond = Some(marks.incarnation);
                diverged = marks.incarnation > self.state.incarnation();
                let before = missing.clone();
                for mark in &marks.heads {
                    diverged |= self.check(mark, &mut missing)?;
                }
                if diverged || missing != before {
                    MarksVerdict::Contradict
                } else {
                    MarksVerdict::Fit
                }
            }
        };
        if missing.is_empty() && !diverged {
            return Ok((verdict, None));
        }
        let cause = if diverged { Cause::Diverged } else { Cause::EntriesMissing };
        let began = self.begin(now_ms, beyond, cause, missing)?;
        Ok((verdict, began))
    }

    /// Whether the log tells another history than a mark; what the mark has more goes to `missing`.
    fn check(&self, mark: &HighWater, missing: &mut Vec<MissingRange>) -> Result<bool, LogError> {
        let partition = mark.partition;
        let Some(tail) = self.tails.get(partition.index()) else {
            return Ok(mark.offset > Offset::NONE);
        };
        if mark.offset > tail.head {
            lose(missing, partition, tail.head.next(), mark.offset);
            return Ok(false);
        }
        if mark.offset < floor(&self.db, partition)?.first {
            return Ok(false);
        }
        let chain = chain_at(&self.db, family(&self.db, partition)?, mark.offset)?;
        Ok(chain != Some(mark.chain))
    }

    fn begin(
        &mut self,
        now_ms: i64,
        beyond: Option<Incarnation>,
        cause: Cause,
        missing: Vec<MissingRange>,
    ) -> Result<Option<IncarnationRecord>, LogError> {
        for range in &missing {
            tracing::error!(%range, "entries of the log that were durable are missing");
        }
        let heads = self.tails.iter().map(|tail| tail.head);
        self.state.begin(now_ms, beyond, cause, heads, missing);
        self.state.store(&self.db)?;
        Ok(self.state.incarnations.last().cloned())
    }
}

/// Adds a lost range, or extends the one its partition has.
pub(super) fn lose(
    missing: &mut Vec<MissingRange>,
    partition: PartitionId,
    from: Offset,
    to: Offset,
) {
    match missing.iter_mut().find(|range| range.partition == partition) {
        Some(range) => range.to = range.to.max(to),
        None => missing.push(MissingRange { partition, from, to }),
    }
}

pub(super) fn family(db: &DB, partition: PartitionId) -> Result<&rocksdb::ColumnFamily, LogError> {
    db.cf_handle(&engine::family_name(partition)).ok_or(LogError::NoSuchPartition(partition))
}

/// Compares, writes fresh marks and starts the threads.
fn start(
    mut opened: Opened,
    paths: Paths,
    lock: DirLock,
    found: Found,
    options: &LogOptions,
    opening: Opening,
    judgement: Option<Judgement>,
) -> Result<(RocksLog, OpenReport), LogError> {
    let (marks, began) = match judgement {
        Some(judgement) => judgement,
        None => opened.compare(&found, Vec::new(), (options.clock)())?,
    };
    if opened.state.data_partitions() != options.data_partitions {
        tracing::warn!(
            configured = options.data_partitions,
            actual = opened.state.data_partitions(),
            "the number of data partitions is fixed when the log is created"
        );
    }
    let heads = opened.high_water();
    let incarnation = opened.state.incarnation();
    let fresh = Marks { incarnation, heads: heads.clone() };
    if found != Found::Marks(fresh.clone()) {
        marks::write(&paths, &fresh)?;
    }
    let log = opened.run(paths, lock, fresh, options)?;
    tracing::info!(%incarnation, ?opening, ?marks, "log opened");
    Ok((log, OpenReport { opening, marks, began, heads }))
}

/// Where the next payload goes: behind all files there are, and all that were ever referred to.
fn appender(
    checked: &Checked,
    files: &Arc<PayloadFiles>,
    options: &LogOptions,
) -> Result<Appender, LogError> {
    if let Some((number, end)) = checked.newest {
        files.give_back(number, end);
    }
    let existing = files.numbers()?.last().copied();
    let next = existing.max(checked.newest.map(|(number, _)| number)).map_or(1, |last| last + 1);
    Ok(Appender::new(Arc::clone(files), options.payload_file_bytes, next))
}

impl Opened {
    fn high_water(&self) -> Vec<HighWater> {
        let heads = self.tails.iter().zip(0..).map(|(tail, id)| HighWater {
            partition: PartitionId(id),
            offset: tail.head,
            chain: tail.chain,
        });
        heads.collect()
    }

    fn run(
        self,
        paths: Paths,
        lock: DirLock,
        marks: Marks,
        options: &LogOptions,
    ) -> Result<RocksLog, LogError> {
        let Self { db, mut state, tails, checked } = self;
        state.raise_format(&db)?;
        let payloads = Arc::new(PayloadFiles::new(&paths.log));
        let appender = self::appender(&checked, &payloads, options)?;
        let partitions = || (0..state.partitions()).map(PartitionId);
        let floors =
            partitions().map(|partition| floor(&db, partition)).collect::<Result<_, _>>()?;
        let history = &state.incarnations;
        let bases = partitions().zip(&tails).map(|(partition, tail)| Base {
            head: tail.head,
            chain: base_of(history, partition, tail.head.next(), tail.chain),
        });
        let bases = bases.collect();
        let log_time_ms = tails.iter().map(|tail| tail.log_time_ms).max().unwrap_or(i64::MIN);
        let shared = Arc::new(Shared {
            families: partitions().map(engine::family_name).collect(),
            heads: Mutex::new(marks.heads.clone()),
            watches: tails.iter().map(|tail| watch::Sender::new(tail.head)).collect(),
            floors: Mutex::new(floors),
            incarnation: state.incarnation(),
            history: state.incarnations.clone(),
            poison: watch::Sender::new(None),
            commits: AtomicU64::new(0),
            entries: AtomicU64::new(0),
            bytes: AtomicU64::new(0),
            payloads,
            db,
        });
        let (queue, requests) = mpsc::channel(options.queue_requests.max(1));
        let writer = Writer::new(
            Arc::clone(&shared),
            appender,
            bases,
            log_time_ms,
            Arc::clone(&options.clock),
        );
        let writer = std::thread::Builder::new()
            .name("hutong-log".to_owned())
            .spawn(move || writer.run(requests))
            .map_err(LogError::io("start the thread that writes", &paths.log))?;
        let interval = options.marks_interval;
        let keeper = Keeper::start(Arc::clone(&shared), paths, interval, marks)?;
        let room_units = units(options.queue_bytes);
        Ok(RocksLog {
            shared,
            queue: Mutex::new(Some(queue)),
            room: Arc::new(Semaphore::new(usize::try_from(room_units).unwrap_or(usize::MAX))),
            room_units,
            threads: Mutex::new(Threads {
                writer: Some(writer),
                marks: Some(keeper),
                lock: Some(lock),
            }),
            trimming: Mutex::new(()),
        })
    }
}
