//! How long to wait for a hub, and before trying again: exponential, with full jitter, so that many
//! nodes that lost the same hub do not come back in one wave. Pure: randomness is an argument.

use std::time::Duration;

/// How long one side of a connection is patient with the other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Patience {
    /// For the hub's greeting. A refused certificate shows here, not in the dial.
    pub greeting: Duration,
    /// For the answer to a question or command.
    pub answer: Duration,
    /// Longest wait after the first failure.
    pub first: Duration,
    /// Longest wait at all: a hub that is back serves every node within this time.
    pub longest: Duration,
    /// A connection that lasted this long since the hub's greeting counts as a success: the next
    /// failure starts from the beginning. A hub that greets and closes at once does not reset the
    /// waits; one that is restarted several times in a minute, as by an operator who tries a setting,
    /// finds its nodes back at once each time.
    pub good_after: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            greeting: Duration::from_secs(15),
            answer: Duration::from_secs(60),
            first: Duration::from_millis(200),
            longest: Duration::from_secs(30),
            good_after: Duration::from_secs(1),
        }
    }
}

/// The waits of one reconnecting peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    patience: Patience,
    failures: u32,
}

impl Backoff {
    /// Nothing failed yet.
    pub fn new(patience: Patience) -> Self {
        Self { patience, failures: 0 }
    }

    /// The wait after one more failure; `unit` is a random number in `0.0..1.0`.
    pub fn next(&mut self, unit: f64) -> Duration {
        let doubled = 1u32.checked_shl(self.failures).unwrap_or(u32::MAX);
        let longest = self.patience.first.saturating_mul(doubled).min(self.patience.longest);
        self.failures = self.failures.saturating_add(1);
        longest.mul_f64(unit.clamp(0.0, 1.0))
    }

    /// A connection ended after it had lasted so long.
    pub fn lasted(&mut self, time: Duration) {
        if time >= self.patience.good_after {
            self.failures = 0;
        }
    }

    /// Failures in a row.
    pub fn failures(&self) -> u32 {
        self.failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn waits_stay_within_the_doubling_bound(units in prop::collection::vec(0.0f64..1.0, 1..80)) {
            let mut backoff = Backoff::default();
            let mut bound = Patience::default().first;
            for unit in units {
                let wait = backoff.next(unit);
                prop_assert!(wait <= bound, "{wait:?} after {bound:?}");
                bound = (bound * 2).min(Patience::default().longest);
            }
        }
    }

    #[test]
    fn the_bound_is_reached_and_kept() {
        let mut backoff = Backoff::default();
        let longest = Patience::default().longest;
        let waits: Vec<_> = (0..200).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits[..4], [200, 400, 800, 1_600].map(Duration::from_millis));
        assert_eq!(waits[8..].iter().max(), Some(&longest));
        assert_eq!(waits[8..].iter().min(), Some(&longest));
    }

    #[test]
    fn only_a_lasting_connection_resets_the_waits() {
        let mut backoff = Backoff::default();
        let Patience { first, good_after, .. } = Patience::default();
        let _ = (backoff.next(1.0), backoff.next(1.0));
        backoff.lasted(good_after - Duration::from_millis(1));
        assert_eq!(backoff.next(1.0), first * 4);
        backoff.lasted(good_after);
        assert_eq!(backoff.next(1.0), first);
    }
}
