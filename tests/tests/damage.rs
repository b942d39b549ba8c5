//! The hub's data folder is damaged, one place at a time: nothing is lost, and nothing is another,
//! without a word.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write as _;
use std::num::NonZero;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hutong_tests::city::rng::Rng;
use hutong_tests::damage::stage::Played;
use hutong_tests::damage::{Damage, Judge, Judgement, Stage, State, Tally, folder};
use hutong_tests::harness::host;

/// How much of the live log's end is cut, bytes.
const LIVE_BYTES: u64 = 64 * 1024;
/// Cuts and flips of a CI run.
const CUTS: u64 = 200;
const FLIPS: u64 = 300;
/// A case waits for the threads of its databases a third of its time.
const WORKERS_OF_CORE: usize = 2;
/// Progress is told after so many cases.
const TOLD_EVERY: usize = 2_000;
/// Flips of a soak.
const SOAK_FLIPS: u64 = 10_000;

/// What is damaged in one run.
struct Cases {
    state: State,
    damages: Vec<Damage>,
}

/// Cuts of the live log's files within their last bytes, `one_in` of each.
fn cuts(stage: &Stage, one_in: u64) -> Result<Vec<Damage>> {
    let data = stage.data(State::Killed);
    let mut cuts = Vec::new();
    for file in stage.live() {
        let end = folder::data_end(&data.join(file))?;
        let length = std::fs::metadata(data.join(file))?.len();
        let cut = |keep| Damage::Cut { file: file.clone(), keep };
        let places = (end.saturating_sub(LIVE_BYTES)..end.min(length)).rev();
        cuts.extend(places.step_by(usize::try_from(one_in)?).map(cut));
    }
    Ok(cuts)
}

/// Judges all cases, on every core; fails with every case that has an effect without a word.
fn judge(stage: &Stage, Cases { state, damages }: &Cases) -> Result<Tally> {
    // One after the other from one list: some cases take many times longer than others.
    let (next, judged, began) = (AtomicUsize::new(0), AtomicUsize::new(0), Instant::now());
    let work = || -> Result<(Tally, Vec<String>)> {
        let mut judge = Judge::new(stage, *state)?;
        let (mut tally, mut wrong) = (Tally::default(), Vec::new());
        while let Some(damage) = damages.get(next.fetch_add(1, Ordering::Relaxed)) {
            match judge.judge(damage) {
                Ok(judgement) => tally.count(damage.kind(), judgement),
                Err(error) => {
                    let error = format!("{error:#}");
                    writeln!(std::io::stdout(), "wrong: {error}")?;
                    wrong.push(error);
                }
            }
            let judged = judged.fetch_add(1, Ordering::Relaxed) + 1;
            if judged.is_multiple_of(TOLD_EVERY) {
                let (all, took) = (damages.len(), began.elapsed().as_secs());
                writeln!(std::io::stdout(), "{judged} of {all} cases are judged after {took} s")?;
            }
        }
        Ok((tally, wrong))
    };
    let results: Vec<Result<(Tally, Vec<String>)>> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..WORKERS_OF_CORE * cores()).map(|_| scope.spawn(work)).collect();
        let joined = workers.into_iter().map(|worker| worker.join());
        joined.map(|result| result.unwrap_or_else(|_| anyhow::bail!("a judge panicked"))).collect()
    });
    let (mut tally, mut wrong) = (Tally::default(), Vec::new());
    for result in results {
        let (part, said) = result?;
        tally.add(part);
        wrong.extend(said);
    }
    let first: Vec<_> = wrong.iter().take(40).cloned().collect();
    ensure!(wrong.is_empty(), "{} cases are wrong:\n{}", wrong.len(), first.join("\n"));
    ensure!(tally.cases() == damages.len() as u64, "not all cases were judged");
    Ok(tally)
}

fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, NonZero::get)
}

