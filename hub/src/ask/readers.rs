//! Threads that look questions up. Reading may wait for the disk, so the runtime's own threads do
//! not do it; and handing each question to a thread that has to be woken costs more than answering
//! it, so these take all that wait at once.

use std::{
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hutong_schema::wire::v1::{RefusalCode, Refused};
use tokio::sync::{mpsc, oneshot};

/// Questions that may wait for one thread; then whoever asks waits.
const WAITING: usize = 1_024;

/// Questions taken at once.
const AT_ONCE: usize = 64;

type Job = Box<dyn FnOnce() + Send>;

/// The threads; a cheap handle. They end when the last handle is gone.
#[derive(Clone)]
pub(super) struct Readers(Arc<Queues>);

struct Queues {
    queues: Vec<mpsc::Sender<Job>>,
    next: AtomicUsize,
}

impl Readers {
    /// One thread for each processor.
    pub(super) fn start() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let queues = (0..threads).filter_map(|_| thread()).collect();
        Self(Arc::new(Queues { queues, next: AtomicUsize::new(0) }))
    }

    /// Runs a job on one of them.
    ///
    /// # Errors
    /// When the job panicked, or no thread could be started.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Refused> {
        let failed = || Refused::new(RefusalCode::Internal, "the question could not be looked up");
        let (answer, wait) = oneshot::channel();
        let turn = self.0.next.fetch_add(1, Ordering::Relaxed);
        let queue = self.0.queues.get(turn % self.0.queues.len().max(1)).ok_or_else(failed)?;
        // Whoever asked may be gone by then.
        let job = move || drop(answer.send(job()));
        queue.send(Box::new(job)).await.map_err(|_| failed())?;
        wait.await.map_err(|_| failed())
    }
}

fn thread() -> Option<mpsc::Sender<Job>> {
    let (queue, mut jobs) = mpsc::channel::<Job>(WAITING);
    let run = move || {
        let mut taken = Vec::with_capacity(AT_ONCE);
        while jobs.blocking_recv_many(&mut taken, AT_ONCE) > 0 {
            for job in taken.drain(..) {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("looking up a question panicked");
                }
            }
        }
    };
    match std::thread::Builder::new().name("hutong-ask".to_owned()).spawn(run) {
        Ok(_) => Some(queue),
        Err(error) => {
            tracing::error!(%error, "a thread that looks questions up cannot be started");
            None
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_refuses_its_own_question_only() {
        let readers = Readers::start();
        for round in 0..20 {
            assert!(readers.run(|| panic!("planted")).await.is_err());
            assert_eq!(readers.run(move || round).await, Ok(round));
        }
    }
}
