//! What the service manager is told: that the agent starts, works, lives and stops, and how it
//! stands. Nothing, when there is none.
//!
//! A task tells it. The runtime has a single worker, so a sign of life means that this worker, and
//! the timers it drives, go on.

use std::{
    env,
    sync::{Arc, Weak},
    time::Duration,
};

use sd_notify::NotifyState;
use tokio::sync::watch;

use crate::app::{Agent, report::AgentReport};

/// At least so many signs of life within the time after which the manager would end the agent.
const SIGNS: u32 = 4;

/// Most time between two of them: what is told of the agent's state is not older.
const LOOK: Duration = Duration::from_secs(5);

/// How much longer a start may take from each sign of life on.
const MORE_TIME: Duration = Duration::from_secs(60);

/// Tells the service manager how the agent stands, until it is dropped.
pub(super) struct Service(Option<watch::Sender<Step>>);

#[derive(Clone, Debug)]
enum Step {
    Starting,
    Working(Weak<Agent>),
    Stopping,
}

impl Service {
    /// Begins to tell. Must be called within the runtime.
    pub(super) fn begin() -> Self {
        if env::var_os("NOTIFY_SOCKET").is_none() {
            return Self(None);
        }
        let steps = watch::Sender::new(Step::Starting);
        tokio::spawn(tell(steps.subscribe(), every(), send));
        Self(Some(steps))
    }

    /// The agent reads, publishes, receives and answers `hutong-agent status`. Nodes may still wait
    /// for their certificates or the hub: that is no reason to start it anew.
    pub(super) fn working(&self, agent: &Arc<Agent>) {
        self.now(Step::Working(Arc::downgrade(agent)));
    }

    /// It ends.
    pub(super) fn stopping(&self) {
        self.now(Step::Stopping);
    }

    fn now(&self, step: Step) {
        if let Some(steps) = &self.0 {
            steps.send_replace(step);
        }
    }
}

async fn tell(
    mut steps: watch::Receiver<Step>,
    every: Duration,
    send: impl Fn(&[NotifyState<'_>]),
) {
    let mut news = true;
    loop {
        let step = steps.borrow_and_update().clone();
        once(&step, news, &send);
        news = tokio::select! {
            () = tokio::time::sleep(every) => false,
            changed = steps.changed() => match changed {
                Ok(()) => true,
                Err(_) => return,
            },
        };
    }
}

/// `news`: the step is a new one.
fn once(step: &Step, news: bool, send: &impl Fn(&[NotifyState<'_>])) {
    match step {
        Step::Starting => {
            let more = u32::try_from(MORE_TIME.as_micros()).unwrap_or(u32::MAX);
            send(&[
                NotifyState::ExtendTimeoutUsec(more),
                NotifyState::Status("the store is opened"),
            ]);
        }
        Step::Working(agent) => {
            if news {
                send(&[NotifyState::Ready]);
            }
            let how = agent.upgrade().map(|agent| words(&AgentReport::of(&agent)));
            send(&[NotifyState::Watchdog, NotifyState::Status(how.as_deref().unwrap_or("ending"))]);
        }
        Step::Stopping => {
            if news {
                send(&[NotifyState::Stopping]);
            }
            let what = "what is under way is acknowledged and committed";
            send(&[NotifyState::Watchdog, NotifyState::Status(what)]);
        }
    }
}

/// How everything stands, in a line. Never "works" while something cannot.
fn words(report: &AgentReport) -> String {
    let connected = report.nodes.iter().filter(|node| node.link == "connected").count();
    let of = report.nodes.len();
    let waiting: u64 = report
        .nodes
        .iter()
        .flat_map(|node| &node.publications)
        .map(|publication| publication.waiting_batches)
        .sum();
    let verdict = if report.healthy() {
        "everything works"
    } else {
        "something does not work, see: hutong-agent status"
    };
    format!(
        "{connected} of {of} node(s) connected, {waiting} batch(es) not acknowledged; {verdict}"
    )
}

fn send(said: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(false, said) {
        tracing::debug!(%error, "the service manager could not be told");
    }
}

/// Time between two signs of life.
fn every() -> Duration {
    let mut within = 0;
    let asked = sd_notify::watchdog_enabled(false, &mut within);
    if asked { LOOK.min(Duration::from_micros(within) / SIGNS) } else { LOOK }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            atomic::{AtomicBool, Ordering},
            mpsc::{Receiver, sync_channel},
        },
        time::Instant,
    };

    use tokio::runtime::{Builder, Runtime};

    use super::*;

    const PAUSE: Duration = Duration::from_millis(50);
    const SOON: Duration = Duration::from_secs(20);

    /// As the agent's: one worker.
    fn runtime() -> Runtime {
        Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime")
    }

    /// Tells a test what the service manager would be told.
    fn told(runtime: &Runtime) -> (Service, Receiver<String>) {
        let (sender, said) = sync_channel(10_000);
        let steps = watch::Sender::new(Step::Starting);
        runtime.spawn(tell(steps.subscribe(), PAUSE, move |words: &[NotifyState<'_>]| {
            let _ = sender.send(words.iter().map(|word| format!("{word} ")).collect());
        }));
        (Service(Some(steps)), said)
    }

    fn until(said: &Receiver<String>, words: &str) {
        let end = Instant::now() + SOON;
        while !said.recv_timeout(SOON).expect("a word").contains(words) {
            assert!(Instant::now() < end, "never said: {words}");
        }
    }

    #[test]
    fn every_step_is_told_and_the_signs_of_life_go_on() {
        let runtime = runtime();
        let (service, said) = told(&runtime);
        until(&said, "EXTEND_TIMEOUT_USEC=60000000 STATUS=the store is opened");
        service.now(Step::Working(Weak::new()));
        until(&said, "READY=1");
        until(&said, "WATCHDOG=1");
        until(&said, "WATCHDOG=1");
        service.stopping();
        until(&said, "STOPPING=1");
        until(&said, "WATCHDOG=1 STATUS=what is under way");
        drop(service);
        let end = Instant::now() + SOON;
        while said.recv_timeout(SOON).is_ok() {
            assert!(Instant::now() < end, "it goes on for ever");
        }
    }

    #[test]
    fn there_is_no_sign_of_life_while_the_worker_stands_still() {
        let runtime = runtime();
        let (service, said) = told(&runtime);
        service.now(Step::Working(Weak::new()));
        until(&said, "WATCHDOG=1");
        let release = Arc::new(AtomicBool::new(false));
        let (began, beginning) = sync_channel(1);
        let released = Arc::clone(&release);
        runtime.spawn(async move {
            let _ = began.send(());
            while !released.load(Ordering::Relaxed) {
                std::thread::sleep(PAUSE);
            }
        });
        beginning.recv_timeout(SOON).expect("it blocks the worker");
        while said.try_recv().is_ok() {}
        assert!(
            said.recv_timeout(20 * PAUSE).is_err(),
            "a sign of life from a runtime that stands still"
        );
        release.store(true, Ordering::Relaxed);
        until(&said, "WATCHDOG=1");
    }
}
