//! Kills and power cuts by the hundred, at a hundredth of the city's size. Run by `make soak`, which
//! takes its figures into SOAK.md.
//!
//! A round is mostly waiting: for agents that notice, look at their files, and dial. So several
//! exchanges, each with its own folder, hub, agents and chance, are broken side by side.

mod breakdown;
mod exchange;
mod motion;
mod plan;
mod report;

use std::collections::VecDeque;
use std::fs;
use std::io::Write as _;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use anyhow::{Context, Error, Result, anyhow, bail};

use plan::{Job, Size};
use report::{Sums, Totals};

/// What the exchanges that run side by side share.
#[derive(Debug)]
struct Soak {
    /// Exchanges that nobody has begun.
    waiting: Mutex<VecDeque<Job>>,
    totals: Mutex<Totals>,
    /// One has failed: the others end as soon as they notice.
    over: AtomicBool,
    rounds: u64,
    passed: AtomicU64,
}

#[test]
#[ignore = "takes more than an hour; run by make soak"]
fn soak() -> Result<()> {
    let (size, began) = (Size::wanted()?, Instant::now());
    let jobs = plan::jobs(size.rounds);
    say(&format!(
        "{} rounds in {} exchanges, {} at a time",
        jobs.iter().map(|job| job.rounds).sum::<u64>(),
        jobs.len(),
        size.side
    ));
    let soak = Soak {
        rounds: jobs.iter().map(|job| job.rounds).sum(),
        waiting: Mutex::new(jobs.into()),
        totals: Mutex::default(),
        over: AtomicBool::new(false),
        passed: AtomicU64::new(0),
    };
    let failures: Vec<Error> = thread::scope(|scope| {
        let workers: Vec<_> = (0..size.side).map(|_| scope.spawn(|| soak.work())).collect();
        let ended = workers.into_iter().map(|worker| {
            worker.join().unwrap_or_else(|_| Err(anyhow!("a thread of the soak panicked")))
        });
        ended.filter_map(Result::err).collect()
    });
    if let Some(first) = failures.into_iter().next() {
        return Err(first);
    }
    let totals = soak.totals.into_inner().map_err(|_| anyhow!("a sum is unknown"))?;
    let note = report::note(&totals, size, began.elapsed())?;
    say(&note);
    fs::write(Path::new(env!("CARGO_MANIFEST_DIR")).join("SOAK.md"), note)?;
    Ok(())
}

impl Soak {
    /// Takes one exchange after the other, until there is none or one has failed somewhere.
    fn work(&self) -> Result<()> {
        while let Some(job) = self.next()? {
            // A panic is a failure like others: the rest has to be stopped.
            let ended = catch_unwind(AssertUnwindSafe(|| exchange::soak(self, &job)))
                .unwrap_or_else(|_| Err(anyhow!("it panicked, see above")))
                .with_context(|| job.to_string());
            match ended {
                Ok(sums) => self.add(&job, sums)?,
                // Another one says why.
                Err(_) if self.over.swap(true, Ordering::SeqCst) => return Ok(()),
                Err(error) => {
                    say(&format!("{job}: failed, the others are stopped\n{error:?}"));
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn next(&self) -> Result<Option<Job>> {
        let mut waiting = self.waiting.lock().map_err(|_| anyhow!("the queue is unknown"))?;
        Ok(if self.over.load(Ordering::SeqCst) { None } else { waiting.pop_front() })
    }

    fn add(&self, job: &Job, sums: Sums) -> Result<()> {
        say(&format!("{job}: passed, {} rounds in {:.0} s", sums.rounds, sums.took.as_secs_f32()));
        self.totals.lock().map_err(|_| anyhow!("a sum is unknown"))?.add(job.breaks, sums);
        Ok(())
    }

    /// Nothing while all is well; asked wherever an exchange waits.
    fn go_on(&self) -> Result<()> {
        if self.over.load(Ordering::SeqCst) {
            bail!("stopped, because another exchange has failed");
        }
        Ok(())
    }
}

/// A line of progress, for whoever waits.
fn say(line: &str) {
    // The soak goes on when nobody reads.
    let _ = writeln!(std::io::stdout(), "{line}");
}
