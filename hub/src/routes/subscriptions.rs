//! How each subscription stands: for status, reconciliation and repair.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use hutong_schema::{digest::Digest, grant::GrantId, wire::v1::subscribe::Cursor};
use parking_lot::Mutex;
use tokio::sync::mpsc;

use crate::numbers::NodeNo;

/// Repairs waiting for one subscription; when full, the one who repairs is told to wait.
const REPAIRS_MAX: usize = 4;

/// How a subscription stands.
#[derive(Clone, Debug)]
pub struct Standing {
    /// The receiving node.
    pub node: NodeNo,
    /// Whether its stream is open.
    pub running: bool,
    /// Whether the snapshot is still under way.
    pub snapshot: bool,
    /// Last position the receiver holds durably.
    pub durable: Option<Cursor>,
    /// Last position sent.
    pub sent: u64,
    /// Changes sent on this stream.
    pub changes: u64,
    /// The receiver's digest at the last checkpoint it passed.
    pub report: Option<(Cursor, Digest)>,
}

/// The register of subscriptions; a cheap handle.
#[derive(Clone, Debug, Default)]
pub struct Subscriptions(Arc<Mutex<BTreeMap<GrantId, Subscription>>>);

#[derive(Debug)]
struct Subscription {
    standing: Standing,
    stream: u64,
    repairs: mpsc::Sender<BTreeSet<Vec<u8>>>,
}

/// A running delivery's entry in the register; when dropped, the subscription no longer runs.
#[derive(Debug)]
pub(super) struct Registration {
    subscriptions: Subscriptions,
    grant: GrantId,
    stream: u64,
    repairs: mpsc::Receiver<BTreeSet<Vec<u8>>>,
}

/// Why a repair cannot be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotRepaired {
    /// The subscriber is not connected.
    #[error("the subscription is not running; the subscriber's agent must be connected")]
    Away,
    /// Earlier repairs are not sent yet.
    #[error("earlier repairs of this subscription are still under way; try again later")]
    Busy,
}

impl Subscriptions {
    /// A delivery starts, with a snapshot or behind what the receiver holds. An older stream of the
    /// same grant ends at its next step.
    pub(super) fn start(
        &self,
        grant: GrantId,
        node: NodeNo,
        snapshot: bool,
        durable: Option<Cursor>,
    ) -> Registration {
        let mut all = self.0.lock();
        let (stream, report) =
            all.get(&grant).map_or((0, None), |before| (before.stream + 1, before.standing.report));
        let (sender, repairs) = mpsc::channel(REPAIRS_MAX);
        let standing = Standing {
            node,
            running: true,
            snapshot,
            durable,
            sent: durable.map_or(0, |cursor| cursor.seq),
            changes: 0,
            report,
        };
        all.insert(grant, Subscription { standing, stream, repairs: sender });
        Registration { subscriptions: self.clone(), grant, stream, repairs }
    }

    /// How a subscription stands; `None` if it never ran since the hub started.
    pub fn standing(&self, grant: GrantId) -> Option<Standing> {
        self.0.lock().get(&grant).map(|subscription| subscription.standing.clone())
    }

    /// All of them, in the order of the grants.
    pub fn all(&self) -> Vec<(GrantId, Standing)> {
        let all = self.0.lock();
        all.iter().map(|(grant, subscription)| (*grant, subscription.standing.clone())).collect()
    }

    /// Has the rows of these keys sent again as they are now.
    ///
    /// # Errors
    /// When the subscriber is away or does not keep up.
    pub fn repair(&self, grant: GrantId, keys: BTreeSet<Vec<u8>>) -> Result<(), NotRepaired> {
        let all = self.0.lock();
        let subscription = all.get(&grant).filter(|subscription| subscription.standing.running);
        let subscription = subscription.ok_or(NotRepaired::Away)?;
        subscription.repairs.try_send(keys).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NotRepaired::Busy,
            mpsc::error::TrySendError::Closed(_) => NotRepaired::Away,
        })
    }
}

impl Registration {
    /// Changes the standing; `false` when a newer stream of this grant took over.
    pub(super) fn update(&self, change: impl FnOnce(&mut Standing)) -> bool {
        let mut all = self.subscriptions.0.lock();
        match all.get_mut(&self.grant) {
            Some(current) if current.stream == self.stream => {
                change(&mut current.standing);
                true
            }
            Some(_) | None => false,
        }
    }

    /// Whether a newer stream of this grant took over.
    pub(super) fn replaced(&self) -> bool {
        !self.update(|_| {})
    }

    /// The next repair; waits for ever when there is none.
    pub(super) async fn repair(&mut self) -> BTreeSet<Vec<u8>> {
        match self.repairs.recv().await {
            Some(keys) => keys,
            None => std::future::pending().await,
        }
    }
}

impl Drop for Registration {
    fn drop(&mut self) {
        self.update(|standing| standing.running = false);
    }
}
