//! Kills and power cuts by the dozen, at a hundredth of the city's size. Run by `make soak`, which
//! takes its figures into SOAK.md.

use std::fmt::Write as _;
use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hutong_tests::city::churn::CityChurn;
use hutong_tests::city::demo::Running;
use hutong_tests::city::{City, Role, Scale, cache};
use hutong_tests::harness::delivered::{lines, said_twice};
use hutong_tests::harness::hub::NOTICES_SOON;
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::{host, until};
use hutong_tests::powercut::{Discarded, PowerCut};
use indicatif::ProgressBar;

/// How long all places may take to agree after a round.
const AGREE_WITHIN: Duration = Duration::from_secs(120);
/// Latest random moment of a breakdown after a change of the files: by then all is done.
const LATEST_MS: u64 = 2_500;
/// The agents' time between two looks at a file.
const RESCAN_SECONDS: u32 = 1;
/// How long every sync takes at least where power is cut, as on a slow disk: so much longer does a
/// cut have the chance to fall between a write and its sync.
const SYNC_TAKES: Duration = Duration::from_millis(15);

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    HubKilled,
    HubPower,
    AgentKilled,
    AgentPower,
}

const ALL: [(Breaks, &str, u64); 4] = [
    (Breaks::HubKilled, "hub killed (-9)", 101),
    (Breaks::HubPower, "hub's power cut", 102),
    (Breaks::AgentKilled, "agent killed (-9), any", 103),
    (Breaks::AgentPower, "agent's power cut, of a receiver", 104),
];

/// The sums of one kind of breakdown.
#[derive(Clone, Debug, Default)]
struct Sums {
    rounds: u64,
    /// Changes that the hub stored and acknowledged, each counted once.
    acknowledged: u64,
    discarded: Discarded,
    /// The hub's times from its start to ready, where it was the hub that broke.
    starts: Vec<Duration>,
    /// From the breakdown to equal digests.
    agreements: Vec<Duration>,
    took: Duration,
    /// What the last comparison said.
    verdict: String,
}

#[test]
#[ignore = "takes half an hour; run by make soak"]
fn soak() -> Result<()> {
    let rounds = match std::env::var("HUTONG_SOAK_ROUNDS") {
        Ok(rounds) => rounds.parse().context("HUTONG_SOAK_ROUNDS is a number")?,
        Err(_) => 50,
    };
    let totals = Scale::Small.totals();
    let mut note = String::from("# Soak\n\nWritten by `make soak`.\n\n");
    writeln!(note, "Machine: {}.\n", host::describe(&std::env::temp_dir()))?;
    writeln!(
        note,
        "The reference city at a hundredth of its rows: {} units, {} nodes, {} entries, {} rows, \
         five subscriptions, all on\nthis machine. In each round up to 40 files change; then \
         something breaks: in every other round at a random moment\nwithin {LATEST_MS} ms, else at \
         once when the hub's log grows. At a power cut every write that no sync had covered is\n\
         taken back, and every sync takes {} ms longer than the disk needs. A round is passed \
         when\n\n\
         - the hub still has every batch and log entry that it had shown, in the same incarnation \
         of its log;\n\
         - source files, hub and the subscribers' files hold the same, proved from bytes on disk by \
         another process;\n\
         - no publication had to begin a new epoch, which would heal, and hide, a loss.\n\n\
         After the last round the log's chain is verified; no batch stands in it twice; no change \
         stands twice in a subscriber's\nfile (looked at where all fields are granted); no agent \
         had to be delivered anew what it had confirmed. The soak fails at\nthe first round that \
         loses or doubles a row, so these columns can only say 0. The changes include the first \
         load.\n",
        totals.units,
        totals.nodes,
        totals.entries,
        totals.rows,
        SYNC_TAKES.as_millis()
    )?;
    note.push_str("| what breaks | rounds | changes acknowledged | lost | doubled | unsynced: bytes, names taken back | hub ready after: median, slowest | equal after: median, slowest | took |\n");
    note.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    let mut verdicts = String::new();
    for (breaks, name, seed) in ALL {
        let sums = stage(breaks, seed, rounds).with_context(|| name.to_owned())?;
        writeln!(
            note,
            "| {name} | {} | {} | 0 | 0 | {}, {} | {} | {} | {:.0} s |",
            sums.rounds,
            sums.acknowledged,
            sums.discarded.bytes,
            sums.discarded.names,
            spread(sums.starts),
            spread(sums.agreements),
            sums.took.as_secs_f32()
        )?;
        let verdict = sums.verdict.lines().last().unwrap_or_default();
        writeln!(verdicts, "- {name}: {verdict}")?;
        println!("{note}");
    }
    writeln!(note, "\nThe last comparison of each:\n\n{}", verdicts.trim_end())?;
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("SOAK.md"), note)?;
    Ok(())
}

