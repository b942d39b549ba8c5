//! When something last happened to a publication, for its status. In memory only: what has to survive
//! is in the store.

use jiff::Timestamp;
use parking_lot::Mutex;

/// What happened last, since the agent started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Moments {
    /// The source was read to its end, or found unchanged.
    pub read: Option<Timestamp>,
    /// A batch was acknowledged.
    pub acknowledged: Option<Timestamp>,
    /// A batch was settled.
    pub settled: Option<Timestamp>,
    /// Changes sent; those that were sent again count again.
    pub sent: u64,
}

/// The moments of one publication.
#[derive(Debug, Default)]
pub struct Progress(Mutex<Known>);

#[derive(Debug, Default)]
struct Known {
    moments: Moments,
    stored_through: u64,
    settled_through: u64,
}

impl Progress {
    /// What is known.
    pub fn moments(&self) -> Moments {
        self.0.lock().moments
    }

    pub(super) fn read(&self, now: Timestamp) {
        self.0.lock().moments.read = Some(now);
    }

    pub(super) fn sent(&self, rows: u32) {
        self.0.lock().moments.sent += u64::from(rows);
    }

    /// An acknowledgement was written down. A repeated one is no news.
    pub(super) fn acknowledged(&self, stored_through: u64, settled_through: u64, now: Timestamp) {
        let mut known = self.0.lock();
        // A new epoch counts from the beginning.
        if stored_through != known.stored_through {
            known.stored_through = stored_through;
            known.moments.acknowledged = Some(now);
        }
        if settled_through != known.settled_through {
            known.settled_through = settled_through;
            known.moments.settled = Some(now);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repeated_acknowledgement_is_no_news() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let progress = Progress::default();
        progress.acknowledged(5, 3, at(1));
        progress.acknowledged(5, 4, at(2));
        let moments = progress.moments();
        assert_eq!((moments.acknowledged, moments.settled), (Some(at(1)), Some(at(2))));
        progress.acknowledged(1, 0, at(3));
        assert_eq!(progress.moments().acknowledged, Some(at(3)));
    }
}
