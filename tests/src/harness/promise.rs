//! What the hub has shown must still be true after it came back: otherwise something was told before
//! it was durable, and the peers' healing would hide that.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use serde_json::Value;

use super::Hub;

/// What was seen of a hub.
#[derive(Clone, Debug, Default)]
pub struct Promise {
    incarnation: Option<u64>,
    /// Epoch and last applied batch of each resource.
    reached: BTreeMap<String, (u64, u64)>,
    /// Last entry of each partition of the log.
    heads: BTreeMap<String, u64>,
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
        }
    }
}