/// How long cases took, in words, for DAMAGE.md.
fn pace(cases: u64, took: Duration) -> String {
    let (seconds, cores) = (took.as_secs_f64(), cores());
    let each = seconds * 1_000.0 * cores as f64 / cases.max(1) as f64;
    format!("{cases} cases in {seconds:.0} s: {each:.0} ms each, on each of {cores} cores.")
}

/// A seed of its own for each run; that of an earlier one can be given.
fn seed() -> Result<u64> {
    let seed = match std::env::var("HUTONG_DAMAGE_SEED") {
        Ok(seed) => seed.parse().context("HUTONG_DAMAGE_SEED is a number")?,
        Err(_) => jiff::Timestamp::now().as_millisecond().unsigned_abs(),
    };
    writeln!(std::io::stdout(), "repeat with HUTONG_DAMAGE_SEED={seed}")?;
    Ok(seed)
}

#[test]
fn no_cut_and_no_flip_goes_unnoticed() -> Result<()> {
    let began = Instant::now();
    let stage = Stage::build()?;
    println!("the stage is built after {:.1} s", began.elapsed().as_secs_f32());
    let mut rng = Rng::new(seed()?);
    let all = cuts(&stage, 1)?.len() as u64;
    ensure!(all > LIVE_BYTES / 2, "the live log is too short: {all} places");
    let cuts = cuts(&stage, all / CUTS + 1)?;
    let mut tally = judge(&stage, &Cases { state: State::Killed, damages: cuts })?;
    for state in [State::Killed, State::Stopped] {
        let data = stage.data(state);
        let mut damages = folder::flips(&data, &mut rng, FLIPS / 4)?;
        damages.extend(folder::flips_by_file(&data, &mut rng, FLIPS / 4)?);
        tally.add(judge(&stage, &Cases { state, damages })?);
    }
    println!("{tally}after {:.1} s", began.elapsed().as_secs_f32());
    ensure!(tally.of(Judgement::Named) > 0, "no case lost an entry below the marks");
    ensure!(tally.of(Judgement::Torn) > 0, "no case lost an entry behind the marks");
    stage.done()
}

/// What is played with a hub's process and agents: the end of the live log, where agents alone can
/// know what is missing; its middle; and a place of each kind of file.
fn played(stage: &Stage, rng: &mut Rng, of_each_kind: u64) -> Result<Vec<(State, Damage)>> {
    let data = stage.data(State::Killed);
    let mut cases = Vec::new();
    for file in stage.live() {
        let end = folder::data_end(&data.join(file))?;
        for back in [1, 5_000, LIVE_BYTES / 2] {
            let keep = end.saturating_sub(back + rng.below(200));
            cases.push((State::Killed, Damage::Cut { file: file.clone(), keep }));
        }
    }
    let mut kinds = BTreeMap::<String, u64>::new();
    for damage in folder::flips_by_file(&stage.data(State::Stopped), rng, 2_000)? {
        let seen = kinds.entry(damage.kind()).or_default();
        *seen += 1;
        if *seen <= of_each_kind {
            cases.push((State::Stopped, damage));
        }
    }
    Ok(cases)
}

/// Plays cases one after the other, and tells what became of each.
fn play(stage: &mut Stage, cases: &[(State, Damage)]) -> Result<BTreeMap<&'static str, u64>> {
    let mut counts = BTreeMap::new();
    for (state, damage) in cases {
        let began = Instant::now();
        let played = stage.play(*state, Some(damage));
        let played = played.with_context(|| format!("{state:?}, {damage}"))?;
        let word = match &played {
            Played::Refused(_) => "refused",
            Played::Found(_) => "equal; verify-log names the entry",
            Played::Rebuilt(_) => "equal after a rebuild",
            Played::Equal(said) if said.contains("agents send them again") => "equal; loss named",
            Played::Equal(_) => "equal",
        };
        let took = began.elapsed().as_secs_f32();
        writeln!(std::io::stdout(), "{state:?}, {damage}: {word}, {took:.1} s")?;
        *counts.entry(word).or_default() += 1;
    }
    Ok(counts)
}

