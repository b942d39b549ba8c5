//! What the end of a publish stream means: a pure decision.
//!
//! | what happened | what follows |
//! | --- | --- |
//! | the connection broke | sent again after the reconnect, from what the hub has stored |
//! | HT-1107 busy, HT-1004 not ready | again after the time the hub names |
//! | HT-1106 gap | again: opening compares both ends; the third time in a row it stands still |
//! | HT-1105 forked, HT-1104 fenced, diverged | once by itself a new epoch, which names every row; then it stands still until `confirm` |
//! | HT-1108 schema changed | what is not stored is dropped, the entry is fetched, the source is mapped again |
//! | any other refusal | it stands still, named in `status`, and is tried again every minute |

use std::time::Duration;

use hutong_schema::wire::v1::{RefusalCode, Refused};

use super::LinkError;
use crate::{
    quarantine::QuarantineError,
    spool::{Divergence, StoreError},
};

/// Why a publish stream ended.
#[derive(Debug, thiserror::Error)]
pub(super) enum PublishFailure {
    #[error(transparent)]
    Link(LinkError),
    #[error("{0}")]
    Refused(Refused),
    #[error("the hub and this outbox do not hold the same batches: {}", of(*.0))]
    Diverged(Divergence),
    #[error("the hub acknowledges other content for batch {0} than was sent")]
    Forked(u64),
    #[error("no catalogue entry is known for this resource")]
    NoEntry,
    #[error(transparent)]
    Quarantine(QuarantineError),
    #[error(transparent)]
    Store(#[from] StoreError),
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

fn of(divergence: Divergence) -> &'static str {
    match divergence {
        Divergence::HubIsAhead => {
            "it has batches that this outbox never had (this state was restored from a copy)"
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
pub(super) enum Next {
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

/// Gaps in a row before it is no coincidence.
const GAPS_MAX: u32 = 3;

/// Decides. `may_recover` tells whether a new epoch may be opened without a person, and is asked only
/// when it is needed; `gaps` counts the gaps in a row, this one included.
pub(super) fn next(
    failure: &PublishFailure,
    may_recover: impl FnOnce() -> bool,
    gaps: u32,
) -> Next {
    let new_epoch =
        |allowed: bool| if allowed { Next::NewEpoch } else { Next::StandStill(STAND_STILL) };
    match failure {
        PublishFailure::Link(_) => Next::Reconnect,
        PublishFailure::Diverged(_) | PublishFailure::Forked(_) => new_epoch(may_recover()),
        PublishFailure::NoEntry | PublishFailure::Quarantine(_) => Next::StandStill(STAND_STILL),
        PublishFailure::Interrupted => Next::Again(SOON),
        PublishFailure::Store(StoreError::Conflict { .. }) => Next::Again(SOON),
        PublishFailure::Store(StoreError::Cancelled) => Next::Reconnect,
        PublishFailure::Store(_) => Next::Fatal,
        PublishFailure::Refused(refused) => {
            let wait = refused.retry_after_ms.map(|ms| Duration::from_millis(ms.into()));
            match refused.reason() {
                Some(RefusalCode::Busy | RefusalCode::NotReady | RefusalCode::TooMany) => {
                    Next::Again(wait.unwrap_or(SOON))
                }
                Some(RefusalCode::Gap) if gaps < GAPS_MAX => Next::Again(wait.unwrap_or_default()),
                Some(RefusalCode::Forked | RefusalCode::Fenced | RefusalCode::Chain) => {
                    new_epoch(may_recover())
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
            let next = next(&refused(*code), || false, 1);
            assert!(!matches!(next, Next::Reconnect | Next::Fatal), "{code:?} leads to {next:?}");
        }
    }

    #[test]
    fn a_fork_is_mended_once_and_then_waits_for_a_person() {
        for failure in
            [refused(RefusalCode::Forked), refused(RefusalCode::Fenced), PublishFailure::Forked(3)]
        {
            assert_eq!(next(&failure, || true, 0), Next::NewEpoch);
            assert_eq!(next(&failure, || false, 0), Next::StandStill(STAND_STILL));
        }
    }

    #[test]
    fn a_busy_hub_is_asked_again_when_it_says() {
        let busy = Refused::new(RefusalCode::Busy, "full").retry_after(2_500);
        let next = next(&PublishFailure::Refused(busy), || true, 0);
        assert_eq!(next, Next::Again(Duration::from_millis(2_500)));
    }

    #[test]
    fn a_gap_that_comes_back_stands_still() {
        assert_eq!(next(&refused(RefusalCode::Gap), || true, 1), Next::Again(Duration::ZERO));
        assert_eq!(
            next(&refused(RefusalCode::Gap), || true, GAPS_MAX),
            Next::StandStill(STAND_STILL)
        );
    }
}
