//! What follows from governance events, and from the calendar.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use hutong_certs::{
    clock,
    revoke::{RevocationList, Serial},
};
use hutong_schema::grant::AsOf;
use jiff::{SignedDuration, Timestamp};
use tokio::time::MissedTickBehavior;
use tokio_util::sync::CancellationToken;

use crate::{
    config::Config,
    govern::{self, Command},
    governor::Governor,
    log::{EntryKind, Log, LogError, Offset, PartitionId, RocksLog, event::Event},
    nodes::Nodes,
    numbers::NodeNo,
    views::registry::{Registry, RegistryHandle},
};

/// How often the calendar is looked at: a day begins for the filters at most this late.
const CALENDAR_EVERY: Duration = Duration::from_secs(20);

/// How often it is looked for connections whose certificates are over: one outlives its certificate
/// by no more.
const EXPIRED_EVERY: Duration = Duration::from_secs(2);

/// Longest time between two looks for certificates that were not renewed.
const OVERDUE_EVERY: Duration = Duration::from_secs(6 * 3_600);

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

/// Tells connected nodes when grants of their departments change, and throws those out whose
/// certificates are taken no more, from the event behind `last` on.
pub(super) async fn events(
    log: Arc<RocksLog>,
    registry: RegistryHandle,
    nodes: Nodes,
    revoked: RevocationList,
    mut last: Offset,
    cancel: CancellationToken,
) {
    let mut applied = registry.watch();
    loop {
        let reached = *applied.borrow_and_update();
        match read(&log, last, reached).await {
            Ok(events) => {
                tell(&registry, &nodes, &events);
                let touched = certified(&registry, &nodes, &events);
                if !touched.is_empty() {
                    revoked.replace(serials(&registry.read()));
                    throw_out(&registry, &nodes, &touched);
                }
            }
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
            Event::GrantWithdrawn { grant, .. } => {
                departments.extend(registry.grant(*grant).map(|record| record.grant.grantee));
            }
            Event::ExchangeFounded { .. }
            | Event::DepartmentRegistered { .. }
            | Event::NodeEnrolled { .. }
            | Event::NodeRetired { .. }
            | Event::NodeRenewed { .. }
            | Event::NodeRevoked { .. }
            | Event::DepartmentRevoked { .. }
            | Event::EntryPublished { .. }
            | Event::EpochOpened { .. }
            | Event::ClockDate { .. } => {}
        }
    }
    departments.iter().for_each(|department| nodes.grants_changed(department));
}

/// The serial numbers that no handshake takes any more.
pub(super) fn serials(registry: &Registry) -> Vec<(Serial, Arc<str>)> {
    let read = |(serial, reason): (&str, &Arc<str>)| match serial.parse() {
        Ok(serial) => Some((serial, Arc::clone(reason))),
        Err(_) => {
            // Greetings compare the text, so the certificate is refused all the same.
            tracing::warn!(serial, "the log revokes a certificate whose serial number is none");
            None
        }
    };
    registry.revoked().filter_map(read).collect()
}

/// Warns of nodes whose certificates should have been renewed: they could not, and will be refused
/// when the rest of the life is over.
pub(super) async fn overdue(
    config: Arc<Config>,
    registry: RegistryHandle,
    cancel: CancellationToken,
) {
    // A node renews at two thirds of the life; with a quarter left it has failed for a while.
    let life = config.certificate_validity;
    let short = SignedDuration::from_secs(life.as_secs() / 4);
    let every = Duration::try_from(life / 24).unwrap_or(OVERDUE_EVERY);
    let mut ticks = tokio::time::interval(every.clamp(Duration::from_secs(1), OVERDUE_EVERY));
    let mut told = BTreeSet::new();
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let now = clock::now();
        let late: Vec<(NodeNo, String, Timestamp)> = {
            let registry = registry.read();
            let serving = registry.nodes().filter(|node| node.in_service());
            let late = serving.filter_map(|node| {
                let ends = node.newest()?.expires?;
                let name = || format!("{}/{}", node.department, node.name);
                (ends.duration_since(now) < short).then(|| (node.number, name(), ends))
            });
            late.collect()
        };
        for (node, name, ends) in &late {
            if told.insert(*node) {
                tracing::warn!(node = name, %ends,
                    "the node has not renewed its certificate; is its agent running, and does it reach the hub?");
            }
        }
        told.retain(|node| late.iter().any(|(late, ..)| late == node));
    }
}

/// Ends connections whose certificates end and were not renewed. A stolen key is of no use for longer
/// than its certificate, also to one who never hangs up.
pub(super) async fn expired(registry: RegistryHandle, nodes: Nodes, cancel: CancellationToken) {
    let mut ticks = tokio::time::interval(EXPIRED_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = cancel.cancelled() => return,
            _ = ticks.tick() => {}
        }
        let (registry, now) = (registry.read(), clock::now());
        nodes.judge_all(|number, serial| {
            registry.node(number).map_or(Ok(()), |node| govern::still_valid(node, serial, now))
        });
    }
}

/// Lets connections go on under the certificates that their nodes got meanwhile; the nodes whose
/// former certificates are taken no more.
fn certified(registry: &RegistryHandle, nodes: &Nodes, events: &[Event]) -> BTreeSet<NodeNo> {
    let mut touched = BTreeSet::new();
    for event in events {
        match event {
            Event::NodeRenewed { node, replaces, certificate_serial, .. } => {
                nodes.renewed(*node, replaces, certificate_serial);
            }
            Event::NodeEnrolled { node, .. }
            | Event::NodeRetired { node, .. }
            | Event::NodeRevoked { node, .. } => {
                touched.insert(*node);
            }
            Event::DepartmentRevoked { department, .. } => {
                let registry = registry.read();
                let its = registry.nodes().filter(|node| node.department == *department);
                touched.extend(its.map(|node| node.number));
            }
            Event::GrantMade { .. }
            | Event::GrantWithdrawn { .. }
            | Event::ExchangeFounded { .. }
            | Event::DepartmentRegistered { .. }
            | Event::EntryPublished { .. }
            | Event::EpochOpened { .. }
            | Event::ClockDate { .. } => {}
        }
    }
    touched
}

fn throw_out(registry: &RegistryHandle, nodes: &Nodes, touched: &BTreeSet<NodeNo>) {
    let registry = registry.read();
    for node in touched.iter().filter_map(|number| registry.node(*number)) {
        nodes.judge(node.number, |serial| {
            govern::admits(&registry, node.department, &node.name, serial).map(|_| ())
        });
    }
}
