//! The exchange as a model: a source, an agent, the hub, subscribers, with everything that can happen
//! between them, in histories made from seeds.
//!
//! **Real** is whatever decides or remembers: the sources' scans, the outbox and the images (the agents'
//! stores), what follows a refusal, every message's bytes, the intake with its lanes, the governor with
//! its commands and barriers, the log and the views (two RocksDBs in a folder), where deliveries start,
//! what they tell, and the sinks with their files. A crash is a copy of the folder as it is on the disk at
//! that moment, opened again by the real start.
//!
//! **Played** are the network, the clock and the disk's patience. A stream is a queue: its order stays,
//! between streams there is none, messages wait as long as the history says, and they are lost with the
//! connection, while the hub may still take what had arrived. The loops that carry messages (`gate`,
//! `link`) are steps here: they ask the real `wire::order` what may come, what is acknowledged and whether
//! there is credit; they know neither turns of streams nor time limits, and agents send beyond their credit.
//! Batches become durable at the hub when the history says so ([`held`]); the views apply when it says so.
//! Connections have no greeting and no certificates.
//!
//! Behind every step and at the end of each history:
//! - the log's batches are dense, chained, of the epoch and the schema in force where they stand; none twice;
//! - what is acknowledged is in the durable log, with the content that was sent; after an honest crash all of
//!   it is still there;
//! - rows sent are rows stored and rows rejected;
//! - the feeds are dense, tell the rows before and after as they were, and are the same after a crash;
//! - a subscriber's file, up to its durable length, is what its durable position says;
//! - no key that a grant never covered is named to its subscriber, nor a field;
//! - once everything works again all comes to rest, and source, image, hub and subscribers hold the same.
//!
//! `HUTONG_MODEL_SEED=7 cargo test -p hutong-tests --test model seeds -- --nocapture` plays one seed and
//! prints what happens; `HUTONG_MODEL_SEEDS` says how many are played.

mod agent;
mod book;
mod delivering;
mod ends;
mod figures;
mod held;
mod hub;
mod outbox;
mod plays;
mod polls;
mod publishing;
mod received;
mod rest;
mod served;
mod sim;
mod step;
mod truth;
mod world;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use anyhow::{Context as _, Result, bail};
use hutong_tests::harness::host;
use parking_lot::Mutex;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use tokio::runtime::Runtime;

use figures::Figures;
use hub::Hub;
use step::Step;

/// Histories in `make test`.
const SEEDS: u64 = 200;
/// Histories in `make soak`.
const SOAK_SEEDS: u64 = 10_000;
/// Histories at a time, or as many as there are cores: a history mostly waits, for the pause in which an
/// agent's store gathers what is written together, and for other threads. Each has some 35 files open, and
/// a process may often have no more than 1,024.
const AT_A_TIME: usize = 16;
/// Failures that are made shorter and told; with them it ends.
const FAILURES: u64 = 3;
/// Attempts to make a failing history shorter.
const SHORTER: usize = 200;

/// What all histories share.
struct Stage {
    runtime: Arc<Runtime>,
    dir: tempfile::TempDir,
    founded: PathBuf,
    plays: AtomicU64,
    failures: AtomicU64,
}

