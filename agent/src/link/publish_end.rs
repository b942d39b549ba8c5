//! What the end of a publish stream means: a pure decision.
//!
//! | what happened | what follows |
//! | --- | --- |
//! | the connection broke | sent again after the reconnect, from what the hub has stored |
//! | HT-1107 busy, HT-1004 not ready, HT-1402 too fast, HT-1009 too slow | again after the time the hub names; after five seconds without a stored batch it is named in `status` and in the log |
//! | HT-1111 the department's room is used up | it stands still, named in `status`; what is not stored is dropped, and the source is read again at its next look, so that its deletes come through; other publications go on |
//! | HT-1106 gap | again: opening compares both ends; the third time in a row it stands still |
//! | HT-1105 forked: this state was restored from a copy, or runs twice | it stands still until `confirm`, which begins a new epoch that names every row |
//! | HT-1104 fenced, the hub lost settled batches | once by itself a new epoch; then as above |
//! | HT-1108 schema changed | what is not stored is dropped, the entry is fetched, the source is mapped again |
//! | any other refusal | it stands still, named in `status`, and is tried again every minute |
//!
//! Rows that a program handed over cannot be read again: where those of a source are dropped, they are
//! kept, numbered anew in a new epoch, and brought into a new schema.

use std::time::{Duration, Instant};

use hutong_schema::wire::v1::{RefusalCode, Refused};

use super::LinkError;
use crate::{
    quarantine::QuarantineError,
    spool::{Divergence, StoreError},
};

/// Why a publish stream ended.
#[derive(Debug, thiserror::Error)]
pub enum PublishFailure {
    /// The connection.
    #[error(transparent)]
    Link(LinkError),
    /// The hub refused.
    #[error("{0}")]
    Refused(Refused),
    /// The hub's answer to the opening does not fit the outbox.
    #[error("{}the hub and this outbox do not hold the same batches: {}", code_of(*.0), of(*.0))]
    Diverged(Divergence),
    /// An acknowledgement does not fit what was sent.
    #[error("HT-1105 FORKED: the hub acknowledges other content for batch {0} than was sent")]
    Forked(u64),
    /// There is no entry.
    #[error("no catalogue entry is known for this resource")]
    NoEntry,
    /// Rejected rows could not be written.
    #[error(transparent)]
    Quarantine(QuarantineError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A worker of the runtime ended early.
    #[error("the work was interrupted")]
    Interrupted,
}

impl From<LinkError> for PublishFailure {
    fn from(error: LinkError) -> Self {
        if let LinkError::Refused(refused) = error {
            Self::Refused(refused)
        } else {
            Self::Link(error)
        }
    }
}

/// The code that the hub would refuse the next batch with.
fn code_of(divergence: Divergence) -> &'static str {
    match divergence {
        Divergence::HubIsAhead | Divergence::Forked => "HT-1105 FORKED: ",
        Divergence::HubIsBehind => "",
    }
}

/// Who may decide that a new epoch is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recovery {
    /// The agent, once: it has everything, and the hub has less.
    ByItself,
    /// A person only: this machine may be the wrong one of two, and its source an old one.
    Confirmed,
}

fn of(divergence: Divergence) -> &'static str {
    match divergence {
        Divergence::HubIsAhead => {
            "it has acknowledged batches that this outbox never had: this machine's state is older than that, it was restored from a copy"
        }
        Divergence::HubIsBehind => {
            "it lost batches that were settled (it was restored from a copy)"
        }
        Divergence::Forked => {
            "the same number stands for other content (one of two copies of this machine sent it)"
        }
    }
}

/// What follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing before the connection is back.
    Reconnect,
    /// The same again, after a while; it is no trouble yet.
    Again(Duration),
    /// A new epoch.
    NewEpoch,
    /// Map the source to the new schema.
    MapAgain,
    /// It stands still; tried again after a while, or at once when a person confirms.
    StandStill(Duration),
    /// The agent must end: the store took no write.
    Fatal,
}

/// How long a refused publication stands still before it is tried again.
pub(super) const STAND_STILL: Duration = Duration::from_secs(60);

/// Wait without a time named by the hub.
const SOON: Duration = Duration::from_secs(1);

/// Whether mapping the source again helps after HT-1108: the entry is another one than before, or the
/// batch that the hub does not take follows another one, as when the entry was changed while it waited.
pub fn is_news(before: Option<u32>, now: Option<u32>, waiting: Option<u32>) -> bool {
    before != now || waiting.is_some_and(|waiting| Some(waiting) != now)
}

/// So long a hub may take nothing before people are told.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a hub has been taking nothing.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// Since when, and what the hub had stored by then.
    waiting: Option<(Instant, u64)>,
}

impl Patience {
    /// The hub took nothing once more; `stored_through` is the last batch that it has. Whether people
    /// are to be told.
    pub(super) fn is_over(&mut self, stored_through: u64, now: Instant) -> bool {
        match self.waiting {
            Some((since, before)) if before == stored_through => {
                now.saturating_duration_since(since) >= PATIENCE
            }
            Some(_) | None => {
                self.waiting = Some((now, stored_through));
                false
            }
        }
    }
}

/// Gaps in a row before it is no coincidence.
const GAPS_MAX: u32 = 3;

