//! The hub of the model: the real log, registry, governor, views, intake and routes over a folder, wired
//! as `app::serve` wires them. Only the doors are missing; and the views apply when the model says so.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use hutong_hub::app::FromViews;
use hutong_hub::govern::{Command, Outcome};
use hutong_hub::governor::{Governor, GovernorOptions};
use hutong_hub::intake::disk::DiskLevel;
use hutong_hub::intake::{Intake, IntakeOptions};
use hutong_hub::log::event::Event;
use hutong_hub::log::rocks::{MarksVerdict, OpenReport, Opening};
use hutong_hub::log::{EntryKind, Log, LogOptions, NewEntry, Offset, PartitionId, RocksLog};
use hutong_hub::routes::Router;
use hutong_hub::tasks::Tasks;
use hutong_hub::views::registry::RegistryHandle;
use hutong_hub::views::{ViewOptions, Views};
use hutong_schema::grant::AsOf;
use jiff::Span;
use jiff::civil::Date;
use tokio::sync::watch;

use super::held::HeldLog;
use super::world;

/// Time as the model lets it pass.
#[derive(Clone, Default)]
pub(crate) struct Time {
    ms: Arc<AtomicI64>,
    day: Arc<AtomicU32>,
}

impl Time {
    pub(crate) fn tick(&self) {
        self.ms.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn next_day(&self) {
        self.day.fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn today(&self) -> Date {
        let days = Span::new().days(i64::from(self.day.load(Ordering::Relaxed)));
        world::FIRST_DAY.saturating_add(days)
    }

    fn now_ms(&self) -> i64 {
        1_790_000_000_000 + self.ms.load(Ordering::Relaxed)
    }
}

/// A hub that runs.
pub(crate) struct Hub {
    pub(crate) log: Arc<RocksLog>,
    pub(crate) held: Arc<HeldLog>,
    pub(crate) registry: RegistryHandle,
    pub(crate) views: Views,
    pub(crate) intake: Intake,
    pub(crate) router: Router,
    /// What opening found, in a word or two.
    pub(crate) opened: Opened,
    governor: Governor,
    tasks: Tasks,
    _disk: watch::Sender<DiskLevel>,
}

/// What opening the log found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Opened {
    /// It is as it was.
    Whole,
    /// Its end was torn; nothing is known to be missing.
    Torn,
    /// Its marks name entries that are missing: a new incarnation.
    Anew,
}

/// How long a part of the hub may take to do what it was asked for.
pub(crate) const SOON: Duration = Duration::from_secs(10);

impl Hub {
    /// Founds the exchange of the model in a folder, and stops it in good order.
    pub(crate) async fn found(dir: &Path) -> Result<()> {
        fs::create_dir_all(dir)?;
        let time = Time::default();
        let (log, _) = RocksLog::open(dir.join("log"), log_options(&time))?;
        let exchange = "model".parse().context("a name")?;
        let data_partitions = world::DATA_PARTITIONS;
        let founded = Event::ExchangeFounded { exchange, data_partitions }.encode()?;
        let founded = NewEntry::new(EntryKind::Event, Offset::NONE, founded);
        log.append(vec![(PartitionId::META, founded)]).await?;
        log.close();
        drop(log);
        let hub = Self::open(dir, &time).await?;
        hub.command(Command::SetClockDate { as_of: AsOf::new(time.today()) }).await?;
        for command in world::beginning()? {
            hub.command(command).await?;
        }
        hub.close().await?;
        hub.vanish().await
    }

