//! The bound of the outbox: sources wait here when the hub takes less than they give.

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio_util::sync::CancellationToken;

use super::{StoreError, StreamId};

/// Bytes reserved in the outbox. When it is full, [`Space::reserve`] blocks its thread, so reading
/// of the source pauses; one stream alone may fill only half, so that a resource the hub does not
/// take cannot stop all others.
#[derive(Debug)]
pub(super) struct Space {
    cap: u64,
    used: Mutex<Used>,
    freed: Condvar,
}

#[derive(Debug, Default)]
struct Used {
    all: u64,
    by_stream: HashMap<StreamId, u64>,
}

/// How often a waiting thread looks whether it was cancelled; space itself wakes it at once.
const CANCEL_CHECK: Duration = Duration::from_millis(100);

impl Space {
    pub(super) fn new(cap: u64, streams: impl Iterator<Item = (StreamId, u64)>) -> Self {
        let by_stream: HashMap<_, _> = streams.collect();
        let all = by_stream.values().sum();
        Self { cap, used: Mutex::new(Used { all, by_stream }), freed: Condvar::new() }
    }

    /// Waits until `bytes` fit. A single batch larger than the cap fits when nothing else is there.
    pub(super) fn reserve(
        &self,
        stream: StreamId,
        bytes: u64,
        cancel: &CancellationToken,
    ) -> Result<(), StoreError> {
        let mut used = self.used.lock();
        loop {
            let own = used.by_stream.get(&stream).copied().unwrap_or(0);
            let fits = (used.all == 0 || used.all + bytes <= self.cap)
                && (own == 0 || own + bytes <= self.cap / 2);
            if fits {
                used.all += bytes;
                *used.by_stream.entry(stream).or_default() += bytes;
                return Ok(());
            }
            if cancel.is_cancelled() {
                return Err(StoreError::Cancelled);
            }
            self.freed.wait_for(&mut used, CANCEL_CHECK);
        }
    }

    /// Markers and checkpoints of a few bytes: they never wait, or a full outbox could not drain.
    pub(super) fn reserve_always(&self, stream: StreamId, bytes: u64) {
        let mut used = self.used.lock();
        used.all += bytes;
        *used.by_stream.entry(stream).or_default() += bytes;
    }

    pub(super) fn cap(&self) -> u64 {
        self.cap
    }

    pub(super) fn release(&self, stream: StreamId, bytes: u64) {
        let mut used = self.used.lock();
        used.all = used.all.saturating_sub(bytes);
        if let Some(own) = used.by_stream.get_mut(&stream) {
            *own = own.saturating_sub(bytes);
        }
        drop(used);
        self.freed.notify_all();
    }

    /// Bytes reserved, written or about to be.
    pub(super) fn used(&self) -> u64 {
        self.used.lock().all
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, Ordering};

    use super::*;

    #[test]
    fn a_full_outbox_makes_the_source_wait_until_space_is_freed() {
        let space = Arc::new(Space::new(100, std::iter::empty()));
        let cancel = CancellationToken::new();
        space.reserve(StreamId(1), 40, &cancel).unwrap();
        space.reserve(StreamId(2), 50, &cancel).unwrap();
        let through = Arc::new(AtomicBool::new(false));
        let waiting = std::thread::spawn({
            let (space, cancel, through) = (space.clone(), cancel.clone(), through.clone());
            move || {
                space.reserve(StreamId(3), 40, &cancel).unwrap();
                through.store(true, Ordering::SeqCst);
            }
        });
        assert!(!through.load(Ordering::SeqCst));
        space.release(StreamId(1), 40);
        waiting.join().unwrap();
        assert_eq!(space.used(), 90);
    }

    #[test]
    fn one_stream_fills_only_half_and_one_large_batch_always_fits() {
        let space = Space::new(100, std::iter::empty());
        let (cancel, cancelled) = (CancellationToken::new(), CancellationToken::new());
        cancelled.cancel();
        space.reserve(StreamId(1), 30, &cancel).unwrap();
        assert!(space.reserve(StreamId(1), 30, &cancelled).is_err());
        space.reserve(StreamId(2), 30, &cancel).unwrap();
        space.release(StreamId(1), 30);
        space.release(StreamId(2), 30);
        space.reserve(StreamId(1), 500, &cancel).unwrap();
    }
}
