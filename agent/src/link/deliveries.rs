//! Receiving over one session: which grants there are, and a stream for each.

use std::{collections::HashSet, sync::Arc, time::Duration};

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
    running: Mutex<HashSet<GrantId>>,
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
                for (grant, options) in wanted {
                    if deliveries.running.lock().insert(grant) {
                        let deliveries = Arc::clone(&deliveries);
                        tasks.spawn(async move {
                            Box::pin(deliveries.deliver(grant, &options)).await;
                            deliveries.running.lock().remove(&grant);
                        });
                    }
                }
                tokio::select! {
                    () = deliveries.node.grants.notified() => {}
                    () = deliveries.scope.cancelled() => return,
                }
            }
            Err(error) => {
                tracing::warn!(node = %deliveries.node.name(), reason = in_full(&error), "the grants could not be asked for");
                tokio::select! {
                    () = tokio::time::sleep(SOON) => {}
                    () = deliveries.scope.cancelled() => return,
                }
            }
        }
    }
}

impl Deliveries {
    /// The grants to be received, each with where it goes. Grants that were received before and are
    /// no longer listed are asked for as well: the hub's answer says what became of them.
    async fn wanted(&self) -> Result<Vec<(GrantId, SubscriptionOptions)>, LinkError> {
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
        let options = &self.node.options.subscriptions;
        let single: Vec<GrantId> = options.iter().filter_map(|each| each.grant).collect();
        let mut wanted = Vec::new();
        for each in options {
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
    async fn deliver(&self, grant: GrantId, options: &SubscriptionOptions) {
        let subscription = self.node.subscription(grant);
        let others_wait = || self.streams.available_permits() == 0;
        let delivering = Delivering {
            session: &self.session,
            store: self.node.store(),
            subscription: &subscription,
            sink: &options.sink,
            disposal: options.disposal,
            digests: &self.node.process.digests,
            cancel: &self.scope,
            others_wait: &others_wait,
        };
        let mut backoff = Backoff::new(self.node.process.dialler.patience());
        while !self.scope.is_cancelled() && !self.session.is_over() {
            let Ok(turn) = self.streams.acquire().await else { return };
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
                () = self.scope.cancelled() => return,
            }
        }
    }
}
