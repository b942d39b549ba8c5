//! Levels that are looked up when somebody asks for the metrics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use super::office::Office;
use crate::views::ViewError;

/// Rows are summed over all resources: at most once in this time, however often metrics are asked.
const AT_MOST_EVERY: Duration = Duration::from_secs(1);

/// Looking up takes at most one part in so many of the time.
const SHARE: u32 = 100;

/// When the levels were looked up last, and how long not again.
#[derive(Clone, Debug, Default)]
pub(super) struct Gauges(Arc<Mutex<Option<(Instant, Duration)>>>);

impl Gauges {
    /// Looks the levels up, unless that was done just now. Blocks.
    pub(super) fn refresh(&self, office: &Office) {
        let mut last = self.0.lock();
        if last.is_some_and(|(last, pause)| last.elapsed() < pause) {
            return;
        }
        let began = Instant::now();
        if let Err(error) = look_up(office) {
            tracing::warn!(%error, "levels for the metrics cannot be read");
        }
        *last = Some((Instant::now(), AT_MOST_EVERY.max(began.elapsed() * SHARE)));
    }
}

fn look_up(office: &Office) -> Result<(), ViewError> {
    let (nodes, entries, grants) = {
        let registry = office.registry.read();
        let nodes = registry.nodes().filter(|node| node.retired.is_none()).count();
        let entries: Vec<_> = registry.entries().map(|entry| entry.number).collect();
        let grants: Vec<_> = registry.grants().cloned().collect();
        (nodes, entries, grants)
    };
    set("hutong_nodes_enrolled", nodes as u64);
    set("hutong_nodes_connected", office.nodes.count() as u64);
    set("hutong_nodes_copied", office.nodes.copied(crate::clock::now_ms()) as u64);
    set("hutong_catalogue_entries", entries.len() as u64);
    set("hutong_intake_backlog_bytes", office.intake.backlog().into_iter().sum());

    let snapshot = office.views.snapshot();
    let mut rows = 0;
    for resource in entries {
        match snapshot.resource_state(resource) {
            Ok(state) => rows += state.rows,
            // Registered, but its barrier is not applied yet.
            Err(ViewError::UnknownResource(_)) => {}
            Err(error) => return Err(error),
        }
    }
    set("hutong_views_rows", rows);

    let today = office.today();
    let (mut running, mut level) = (0, 0);
    for record in
        grants.iter().filter(|record| record.grant.modes.deliver && record.in_force(today))
    {
        let Some(standing) = office.router.subscriptions().standing(record.grant.id) else {
            continue;
        };
        let Some(place) = snapshot.place(&record.grant.target) else { continue };
        running += u64::from(standing.running);
        let head = snapshot.feed_state(place)?.seq;
        let reached = standing.durable.is_some_and(|cursor| cursor.seq >= head);
        level += u64::from(standing.running && !standing.snapshot && reached);
    }
    set("hutong_subscriptions_running", running);
    set("hutong_subscriptions_level", level);
    Ok(())
}

fn set(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}
