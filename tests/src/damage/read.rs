//! Everything that can be read of a hub's data folder, through the doors that the hub itself uses.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, ensure};
use hutong_certs::clock;
use hutong_certs::join::TokenBook;
use hutong_certs::revoke::RevocationList;
use hutong_hub::app::{files, load_registry, open_log, open_views};
use hutong_hub::audit::KeyFolder;
use hutong_hub::config::Config;
use hutong_hub::log::rocks::OpenReport;
use hutong_hub::log::{
    Broken, Log, LogError, Offset, PartitionId, Position, RocksLog, StoredEntry, verify,
};
use hutong_hub::pki::Pki;
use hutong_hub::views::{DigestSpec, Place, ViewSnapshot, Views, rebuild};
use hutong_schema::grant::Target;
use hutong_schema::library::LibraryId;
use tokio::runtime::Runtime;

/// A moment within the month in which the exchange was made, so that its key is asked for.
pub type NowMs = i64;

/// An entry of the log, or why it cannot be read.
pub type Entry = Result<[u8; 32], String>;

/// Answers by question; one that fails says why.
pub type Answers = BTreeMap<String, Result<String, String>>;

/// The log as it was read.
#[derive(Debug)]
pub struct LogRead {
    /// What opening it found.
    pub report: OpenReport,
    /// What verifying it found.
    pub broken: Vec<Broken>,
    /// All entries of all partitions up to the heads.
    pub entries: Vec<Vec<Entry>>,
}

impl LogRead {
    /// The last offset of each partition.
    pub fn heads(&self) -> Vec<u64> {
        self.entries.iter().map(|entries| entries.len() as u64).collect()
    }

    /// Whether an entry below the heads is damaged or gone.
    pub fn has_holes(&self) -> bool {
        !self.broken.is_empty() || self.entries.iter().flatten().any(Result::is_err)
    }
}

/// A copy of a data folder being read.
pub struct Folder<'a> {
    runtime: &'a Runtime,
    config: Config,
}

impl<'a> Folder<'a> {
    /// A data folder, with the settings of the exchange.
    pub fn new(runtime: &'a Runtime, config: &Config, data: &Path) -> Self {
        Self { runtime, config: Config { data_dir: data.to_owned(), ..config.clone() } }
    }

    /// Opens the log and reads all of it.
    ///
    /// # Errors
    /// When it does not open: the hub would refuse to start.
    pub fn log(&self) -> Result<(Arc<RocksLog>, LogRead)> {
        let (log, report) = self.runtime.block_on(open_log(&self.config))?;
        let broken = verify(&*log, |_| {}).broken;
        let entries = (0..log.partitions()).map(|id| read_partition(&*log, PartitionId(id)));
        let entries = entries.collect();
        Ok((log, LogRead { report, broken, entries }))
    }

    /// What the views answer, brought up to the log's head; the folder of registry and views.
    ///
    /// # Errors
    /// When registry or views do not open, or the log cannot be applied: the hub would not serve.
    pub fn answers(&self, log: &Arc<RocksLog>) -> Result<Answers> {
        let registry = self.runtime.block_on(load_registry(&self.config, log))?;
        let views = self.runtime.block_on(open_views(&self.config, log))?;
        views
            .apply_all()
            .context("apply the log to the views; `hutong-hub rebuild` makes them anew")?;
        let mut targets: Vec<Target> = vec![Target::Library(LibraryId::POPULATION)];
        let state = registry.read();
        targets.extend(state.entries().map(|entry| Target::Resource(entry.entry.code.clone())));
        Ok(ask(&views, &targets))
    }

    /// Makes the views anew, as `hutong-hub rebuild` does.
    ///
    /// # Errors
    /// When that fails.
    pub fn rebuild(&self, log: &Arc<RocksLog>) -> Result<()> {
        rebuild(
            self.config.path(files::VIEWS),
            self.config.views.clone(),
            Arc::clone(log),
            |_| {},
        )?;
        Ok(())
    }

    /// The same folder with views of its own, made in `views` from nothing.
    pub fn with_views(&self, data: &Path) -> Self {
        Self {
            runtime: self.runtime,
            config: Config { data_dir: data.to_owned(), ..self.config.clone() },
        }
    }

