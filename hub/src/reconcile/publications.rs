//! Source against hub.

use std::sync::Arc;

use hutong_schema::{
    digest::Digest,
    wire::v1::control::{Depth, DigestFound, Key, Standing, Subject},
};
use tokio::{sync::Semaphore, task::JoinSet, time::Instant};

use super::{
    ASK_AGAIN, Comparison, KeyDifference, REPAIRED_WITHIN, Reconciler, STILL_WITHIN, Scope,
    Verdict, drill::Held, until,
};
use crate::{
    numbers::NodeNo,
    views::{DigestFound as HubDigest, DigestSpec, Place, ViewError, registry::Entry},
};

/// Comparisons under way at once: most of one is waiting for the node.
const AT_ONCE: usize = 64;

/// A publication to compare.
#[derive(Clone)]
pub(super) struct Publication {
    entry: Arc<Entry>,
    node: NodeNo,
    party: String,
}

impl Reconciler {
    /// The publications of the scope: every resource that was ever opened.
    pub(super) fn publications(&self, scope: &Scope) -> Vec<Publication> {
        let registry = self.registry.read();
        registry
            .entries()
            .filter(|entry| {
                scope.subject.as_ref().is_none_or(|code| entry.entry.code.as_str() == code)
            })
            .filter_map(|entry| {
                let node = registry.node(registry.lease(entry.number, 0)?.node)?;
                let party = format!("{}/{}", node.department, node.name);
                Some(Publication { entry: Arc::clone(entry), node: node.number, party })
            })
            .collect()
    }

    pub(super) async fn compare_publications(
        &self,
        publications: Vec<Publication>,
        progress: impl Fn(usize),
    ) -> Vec<Comparison> {
        let places = Arc::new(Semaphore::new(AT_ONCE));
        let mut tasks = JoinSet::new();
        for (index, publication) in publications.into_iter().enumerate() {
            let (this, places) = (self.clone(), Arc::clone(&places));
            tasks.spawn(async move {
                // The semaphore is never closed; without a place the comparison runs all the same.
                let _place = places.acquire().await.ok();
                (index, this.compare_publication(&publication, until(STILL_WITHIN)).await)
            });
        }
        let mut found = Vec::new();
        while let Some(joined) = tasks.join_next().await {
            match joined {
                Ok(comparison) => found.push(comparison),
                Err(error) => tracing::error!(%error, "a comparison failed"),
            }
            progress(found.len());
        }
        found.sort_by_key(|(index, _)| *index);
        found.into_iter().map(|(_, comparison)| comparison).collect()
    }

    /// Asks both sides until they stand at the same batch.
    async fn compare_publication(
        &self,
        publication: &Publication,
        deadline: Instant,
    ) -> Comparison {
        let subject = Subject::Published(publication.entry.entry.code.clone());
        let mut comparison = Comparison {
            subject: publication.entry.entry.code.to_string(),
            name: publication.entry.entry.name.clone(),
            party: publication.party.clone(),
            at: String::new(),
            hub: None,
            other: None,
            verdict: Verdict::Unknown("not asked".to_owned()),
            differences: Vec::new(),
            repaired: 0,
        };
        loop {
            let (source, epoch, seq) = match self.source_digest(publication, &subject).await {
                Ok(source) => source,
                Err(reason) => {
                    comparison.verdict = Verdict::Unknown(reason);
                    return comparison;
                }
            };
            comparison.at = format!("epoch {epoch}, batch {seq}");
            comparison.other = Some(source.into());
            match tokio::task::block_in_place(|| self.hub_digest(publication, epoch, seq)) {
                Ok(Some(found)) => {
                    comparison.hub = Some(found.digest.into());
                    self.judge_publication(publication, &subject, source, &found, &mut comparison)
                        .await;
                    return comparison;
                }
                Ok(None) if Instant::now() < deadline => tokio::time::sleep(ASK_AGAIN).await,
                Ok(None) => {
                    let reason = "source and hub did not come to stand at the same batch in time";
                    comparison.verdict = Verdict::Unknown(reason.to_owned());
                    return comparison;
                }
                Err(error) => {
                    comparison.verdict = Verdict::Unknown(error.to_string());
                    return comparison;
                }
            }
        }
    }

    async fn source_digest(
        &self,
        publication: &Publication,
        subject: &Subject,
    ) -> Result<(Digest, u32, u64), String> {
        match self.nodes.digest(publication.node, subject.clone(), Depth::Root).await {
            Ok(DigestFound::Root { digest, at: Standing::Published { epoch, seq } }) => {
                Ok((digest, epoch, seq))
            }
            Ok(DigestFound::Unknown) => Err("the node does not publish this resource".to_owned()),
            Ok(_) => Err("the node's answer does not fit the question".to_owned()),
            Err(error) => Err(error.to_string()),
        }
    }

    /// The hub's digest, if its views stand exactly at this batch.
    fn hub_digest(
        &self,
        publication: &Publication,
        epoch: u32,
        seq: u64,
    ) -> Result<Option<HubDigest>, ViewError> {
        let snapshot = self.views.snapshot();
        let lane = snapshot.lane(publication.entry.number, 0)?;
        if lane.is_none_or(|lane| (lane.epoch, lane.last_seq) != (epoch, seq)) {
            return Ok(None);
        }
        let place = Place::Resource(publication.entry.number);
        let as_of = snapshot.as_of(place)?;
        Ok(snapshot.digests(place, &[DigestSpec::default()], as_of)?.pop())
    }

    async fn judge_publication(
        &self,
        publication: &Publication,
        subject: &Subject,
        source: Digest,
        found: &HubDigest,
        comparison: &mut Comparison,
    ) {
        if source == found.digest {
            comparison.verdict = Verdict::Equal;
            return;
        }
        comparison.verdict = Verdict::Different;
        let held = Held {
            node: publication.node,
            subject,
            place: Place::Resource(publication.entry.number),
            spec: &DigestSpec::default(),
            buckets: &found.buckets,
        };
        self.name_keys(held, comparison).await;
    }

    /// Has the sources send differing keys again, and compares once more.
    pub(super) async fn repair_publications(&self, comparisons: &mut [Comparison]) {
        for comparison in comparisons.iter_mut().filter(|found| found.verdict == Verdict::Different)
        {
            let scope = Scope { subject: Some(comparison.subject.clone()), repair: false };
            let Some(publication) = self.publications(&scope).pop() else { continue };
            let code = publication.entry.entry.code.clone();
            let keys: Vec<Key> = comparison.differences.iter().map(KeyDifference::to_key).collect();
            let count = keys.len();
            if let Err(error) = self.nodes.republish(publication.node, code, keys) {
                tracing::warn!(%error, subject = comparison.subject, "not repaired");
                continue;
            }
            let deadline = until(REPAIRED_WITHIN);
            loop {
                tokio::time::sleep(ASK_AGAIN).await;
                let again = self.compare_publication(&publication, deadline).await;
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
