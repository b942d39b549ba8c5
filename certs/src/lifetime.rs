//! When a certificate is renewed, and when somebody should worry. Pure: clock and randomness are
//! arguments.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use crate::certificate::CertificateFacts;
use crate::clock::{BACKDATE, after};

/// Longest wait between two attempts while the certificate is still good.
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// Longest wait between two attempts once it has expired: the node is idle until one succeeds.
const RETRY_EXPIRED: Duration = Duration::from_secs(30);

/// Shortest of the longest waits, for certificates that live for seconds.
const RETRY_MIN: Duration = Duration::from_secs(1);

/// Half of the time over which the renewals of certificates that were issued together are spread,
/// as a part of their life.
const SPREAD: f64 = 0.05;

/// How long an expired certificate that is not revoked may still be shown to get the next one.
pub const RENEWABLE_FOR: SignedDuration = SignedDuration::from_hours(90 * 24);

/// The life of a certificate, from its issue to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lifetime {
    issued: Timestamp,
    ends: Timestamp,
}

impl CertificateFacts {
    /// From issue to end. Validity begins a day before the issue.
    #[must_use]
    pub fn lifetime(&self) -> Lifetime {
        Lifetime {
            issued: after(self.not_before, BACKDATE).min(self.not_after),
            ends: self.not_after,
        }
    }
}

impl Lifetime {
    /// When it ends.
    #[must_use]
    pub fn ends(&self) -> Timestamp {
        self.ends
    }

    /// When to renew it: at two thirds of its life, a twentieth of it earlier or later. `unit` is a
    /// random number in `0.0..1.0`.
    #[must_use]
    pub fn renew_at(&self, unit: f64) -> Timestamp {
        let part = 2.0 / 3.0 + (unit.clamp(0.0, 1.0) * 2.0 - 1.0) * SPREAD;
        let until = self.whole().as_secs_f64() * part;
        after(self.issued, SignedDuration::try_from_secs_f64(until).unwrap_or(SignedDuration::ZERO))
    }

    /// How long is left; zero after the end.
    #[must_use]
    pub fn left(&self, now: Timestamp) -> Duration {
        Duration::try_from(self.ends.duration_since(now)).unwrap_or_default()
    }

    /// Whether less than a third is left, so that it should have been renewed.
    #[must_use]
    pub fn is_short(&self, now: Timestamp) -> bool {
        self.left(now) < self.whole() / 3
    }

    /// How long to wait after that many failed attempts in a row: from a second on, doubling, up to a
    /// tenth of what is left and never over an hour.
    #[must_use]
    pub fn retry_after(&self, now: Timestamp, failures: u32, unit: f64) -> Duration {
        let left = self.left(now);
        let longest =
            if left.is_zero() { RETRY_EXPIRED } else { (left / 10).clamp(RETRY_MIN, RETRY_MAX) };
        let doubled =
            RETRY_MIN.saturating_mul(1u32.checked_shl(failures.min(31)).unwrap_or(u32::MAX));
        // Not all at once when the hub is back, but no attempt right after the one before.
        doubled.min(longest).mul_f64(0.5 + unit.clamp(0.0, 1.0) / 2.0)
    }

    fn whole(&self) -> Duration {
        Duration::try_from(self.ends.duration_since(self.issued)).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(seconds: i64) -> Lifetime {
        let issued = Timestamp::UNIX_EPOCH;
        Lifetime { issued, ends: after(issued, SignedDuration::from_secs(seconds)) }
    }

    #[test]
    fn it_is_renewed_around_two_thirds() {
        let life = of(300);
        assert_eq!(life.renew_at(0.5).as_second(), 200);
        assert_eq!(life.renew_at(0.0).as_second(), 185);
        assert_eq!(life.renew_at(1.0).as_second(), 215);
        let second = |second| Timestamp::from_second(second).unwrap();
        assert!(!life.is_short(second(200)) && life.is_short(second(201)));
        assert!(life.is_short(second(301)) && life.left(second(301)).is_zero());
    }

    #[test]
    fn a_node_that_was_off_for_long_asks_soon_and_a_healthy_one_seldom() {
        let ninety_days = of(90 * 86_400);
        let due = ninety_days.renew_at(0.5);
        assert_eq!(ninety_days.retry_after(due, 20, 1.0), RETRY_MAX);
        assert_eq!(ninety_days.retry_after(due, 0, 1.0), RETRY_MIN);
        let long_after = after(ninety_days.ends, SignedDuration::from_hours(24 * 60));
        assert_eq!(ninety_days.retry_after(long_after, 20, 1.0), RETRY_EXPIRED);
    }

    proptest! {
        #[test]
        fn whatever_life_it_has_renewal_lies_within_it(seconds in 0i64..1_000_000_000, unit in 0.0f64..1.0, failures in 0u32..100) {
            let life = of(seconds);
            prop_assert!(life.renew_at(unit) <= life.ends);
            let wait = life.retry_after(life.renew_at(unit), failures, unit);
            prop_assert!(wait >= RETRY_MIN / 2 && wait <= RETRY_MAX);
        }
    }
}
