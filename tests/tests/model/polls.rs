//! Futures that are driven just so far.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};

/// Polls once: what is there now.
pub(crate) fn now<T>(future: impl Future<Output = T>) -> Option<T> {
    let mut future = pin!(future);
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => Some(done),
        Poll::Pending => None,
    }
}

struct Woken(AtomicBool, std::thread::Thread);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::Release);
        self.1.unpark();
    }
}

/// Drives a future until it has waited so many times, each time until what it waited for is done. Whether
/// it came to its end.
pub(crate) fn drive(future: impl Future, waits: u8) -> bool {
    let mut future = pin!(future);
    let woken = Arc::new(Woken(AtomicBool::new(false), std::thread::current()));
    let waker = Waker::from(Arc::clone(&woken));
    for _ in 0..waits {
        if future.as_mut().poll(&mut Context::from_waker(&waker)).is_ready() {
            return true;
        }
        while !woken.0.swap(false, Ordering::AcqRel) {
            std::thread::park_timeout(std::time::Duration::from_millis(100));
        }
    }
    false
}
