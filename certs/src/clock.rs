//! One notion of time towards three libraries: `jiff` is ours, rcgen wants the `time` crate's type
//! and rustls its own seconds.

use std::time::{Duration, SystemTime};

use jiff::{SignedDuration, Timestamp};
use rcgen::CertificateParams;
use rustls_pki_types::UnixTime;

/// How far back the beginning of a certificate's validity is set, so that a machine whose clock is
/// slow by less than this can use it at once.
pub const BACKDATE: SignedDuration = SignedDuration::from_hours(24);

/// The machine's clock. The only place of this package that reads it.
#[must_use]
pub fn now() -> Timestamp {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// Sets from when until when a certificate is valid; fractions of a second are cut off. Times
/// before 1970 become 1970: no certificate of ours is that old.
pub(crate) fn set_validity(params: &mut CertificateParams, from: Timestamp, until: Timestamp) {
    let seconds =
        |time: Timestamp| Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0));
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + seconds(from);
    params.not_after = epoch + seconds(until);
}

/// What rustls and webpki call a time, as ours.
pub(crate) fn from_unix(time: UnixTime) -> Timestamp {
    i64::try_from(time.as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

/// Ours, as what rustls and webpki call a time.
pub(crate) fn to_unix(time: Timestamp) -> UnixTime {
    UnixTime::since_unix_epoch(Duration::from_secs(u64::try_from(time.as_second()).unwrap_or(0)))
}

/// Seconds since 1970 as a timestamp; what lies outside the calendar is clamped.
pub(crate) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(if seconds < 0 {
        Timestamp::MIN
    } else {
        Timestamp::MAX
    })
}

/// `time + duration`, clamped to the calendar.
pub(crate) fn after(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_add(duration).unwrap_or(Timestamp::MAX)
}

/// `time - duration`, clamped to the calendar.
pub(crate) fn before(time: Timestamp, duration: SignedDuration) -> Timestamp {
    time.saturating_sub(duration).unwrap_or(Timestamp::MIN)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_survive_the_way_through_each_library() {
        let time: Timestamp = "2026-11-21T12:34:56Z".parse().unwrap();
        assert_eq!(from_unix(to_unix(time)), time);
        let mut params = CertificateParams::default();
        set_validity(&mut params, time, after(time, SignedDuration::from_hours(1)));
        assert_eq!(params.not_before.unix_timestamp(), time.as_second());
        assert_eq!(params.not_after.unix_timestamp(), time.as_second() + 3600);
    }

    #[test]
    fn times_outside_the_calendar_are_clamped() {
        assert_eq!(from_seconds(i64::MAX), Timestamp::MAX);
        assert_eq!(from_seconds(i64::MIN), Timestamp::MIN);
        assert_eq!(after(Timestamp::MAX, SignedDuration::from_hours(1)), Timestamp::MAX);
    }
}
