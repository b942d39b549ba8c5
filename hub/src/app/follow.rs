//! What follows from governance events, and from the calendar.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hutong_schema::grant::AsOf;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    govern::Command,
    governor::Governor,
    log::{EntryKind, Log, LogError, Offset, PartitionId, RocksLog, event::Event},
    nodes::Nodes,
    views::registry::RegistryHandle,
};

/// How often the calendar is looked at: a day begins for the filters at most this late.
const CALENDAR_EVERY: Duration = Duration::from_secs(20);

/// Events read at a time.
const READ_ENTRIES: usize = 1_024;
const READ_BYTES: usize = 8 * 1024 * 1024;

/// Moves the date that filters count ages to, whenever a day begins.
pub(super) async fn calendar(config: Arc<Config>, governor: Governor, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(CALENDAR_EVERY);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        if let Err(refused) = governor.command(today(&config)).await {
            tracing::warn!(%refused, "the date could not be moved; it is tried again");
        }
    }
}

/// The command that moves the date to today; without effect when it is there.
pub(super) fn today(config: &Config) -> Command {
    Command::SetClockDate { as_of: AsOf::new(config.today(hutong_certs::clock::now())) }
}

/// Tells connected nodes when grants of their departments change, and closes the connections of
/// retired nodes, from the event behind `last` on.
pub(super) async fn events(
    log: Arc<RocksLog>,
    registry: RegistryHandle,
    nodes: Nodes,
    mut last: Offset,
    cancel: CancellationToken,
) {
    let mut applied = registry.watch();
    loop {
        let reached = *applied.borrow_and_update();
        match read(&log, last, reached).await {
            Ok(events) => tell(&registry, &nodes, &events),
            Err(error) => tracing::warn!(%error, "nodes were not told of governance events"),
        }
        last = reached;
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = applied.changed() => if changed.is_err() { return },
        }
    }
}

/// The events behind one offset and up to another.
async fn read(log: &Arc<RocksLog>, after: Offset, through: Offset) -> Result<Vec<Event>, LogError> {
    let log = Arc::clone(log);
    let read = tokio::task::spawn_blocking(move || {
        let mut events = Vec::new();
        let mut next = after.next();
        while next <= through {
            let entries = log.read(PartitionId::META, next, READ_ENTRIES, READ_BYTES)?;
            let Some(end) = entries.last() else { break };
            next = end.position.offset.next();
            let decided = entries.iter().filter(|entry| entry.envelope.kind == EntryKind::Event);
            // What does not decode has stopped the governor already.
            events.extend(decided.filter_map(|entry| Event::decode(&entry.payload).ok()));
        }
        Ok(events)
    });
    read.await.unwrap_or(Ok(Vec::new()))
}

fn tell(registry: &RegistryHandle, nodes: &Nodes, events: &[Event]) {
    let mut departments = BTreeSet::new();
    for event in events {
        match event {
            Event::GrantMade { grant } => {
                departments.insert(grant.grantee);
            }
            Event::NodeRetired { node, reason } => {
                nodes.close(*node, &format!("retired: {reason}"))
            }
            Event::GrantWithdrawn { grant, .. } => {
                departments.extend(registry.grant(*grant).map(|record| record.grant.grantee));
            }
            Event::ExchangeFounded { .. }
            | Event::DepartmentRegistered { .. }
            | Event::NodeEnrolled { .. }
            | Event::EntryPublished { .. }
            | Event::EpochOpened { .. }
            | Event::ClockDate { .. } => {}
        }
    }
    departments.iter().for_each(|department| nodes.grants_changed(department));
}