impl Stage {
    fn new() -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .context("a runtime")?;
        // In memory, if there is such a place: what a disk does is played.
        let memory = Path::new("/dev/shm");
        let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
        let dir = tempfile::Builder::new().prefix("hutong-model-").tempdir_in(place)?;
        let founded = dir.path().join("founded");
        runtime.block_on(Hub::found(&founded))?;
        let (plays, failures) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Self { runtime: Arc::new(runtime), dir, founded, plays, failures })
    }

    fn play(&self, history: &[Step]) -> (Result<Figures>, Vec<String>) {
        let number = self.plays.fetch_add(1, Ordering::Relaxed);
        let base = self.dir.path().join(format!("play-{number}"));
        if let Err(error) = std::fs::create_dir_all(&base) {
            return (Err(error.into()), Vec::new());
        }
        let played = std::panic::AssertUnwindSafe(|| {
            sim::play(&self.runtime, &self.founded, base.clone(), history)
        });
        let outcome = match std::panic::catch_unwind(played) {
            Ok(outcome) => outcome,
            Err(_) => (Err(anyhow::anyhow!("it panicked, see above")), Vec::new()),
        };
        let _ = std::fs::remove_dir_all(&base);
        outcome
    }

    /// Plays a seed; when it fails, the shortest history found that fails as well is told.
    fn seed(&self, seed: u64) -> Result<Figures> {
        let (mut tree, said) = {
            let tree = history_of(seed)?;
            match self.play(&tree.current()) {
                (Ok(figures), _) => return Ok(figures),
                (Err(error), _) => (tree, format!("{error:#}")),
            }
        };
        if self.failures.fetch_add(1, Ordering::Relaxed) >= FAILURES {
            bail!("seed {seed}: {said}");
        }
        let mut shortest = tree.current();
        let mut attempts = 0;
        while attempts < SHORTER && tree.simplify() {
            loop {
                attempts += 1;
                let shorter = tree.current();
                if self.play(&shorter).0.is_err() {
                    shortest = shorter;
                    break;
                }
                if attempts >= SHORTER || !tree.complicate() {
                    break;
                }
            }
        }
        let (again, trace) = self.play(&shortest);
        let shorter = again.err().map_or("nothing, this time".to_owned(), |e| format!("{e:#}"));
        bail!(
            "seed {seed}: {said}\n\nThe shortest history found says: {shorter}\n{}\n\n\
             Again: HUTONG_MODEL_SEED={seed} cargo test -p hutong-tests --test model seeds",
            trace.join("\n")
        )
    }
}

fn history_of(seed: u64) -> Result<Box<dyn proptest::strategy::ValueTree<Value = Vec<Step>>>> {
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let tree = step::history().new_tree(&mut runner);
    Ok(Box::new(tree.map_err(|reason| anyhow::anyhow!("{reason}"))?))
}

/// Plays seeds, many at a time. The first failures are told.
fn play(seeds: std::ops::Range<u64>) -> Result<Figures> {
    let stage = Stage::new()?;
    let next = AtomicU64::new(seeds.start);
    let (sum, failures) = (Mutex::new(Figures::default()), Mutex::new(Vec::new()));
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        for _ in 0..cores.max(AT_A_TIME) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let failed = stage.failures.load(Ordering::Relaxed) >= FAILURES;
                    if seed >= seeds.end || failed {
                        return;
                    }
                    match stage.seed(seed) {
                        Ok(figures) => sum.lock().add(&figures),
                        Err(error) => failures.lock().push(format!("{error:#}")),
                    }
                }
            });
        }
    });
    let failures = failures.into_inner();
    if failures.is_empty() {
        return Ok(sum.into_inner());
    }
    bail!("{}", failures.join("\n\n"))
}

fn count(default: u64) -> Result<u64> {
    match std::env::var("HUTONG_MODEL_SEEDS") {
        Ok(seeds) => seeds.parse().context("HUTONG_MODEL_SEEDS is a number"),
        Err(_) => Ok(default),
    }
}

#[test]
fn many_seeds_keep_all_promises() -> Result<()> {
    if let Ok(seed) = std::env::var("HUTONG_MODEL_SEED") {
        let seed = seed.parse().context("HUTONG_MODEL_SEED is a number")?;
        let stage = Stage::new()?;
        let (result, trace) = stage.play(&history_of(seed)?.current());
        println!("{}", trace.join("\n"));
        let figures = result.with_context(|| format!("seed {seed}"))?;
        println!("{}", figures.table());
        return Ok(());
    }
    let figures = play(0..count(SEEDS)?)?;
    println!("{}", figures.table());
    Ok(())
}

#[test]
#[ignore = "takes a quarter of an hour; run by make soak"]
fn soak_of_the_model() -> Result<()> {
    let seeds = count(SOAK_SEEDS)?;
    let began = std::time::Instant::now();
    let figures = play(0..seeds)?;
    let mut note = String::from("# The model\n\nWritten by `make soak`.\n\n");
    writeln!(note, "Machine: {}.\n", host::describe(&std::env::temp_dir()))?;
    writeln!(
        note,
        "{seeds} histories of a small exchange, made from the seeds 0 to {}, took {:.0} s. None broke a promise;\n\
         what is promised, what is real and what is played stands in `tests/tests/model/main.rs`.\n",
        seeds - 1,
        began.elapsed().as_secs_f32()
    )?;
    note.push_str("| what happened | how often |\n| --- | --- |\n");
    note.push_str(&figures.table());
    println!("{note}");
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("MODEL.md"), note)?;
    Ok(())
}
