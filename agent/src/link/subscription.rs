//! One subscription of a node, as its status shows it.

use hutong_certs::clock;
use hutong_schema::wire::v1::subscribe::Cursor;
use jiff::Timestamp;
use parking_lot::Mutex;

use super::check::Checks;
use crate::sinks::{Record, SubscriptionKey};

/// What a subscription is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Phase {
    /// It waits for the connection or for its turn.
    Waiting,
    /// A snapshot is being received.
    Snapshot,
    /// Changes are received as they happen.
    Tail,
    /// It cannot go on by itself: why.
    StandsStill(String),
    /// The grant ended: why.
    Ended(String),
}

/// One subscription of a node.
#[derive(Debug)]
pub struct Subscription {
    /// Which.
    pub key: SubscriptionKey,
    /// Who may touch its file, and who wants it checked.
    pub(super) checks: Checks,
    live: Mutex<Live>,
}

#[derive(Debug)]
struct Live {
    phase: Phase,
    cursor: Option<Cursor>,
    consistent: bool,
    changes: u64,
    rows: Option<u64>,
    behind: Option<u64>,
    delivered: Option<Timestamp>,
}

/// What is shown of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionState {
    /// What it is doing.
    pub phase: Phase,
    /// Durable position.
    pub cursor: Option<Cursor>,
    /// Whether what is held is the state of the feed at that position.
    pub consistent: bool,
    /// Changes written since the last snapshot began.
    pub changes: u64,
    /// Rows held, as of the last checkpoint.
    pub rows: Option<u64>,
    /// Feed entries to come until what is held is consistent, while that is known.
    pub behind: Option<u64>,
    /// When something was last written down, since the agent started.
    pub delivered: Option<Timestamp>,
}

impl Subscription {
    /// As the store knows it.
    pub fn new(key: SubscriptionKey, record: Option<&Record>) -> Self {
        let live = Live {
            phase: Phase::Waiting,
            cursor: None,
            consistent: false,
            changes: 0,
            rows: None,
            behind: None,
            delivered: None,
        };
        let subscription = Self { key, checks: Checks::default(), live: Mutex::new(live) };
        if let Some(record) = record {
            subscription.stands(record);
            if let Some(reason) = &record.ended {
                subscription.set(Phase::Ended(reason.clone()));
            }
        }
        subscription
    }

    /// What is shown of it.
    pub fn state(&self) -> SubscriptionState {
        let live = self.live.lock();
        SubscriptionState {
            phase: live.phase.clone(),
            cursor: live.cursor,
            consistent: live.consistent,
            changes: live.changes,
            rows: live.rows,
            behind: live.behind,
            delivered: live.delivered,
        }
    }

    pub(super) fn set(&self, phase: Phase) {
        let mut live = self.live.lock();
        if matches!(phase, Phase::Ended(_)) {
            // Nothing is held any more.
            (live.cursor, live.consistent, live.rows, live.behind) = (None, false, None, None);
        }
        live.phase = phase;
    }

    /// Something was written down.
    pub(super) fn moved(&self, record: &Record) {
        self.live.lock().delivered = Some(clock::now());
        self.stands(record);
    }

    fn stands(&self, record: &Record) {
        let mut live = self.live.lock();
        let seq = record.cursor.map_or(0, |cursor| cursor.seq);
        let ahead = record.consistent_at.filter(|_| !record.consistent());
        live.behind = ahead.map(|at| at.seq.saturating_sub(seq));
        live.cursor = record.cursor;
        live.consistent = record.consistent();
        live.changes = record.changes;
    }

    pub(super) fn counted(&self, rows: u64) {
        self.live.lock().rows = Some(rows);
    }

    /// The connection is gone; a reason to stand still stays visible.
    pub(super) fn interrupted(&self) {
        let mut live = self.live.lock();
        if matches!(live.phase, Phase::Snapshot | Phase::Tail) {
            live.phase = Phase::Waiting;
        }
    }
}
