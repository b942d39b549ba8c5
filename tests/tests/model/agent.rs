//! The agents of the model: real store, scans, quarantine and sinks over a folder. The loops of the
//! connection are played by the model, see `publishing` and `delivering`.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use anyhow::{Context as _, Result};
use hutong_agent::changes;
use hutong_agent::config::{
    FileSource, PublishConfig, Rules, SourceConfig, SourceForm, SourceMode, TextEncoding,
};
use hutong_agent::link;
use hutong_agent::quarantine::Quarantine;
use hutong_agent::spool::{Store, StoreOptions, StreamId, StreamState};
use hutong_schema::catalogue::CatalogueEntry;
use hutong_schema::ids::NodeName;
use tokio::runtime::Runtime;

use super::hub::copy_folder;
use super::publishing::PublishStream;
use super::world::{self, PUBLISHERS, Rows};

const STORE: StoreOptions =
    StoreOptions { cache_bytes: 1 << 20, outbox_cap_bytes: 64 << 20, image_rest: Duration::ZERO };

/// A source file: what a department has.
pub(crate) struct Source {
    pub(crate) rows: Rows,
    path: PathBuf,
    written: u64,
}

impl Source {
    pub(crate) fn new(dir: &Path, publication: usize) -> Result<Self> {
        let path = dir.join(format!("source-{publication}.csv"));
        let mut source = Self { rows: Rows::new(), path, written: 0 };
        source.write(&world::entry(publication, 0)?)?;
        Ok(source)
    }

    /// Writes the file; every version has a time of its own, long ago.
    pub(crate) fn write(&mut self, entry: &CatalogueEntry) -> Result<()> {
        fs::write(&self.path, world::csv(entry, &self.rows))?;
        self.written += 1;
        let time = SystemTime::UNIX_EPOCH + Duration::from_secs(1_600_000_000 + self.written);
        fs::File::options().write(true).open(&self.path)?.set_modified(time)?;
        Ok(())
    }
}

/// One publication of an agent.
pub(crate) struct Publication {
    /// Its number in [`world`].
    pub(crate) number: usize,
    /// What the agent knows of it beside its store.
    pub(crate) link: link::Publication,
    pub(crate) changes: changes::Publication,
    /// The entry that the agent knows.
    pub(crate) entry: CatalogueEntry,
    pub(crate) stream: Option<PublishStream>,
    /// The next stream asks for a new epoch.
    pub(crate) fresh: bool,
    pub(crate) gaps: u32,
}

impl Publication {
    pub(crate) fn stands_still(&self) -> bool {
        !self.link.troubles().is_empty()
    }
}

/// One agent process.
pub(crate) struct Agent {
    pub(crate) index: usize,
    base: PathBuf,
    life: u32,
    pub(crate) store: Store,
    pub(crate) quarantine: Quarantine,
    pub(crate) publications: Vec<Publication>,
    pub(crate) connected: bool,
    /// The log that the catalogue was applied to.
    pub(crate) applied_to: Option<u64>,
}

impl Agent {
    /// An agent with an empty folder.
    pub(crate) fn new(base: PathBuf, index: usize, runtime: &Runtime) -> Result<Self> {
        let entries =
            numbers(index).map(|number| world::entry(number, 0)).collect::<Result<_>>()?;
        Self::start(base, index, 0, entries, runtime)
    }

    fn start(
        base: PathBuf,
        index: usize,
        life: u32,
        entries: Vec<CatalogueEntry>,
        runtime: &Runtime,
    ) -> Result<Self> {
        let dir = base.join(format!("life-{life}"));
        fs::create_dir_all(&dir)?;
        let store = Store::open(&dir.join("store"), STORE)?;
        let quarantine = Quarantine::new(dir.join("quarantine"));
        let name = name(index)?;
        let wanted = entries.iter().map(|entry| (name.clone(), entry.code.clone())).collect();
        let streams = runtime.block_on(store.open_streams(wanted))?;
        let publications = numbers(index)
            .zip(entries)
            .zip(streams)
            .map(|((number, entry), stream)| {
                publication(&base, number, entry, stream, quarantine.clone())
            })
            .collect();
        Ok(Self {
            index,
            base,
            life,
            store,
            quarantine,
            publications,
            connected: false,
            applied_to: None,
        })
    }

