//! How a node and its machine are, on the control stream beside the heartbeat. From version 2 on.

use serde::{Deserialize, Serialize};

/// Most troubles in one message; [`Health::troubles_in_all`] counts the others.
pub const TROUBLES_MAX: usize = 16;

/// Longest text of a trouble, bytes: every node's last message is kept at the hub.
pub const TEXT_BYTES_MAX: usize = 300;

/// Longest name in it, bytes.
pub const NAME_BYTES_MAX: usize = 128;

/// How a node and its machine are. Sent after the greeting, and again when something changed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Name and version of the agent.
    pub software: String,
    /// Facts of its machine.
    pub host: Host,
    /// Queues of the whole agent.
    pub queues: Queues,
    /// Troubles there are in all.
    pub troubles_in_all: u32,
    /// How many of them need a person.
    pub need_person: u32,
    /// The first of them, those that need a person before the others.
    pub troubles: Vec<Trouble>,
}

/// Facts of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Host {
    /// Name and version of the operating system.
    pub system: String,
    /// Version of its kernel.
    pub kernel: String,
    /// Processors that the agent may use.
    pub processors: u16,
    /// Memory, bytes; 0 if unknown.
    pub memory_bytes: u64,
    /// Size of the disk that the state folder is on, bytes; 0 if unknown.
    pub disk_bytes: u64,
    /// What is free of it, bytes.
    pub disk_free_bytes: u64,
}

/// Queues of an agent, over all its nodes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queues {
    /// Batches in the outbox that are not acknowledged.
    pub batches: u64,
    /// Bytes in the outbox.
    pub bytes: u64,
    /// Bytes at which reading pauses.
    pub cap_bytes: u64,
    /// Age of the oldest batch that is not acknowledged, milliseconds.
    pub oldest_ms: u64,
}

/// Something that does not work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Trouble {
    /// What has it: a resource, a grant, the certificate.
    pub of: String,
    /// Number of its stable code, if it has one.
    pub code: Option<u16>,
    /// In words.
    pub text: String,
    /// Whether it needs a person; else it mends itself.
    pub needs_person: bool,
}

super::messages! {
    Health => HEALTH,
}

impl Health {
    /// The same, no larger than the bounds above.
    #[must_use]
    pub fn bounded(mut self) -> Self {
        // Those that need a person are told first, in the order they were found.
        self.troubles.sort_by_key(|trouble| !trouble.needs_person);
        self.troubles.truncate(TROUBLES_MAX);
        self.troubles.shrink_to_fit();
        for trouble in &mut self.troubles {
            shorten(&mut trouble.of, NAME_BYTES_MAX);
            shorten(&mut trouble.text, TEXT_BYTES_MAX);
        }
        let names = [&mut self.software, &mut self.host.system, &mut self.host.kernel];
        names.into_iter().for_each(|name| shorten(name, NAME_BYTES_MAX));
        self
    }
}

fn shorten(text: &mut String, bytes: usize) {
    text.truncate(text.floor_char_boundary(bytes));
    text.shrink_to_fit();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn however_much_is_told_little_is_kept_and_what_needs_a_person_first() {
        let long = || "长".repeat(100_000);
        let trouble = |number: usize| Trouble {
            of: format!("{number} {}", long()),
            code: None,
            text: long(),
            needs_person: number % 2 == 1,
        };
        let host = Host { system: long(), kernel: long(), ..Host::default() };
        let troubles = (0..1_000).map(trouble).collect();
        let told = Health { software: long(), host, troubles, ..Health::default() };
        let kept = told.bounded();
        assert_eq!(kept.troubles.len(), TROUBLES_MAX);
        assert!(kept.troubles.iter().all(|trouble| trouble.needs_person));
        assert!(kept.troubles[0].of.starts_with("1 ") && kept.troubles[1].of.starts_with("3 "));
        for trouble in &kept.troubles {
            assert!(trouble.of.capacity() <= NAME_BYTES_MAX);
            assert!(trouble.text.capacity() <= TEXT_BYTES_MAX);
        }
        assert!(kept.host.kernel.capacity() <= NAME_BYTES_MAX);
    }
}
