//! What the hub has shown must still be true after it came back: otherwise something was told before
//! it was durable, and the peers' healing would hide that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Hub;
use super::wait::until_true;

/// How long work may take to show at the hub after it was caused.
const WORK_WITHIN: Duration = Duration::from_secs(20);
/// The hub rests when its log has not grown for so long.
const REST: Duration = Duration::from_millis(150);

/// What was seen of a hub.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    incarnation: Option<u64>,
    /// Epoch and last applied batch of each resource.
    reached: BTreeMap<String, (u64, u64)>,
    /// Last entry of each partition of the log.
    heads: BTreeMap<String, u64>,
    /// Last applied entry of each partition that the views are computed from.
    applied: BTreeMap<String, u64>,
}

impl Promise {
    /// Looks again and again until the time has come.
    pub fn observe(&mut self, hub: &Hub, moment: Duration) {
        let end = Instant::now() + moment;
        loop {
            // A hub that is not ready says nothing.
            if let Ok(status) = hub.status(true) {
                self.note(&status);
            }
            if Instant::now() >= end {
                return;
            }
        }
    }

    /// Looks until the log grows, and returns at once: the moment at which a group of batches was
    /// told to be durable, while others are under way.
    ///
    /// # Errors
    /// When it does not grow in time.
    pub fn observe_growth(&mut self, hub: &Hub) -> Result<()> {
        self.observe_change(hub, "the log grows", |seen| &seen.heads)
    }

    /// Looks until the views have applied something, and returns at once: the moment at which it is
    /// shown, but mostly not on disk yet.
    ///
    /// # Errors
    /// When they do not in time.
    pub fn observe_applying(&mut self, hub: &Hub) -> Result<()> {
        self.observe_change(hub, "the views apply something", |seen| &seen.applied)
    }

    fn observe_change(
        &mut self,
        hub: &Hub,
        what: &str,
        part: impl Fn(&Self) -> &BTreeMap<String, u64>,
    ) -> Result<()> {
        self.note(&hub.status(true)?);
        let (before, end) = (part(self).clone(), Instant::now() + WORK_WITHIN);
        // Not `until`: its pause is longer than the moment that is to be met.
        while *part(self) == before {
            ensure!(Instant::now() < end, "not within {WORK_WITHIN:?}: {what}");
            self.note(&hub.status(true)?);
        }
        Ok(())
    }

    /// Looks until the log grows no more.
    ///
    /// # Errors
    /// When it grows on and on.
    pub fn observe_rest(&mut self, hub: &Hub) -> Result<()> {
        let (mut before, mut since) = (self.heads.clone(), Instant::now());
        until_true(WORK_WITHIN, "the log grows no more", || {
            self.note(&hub.status(true)?);
            if self.heads != before {
                (before, since) = (self.heads.clone(), Instant::now());
            }
            Ok(since.elapsed() >= REST)
        })
    }

    /// Whether all publications went on in the epochs that were seen. Asked when everything is equal
    /// again: a new epoch is how an agent heals a hub that forgot, so equal digests do not tell.
    ///
    /// # Errors
    /// With a publication that began anew.
    pub fn no_epoch_began(&self, hub: &Hub) -> Result<()> {
        let mut now = Self::default();
        now.note(&hub.status(true)?);
        for (resource, (epoch, seq)) in &self.reached {
            let has = now.reached.get(resource).map(|(epoch, _)| epoch);
            ensure!(
                *epoch == 0 || has == Some(epoch),
                "{resource} was at batch {seq} of epoch {epoch} and went on in epoch {has:?}: \
                 hub and agent did not agree on what was stored"
            );
        }
        Ok(())
    }

    /// Whether a hub that came back still has everything that was seen.
    ///
    /// # Errors
    /// With what it has no more.
    pub fn kept(&self, hub: &Hub) -> Result<()> {
        let mut now = Self::default();
        now.note(&hub.status(true)?);
        ensure!(
            self.incarnation.is_none() || self.incarnation == now.incarnation,
            "the log began a new incarnation: {:?} after {:?}",
            now.incarnation,
            self.incarnation
        );
        for (partition, head) in &self.heads {
            let has = now.heads.get(partition);
            ensure!(
                has >= Some(head),
                "partition {partition} reached {head} and now ends at {has:?}"
            );
        }
        for (resource, reached) in &self.reached {
            let has = now.reached.get(resource);
            ensure!(has >= Some(reached), "{resource} reached {reached:?} and is now at {has:?}");
        }
        Ok(())
    }

    fn note(&mut self, status: &Value) {
        self.incarnation = status["incarnation"].as_u64();
        for line in status["resources"].as_array().into_iter().flatten() {
            let number = |name: &str| line[name].as_u64().unwrap_or(0);
            let name = line["resource"].as_str().unwrap_or_default();
            self.reached.insert(name.to_owned(), (number("epoch"), number("seq")));
        }
        for line in status["partitions"].as_array().into_iter().flatten() {
            let name = line["partition"].as_str().unwrap_or_default();
            self.heads.insert(name.to_owned(), line["head"].as_u64().unwrap_or(0));
            if let Some(applied) = line["applied"].as_u64() {
                self.applied.insert(name.to_owned(), applied);
            }
        }
    }
}