    pub(crate) async fn open(dir: &Path, time: &Time) -> Result<Self> {
        let (log, report) = RocksLog::open(dir.join("log"), log_options(time))?;
        let log = Arc::new(log);
        let registry = RegistryHandle::load(&*log)?;
        let views = Views::open(dir.join("views"), view_options(), Arc::clone(&log))?;
        // Nothing is admitted before the views reached the log's head.
        views.apply_all()?;
        let tasks = Tasks::new();
        let held = Arc::new(HeldLog::new(Arc::clone(&log)));
        let mut barriers = Vec::new();
        for partition in (0..world::DATA_PARTITIONS).map(PartitionId::data) {
            barriers.push((partition, views.snapshot().applied(partition)?.meta_offset));
        }
        let days = time.clone();
        let options =
            GovernorOptions { queue: 16, group: 4, today: Arc::new(move || days.today()) };
        let governor =
            Governor::start(Arc::clone(&held), registry.clone(), &barriers, options, &tasks)
                .await?;
        views.apply_all()?;
        let (disk, level) = watch::channel(DiskLevel::Enough);
        let intake = Intake::start(
            &held,
            registry.clone(),
            governor.clone(),
            Arc::new(FromViews(views.clone())),
            level,
            IntakeOptions::default(),
            &tasks,
        );
        let router = Router::new(views.clone(), registry.clone(), log.incarnation().0, 4);
        let opened = opened(&report);
        Ok(Self {
            log,
            held,
            registry,
            views,
            intake,
            router,
            opened,
            governor,
            tasks,
            _disk: disk,
        })
    }

    pub(crate) async fn command(&self, command: Command) -> Result<Outcome> {
        let order = self.governor.order(command);
        Ok(tokio::time::timeout(SOON, order).await.context("a command is answered")??)
    }

    /// What a stop in good order writes: everything that was taken, the views, the marks.
    pub(crate) async fn close(&self) -> Result<()> {
        self.held.release().await?;
        self.views.apply_all()?;
        self.views.flush()?;
        self.log.close();
        Ok(())
    }

    /// Ends; whatever it still writes goes to a disk that nobody looks at any more.
    pub(crate) async fn vanish(self) -> Result<()> {
        let Self { tasks, held, intake, router, governor, .. } = self;
        drop((intake, router, governor));
        tasks.closing.cancel();
        tasks.tracker.close();
        held.abandon();
        let ended = tokio::time::timeout(SOON, tasks.tracker.wait()).await;
        ensure!(ended.is_ok(), "the hub's tasks do not end");
        Ok(())
    }
}

fn opened(report: &OpenReport) -> Opened {
    if report.began.is_some() || report.marks == MarksVerdict::Contradict {
        return Opened::Anew;
    }
    match report.opening {
        Opening::Recovered { .. } => Opened::Torn,
        Opening::Created | Opening::Strict => Opened::Whole,
    }
}

fn log_options(time: &Time) -> LogOptions {
    let time = time.clone();
    LogOptions {
        data_partitions: world::DATA_PARTITIONS,
        write_buffer_bytes: 4 << 20,
        // Written at a stop in good order only, so that the model knows what they say.
        marks_interval: Duration::from_secs(86_400),
        clock: Arc::new(move || time.now_ms()),
        ..LogOptions::default()
    }
}

fn view_options() -> ViewOptions {
    ViewOptions {
        block_cache_bytes: 1 << 20,
        write_buffer_bytes: 1 << 20,
        feed_cache_bytes: 1 << 20,
        ..ViewOptions::default()
    }
}

/// The newest file of the log's write-ahead log in a hub's folder.
pub(crate) fn newest_wal(dir: &Path) -> Result<Option<PathBuf>> {
    let mut newest: Option<(u64, PathBuf)> = None;
    for file in fs::read_dir(dir.join("log"))? {
        let path = file?.path();
        let number = path
            .extension()
            .filter(|extension| *extension == "log")
            .and_then(|_| path.file_stem()?.to_str()?.parse().ok());
        if let Some(number) = number
            && newest.as_ref().is_none_or(|(other, _)| *other < number)
        {
            newest = Some((number, path));
        }
    }
    Ok(newest.map(|(_, path)| path))
}

/// Copies a folder as it stands.
pub(crate) fn copy_folder(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for file in fs::read_dir(from)? {
        let file = file?;
        let target = to.join(file.file_name());
        if file.file_type()?.is_dir() {
            copy_folder(&file.path(), &target)?;
            continue;
        }
        match fs::copy(file.path(), &target) {
            Ok(_) => {}
            // Removed between the listing and the copying.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}