#[test]
fn all_places_are_equal_again_after_damage_to_the_log() -> Result<()> {
    let mut stage = Stage::build()?;
    let mut rng = Rng::new(seed()?);
    let mut cases = played(&stage, &mut rng, 1)?;
    cases.retain(|(state, _)| *state == State::Killed);
    play(&mut stage, &cases)?;
    stage.done()
}

/// All that `make soak` does, with its figures in DAMAGE.md. `HUTONG_DAMAGE_SHARE=16` does a sixteenth.
#[test]
#[ignore = "takes about half an hour; run by make soak"]
fn soak_every_cut_and_ten_thousand_flips() -> Result<()> {
    let share: u64 = match std::env::var("HUTONG_DAMAGE_SHARE") {
        Ok(share) => share.parse().context("HUTONG_DAMAGE_SHARE is a number")?,
        Err(_) => 1,
    };
    let (began, seed) = (Instant::now(), seed()?);
    let mut stage = Stage::build()?;
    let mut rng = Rng::new(seed);
    let damages = cuts(&stage, share)?;
    let mut part = Instant::now();
    let cuts = judge(&stage, &Cases { state: State::Killed, damages })?;
    let pace_of_cuts = pace(cuts.cases(), part.elapsed());
    writeln!(std::io::stdout(), "cuts: {pace_of_cuts}")?;
    part = Instant::now();
    let mut flips = Tally::default();
    for state in [State::Killed, State::Stopped] {
        let data = stage.data(state);
        let mut damages = folder::flips(&data, &mut rng, SOAK_FLIPS / share / 4)?;
        damages.extend(folder::flips_by_file(&data, &mut rng, SOAK_FLIPS / share / 4)?);
        flips.add(judge(&stage, &Cases { state, damages })?);
    }
    let pace_of_flips = pace(flips.cases(), part.elapsed());
    writeln!(std::io::stdout(), "flips: {pace_of_flips}")?;
    let cases = played(&stage, &mut rng, 3)?;
    part = Instant::now();
    let played = play(&mut stage, &cases)?;
    let mut lines = String::new();
    for (word, count) in played {
        writeln!(lines, "- {word}: {count}")?;
    }
    let note = format!(
        "# Damage\n\nWritten by `make soak`; one in {share} of all cases, seed {seed}, {:.0} s.\n\n\
         Machine: {}.\n\n{ABOUT}\n\n## The live log cut at every offset of its last 64 KiB\n\n{pace_of_cuts}\n\n{cuts}\n\
         ## Single bits flipped, in all files\n\nHalf of them over all bits alike, half over all files alike. {pace_of_flips}\n\n{flips}\n\
         ## Played with the programs: {} cases in {:.0} s\n\n{lines}",
        began.elapsed().as_secs_f32(),
        host::describe(&std::env::temp_dir()),
        cases.len(),
        part.elapsed().as_secs_f32(),
    );
    std::fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("DAMAGE.md"), note)?;
    stage.done()
}

/// What DAMAGE.md says of the columns.
const ABOUT: &str = "\
A small exchange is kept as it stood when its hub was killed and when it was stopped. Each case damages one place of a copy
of the hub's data folder, opens it with the hub's own functions and compares all that can be read: every entry's bytes, a
verification of all chains, the rows' digests, feeds and indexes, keys and tokens. A case with another answer, or a lost entry,
that nobody is told of is no column: it ends the run. Of the cuts that leave the same entries of the log, the views are asked
at the first and at one in sixteen.

- *refused*: the hub does not start, and says what to do.
- *loss named*: the log begins a new incarnation; agents compare everything with it.
- *end torn behind the marks*: what was stored within the last second before a kill; it looks like a power cut. Agents compare
  each publication with the hub once per connection, and find it.
- *named when read*: `verify-log` or whoever reads is told the partition and offset, or the file.
- *views made anew*: they do not serve and say so; `hutong-hub rebuild` makes them as they were.
- *harmless*: everything is as it was.";
