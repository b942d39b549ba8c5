//! What a node tells the hub of itself and its machine.

use std::{fs, path::Path, time::Instant};

use hutong_certs::clock;
use hutong_schema::wire::v1::health::{Health, Host, Queues, Trouble};
use rustix::fs::statvfs;

use super::{Hindrance, Node, Phase, SOFTWARE};

/// What is free on the disk is told in steps of this size, bytes: else every row would be news.
const DISK_STEP: u64 = 64 * 1024 * 1024;

/// Below this nothing works well any more, bytes.
const DISK_LEAST: u64 = 64 * 1024 * 1024;

/// A clock difference that a person should know of, milliseconds.
const SKEW_MAX_MS: i64 = 60_000;

/// Told again after this time, so that the queues in it are not too old.
const AGAIN_AFTER: std::time::Duration = std::time::Duration::from_secs(300);

/// What was told last on one connection.
#[derive(Default)]
pub(super) struct Told(Option<(Instant, Health)>);

impl Told {
    /// What is to be told now; `None` if it was told already.
    pub(super) fn news(&mut self, node: &Node) -> Option<Health> {
        let health = of(node);
        let known = self.0.as_ref().is_some_and(|(at, told)| {
            at.elapsed() < AGAIN_AFTER && Health { queues: health.queues, ..told.clone() } == health
        });
        if known {
            return None;
        }
        self.0 = Some((Instant::now(), health.clone()));
        Some(health)
    }
}

/// How a node and its machine are.
fn of(node: &Node) -> Health {
    let host = host(node.options.folder.path());
    let mut troubles = troubles(node);
    if host.disk_bytes > 0 && host.disk_free_bytes < DISK_LEAST {
        let text = "the disk of the state folder is full; reading pauses until there is room";
        troubles.push(trouble("disk", text, true));
    }
    let count = |all: usize| u32::try_from(all).unwrap_or(u32::MAX);
    let health = Health {
        software: SOFTWARE.to_owned(),
        host,
        queues: queues(node),
        troubles_in_all: count(troubles.len()),
        need_person: count(troubles.iter().filter(|each| each.needs_person).count()),
        troubles,
    };
    health.bounded()
}

/// What does not work at a node.
fn troubles(node: &Node) -> Vec<Trouble> {
    let mut found = Vec::new();
    for publication in &*node.publications() {
        for (by, why) in publication.troubles() {
            let person = match by {
                Hindrance::Confirmation | Hindrance::Source | Hindrance::Hub => true,
                Hindrance::Busy => false,
            };
            found.push(trouble(publication.resource.as_str(), &why, person));
        }
    }
    for subscription in node.subscriptions() {
        let grant = subscription.key.grant;
        let why = match subscription.state().phase {
            Phase::StandsStill(why) => Some(why),
            Phase::Ended(why) if node.takes_by_number(grant) => Some(why),
            Phase::Ended(_) | Phase::Waiting | Phase::Snapshot | Phase::Tail => None,
        };
        let configured = node.subscription_options(grant).is_some();
        let why = why.filter(|_| configured);
        found.extend(why.map(|why| trouble(&format!("grant {grant}"), &why, true)));
    }
    found.extend(node.catalogue_trouble().map(|why| trouble("catalogue", &why, true)));
    found.extend(node.grants_trouble().map(|why| trouble("grants", &why, false)));
    let short = node.certificate().lifetime().is_short(clock::now());
    found.extend(node.renewal_trouble().map(|why| trouble("certificate", &why, short)));
    let skew = node.skew_ms();
    if skew.abs() > SKEW_MAX_MS {
        let why = format!("this machine's clock differs from the hub's by {} s", skew / 1_000);
        found.push(trouble("clock", &why, true));
    }
    found
}

fn trouble(of: &str, text: &str, needs_person: bool) -> Trouble {
    Trouble { of: of.to_owned(), code: code_in(text), text: text.to_owned(), needs_person }
}

/// The number of the first stable code in a text.
fn code_in(text: &str) -> Option<u16> {
    text.match_indices("HT-").find_map(|(at, _)| text.get(at + 3..at + 7)?.parse().ok())
}

fn queues(node: &Node) -> Queues {
    let (store, now) = (node.store(), clock::now().as_millisecond());
    let mut queues = Queues {
        bytes: store.outbox_bytes(),
        cap_bytes: store.outbox_cap_bytes(),
        ..Queues::default()
    };
    for (stream, record) in store.streams() {
        let waiting = record.state.last_seq().saturating_sub(record.state.stored_through);
        queues.batches += waiting;
        // A store that fails says so elsewhere.
        if waiting > 0
            && let Ok(Some(since)) = store.oldest_unacknowledged_ms(stream)
        {
            let age = u64::try_from(now.saturating_sub(since)).unwrap_or(0);
            queues.oldest_ms = queues.oldest_ms.max(age);
        }
    }
    queues
}

/// Facts of the machine; what the system does not tell stays empty.
fn host(state: &Path) -> Host {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let processors = std::thread::available_parallelism().map_or(0, |count| count.get());
    let disk = statvfs(state).ok();
    let bytes = |blocks: u64, size: u64| blocks.saturating_mul(size);
    Host {
        system: system_name(&read("/etc/os-release")),
        kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
        processors: u16::try_from(processors).unwrap_or(u16::MAX),
        memory_bytes: memory(&read("/proc/meminfo")),
        disk_bytes: disk.as_ref().map_or(0, |disk| bytes(disk.f_blocks, disk.f_frsize)),
        disk_free_bytes: disk
            .as_ref()
            .map_or(0, |disk| bytes(disk.f_bavail, disk.f_frsize) / DISK_STEP * DISK_STEP),
    }
}

fn system_name(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.unwrap_or_default().trim_matches('"').to_owned()
}

/// Bytes, from a line such as `MemTotal:  16384 kB`.
fn memory(meminfo: &str) -> u64 {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"));
    let kib: Option<u64> = line.and_then(|line| line.split_whitespace().next()?.parse().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_of_the_machine_are_read_or_left_empty() {
        assert_eq!(system_name("ID=sample\nPRETTY_NAME=\"Sample OS 10\"\n"), "Sample OS 10");
        assert_eq!(memory("MemTotal:       16384 kB\nMemFree: 1 kB\n"), 16 << 20);
        assert_eq!((system_name(""), memory("MemTotal: much")), (String::new(), 0));
        let host = host(Path::new("/"));
        assert!(host.processors > 0 && host.disk_bytes >= host.disk_free_bytes, "{host:?}");
    }

    #[test]
    fn a_trouble_names_its_code() {
        assert_eq!(trouble("x", "the other side refuses us: HT-2005: …", true).code, Some(2_005));
        assert_eq!(trouble("x", "HT-nothing", true).code, None);
    }
}
