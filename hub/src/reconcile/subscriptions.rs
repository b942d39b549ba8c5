//! The hub's granted view against the subscriber.

use std::collections::{BTreeMap, BTreeSet};

use hutong_schema::{
    digest::Digest,
    grant::GrantId,
    wire::v1::{
        control::{Depth, DigestFound, Standing, Subject},
        subscribe::Cursor,
    },
};
use tokio::time::Instant;

use super::{
    ASK_AGAIN, Comparison, REPAIRED_WITHIN, Reconciler, STILL_WITHIN, Scope, Verdict, drill::Held,
    until,
};
use crate::{
    numbers::NodeNo,
    routes::Plan,
    views::{DigestFound as HubDigest, DigestSpec, Place, ViewError},
};

/// A subscription to compare.
#[derive(Clone)]
pub(super) struct Subscription {
    grant: GrantId,
    plan: Plan,
    spec: DigestSpec,
    node: Option<NodeNo>,
    party: String,
}

/// What a subscriber answered.
type Answer = Result<(Digest, Cursor), String>;

impl Reconciler {
    /// The subscriptions of the scope: every grant of standing delivery in force.
    pub(super) fn subscriptions(&self, scope: &Scope) -> Vec<Subscription> {
        let registry = self.registry.read();
        let Some(today) = registry.as_of().map(|as_of| as_of.date()) else { return Vec::new() };
        registry
            .grants()
            .filter(|record| record.grant.modes.deliver && record.in_force(today))
            .filter(|record| {
                let target = record.grant.target.to_string();
                scope.subject.as_ref().is_none_or(|subject| *subject == target)
            })
            .filter_map(|record| {
                let plan = Plan::ready(&registry, &record.grant)?;
                let spec = DigestSpec {
                    fields: Some(plan.columns.clone()),
                    filter: Some(plan.filter.clone()),
                };
                let node = self.router.subscriptions().standing(record.grant.id).map(|s| s.node);
                let named = node.and_then(|node| registry.node(node));
                let party = named.map_or_else(
                    || record.grant.grantee.to_string(),
                    |node| format!("{}/{}", node.department, node.name),
                );
                Some(Subscription { grant: record.grant.id, plan, spec, node, party })
            })
            .collect()
    }

    /// Compares; subscriptions to one place share one walk over its rows.
    pub(super) async fn compare_subscriptions(&self, all: Vec<Subscription>) -> Vec<Comparison> {
        let mut places: BTreeMap<Place, Vec<Subscription>> = BTreeMap::new();
        for subscription in all {
            places.entry(subscription.plan.place).or_default().push(subscription);
        }
        let mut found = Vec::new();
        for (place, subscriptions) in places {
            found.extend(self.compare_place(place, subscriptions, until(STILL_WITHIN)).await);
        }
        found.sort_by_key(|(grant, _)| *grant);
        found.into_iter().map(|(_, comparison)| comparison).collect()
    }

    async fn compare_place(
        &self,
        place: Place,
        mut waiting: Vec<Subscription>,
        deadline: Instant,
    ) -> Vec<(GrantId, Comparison)> {
        let mut done = Vec::new();
        while !waiting.is_empty() {
            let mut answers = Vec::new();
            for subscription in &waiting {
                answers.push(self.subscriber_digest(subscription).await);
            }
            let counted =
                tokio::task::block_in_place(|| self.granted_digests(place, &waiting, &answers));
            let late = Instant::now() >= deadline;
            let mut still = Vec::new();
            match counted {
                Ok(counted) => {
                    for ((subscription, answer), hub) in
                        waiting.into_iter().zip(answers).zip(counted)
                    {
                        if answer.is_ok() && hub.is_none() && !late {
                            still.push(subscription);
                            continue;
                        }
                        let comparison = self.judge_subscription(&subscription, answer, hub).await;
                        done.push((subscription.grant, comparison));
                    }
                }
                Err(error) => {
                    let failed = |subscription: Subscription| {
                        let mut comparison = subscription.comparison();
                        comparison.verdict = Verdict::Unknown(error.to_string());
                        (subscription.grant, comparison)
                    };
                    done.extend(waiting.into_iter().map(failed));
                }
            }
            waiting = still;
            if !waiting.is_empty() {
                tokio::time::sleep(ASK_AGAIN).await;
            }
        }
        done
    }

