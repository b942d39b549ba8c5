//! How long to wait before trying again: exponential, with full jitter, so that many nodes that
//! lost the same hub do not come back in one wave. Pure: randomness is an argument.

use std::time::Duration;

/// Longest wait after the first failure.
pub(super) const FIRST: Duration = Duration::from_millis(200);

/// Longest wait at all: a hub that is back serves every node within this time.
pub(super) const LONGEST: Duration = Duration::from_secs(30);

/// A connection that lasted this long since the hub's greeting counts as a success: the next failure
/// starts from the beginning. A hub that greets and closes at once does not reset the waits; one that
/// is restarted several times in a minute, as by an operator who tries a setting, finds its nodes
/// back at once each time.
pub(super) const GOOD_AFTER: Duration = Duration::from_secs(1);

/// The waits of one reconnecting peer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Backoff {
    failures: u32,
}

impl Backoff {
    /// The wait after one more failure; `unit` is a random number in `0.0..1.0`.
    pub fn next(&mut self, unit: f64) -> Duration {
        let longest = FIRST.saturating_mul(1u32.checked_shl(self.failures).unwrap_or(u32::MAX));
        self.failures = self.failures.saturating_add(1);
        longest.min(LONGEST).mul_f64(unit.clamp(0.0, 1.0))
    }

    /// A connection ended after it had lasted so long.
    pub fn lasted(&mut self, time: Duration) {
        if time >= GOOD_AFTER {
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
            let mut bound = FIRST;
            for unit in units {
                let wait = backoff.next(unit);
                prop_assert!(wait <= bound, "{wait:?} after {bound:?}");
                bound = (bound * 2).min(LONGEST);
            }
        }
    }

    #[test]
    fn the_bound_is_reached_and_kept() {
        let mut backoff = Backoff::default();
        let waits: Vec<_> = (0..200).map(|_| backoff.next(1.0)).collect();
        assert_eq!(waits[..4], [200, 400, 800, 1_600].map(Duration::from_millis));
        assert_eq!(waits[8..].iter().max(), Some(&LONGEST));
        assert_eq!(waits[8..].iter().min(), Some(&LONGEST));
    }

    #[test]
    fn only_a_lasting_connection_resets_the_waits() {
        let mut backoff = Backoff::default();
        let _ = (backoff.next(1.0), backoff.next(1.0));
        backoff.lasted(GOOD_AFTER - Duration::from_millis(1));
        assert_eq!(backoff.next(1.0), FIRST * 4);
        backoff.lasted(GOOD_AFTER);
        assert_eq!(backoff.next(1.0), FIRST);
    }
}
