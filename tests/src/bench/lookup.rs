//! Questions over mutual TLS: how many a second, and how long one takes at half of that.

use std::fs;
use std::io::{BufRead, BufReader};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use hutong_agent::link::{Dialler, Session, Visitor};
use hutong_certs::enrol::NodeFolder;
use hutong_schema::grant::Target;
use hutong_schema::library::LibraryId;
use hutong_schema::wire::v1::ask::{Lookup, LookupAnswer, LookupBy};
use hutong_schema::wire::v1::control::Key;

use tokio::sync::Semaphore;

use super::Options;
use super::figure::{Figure, Wanted};
use super::stage::{Stage, department};
use crate::harness::Machine;
use crate::harness::entries::department_code;
use crate::harness::exchange::{Wish, make_grant};

/// Nodes that ask, each over its own connection.
const NODES: usize = 8;
/// Questions that each has under way.
const AT_ONCE: usize = 16;
/// How long is asked.
const FOR: Duration = Duration::from_secs(10);
/// Every so many keys of the file are asked for.
const EVERY: usize = 37;

pub(super) fn measure(options: &Options) -> Result<Vec<Figure>> {
    let mut stage = Stage::prepare(options)?;
    stage.give_all()?;
    stage.machine.start()?;
    stage.searchable(stage.rows)?;
    stage.read_back(stage.rows)?;
    // Nothing else is at work while it is measured.
    stage.machine.stop()?;
    stage.merged()?;
    stage.all_on_disk()?;
    let asker = asker(&stage)?;
    let keys = Arc::new(keys(&stage)?);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let before = stage.used();
    let full = runtime.block_on(ask(&stage, &asker, &keys, None))?;
    let used = stage.used().since(before);
    let half = runtime.block_on(ask(&stage, &asker, &keys, Some(full.rate() / 2.0)))?;
    let tenth = runtime.block_on(ask(&stage, &asker, &keys, Some(full.rate() / 10.0)))?;
    let records = stage.hub.metrics()?.sum("hutong_questions_total");
    stage.hub.stop()?;
    Ok(vec![
        Figure::new(
            "lookups by key over mutual TLS, recorded before they are answered",
            full.rate(),
            "questions/s",
            Wanted::at_least(30_000.0, 50_000.0),
        )
        .seen(used.per_row(full.answered()))
        .seen(format!("{NODES} connections with {AT_ONCE} questions each; {}", full.times()))
        .seen(format!("{records:.0} questions on record")),
        Figure::new(
            "99 of 100 lookups at half of that are answered within",
            half.percentile(99.0),
            "ms",
            Wanted::at_most(2.0, 2.0),
        )
        .seen(format!("{:.0} questions/s; {}", half.rate(), half.times()))
        .seen(format!("at a tenth, {:.0} questions/s: {}", tenth.rate(), tenth.times())),
    ])
}

/// The answered questions.
struct Asked {
    took: Duration,
    /// Milliseconds of each, ascending, and the seconds after the beginning at which it was due.
    each: Vec<(f32, f32)>,
}

impl Asked {
    fn answered(&self) -> u64 {
        self.each.len() as u64
    }

    fn rate(&self) -> f64 {
        self.each.len() as f64 / self.took.as_secs_f64()
    }

    fn percentile(&self, of: f64) -> f64 {
        let at = (self.each.len() as f64 * of / 100.0) as usize;
        self.each.get(at).or(self.each.last()).map_or(0.0, |(took, _)| f64::from(*took))
    }

    fn times(&self) -> String {
        let at = |of| self.percentile(of);
        let (slowest, due) = self.each.last().copied().unwrap_or_default();
        format!(
            "median {:.2} ms, 99 % {:.2} ms, 99.9 % {:.2} ms; the slowest, {slowest:.0} ms, was asked after {due:.1} s",
            at(50.0),
            at(99.0),
            at(99.9)
        )
    }
}