/// Decides. `may_recover` tells whether a new epoch may be opened, and is asked only when it is
/// needed; `gaps` counts the gaps in a row, this one included.
pub fn next(
    failure: &PublishFailure,
    may_recover: impl FnOnce(Recovery) -> bool,
    gaps: u32,
) -> Next {
    let new_epoch =
        |allowed: bool| if allowed { Next::NewEpoch } else { Next::StandStill(STAND_STILL) };
    match failure {
        PublishFailure::Link(_) => Next::Reconnect,
        PublishFailure::Diverged(Divergence::HubIsBehind) => {
            new_epoch(may_recover(Recovery::ByItself))
        }
        PublishFailure::Diverged(Divergence::HubIsAhead | Divergence::Forked)
        | PublishFailure::Forked(_) => new_epoch(may_recover(Recovery::Confirmed)),
        PublishFailure::NoEntry | PublishFailure::Quarantine(_) => Next::StandStill(STAND_STILL),
        PublishFailure::Interrupted => Next::Again(SOON),
        PublishFailure::Store(StoreError::Conflict { .. }) => Next::Again(SOON),
        PublishFailure::Store(StoreError::Cancelled) => Next::Reconnect,
        PublishFailure::Store(_) => Next::Fatal,
        PublishFailure::Refused(refused) => {
            let wait = refused.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
            match refused.reason() {
                Some(
                    RefusalCode::Busy
                    | RefusalCode::NotReady
                    | RefusalCode::TooMany
                    | RefusalCode::Hasty
                    | RefusalCode::Slow,
                ) => Next::Again(wait.unwrap_or(SOON)),
                Some(RefusalCode::Gap) if gaps < GAPS_MAX => Next::Again(wait.unwrap_or_default()),
                Some(RefusalCode::Forked) => new_epoch(may_recover(Recovery::Confirmed)),
                Some(RefusalCode::Fenced | RefusalCode::Chain) => {
                    new_epoch(may_recover(Recovery::ByItself))
                }
                Some(RefusalCode::SchemaChanged) => Next::MapAgain,
                Some(_) | None => Next::StandStill(wait.unwrap_or(STAND_STILL)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(code: RefusalCode) -> PublishFailure {
        PublishFailure::Refused(Refused::new(code, "test"))
    }

    #[test]
    fn every_refusal_leads_somewhere_and_none_is_dropped() {
        for code in RefusalCode::ALL {
            let next = next(&refused(*code), |_| false, 1);
            assert!(!matches!(next, Next::Reconnect | Next::Fatal), "{code:?} leads to {next:?}");
        }
    }

    #[test]
    fn a_fork_waits_for_a_person_and_a_hub_that_lost_something_does_not() {
        let ahead = PublishFailure::Diverged(Divergence::HubIsAhead);
        assert!(ahead.to_string().starts_with("HT-1105 FORKED"), "{ahead}");
        for failure in [refused(RefusalCode::Forked), PublishFailure::Forked(3), ahead] {
            let by_itself = |by| by == Recovery::ByItself;
            assert_eq!(next(&failure, by_itself, 0), Next::StandStill(STAND_STILL));
            assert_eq!(next(&failure, |by| by == Recovery::Confirmed, 0), Next::NewEpoch);
        }
        let behind = PublishFailure::Diverged(Divergence::HubIsBehind);
        for failure in [refused(RefusalCode::Fenced), behind] {
            assert_eq!(next(&failure, |by| by == Recovery::ByItself, 0), Next::NewEpoch);
            assert_eq!(next(&failure, |_| false, 0), Next::StandStill(STAND_STILL));
        }
    }

    #[test]
    fn people_are_told_of_a_hub_that_takes_nothing_for_seconds() {
        let (mut patience, start) = (Patience::default(), Instant::now());
        let after = |millis| start + Duration::from_millis(millis);
        for (millis, stored_through, told) in [
            (0, 7, false),
            (4_900, 7, false),
            (5_000, 7, true),
            (60_000, 7, true),
            // It took a batch in between.
            (61_000, 8, false),
            (65_900, 8, false),
            (66_000, 8, true),
        ] {
            assert_eq!(patience.is_over(stored_through, after(millis)), told, "after {millis} ms");
        }
    }

    #[test]
    fn a_busy_hub_is_asked_again_when_it_says() {
        let busy = Refused::new(RefusalCode::Busy, "full").retry_after(2_500);
        let next = next(&PublishFailure::Refused(busy), |_| true, 0);
        assert_eq!(next, Next::Again(Duration::from_millis(2_500)));
    }

    #[test]
    fn a_department_without_room_stands_still_until_somebody_makes_some() {
        let full = Refused::new(RefusalCode::Quota, "full").retry_after(60_000);
        let next = next(&PublishFailure::Refused(full), |_| true, 0);
        assert_eq!(next, Next::StandStill(Duration::from_secs(60)));
    }

    #[test]
    fn a_gap_that_comes_back_stands_still() {
        assert_eq!(next(&refused(RefusalCode::Gap), |_| true, 1), Next::Again(Duration::ZERO));
        assert_eq!(
            next(&refused(RefusalCode::Gap), |_| true, GAPS_MAX),
            Next::StandStill(STAND_STILL)
        );
    }
}