    async fn subscriber_digest(&self, subscription: &Subscription) -> Answer {
        let node = subscription.node.ok_or("no node has subscribed since the hub started")?;
        let subject = Subject::Subscription(subscription.grant);
        match self.nodes.digest(node, subject, Depth::Root).await {
            Ok(DigestFound::Root { digest, at: Standing::Subscribed(Some(cursor)) }) => {
                Ok((digest, cursor))
            }
            Ok(DigestFound::Root { .. }) => {
                Err("the subscriber's snapshot is not complete".to_owned())
            }
            Ok(DigestFound::Unknown) => Err("the node does not hold this subscription".to_owned()),
            Ok(_) => Err("the node's answer does not fit the question".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// One digest per subscription whose receiver stands at the head of the feed.
    fn granted_digests(
        &self,
        place: Place,
        subscriptions: &[Subscription],
        answers: &[Answer],
    ) -> Result<Vec<Option<HubDigest>>, ViewError> {
        let snapshot = self.views.snapshot();
        let head = snapshot.feed_state(place)?.seq;
        let as_of = snapshot.as_of(place)?;
        let stands = |(subscription, answer): (&Subscription, &Answer)| {
            answer.as_ref().is_ok_and(|(_, cursor)| {
                cursor.seq == head && cursor.generation == subscription.plan.view.grant.generation
            })
        };
        let standing: Vec<bool> = subscriptions.iter().zip(answers).map(stands).collect();
        let specs: Vec<DigestSpec> = subscriptions
            .iter()
            .zip(&standing)
            .filter(|(_, stands)| **stands)
            .map(|(subscription, _)| subscription.spec.clone())
            .collect();
        if specs.is_empty() {
            return Ok(vec![None; subscriptions.len()]);
        }
        let mut counted = snapshot.digests(place, &specs, as_of)?.into_iter();
        Ok(standing.iter().map(|stands| if *stands { counted.next() } else { None }).collect())
    }

    async fn judge_subscription(
        &self,
        subscription: &Subscription,
        answer: Answer,
        hub: Option<HubDigest>,
    ) -> Comparison {
        let mut comparison = subscription.comparison();
        let (digest, cursor) = match answer {
            Ok(answer) => answer,
            Err(reason) => {
                comparison.verdict = Verdict::Unknown(reason);
                return comparison;
            }
        };
        comparison.at = format!("feed entry {}", cursor.seq);
        comparison.other = Some(digest.into());
        let Some(hub) = hub else {
            let reason = "the subscriber did not reach the end of the feed in time";
            comparison.verdict = Verdict::Unknown(reason.to_owned());
            return comparison;
        };
        comparison.hub = Some(hub.digest.into());
        if hub.digest == digest {
            comparison.verdict = Verdict::Equal;
            return comparison;
        }
        comparison.verdict = Verdict::Different;
        let Some(node) = subscription.node else { return comparison };
        let held = Held {
            node,
            subject: &Subject::Subscription(subscription.grant),
            place: subscription.plan.place,
            spec: &subscription.spec,
            buckets: &hub.buckets,
        };
        self.name_keys(held, &mut comparison).await;
        comparison
    }

    /// Sends subscribers their differing keys again, and compares once more.
    pub(super) async fn repair_subscriptions(&self, comparisons: &mut [Comparison]) {
        let all = self.subscriptions(&Scope::default());
        for comparison in comparisons.iter_mut().filter(|found| found.verdict == Verdict::Different)
        {
            let found =
                all.iter().find(|subscription| subscription.subject() == comparison.subject);
            let Some(subscription) = found else { continue };
            let keys: BTreeSet<Vec<u8>> =
                comparison.differences.iter().map(|found| found.to_key().0).collect();
            let count = keys.len();
            if let Err(error) = self.router.subscriptions().repair(subscription.grant, keys) {
                tracing::warn!(%error, subject = comparison.subject, "not repaired");
                continue;
            }
            let deadline = until(REPAIRED_WITHIN);
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                let place = subscription.plan.place;
                let again =
                    self.compare_place(place, vec![subscription.clone()], deadline).await.pop();
                let Some((_, again)) = again else { break };
                let equal = again.verdict == Verdict::Equal;
                if equal || Instant::now() >= deadline {
                    let differences = std::mem::take(&mut comparison.differences);
                    *comparison = again;
                    if equal {
                        comparison.differences = differences;
                        comparison.repaired = count;
                    }
                    break;
                }
            }
        }
    }
}

impl Subscription {
    fn subject(&self) -> String {
        format!("grant {} on {}", self.grant, self.plan.view.grant.target)
    }

    fn comparison(&self) -> Comparison {
        Comparison {
            subject: self.subject(),
            name: self.plan.view.name.clone(),
            party: self.party.clone(),
            at: String::new(),
            hub: None,
            other: None,
            verdict: Verdict::Unknown("not asked".to_owned()),
            differences: Vec::new(),
            repaired: 0,
        }
    }
}