/// Median and slowest.
fn spread(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(slowest)) => {
            format!("{:.1} s, {:.1} s", median.as_secs_f32(), slowest.as_secs_f32())
        }
        _ => "–".to_owned(),
    }
}

fn stage(breaks: Breaks, seed: u64, rounds: u64) -> Result<Sums> {
    let (began, mut out) = (Instant::now(), std::io::stdout());
    let mut folder = tempfile::Builder::new().prefix("hutong-soak-").tempdir()?;
    folder.disable_cleanup(true);
    let files = cache::ensure(&folder.path().join("cities"), Scale::Small, &ProgressBar::hidden())?;
    let run = folder.path().join("run");
    fs::create_dir_all(&run)?;
    let mut city = Running::begin(City::plan(Scale::Small)?, files, run)?;
    for machine in &mut city.machines {
        for publish in machine.nodes.iter_mut().flat_map(|node| &mut node.publish) {
            publish.rescan_seconds = Some(RESCAN_SECONDS);
        }
        machine.configure(city.hub.quic()?)?;
    }
    // It runs already; what it wrote until now is taken as durable.
    city.hub.stop()?;
    city.hub.set(NOTICES_SOON)?;
    let cuts = watch_power(breaks, &mut city)?;
    city.hub.start()?;
    city.start()?;
    let mut sums = Sums::default();
    agree(&city, &mut sums.verdict).context("before the first round")?;
    // Until here a delivery may say again what its snapshot held.
    let settled = delivered_lines(&city)?;
    let mut churn = CityChurn::new(&city.inventory, seed)?;
    writeln!(out, "{breaks:?}: ready after {:.0} s", began.elapsed().as_secs_f32())?;
    for round in 0..rounds {
        let place = || format!("round {round}, {}", folder.path().display());
        churn.change()?;
        let mut promise = Promise::default();
        match round % 2 {
            0 => {
                let moment = Duration::from_millis(churn.rng().below(LATEST_MS));
                promise.observe(&city.hub, moment);
            }
            _ => promise.observe_growth(&city.hub).with_context(place)?,
        }
        let broken = Instant::now();
        breakdown(breaks, &mut city, &mut churn, &cuts, &mut sums).with_context(place)?;
        promise.kept(&city.hub).with_context(place)?;
        agree(&city, &mut sums.verdict).with_context(place)?;
        promise.no_epoch_began(&city.hub).with_context(place)?;
        sums.agreements.push(broken.elapsed());
        // Or the next round would break a hub that nobody sends anything.
        all_connected(&city).with_context(place)?;
        sums.rounds += 1;
        let took = broken.elapsed().as_secs_f32();
        writeln!(out, "{breaks:?}: round {round}, equal after {took:.1} s")?;
    }
    sums.acknowledged = acknowledged(&city)?;
    nothing_twice(&city, &settled)?;
    city.stop()?;
    city.hub.log_is_sound()?;
    for machine in &city.machines {
        ensure!(
            !machine.log()?.contains("delivered anew"),
            "{} lost what it confirmed",
            machine.name
        );
    }
    sums.took = began.elapsed();
    folder.disable_cleanup(false);
    Ok(sums)
}