    /// What the keys, tokens and certificates are; each that cannot be used says why.
    pub fn keys(&self, now: NowMs) -> Answers {
        let mut answers = Answers::new();
        let mut put = |name: &str, value: Result<String>| {
            answers.insert(name.to_owned(), value.map_err(|error| format!("{error:#}")));
        };
        put("authority and certificate", self.pki());
        let book = TokenBook::open(&self.config.path(files::TOKENS), clock::now());
        let book = book.context("open the token book");
        put(
            "tokens",
            book.and_then(|book| {
                let path = self.config.path(files::TOKENS);
                ensure!(!book.was_torn(), "the book in {} lost its torn end", path.display());
                Ok(format!("{:?}", book.list(clock::now())))
            }),
        );
        let pseudonym = KeyFolder::new(&self.config.path(files::PSEUDONYMS)).pseudonym(b"key", now);
        put("pseudonyms", pseudonym.map(|found| found.to_string()).context("make a pseudonym"));
        answers
    }

    /// The authority and what agents see of the hub: whether they would accept it, not which
    /// certificate it is, for the hub makes a new one when the old one is of no use.
    fn pki(&self) -> Result<String> {
        let Pki { authority, tls, .. } = Pki::load(
            self.config.pki(files::AUTHORITY, files::HUB),
            RevocationList::default(),
            clock::now(),
        )?;
        let authority = authority.current();
        let roots = tls.roots.current();
        let accepted = tls.accepted_by_nodes(clock::now());
        let trusted = blake3::hash(roots.to_pem().as_bytes()).to_hex();
        Ok(format!("{} roots {trusted} hub {accepted:?}", authority.fingerprint()))
    }
}

/// The hash of all that an entry holds.
fn fingerprint(entry: &StoredEntry) -> [u8; 32] {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&entry.chain).update(entry.envelope_bytes()).update(&entry.payload);
    *hasher.finalize().as_bytes()
}

fn read_partition<L: Log>(log: &L, partition: PartitionId) -> Vec<Entry> {
    let (first, head) = (log.floor(partition).first, log.head(partition));
    let at = |offset: u64| Position { partition, offset: Offset(offset) };
    let one = |offset| match log.read_one(at(offset)) {
        Ok(Some(entry)) => Ok(fingerprint(&entry)),
        Ok(None) => Err(format!("{}: nothing, but the head is {head}", at(offset))),
        Err(error @ LogError::Damaged { .. }) => Err(error.to_string()),
        Err(error) => Err(format!("{}: {error}", at(offset))),
    };
    (first.0..=head.0).map(one).collect()
}

fn ask(views: &Views, targets: &[Target]) -> Answers {
    let mut answers = Answers::new();
    let snapshot = views.snapshot();
    for target in targets {
        let Some(place) = snapshot.place(target) else {
            answers.insert(target.to_string(), Ok("not known".to_owned()));
            continue;
        };
        let mut put = |what: &str, value: Result<String>| {
            answers
                .insert(format!("{target}: {what}"), value.map_err(|error| format!("{error:#}")));
        };
        put("rows", rows(&snapshot, place));
        put("feed", feed(views, &snapshot, place));
        if let Place::Library(library) = place {
            put("by name", by_index(&snapshot, library));
        }
    }
    answers
}

fn rows(snapshot: &ViewSnapshot<'_>, place: Place) -> Result<String> {
    let as_of = snapshot.as_of(place)?;
    let found = snapshot.digests(place, &[DigestSpec::default()], as_of)?;
    let digests: Vec<_> = found.iter().map(|found| found.digest).collect();
    Ok(format!("{as_of:?} {digests:?}"))
}

/// The whole feed: where a subscriber stands at each entry, and that each can be delivered.
fn feed(views: &Views, snapshot: &ViewSnapshot<'_>, place: Place) -> Result<String> {
    let head = snapshot.feed_state(place)?.seq;
    let (mut after, mut hashes) = (0, blake3::Hasher::new());
    while after < head {
        let items = views.feed_after(place, after, 1 << 20)?;
        let Some(last) = items.last() else { break };
        after = last.seq;
        items.iter().for_each(|item| {
            hashes.update(&item.seq.to_be_bytes()).update(&item.hash);
        });
    }
    Ok(format!("{after} of {head}: {}", hashes.finalize().to_hex()))
}

/// What an index finds: all people of one division.
fn by_index(snapshot: &ViewSnapshot<'_>, library: LibraryId) -> Result<String> {
    // The library of people has no index of places, which is asked otherwise.
    let definition = hutong_schema::library::definition(library).context("a known library")?;
    let mut hasher = blake3::Hasher::new();
    let mut count = 0;
    for index in definition.indexes {
        let (found, more) = snapshot.by_index(library, index.field, b"2112", 1_000)?;
        count += found.len() + usize::from(more);
        found.iter().for_each(|record| {
            hasher.update(&record.key);
        });
    }
    Ok(format!("{count} {}", hasher.finalize().to_hex()))
}