/// Asks for a while; `rate` questions a second in all, or as many as are answered.
async fn ask(
    stage: &Stage,
    asker: &Machine,
    keys: &Arc<Vec<String>>,
    rate: Option<f64>,
) -> Result<Asked> {
    let dialler = Dialler::open(&stage.hub.quic()?.to_string())?;
    let mut visitors: Vec<Arc<Visitor>> = Vec::new();
    for node in &asker.nodes {
        let folder = NodeFolder::new(asker.state().join("nodes").join(&node.name));
        let tls = folder.load()?.into_tls();
        let instance = *blake3::hash(node.name.as_bytes()).as_bytes();
        let instance = *instance.first_chunk().context("a number")?;
        visitors.push(Arc::new(Session::visit(&dialler, &tls, instance).await?));
    }
    let over = Arc::new(AtomicBool::new(false));
    let turn = Arc::new(AtomicU64::new(0));
    let pace = rate.map(|rate| Duration::from_secs_f64(1.0 / rate));
    let due_now = Arc::new(Semaphore::new(0));
    let began = Instant::now();
    let pacer = pace.map(|pace| {
        let (over, due_now) = (Arc::clone(&over), Arc::clone(&due_now));
        std::thread::spawn(move || keep_pace(began, pace, &over, &due_now))
    });
    let mut tasks = Vec::new();
    for visitor in visitors.iter().cycle().take(NODES * AT_ONCE) {
        let (visitor, keys) = (Arc::clone(visitor), Arc::clone(keys));
        let (over, turn, due_now) = (Arc::clone(&over), Arc::clone(&turn), Arc::clone(&due_now));
        tasks.push(tokio::spawn(async move {
            let mut each: Vec<(f32, f32)> = Vec::new();
            while !over.load(Ordering::Relaxed) {
                if pace.is_some() {
                    due_now.acquire().await?.forget();
                }
                let turn = turn.fetch_add(1, Ordering::Relaxed);
                let due = pace.map_or_else(Instant::now, |pace| began + pace.mul_f64(turn as f64));
                one(visitor.session(), &keys[turn as usize % keys.len()]).await?;
                each.push((due.elapsed().as_secs_f32() * 1e3, (due - began).as_secs_f32()));
            }
            Ok::<_, anyhow::Error>(each)
        }));
    }
    tokio::time::sleep(FOR).await;
    over.store(true, Ordering::Relaxed);
    let took = began.elapsed();
    if let Some(pacer) = pacer {
        pacer.join().map_err(|_| anyhow!("the pacer panicked"))?;
    }
    // Whoever waits for a turn gets one, and sees that it is over.
    due_now.add_permits(NODES * AT_ONCE);
    let mut each = Vec::new();
    for task in tasks {
        each.extend(task.await??);
    }
    each.sort_unstable_by(|(a, _), (b, _)| a.total_cmp(b));
    Ok(Asked { took, each })
}

/// Lets one question be asked at each of its times, spread evenly: a slow answer must not slow the
/// next question down. The runtime's timers tick in milliseconds, which would ask them in bursts.
fn keep_pace(began: Instant, pace: Duration, over: &AtomicBool, due_now: &Semaphore) {
    let mut next = began;
    while !over.load(Ordering::Relaxed) {
        std::thread::sleep(next.saturating_duration_since(Instant::now()));
        due_now.add_permits(1);
        next += pace;
    }
}

async fn one(session: &Session, key: &str) -> Result<()> {
    let question = Lookup {
        target: Target::Library(LibraryId::POPULATION),
        by: LookupBy::Key(Key(key.as_bytes().to_vec())),
        reason: "BENCH-1".to_owned(),
        limit: 1,
    };
    let answer: LookupAnswer = session.ask(&question).await?;
    match &answer.rows[..] {
        [row] if row.key.0 == key.as_bytes() => Ok(()),
        _ => bail!("{key} is in the file and was not found"),
    }
}

/// A department with nodes that may ask.
fn asker(stage: &Stage) -> Result<Machine> {
    let code = department_code(7)?;
    let machine = department(&stage.hub, stage.folder.path(), ("asker", code), NODES)?;
    machine.command(["enrol"])?.ok()?;
    let wish = Wish { target: "population", ..Wish::default() };
    make_grant(&stage.hub, code.as_str(), &wish)?;
    Ok(machine)
}

/// Keys from all parts of the file.
fn keys(stage: &Stage) -> Result<Vec<String>> {
    let lines = BufReader::new(fs::File::open(&stage.file)?).lines();
    let mut keys = Vec::new();
    for line in lines.skip(1).step_by(EVERY) {
        keys.push(line?.split(',').next().unwrap_or_default().to_owned());
    }
    Ok(keys)
}
