//! What the service manager is told: that the hub starts, serves, lives and stops, and how it stands.
//! Nothing, when there is none.
//!
//! A thread of its own tells it, for a task would only prove that the worker it happens to run on is
//! alive: a sign of life is given only when every worker of the runtime has moved on.

use std::{
    env, io,
    sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel},
    thread,
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::runtime::{Handle, RuntimeMetrics};

use crate::{api::Readiness, app::EXIT_DISK_FULL};

/// At least so many signs of life within the time after which the manager would end the hub.
const SIGNS: u32 = 4;

/// Most time between two looks: what is told of the hub's state is not older.
const LOOK: Duration = Duration::from_secs(5);

/// How much longer a start may take from each sign of life on.
const MORE_TIME: Duration = Duration::from_secs(60);

/// Tells the service manager how the hub stands.
pub(super) struct Service {
    /// Room for all steps there are, so that telling never waits.
    steps: Option<SyncSender<Step>>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Step {
    Starting,
    Ready,
    Stopping,
    DiskFull,
}

impl Service {
    /// Begins to tell. Must be called within the runtime that is watched.
    ///
    /// # Errors
    /// When the thread cannot be started.
    pub(super) fn begin(readiness: &Readiness) -> io::Result<Self> {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Ok(Self { steps: None });
        }
        let (steps, told) = sync_channel(4);
        let (readiness, workers) = (readiness.clone(), Workers::of(&Handle::current()));
        let teller = Teller { workers, every: every(), how: move || readiness.words(), send };
        thread::Builder::new().name("service".to_owned()).spawn(move || teller.tell(&told))?;
        Ok(Self { steps: Some(steps) })
    }

    /// The hub serves.
    pub(super) fn ready(&self) {
        self.now(Step::Ready);
    }

    /// It was asked to stop.
    pub(super) fn stopping(&self) {
        self.now(Step::Stopping);
    }

    /// It ends and must not be started again until somebody made room.
    pub(super) fn disk_full(&self) {
        self.now(Step::DiskFull);
    }

    fn now(&self, step: Step) {
        if let Some(steps) = &self.steps {
            // The thread lives as long as this handle.
            let _ = steps.try_send(step);
        }
    }
}

struct Teller<How, Send> {
    workers: Workers,
    every: Duration,
    how: How,
    send: Send,
}

impl<How: Fn() -> String, Send: Fn(&[NotifyState<'_>])> Teller<How, Send> {
    fn tell(mut self, steps: &Receiver<Step>) {
        let mut step = Step::Starting;
        let mut news = true;
        loop {
            let stuck = self.workers.stuck();
            for worker in &stuck {
                tracing::warn!(
                    worker,
                    every_s = self.every.as_secs(),
                    "a worker of the runtime stands still"
                );
            }
            self.once(step, news, stuck.is_empty());
            news = match steps.recv_timeout(self.every) {
                Ok(next) => {
                    step = next;
                    true
                }
                Err(RecvTimeoutError::Timeout) => false,
                Err(RecvTimeoutError::Disconnected) => return,
            };
        }
    }

    /// `news`: the step is a new one. `alive`: no worker stands still.
    fn once(&self, step: Step, news: bool, alive: bool) {
        let how = (self.how)();
        let full = "the disk is full: make room, then start it again";
        let mut words = vec![NotifyState::Status(if step == Step::DiskFull { full } else { &how })];
        match step {
            Step::Starting if alive => {
                let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
                words.push(NotifyState::ExtendTimeoutUsec(more));
            }
            Step::Ready if news => words.push(NotifyState::Ready),
            Step::Stopping if news => words.push(NotifyState::Stopping),
            Step::DiskFull => words.push(NotifyState::Errno(u32::from(EXIT_DISK_FULL))),
            Step::Starting | Step::Ready | Step::Stopping => {}
        }
        if alive && step != Step::Starting {
            words.push(NotifyState::Watchdog);
        }
        (self.send)(&words);
    }
}

fn send(words: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, words) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Time between two looks.
fn every() -> Duration {
    let mut within = 0;
    let asked = sd_notify::watchdog_enabled(false, &mut within);
    if asked { LOOK.min(Duration::from_micros(within) / SIGNS) } else { LOOK }
}

/// The workers of a runtime, as they were seen last.
struct Workers {
    metrics: RuntimeMetrics,
    seen: Vec<Option<Turns>>,
}

/// What changes while a worker moves on. It is counted when a worker goes to rest or wakes up, and
/// after some sixty turns otherwise.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Turns {
    /// How often it went to rest or woke up: while it rests, an odd number.
    rests: u64,
    busy: Duration,
}

impl Workers {
    fn of(runtime: &Handle) -> Self {
        let metrics = runtime.metrics();
        let seen = vec![None; metrics.num_workers()];
        Self { metrics, seen }
    }

