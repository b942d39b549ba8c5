//! What a node tells of itself.

use hutong_schema::{explain::StableCode, wire::v1::health::Health};
use serde::{Deserialize, Serialize};

/// What a node told of itself and its machine last.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct HealthLine {
    /// When, milliseconds since 1970 UTC.
    pub at_ms: i64,
    /// Name and version of the agent.
    pub software: String,
    /// Name and version of the operating system.
    pub system: String,
    /// Version of its kernel.
    pub kernel: String,
    /// Processors that the agent may use.
    pub processors: u16,
    /// Memory, bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Size of the disk of the agent's state, bytes; 0 if unknown.
    pub disk_bytes: u64,
    /// What is free of it, bytes.
    pub disk_free_bytes: u64,
    /// Batches of the whole agent that are not acknowledged.
    pub outbox_batches: u64,
    /// Bytes in its outbox.
    pub outbox_bytes: u64,
    /// Bytes at which reading pauses.
    pub outbox_cap_bytes: u64,
    /// Age of the oldest batch that is not acknowledged, milliseconds.
    pub outbox_oldest_ms: u64,
    /// Troubles there are in all.
    pub troubles_in_all: u32,
    /// How many of them need a person.
    pub need_person: u32,
    /// The first of them.
    pub troubles: Vec<TroubleLine>,
}

/// Something that does not work at a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct TroubleLine {
    /// What has it.
    pub of: String,
    /// Its stable code.
    pub code: Option<String>,
    /// In words.
    pub text: String,
    /// Whether it needs a person.
    pub needs_person: bool,
}

impl HealthLine {
    /// Of what a node told at a time.
    pub fn of(at_ms: i64, health: Health) -> Self {
        let Health { software, host, queues, troubles_in_all, need_person, troubles } = health;
        let code = |number| StableCode::new(number).ok().map(|code| code.to_string());
        let trouble = |each: hutong_schema::wire::v1::health::Trouble| TroubleLine {
            of: each.of,
            code: each.code.and_then(code),
            text: each.text,
            needs_person: each.needs_person,
        };
        Self {
            at_ms,
            software,
            system: host.system,
            kernel: host.kernel,
            processors: host.processors,
            memory_bytes: host.memory_bytes,
            disk_bytes: host.disk_bytes,
            disk_free_bytes: host.disk_free_bytes,
            outbox_batches: queues.batches,
            outbox_bytes: queues.bytes,
            outbox_cap_bytes: queues.cap_bytes,
            outbox_oldest_ms: queues.oldest_ms,
            troubles_in_all,
            need_person,
            troubles: troubles.into_iter().map(trouble).collect(),
        }
    }
}
