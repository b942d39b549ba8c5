//! Receiving over one session: which grants there are, and a stream for each.

use std::{
    collections::{HashMap, HashSet, hash_map::Entry},
    sync::Arc,
    time::Duration,
};

use hutong_schema::{
    grant::{GrantId, GrantView},
    wire::v1::{
        RefusalCode,
        command::{GrantList, GrantPage},
    },
    words::in_full,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    Backoff, LinkError, Node, Session, SubscriptionOptions,
    deliver::{DeliverEnd, DeliverFailure, Delivering},
    subscription::Phase,
};
use crate::{sinks::SinkError, spool::StoreError};

/// Subscribe streams of a node at once; further ones take turns.
const STREAMS: usize = 10;

/// Wait after a failed question for the grants.
const SOON: Duration = Duration::from_secs(2);

/// What the deliveries of one session share.
struct Deliveries {
    node: Arc<Node>,
    session: Session,
    scope: CancellationToken,
    streams: Semaphore,
    running: Mutex<HashMap<GrantId, Running>>,
}

/// A grant that is being received.
struct Running {
    options: SubscriptionOptions,
    cancel: CancellationToken,
}

/// Serves the subscriptions until the session ends.
pub(super) async fn serve(
    node: Arc<Node>,
    session: Session,
    scope: CancellationToken,
    tasks: TaskTracker,
) {
    let deliveries = Arc::new(Deliveries {
        node,
        session,
        scope,
        streams: Semaphore::new(STREAMS),
        running: Mutex::default(),
    });
    while !deliveries.scope.is_cancelled() {
        match deliveries.wanted().await {
            Ok(wanted) => {
                deliveries.node.set_grants_trouble(None);
                deliveries.leave_all_but(&wanted);
                for (grant, options) in wanted {
                    let Some(cancel) = deliveries.begin(grant, &options) else { continue };
                    let deliveries = Arc::clone(&deliveries);
                    tasks.spawn(async move {
                        let fatal = deliveries.node.process.fatal.clone();
                        let work = Box::pin(deliveries.run(grant, &options, &cancel));
                        fatal.guard("a delivery", work).await;
                    });
                }
                tokio::select! {
                    () = deliveries.node.grants.notified() => {}
                    () = deliveries.scope.cancelled() => return,
                }
            }
            Err(error) => {
                let reason = in_full(&error);
                tracing::warn!(node = %deliveries.node.name(), reason, "the grants could not be asked for");
                deliveries.node.set_grants_trouble(Some(reason));
                tokio::select! {
                    () = tokio::time::sleep(SOON) => {}
                    () = deliveries.scope.cancelled() => return,
                }
            }
        }
    }
}

impl Deliveries {
    /// Ends the deliveries that are wanted no more, or otherwise than they run.
    fn leave_all_but(&self, wanted: &[(GrantId, SubscriptionOptions)]) {
        for (grant, running) in self.running.lock().iter() {
            let so = |(other, options): &(_, _)| other == grant && *options == running.options;
            if !wanted.iter().any(so) {
                running.cancel.cancel();
            }
        }
    }

    /// Notes that a grant is received; `None` if it is already.
    fn begin(&self, grant: GrantId, options: &SubscriptionOptions) -> Option<CancellationToken> {
        match self.running.lock().entry(grant) {
            Entry::Occupied(_) => None,
            Entry::Vacant(place) => {
                let cancel = self.scope.child_token();
                place.insert(Running { options: options.clone(), cancel: cancel.clone() });
                Some(cancel)
            }
        }
    }

    async fn run(&self, grant: GrantId, options: &SubscriptionOptions, cancel: &CancellationToken) {
        self.deliver(grant, options, cancel).await;
        self.running.lock().remove(&grant);
        if cancel.is_cancelled() && !self.scope.is_cancelled() {
            self.node.subscription(grant).interrupted();
            // It may be wanted otherwise.
            self.node.grants_changed();
        }
    }

