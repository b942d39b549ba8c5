//! Levels that are looked up when somebody asks for the metrics.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hutong_certs::clock;
use jiff::{SignedDuration, Timestamp};
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
    set("hutong_nodes_needing_person", office.nodes.needing_person() as u64);
    set("hutong_catalogue_entries", entries.len() as u64);
    set("hutong_intake_backlog_bytes", office.intake.backlog().into_iter().sum());

    certificates(office);
    set("hutong_views_merges_due", office.views.merges_due()?);

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

/// When certificates end, seconds from now; negative when they have ended.
fn certificates(office: &Office) {
    let now = clock::now();
    let left = |ends: Timestamp| ends.duration_since(now).as_secs_f64();
    let (authority, hub) = (office.pki.authority.current(), office.pki.tls.credentials.current());
    metrics::gauge!("hutong_certificate_seconds_left", "of" => "authority")
        .set(left(authority.not_after()));
    metrics::gauge!("hutong_certificate_seconds_left", "of" => "hub")
        .set(left(hub.facts().not_after));
    let ends: Vec<Timestamp> = {
        let registry = office.registry.read();
        let serving = registry.nodes().filter(|node| node.in_service());
        serving.filter_map(|node| node.newest()?.expires).collect()
    };
    if let Some(first) = ends.iter().min() {
        metrics::gauge!("hutong_certificate_seconds_left", "of" => "first_node").set(left(*first));
    }
    // A node renews at two thirds: what has less than a quarter left could not.
    let short = SignedDuration::from_secs(office.certificate_validity.as_secs() / 4);
    let late = ends.iter().filter(|ends| ends.duration_since(now) < short).count();
    set("hutong_nodes_renewal_overdue", late as u64);
}

fn set(name: &'static str, value: u64) {
    metrics::gauge!(name).set(value as f64);
}
