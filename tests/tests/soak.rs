//! Kills and power cuts by the dozen, at a hundredth of the city's size. Run by `make soak`, which
//! takes its figures into SOAK.md.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hutong_tests::city::churn::CityChurn;
use hutong_tests::city::demo::Running;
use hutong_tests::city::{City, Role, Scale, cache};
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::until;
use hutong_tests::powercut::{Discarded, PowerCut};
use indicatif::ProgressBar;

/// How long all places may take to agree after a round.
const AGREE_WITHIN: Duration = Duration::from_secs(300);
/// Latest moment of a breakdown after a change of the files.
const LATEST_MS: u64 = 4_000;
/// The agents' time between two looks at a file.
const RESCAN_SECONDS: u32 = 1;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Breaks {
    HubKilled,
    HubPower,
    AgentKilled,
    AgentPower,
}

const ALL: [(Breaks, &str, u64); 4] = [
    (Breaks::HubKilled, "hub killed (-9) while all agents publish", 101),
    (Breaks::HubPower, "hub's power cut: unsynced writes discarded", 102),
    (Breaks::AgentKilled, "agent killed (-9), one at random", 103),
    (Breaks::AgentPower, "agent's power cut, one of five at random", 104),
];

/// The sums of one kind of breakdown.
#[derive(Clone, Debug, Default)]
struct Sums {
    rounds: u64,
    discarded: Discarded,
    slowest_start: Duration,
    slowest_agreement: Duration,
    took: Duration,
}

#[test]
#[ignore = "takes an hour; run by make soak"]
fn soak() -> Result<()> {
    let rounds = match std::env::var("HUTONG_SOAK_ROUNDS") {
        Ok(rounds) => rounds.parse().context("HUTONG_SOAK_ROUNDS is a number")?,
        Err(_) => 50,
    };
    let totals = Scale::Small.totals();
    let mut note = String::from("# Soak\n\nWritten by `make soak`.\n\n");
    writeln!(
        note,
        "{} units, {} nodes, {} entries, {} rows. In each round 40 files change, then something \
         breaks at a random moment\nwithin {LATEST_MS} ms. Then the hub must still have every \
         batch and log entry that it had shown, in the same incarnation of\nits log; and source \
         files, hub and the five subscribers must come to hold the same, proved from bytes on \
         disk.\n",
        totals.units, totals.nodes, totals.entries, totals.rows
    )?;
    note.push_str("| what breaks | rounds | lost or doubled | unsynced bytes discarded | slowest hub start | slowest agreement | took |\n");
    note.push_str("| --- | --- | --- | --- | --- | --- | --- |\n");
    for (breaks, name, seed) in ALL {
        let sums = stage(breaks, seed, rounds).with_context(|| name.to_owned())?;
        writeln!(
            note,
            "| {name} | {} | none | {} | {:.1} s | {:.1} s | {:.0} s |",
            sums.rounds,
            sums.discarded.bytes,
            sums.slowest_start.as_secs_f32(),
            sums.slowest_agreement.as_secs_f32(),
            sums.took.as_secs_f32()
        )?;
        println!("{note}");
    }
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("SOAK.md"), note)?;
    Ok(())
}

fn stage(breaks: Breaks, seed: u64, rounds: u64) -> Result<Sums> {
    let began = Instant::now();
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
    let cuts = watch_power(breaks, &mut city)?;
    city.start()?;
    let mut churn = CityChurn::new(&city.inventory, seed)?;
    let mut sums = Sums::default();
    for round in 0..rounds {
        churn.change()?;
        let mut promise = Promise::default();
        let moment = Duration::from_millis(churn.rng().below(LATEST_MS));
        promise.observe(&city.hub, moment);
        let start = breakdown(breaks, &mut city, &mut churn, &cuts, &mut sums)?;
        sums.slowest_start = sums.slowest_start.max(start);
        promise
            .kept(&city.hub)
            .with_context(|| format!("round {round}, {}", folder.path().display()))?;
        let agreement =
            agree(&city).with_context(|| format!("round {round}, {}", folder.path().display()))?;
        sums.slowest_agreement = sums.slowest_agreement.max(agreement);
        sums.rounds += 1;
    }
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

/// The machines whose power can be cut, with their journals. The hub's has no machine.
type Cuts = Vec<(Option<usize>, PowerCut)>;

fn watch_power(breaks: Breaks, city: &mut Running) -> Result<Cuts> {
    let mut cuts = Vec::new();
    match breaks {
        Breaks::HubKilled | Breaks::AgentKilled => {}
        Breaks::HubPower => {
            // It runs already; what it wrote until now is taken as durable.
            city.hub.stop()?;
            let cut = PowerCut::new(&city.hub.data(), &city.dir.join("journal-hub"))?;
            city.hub.set_environment(cut.environment());
            city.hub.start()?;
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
                let cut = PowerCut::new(&machine.path(""), &journal)?;
                machine.set_environment(cut.environment());
                cuts.push((Some(at), cut));
            }
        }
    }
    Ok(cuts)
}

/// Breaks something and starts it again; how long the hub took to be ready, if it was the hub.
fn breakdown(
    breaks: Breaks,
    city: &mut Running,
    churn: &mut CityChurn,
    cuts: &Cuts,
    sums: &mut Sums,
) -> Result<Duration> {
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
            return Ok(began.elapsed());
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
    city.machines[machine].start()?;
    Ok(Duration::ZERO)
}

/// Waits until all places hold the same.
fn agree(city: &Running) -> Result<Duration> {
    let began = Instant::now();
    let mut last = String::new();
    let agreed = until(AGREE_WITHIN, "all digests are equal", || {
        city.hub.flush()?;
        let (equal, verdict) = city.prove()?;
        last = verdict;
        Ok(equal.then_some(()))
    });
    agreed.with_context(|| last)?;
    Ok(began.elapsed())
}