    /// The grants to be received, each with where it goes. Grants that were received before and are
    /// no longer listed are asked for as well: the hub's answer says what became of them.
    async fn wanted(&self) -> Result<Vec<(GrantId, SubscriptionOptions)>, LinkError> {
        let options = self.node.wanted_subscriptions();
        if options.is_empty() {
            return Ok(Vec::new());
        }
        let page: GrantPage = self.session.ask(&GrantList {}).await?;
        let views: Vec<GrantView> = page
            .grants
            .read()
            .map_err(|error| LinkError::Protocol(format!("the list of grants: {error}")))?;
        let listed = views.iter().filter(|view| view.grant.modes.deliver).map(|view| view.grant.id);
        let held: Vec<GrantId> = self
            .node
            .subscriptions()
            .into_iter()
            .filter(|each| !matches!(each.state().phase, Phase::Ended(_)))
            .map(|each| each.key.grant)
            .collect();
        let all: HashSet<GrantId> = listed.chain(held).collect();
        let single: Vec<GrantId> = options.iter().filter_map(|each| each.grant).collect();
        let mut wanted = Vec::new();
        for each in &options {
            match each.grant {
                Some(grant) => wanted.push((grant, each.clone())),
                None => wanted.extend(
                    all.iter()
                        .filter(|grant| !single.contains(grant))
                        .map(|grant| (*grant, each.clone())),
                ),
            }
        }
        Ok(wanted)
    }

    /// Receives one grant until it ends or the session does.
    async fn deliver(
        &self,
        grant: GrantId,
        options: &SubscriptionOptions,
        cancel: &CancellationToken,
    ) {
        let subscription = self.node.subscription(grant);
        let others_wait = || self.streams.available_permits() == 0;
        let delivering = Delivering {
            session: &self.session,
            store: self.node.store(),
            subscription: &subscription,
            sink: &options.sink,
            disposal: options.disposal,
            digests: &self.node.process.digests,
            cancel,
            others_wait: &others_wait,
        };
        let mut backoff = Backoff::new(self.node.process.dialler.patience());
        while !cancel.is_cancelled() && !self.session.is_over() {
            let turn = tokio::select! {
                turn = self.streams.acquire() => turn,
                () = cancel.cancelled() => return,
            };
            let Ok(turn) = turn else { return };
            let ended = delivering.run().await;
            drop(turn);
            let failure = match ended {
                Ok(DeliverEnd::Turn | DeliverEnd::Anew) => {
                    // Whoever waits goes first.
                    tokio::task::yield_now().await;
                    continue;
                }
                Ok(DeliverEnd::Cancelled | DeliverEnd::Withdrawn) => return,
                Err(failure) => failure,
            };
            let mut wait = backoff.next(rand::random()).max(SOON);
            match &failure {
                DeliverFailure::Link(error) => {
                    tracing::debug!(%grant, %error, "a subscribe stream broke");
                    if self.session.is_over() {
                        return;
                    }
                }
                DeliverFailure::Sink(SinkError::Store(error @ StoreError::Closed)) => {
                    return self.node.fatal(error);
                }
                DeliverFailure::Refused(refused)
                    if refused.reason() == Some(RefusalCode::NotGranted) =>
                {
                    match delivering.withdrawn_while_away(&refused.detail).await {
                        Ok(true) => return,
                        Ok(false) => {
                            return subscription.set(Phase::StandsStill(refused.to_string()));
                        }
                        Err(error) => subscription.set(Phase::StandsStill(in_full(&error))),
                    }
                }
                DeliverFailure::Refused(refused) => {
                    if let Some(ms) = refused.retry_after_ms {
                        wait = Duration::from_millis(ms.into());
                    }
                    if !matches!(refused.reason(), Some(RefusalCode::NotReady | RefusalCode::Busy))
                    {
                        tracing::error!(%grant, %refused, "the subscription stands still");
                        subscription.set(Phase::StandsStill(refused.to_string()));
                    }
                }
                DeliverFailure::Sink(error) => {
                    if let SinkError::Webhook(error) = error {
                        wait = wait.max(error.retry_after().unwrap_or_default());
                    }
                    let reason = in_full(error);
                    tracing::error!(%grant, reason, "the subscription stands still; it is tried again");
                    subscription.set(Phase::StandsStill(reason));
                }
            }
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = cancel.cancelled() => return,
            }
        }
    }
}
