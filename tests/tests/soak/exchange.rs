//! One exchange: built, broken round after round, looked through.

use std::fs;
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hutong_tests::city::churn::CityChurn;
use hutong_tests::city::demo::Running;
use hutong_tests::city::{City, Scale, cache};
use hutong_tests::harness::delivered::{lines, said_twice};
use hutong_tests::harness::hub::NOTICES_SOON;
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::until;
use indicatif::ProgressBar;

use super::breakdown::{Cuts, breakdown, watch_power};
use super::motion::Motion;
use super::plan::Job;
use super::report::Sums;
use super::{Soak, say};

/// How long all places may take to agree after a round.
const AGREE_WITHIN: Duration = Duration::from_secs(120);
/// Latest random moment of a breakdown after a change of the files: by then all is done.
pub(crate) const LATEST_MS: u64 = 2_500;
/// The agents' time between two looks at a file.
const RESCAN_SECONDS: u32 = 1;

/// All rounds of one exchange. Its folder stays when it fails.
pub(crate) fn soak(soak: &Soak, job: &Job) -> Result<Sums> {
    let mut folder = tempfile::Builder::new().prefix("hutong-soak-").tempdir()?;
    folder.disable_cleanup(true);
    let ended = Exchange::begin(soak, job, folder.path()).and_then(Exchange::play);
    // A failure of its own is to be looked at; where it was only stopped there is nothing to see.
    folder.disable_cleanup(ended.is_err() && soak.go_on().is_ok());
    ended.with_context(|| format!("its folder: {}", folder.path().display()))
}

struct Exchange<'a> {
    soak: &'a Soak,
    job: &'a Job,
    city: Running,
    cuts: Cuts,
    churn: CityChurn,
    /// Lines of the subscribers' files before the first round: until then a delivery may say again
    /// what its snapshot held.
    settled: Vec<usize>,
    sums: Sums,
    began: Instant,
}

impl<'a> Exchange<'a> {
    /// A city that is level everywhere.
    fn begin(soak: &'a Soak, job: &'a Job, folder: &Path) -> Result<Self> {
        let began = Instant::now();
        let files = cache::ensure(&folder.join("cities"), Scale::Small, &ProgressBar::hidden())?;
        let run = folder.join("run");
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
        let cuts = watch_power(job.breaks, &mut city)?;
        city.hub.start()?;
        city.start()?;
        let churn = CityChurn::new(&city.inventory, job.seed())?;
        let (settled, sums) = (Vec::new(), Sums::default());
        let mut exchange = Self { soak, job, city, cuts, churn, settled, sums, began };
        exchange.agree().context("before the first round")?;
        let grants = &exchange.city.inventory.grants;
        exchange.settled =
            grants.iter().map(|grant| Ok(lines(&grant.path)?.len())).collect::<Result<_>>()?;
        say(&format!("{job}: ready after {:.0} s", began.elapsed().as_secs_f32()));
        Ok(exchange)
    }

    fn play(mut self) -> Result<Sums> {
        for round in 0..self.job.rounds {
            let equal_after = self.round(round).with_context(|| format!("round {round}"))?;
            say(&format!(
                "{}: round {round}, equal after {:.1} s; {} of {} rounds in all",
                self.job,
                equal_after.as_secs_f32(),
                self.soak.passed.fetch_add(1, Ordering::Relaxed) + 1,
                self.soak.rounds
            ));
        }
        self.look_through()
    }

    /// Changes files, breaks something meanwhile, and waits until all is well again.
    fn round(&mut self, round: u64) -> Result<Duration> {
        self.soak.go_on()?;
        self.churn.change()?;
        let mut promise = Promise::default();
        match round % 2 {
            0 => {
                let moment = Duration::from_millis(self.churn.rng().below(LATEST_MS));
                promise.observe(&self.city.hub, moment);
            }
            _ => promise.observe_growth(&self.city.hub)?,
        }
        let broken = Instant::now();
        let breaks = self.job.breaks;
        breakdown(breaks, &mut self.city, &mut self.churn, &self.cuts, &mut self.sums)?;
        promise.kept(&self.city.hub)?;
        self.agree()?;
        promise.no_epoch_began(&self.city.hub)?;
        let equal_after = broken.elapsed();
        self.sums.agreements.push(equal_after);
        // Or the next round would break a hub that nobody sends anything.
        self.all_connected()?;
        self.sums.rounds += 1;
        Ok(equal_after)
    }

    /// Waits until all places hold the same.
    fn agree(&mut self) -> Result<()> {
        let Self { soak, city, sums, .. } = self;
        let mut motion = Motion::default();
        let agreed = until(AGREE_WITHIN, "all digests are equal", || {
            soak.go_on()?;
            if !motion.is_worth_a_proof(city)? {
                return Ok(None);
            }
            city.hub.flush()?;
            let (equal, said) = city.prove()?;
            sums.verdict = said;
            Ok(equal.then_some(()))
        });
        agreed.with_context(|| sums.verdict.clone())
    }

    fn all_connected(&self) -> Result<()> {
        until(AGREE_WITHIN, "all nodes are connected", || {
            self.soak.go_on()?;
            let status = self.city.hub.status(false)?;
            Ok((status["connected"] == status["nodes"]).then_some(()))
        })
    }

    /// What can be seen only in the end.
    fn look_through(mut self) -> Result<Sums> {
        self.sums.acknowledged = acknowledged(&self.city)?;
        self.nothing_twice()?;
        self.city.stop()?;
        self.city.hub.log_is_sound()?;
        for machine in &self.city.machines {
            ensure!(
                !machine.log()?.contains("delivered anew"),
                "{} lost what it confirmed",
                machine.name
            );
        }
        self.sums.took = self.began.elapsed();
        Ok(self.sums)
    }

    fn nothing_twice(&self) -> Result<()> {
        for (grant, settled) in self.city.inventory.grants.iter().zip(&self.settled) {
            if grant.fields.is_empty()
                && let Some(line) = said_twice(&grant.path, *settled)?
            {
                bail!("a change was delivered twice: {line}");
            }
        }
        Ok(())
    }
}

/// Changes of all resources that took effect at the hub, and rows that it acknowledged as rejected.
fn acknowledged(city: &Running) -> Result<u64> {
    let status = city.hub.status(true)?;
    let lines = status["resources"].as_array().into_iter().flatten();
    let count = |name: &str, line: &serde_json::Value| line[name].as_u64().unwrap_or(0);
    Ok(lines.map(|line| count("changes", line) + count("rejected", line)).sum())
}