/// Changes of all resources that took effect at the hub, and rows that it acknowledged as rejected.
fn acknowledged(city: &Running) -> Result<u64> {
    let status = city.hub.status(true)?;
    let lines = status["resources"].as_array().into_iter().flatten();
    let count = |name: &str, line: &serde_json::Value| line[name].as_u64().unwrap_or(0);
    Ok(lines.map(|line| count("changes", line) + count("rejected", line)).sum())
}

fn all_connected(city: &Running) -> Result<()> {
    until(AGREE_WITHIN, "all nodes are connected", || {
        let status = city.hub.status(false)?;
        Ok((status["connected"] == status["nodes"]).then_some(()))
    })
}

fn delivered_lines(city: &Running) -> Result<Vec<usize>> {
    city.inventory.grants.iter().map(|grant| Ok(lines(&grant.path)?.len())).collect()
}

fn nothing_twice(city: &Running, settled: &[usize]) -> Result<()> {
    for (grant, settled) in city.inventory.grants.iter().zip(settled) {
        if grant.fields.is_empty()
            && let Some(line) = said_twice(&grant.path, *settled)?
        {
            bail!("a change was delivered twice: {line}");
        }
    }
    Ok(())
}

/// The machines whose power can be cut, with their journals. The hub's has no machine.
type Cuts = Vec<(Option<usize>, PowerCut)>;

fn watch_power(breaks: Breaks, city: &mut Running) -> Result<Cuts> {
    let mut cuts = Vec::new();
    match breaks {
        Breaks::HubKilled | Breaks::AgentKilled => {}
        Breaks::HubPower => {
            let cut = PowerCut::new(&city.hub.data(), &city.dir.join("journal-hub"))?;
            let cut = cut.slow_disk(SYNC_TAKES);
            city.hub.set_environment(cut.environment());
            cuts.push((None, cut));
        }
        Breaks::AgentPower => {
            let roles = [
                Role::PublicSecurity,
                Role::SocialSecurity,
                Role::Tax,
                Role::Planning,
                Role::County,
            ];
            for role in roles {
                let at = city.city.units.iter().position(|unit| unit.role == Some(role));
                let at = at.with_context(|| format!("a {role:?} unit"))?;
                let machine = &mut city.machines[at];
                let journal = city.dir.join(format!("journal-{}", machine.name));
                let cut = PowerCut::new(&machine.path(""), &journal)?.slow_disk(SYNC_TAKES);
                machine.set_environment(cut.environment());
                cuts.push((Some(at), cut));
            }
        }
    }
    Ok(cuts)
}

/// Breaks something and starts it again.
fn breakdown(
    breaks: Breaks,
    city: &mut Running,
    churn: &mut CityChurn,
    cuts: &Cuts,
    sums: &mut Sums,
) -> Result<()> {
    let mut discard = |cut: &PowerCut| -> Result<()> {
        let lost = cut.discard_unsynced()?;
        sums.discarded.files += lost.files;
        sums.discarded.bytes += lost.bytes;
        sums.discarded.names += lost.names;
        Ok(())
    };
    let machine = match breaks {
        Breaks::HubKilled | Breaks::HubPower => {
            city.hub.kill()?;
            for (_, cut) in cuts {
                discard(cut)?;
            }
            let began = Instant::now();
            city.hub.start()?;
            sums.starts.push(began.elapsed());
            return Ok(());
        }
        Breaks::AgentKilled => churn.rng().below(city.machines.len() as u64) as usize,
        Breaks::AgentPower => {
            let (at, cut) = &cuts[churn.rng().below(cuts.len() as u64) as usize];
            let Some(at) = *at else { bail!("a cut of no machine") };
            city.machines[at].kill()?;
            discard(cut)?;
            at
        }
    };
    city.machines[machine].kill()?;
    city.machines[machine].start()
}

/// Waits until all places hold the same; `verdict` is what was said last.
fn agree(city: &Running, verdict: &mut String) -> Result<()> {
    let agreed = until(AGREE_WITHIN, "all digests are equal", || {
        city.hub.flush()?;
        let (equal, said) = city.prove()?;
        *verdict = said;
        Ok(equal.then_some(()))
    });
    agreed.with_context(|| verdict.clone())
}
