//! Reconciliation: source = hub, and hub's granted view = subscriber, for every publication and
//! subscription, now. What differs is named by key, and on request mended: the source sends the
//! keys again, or the subscriber gets them again.

mod compare;
mod drill;
mod publications;
mod report;
mod subscriptions;

use std::time::Duration;

use tokio::time::Instant;

pub use compare::Difference;
pub use report::{Comparison, KEYS_MAX, KeyDifference, Report, Side, Verdict};

use crate::{
    nodes::Nodes,
    routes::Router,
    views::{Views, registry::RegistryHandle},
};

/// How long a comparison waits for both sides to stand at the same point.
const STILL_WITHIN: Duration = Duration::from_secs(20);

/// How long a repair may take until both sides are found equal.
const REPAIRED_WITHIN: Duration = Duration::from_secs(60);

/// Pause before a side that was still moving is asked again.
const ASK_AGAIN: Duration = Duration::from_millis(200);

/// What to reconcile.
#[derive(Clone, Debug, Default)]
pub struct Scope {
    /// Only this resource, or grants on this target; everything when absent.
    pub subject: Option<String>,
    /// Whether differences are mended.
    pub repair: bool,
}

/// Reconciles; a cheap handle.
#[derive(Clone)]
pub struct Reconciler {
    views: Views,
    registry: RegistryHandle,
    nodes: Nodes,
    router: Router,
}

impl Reconciler {
    /// Compares these views with what nodes say.
    pub fn new(views: Views, registry: RegistryHandle, nodes: Nodes, router: Router) -> Self {
        Self { views, registry, nodes, router }
    }

    /// Compares, and mends if asked to. `progress` hears how many comparisons of how many are made.
    pub async fn run(&self, scope: &Scope, progress: impl Fn(usize, usize)) -> Report {
        let publications = self.publications(scope);
        let subscriptions = self.subscriptions(scope);
        let total = publications.len() + subscriptions.len();
        let mut publications =
            self.compare_publications(publications, |done| progress(done, total)).await;
        // Publications are mended first: subscribers are then compared with what is right.
        if scope.repair {
            self.repair_publications(&mut publications).await;
        }
        let mut subscriptions = self.compare_subscriptions(subscriptions).await;
        progress(publications.len() + subscriptions.len(), total);
        if scope.repair {
            self.repair_subscriptions(&mut subscriptions).await;
        }
        Report { publications, subscriptions }
    }
}

/// Until when something may take.
fn until(within: Duration) -> Instant {
    Instant::now() + within
}