    /// The workers that are at work and have not moved on since the last call.
    fn stuck(&mut self) -> Vec<usize> {
        let Self { metrics, seen } = self;
        let mut stuck = Vec::new();
        for (worker, before) in seen.iter_mut().enumerate() {
            let now = Turns {
                rests: metrics.worker_park_unpark_count(worker),
                busy: metrics.worker_total_busy_duration(worker),
            };
            let rests = now.rests % 2 == 1;
            if before.replace(now) == Some(now) && !rests {
                stuck.push(worker);
            }
        }
        stuck
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        time::Instant,
    };

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(100);
    const SOON: Duration = Duration::from_secs(20);

    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime")
    }

    fn until(what: &str, mut true_now: impl FnMut() -> bool) {
        let end = Instant::now() + SOON;
        while !true_now() {
            assert!(Instant::now() < end, "not in time: {what}");
            thread::sleep(PAUSE);
        }
    }

    #[test]
    fn a_worker_that_stands_still_is_seen_although_the_other_goes_on() {
        let runtime = runtime();
        let mut workers = Workers::of(runtime.handle());
        until("both rest", || workers.stuck().is_empty());

        let release = Arc::new(AtomicBool::new(false));
        let released = Arc::clone(&release);
        runtime.spawn(async move {
            while !released.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
        });
        runtime.spawn(async {
            loop {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        });
        until("one is stuck", || workers.stuck().len() == 1);
        release.store(true, Ordering::Relaxed);
        until("it goes on", || workers.stuck().is_empty());
    }

    #[test]
    fn workers_with_much_to_do_do_not_stand_still() {
        let runtime = runtime();
        let mut workers = Workers::of(runtime.handle());
        for _ in 0..4 {
            runtime.spawn(async {
                loop {
                    let end = Instant::now() + Duration::from_micros(200);
                    while Instant::now() < end {
                        std::hint::spin_loop();
                    }
                    tokio::task::yield_now().await;
                }
            });
        }
        workers.stuck();
        let looks = (0..5).map(|_| {
            // Longer than sixty turns take, on a machine that is shared by many.
            thread::sleep(4 * PAUSE);
            workers.stuck().len()
        });
        let stuck: usize = looks.sum();
        assert_eq!(stuck, 0);
        runtime.shutdown_background();
    }

    /// Tells a test what the service manager would be told.
    fn told(runtime: &Runtime) -> (SyncSender<Step>, Receiver<String>) {
        let (sender, said) = sync_channel(10_000);
        let teller = Teller {
            workers: Workers::of(runtime.handle()),
            every: PAUSE,
            how: || "how".to_owned(),
            send: move |words: &[NotifyState<'_>]| {
                let _ = sender.send(words.iter().map(|word| format!("{word} ")).collect());
            },
        };
        let (steps, next) = sync_channel(4);
        thread::spawn(move || teller.tell(&next));
        (steps, said)
    }

    #[test]
    fn every_step_is_told_once_and_the_signs_of_life_go_on() {
        let runtime = runtime();
        let (steps, said) = told(&runtime);
        let next = || said.recv_timeout(SOON).expect("a word");
        assert_eq!(next(), "STATUS=how EXTEND_TIMEOUT_USEC=60000000 ");
        steps.send(Step::Ready).expect("it listens");
        until("it is ready", || next() == "STATUS=how READY=1 WATCHDOG=1 ");
        assert_eq!(next(), "STATUS=how WATCHDOG=1 ");
        steps.send(Step::Stopping).expect("it listens");
        until("it stops", || next() == "STATUS=how STOPPING=1 WATCHDOG=1 ");
        assert_eq!(next(), "STATUS=how WATCHDOG=1 ");
        steps.send(Step::DiskFull).expect("it listens");
        until("the disk is full", || next().contains("make room, then start it again ERRNO=28"));
        drop(steps);
        until("it ends", || said.recv_timeout(SOON).is_err());
    }

    #[test]
    fn there_is_no_sign_of_life_while_a_worker_stands_still() {
        let runtime = runtime();
        let (steps, said) = told(&runtime);
        steps.send(Step::Ready).expect("it listens");
        until("it lives", || said.recv_timeout(SOON).expect("a word").contains("WATCHDOG=1"));
        let release = Arc::new(AtomicBool::new(false));
        let released = Arc::clone(&release);
        runtime.spawn(async move {
            while !released.load(Ordering::Relaxed) {
                thread::sleep(Duration::from_millis(10));
            }
        });
        let mut silent = 0;
        until("five looks in silence", || {
            let alive = said.recv_timeout(SOON).expect("a word").contains("WATCHDOG=1");
            silent = if alive { 0 } else { silent + 1 };
            silent == 5
        });
        release.store(true, Ordering::Relaxed);
        until("it lives again", || said.recv_timeout(SOON).expect("a word").contains("WATCHDOG=1"));
    }
}