    pub(crate) fn name(&self) -> Result<NodeName> {
        name(self.index)
    }

    /// The folder of this life.
    pub(crate) fn dir(&self) -> PathBuf {
        self.base.join(format!("life-{}", self.life))
    }

    pub(crate) fn received(&self) -> PathBuf {
        self.dir().join("received")
    }

    pub(crate) fn state(&self, publication: usize) -> Result<StreamState> {
        let of = &self.publications[publication];
        Ok(of.link.state(&self.store)?)
    }

    /// Keeps a copy of the folder.
    pub(crate) fn back_up(&self) -> Result<()> {
        let saved = self.base.join("backup");
        let _ = fs::remove_dir_all(&saved);
        copy_state(&self.dir(), &saved)
    }

    pub(crate) fn has_backup(&self) -> bool {
        self.base.join("backup").exists()
    }

    /// Starts again from what the folder holds now, or held at the last backup.
    pub(crate) fn restart(self, from: From, runtime: &Runtime) -> Result<Self> {
        let next = self.base.join(format!("life-{}", self.life + 1));
        match from {
            From::Disk => copy_state(&self.dir(), &next)?,
            From::Backup => copy_state(&self.base.join("backup"), &next)?,
            From::WithoutStore => {
                copy_state(&self.dir(), &next)?;
                fs::remove_dir_all(next.join("store"))?;
            }
        }
        let Self { base, index, life, publications, store, .. } = self;
        let dir = base.join(format!("life-{life}"));
        // Held in the store or fetched again by the real agent; never older than what it used.
        let entries = publications.into_iter().map(|publication| publication.entry).collect();
        drop(store);
        fs::remove_dir_all(dir)?;
        Self::start(base, index, life + 1, entries, runtime)
    }
}

/// What an agent finds when it is started again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum From {
    Disk,
    Backup,
    WithoutStore,
}

fn numbers(agent: usize) -> impl Iterator<Item = usize> {
    (0..PUBLISHERS.len()).filter(move |number| PUBLISHERS[*number] == agent)
}

fn name(agent: usize) -> Result<NodeName> {
    format!("n{agent}").parse().context("a name")
}

fn publication(
    base: &Path,
    number: usize,
    entry: CatalogueEntry,
    stream: StreamId,
    quarantine: Quarantine,
) -> Publication {
    let file = FileSource {
        path: base.join(format!("source-{number}.csv")),
        form: SourceForm::CSV,
        encoding: TextEncoding::Utf8,
        mode: SourceMode::Snapshot,
    };
    let config = PublishConfig {
        resource: entry.code.clone(),
        source: SourceConfig::File(file),
        rules: Arc::new(Rules::default()),
        rescan: Duration::from_secs(1),
        max_delete_percent: 100,
    };
    let link = link::Publication::new(stream, entry.code.clone());
    link.set_entry(entry.clone());
    let changes =
        changes::Publication { stream, config, quarantine, settling: changes::Settling::default() };
    Publication { number, link, changes, entry, stream: None, fresh: false, gaps: 0 }
}

/// Copies a state folder. The store's thread may still be merging images: what a crash leaves is one
/// moment of its file, so it is read until it stands still.
fn copy_state(from: &Path, to: &Path) -> Result<()> {
    copy_folder(from, to)?;
    let store = from.join("store/agent.redb");
    if !store.exists() {
        return Ok(());
    }
    let mut content = fs::read(&store)?;
    loop {
        let again = fs::read(&store)?;
        if again == content {
            break;
        }
        content = again;
    }
    fs::write(to.join("store/agent.redb"), content)?;
    Ok(())
}
