//! How often something may happen: so many times at once, then so many a second. Pure: the time is an
//! argument.

use std::time::{Duration, Instant};

/// A rate with a burst.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Rate {
    /// Times a second, in the long run.
    pub(super) per_second: u32,
    /// Times at once, after a pause.
    pub(super) burst: u32,
}

/// What is left of a rate.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bucket {
    rate: Rate,
    /// Thousandths of a time.
    left: u64,
    at: Instant,
}

const WHOLE: u64 = 1_000;

impl Bucket {
    /// A full one.
    pub(super) fn new(rate: Rate, now: Instant) -> Self {
        Self { rate, left: u64::from(rate.burst) * WHOLE, at: now }
    }

    /// Takes one.
    ///
    /// # Errors
    /// When none is left, with the time until one is.
    pub(super) fn take(&mut self, now: Instant) -> Result<(), Duration> {
        self.refill(now);
        match self.left.checked_sub(WHOLE) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                let lacking = WHOLE - self.left;
                let per_second = u64::from(self.rate.per_second).max(1);
                // Thousandths over times a second are milliseconds.
                Err(Duration::from_millis(lacking.div_ceil(per_second)))
            }
        }
    }

    /// Whether none is left.
    pub(super) fn is_empty(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left < WHOLE
    }

    /// Whether nothing was taken for so long that it says no more than a new one.
    pub(super) fn is_full(&mut self, now: Instant) -> bool {
        self.refill(now);
        self.left == u64::from(self.rate.burst) * WHOLE
    }

    fn refill(&mut self, now: Instant) {
        let passed = now.saturating_duration_since(self.at).as_millis();
        let come = passed.saturating_mul(u128::from(self.rate.per_second));
        if come == 0 {
            return;
        }
        self.at = now;
        let come = u64::try_from(come).unwrap_or(u64::MAX);
        self.left = self.left.saturating_add(come).min(u64::from(self.rate.burst) * WHOLE);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_then_the_rate() {
        let (rate, start) = (Rate { per_second: 10, burst: 3 }, Instant::now());
        let mut bucket = Bucket::new(rate, start);
        for _ in 0..3 {
            assert_eq!(bucket.take(start), Ok(()));
        }
        assert_eq!(bucket.take(start), Err(Duration::from_millis(100)));
        let later = start + Duration::from_millis(100);
        assert_eq!(bucket.take(later), Ok(()));
        assert_eq!(bucket.take(later), Err(Duration::from_millis(100)));
        assert!(!bucket.is_full(later + Duration::from_millis(299)));
        assert!(bucket.is_full(later + Duration::from_millis(300)));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_and_rate(pauses in prop::collection::vec(0u64..40, 1..400)) {
            let (rate, start) = (Rate { per_second: 50, burst: 5 }, Instant::now());
            let (mut bucket, mut now, mut taken) = (Bucket::new(rate, start), start, 0u64);
            for pause in pauses {
                now += Duration::from_millis(pause);
                taken += u64::from(bucket.take(now).is_ok());
            }
            let seconds = now.duration_since(start).as_secs_f64();
            prop_assert!(taken as f64 <= 5.0 + 50.0 * seconds + 1e-6, "{taken} in {seconds} s");
        }
    }
}
