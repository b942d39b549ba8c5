//! Governance events: what entries of the meta partition hold, and their copies (barriers) in the
//! data partitions.
//!
//! They are written as JSON, because they must stay readable for as long as there is an exchange:
//! variants and fields are only ever added, a new field has a default, and nothing is renamed.

use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::{AsOf, Grant, GrantId},
    ids::{CreditCode, ExchangeName, NodeName},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::PartitionId;
use crate::numbers::{NodeNo, ResourceNo, SpaceNo};

/// Something that was decided. The registry is the fold of these in the order of their offsets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// The first event of every log.
    ExchangeFounded {
        /// Name of the exchange.
        exchange: ExchangeName,
        /// Number of data partitions, fixed from here on.
        data_partitions: u16,
    },
    /// A department is known, or has another name from here on.
    DepartmentRegistered {
        /// Its unified social credit code.
        department: CreditCode,
        /// Its name.
        name: String,
    },
    /// A node received a certificate: its first, or a new one that replaces all before.
    NodeEnrolled {
        /// Its number; a name keeps its number for ever.
        node: NodeNo,
        /// Its department.
        department: CreditCode,
        /// Its name within the department.
        name: NodeName,
        /// Serial number of the certificate, hexadecimal.
        certificate_serial: String,
        /// When it ends; absent in the events of older versions.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        expires: Option<Timestamp>,
    },
    /// A node is out of service; its leases are free.
    NodeRetired {
        /// The node.
        node: NodeNo,
        /// Why, in words.
        reason: String,
    },
    /// A catalogue entry is registered, or has this form from here on.
    EntryPublished {
        /// Its number; a code keeps its number for ever.
        resource: ResourceNo,
        /// The whole entry.
        entry: CatalogueEntry,
    },
    /// A node publishes a resource in a new epoch; older ones are closed.
    EpochOpened {
        /// The resource.
        resource: ResourceNo,
        /// Shard of its key space.
        shard: u16,
        /// The epoch, from 1.
        epoch: u32,
        /// Who holds the lease.
        node: NodeNo,
    },
    /// A grant is made, or a grant of this number has this form (and a higher generation).
    GrantMade {
        /// The whole grant.
        grant: Grant,
    },
    /// A grant is no longer in force.
    GrantWithdrawn {
        /// The grant.
        grant: GrantId,
        /// Why, in words.
        reason: String,
    },
    /// Filters count ages to this date from here on.
    ClockDate {
        /// The date.
        as_of: AsOf,
    },
    /// A node proved that it holds a certificate and received its next one. The old one is taken
    /// until the next renewal: the answer may have been lost.
    NodeRenewed {
        /// The node.
        node: NodeNo,
        /// Serial number of the certificate that was shown, hexadecimal.
        replaces: String,
        /// Serial number of the next one.
        certificate_serial: String,
        /// When that one ends.
        expires: Timestamp,
    },
    /// All certificates of a node are revoked. It keeps its leases: with a new join token it goes on
    /// where it stopped.
    NodeRevoked {
        /// The node.
        node: NodeNo,
        /// Why, in words.
        reason: String,
    },
    /// The same for all nodes that a department has.
    DepartmentRevoked {
        /// The department.
        department: CreditCode,
        /// Why, in words.
        reason: String,
    },
}

/// An entry's payload is no event that this version knows.
#[derive(Debug, thiserror::Error)]
#[error("not a governance event that this version of the hub knows")]
pub struct UnknownEvent(#[from] serde_json::Error);

impl Event {
    /// The bytes that the log keeps.
    ///
    /// # Errors
    /// Only if the serialiser fails, which no event of this type makes it do.
    pub fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        serde_json::to_vec(self)
    }

    /// Reads an entry's payload.
    ///
    /// # Errors
    /// When it was written by a newer version, or is damaged.
    pub fn decode(payload: &[u8]) -> Result<Self, UnknownEvent> {
        Ok(serde_json::from_slice(payload)?)
    }

    /// A short name for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::ExchangeFounded { .. } => "exchange_founded",
            Self::DepartmentRegistered { .. } => "department_registered",
            Self::NodeEnrolled { .. } => "node_enrolled",
            Self::NodeRetired { .. } => "node_retired",
            Self::EntryPublished { .. } => "entry_published",
            Self::EpochOpened { .. } => "epoch_opened",
            Self::GrantMade { .. } => "grant_made",
            Self::GrantWithdrawn { .. } => "grant_withdrawn",
            Self::ClockDate { .. } => "clock_date",
            Self::NodeRenewed { .. } => "node_renewed",
            Self::NodeRevoked { .. } => "node_revoked",
            Self::DepartmentRevoked { .. } => "department_revoked",
        }
    }
}

/// The data partitions that must hold a copy of an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BarrierScope {
    /// None: no data view depends on it.
    Nowhere,
    /// The partition of one key space.
    Space(SpaceNo),
    /// All data partitions.
    Everywhere,
}

impl BarrierScope {
    /// The partitions of this scope, ascending.
    pub fn partitions(self, data_partitions: u16) -> impl Iterator<Item = PartitionId> {
        let all = match self {
            Self::Nowhere => 0..0,
            Self::Space(space) => {
                let at = partition_of(space, data_partitions).0;
                at..at + 1
            }
            Self::Everywhere => PartitionId::FIXED..PartitionId::FIXED + data_partitions,
        };
        all.map(PartitionId)
    }
}

/// The data partition in which everything of a key space lives.
#[must_use]
pub fn partition_of(space: SpaceNo, data_partitions: u16) -> PartitionId {
    // A log without data partitions is refused at its foundation; 1 keeps this total.
    let slot = space.0 % u32::from(data_partitions.max(1));
    PartitionId::data(u16::try_from(slot).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<Event> {
        let department: CreditCode = "11100000000013338W".parse().expect("a published example");
        vec![
            Event::ExchangeFounded {
                exchange: "tieling".parse().expect("a name"),
                data_partitions: 4,
            },
            Event::DepartmentRegistered { department, name: "示例局".into() },
            Event::NodeEnrolled {
                node: NodeNo(1),
                department,
                name: "n0001".parse().expect("a name"),
                certificate_serial: "0a1b".into(),
                expires: None,
            },
            Event::NodeRetired { node: NodeNo(1), reason: "replaced".into() },
            Event::EpochOpened { resource: ResourceNo(7), shard: 0, epoch: 2, node: NodeNo(1) },
            Event::GrantWithdrawn { grant: GrantId(3), reason: "ended".into() },
            Event::ClockDate { as_of: AsOf::from_number(20_261_121).expect("a date") },
            Event::NodeEnrolled {
                node: NodeNo(1),
                department,
                name: "n0001".parse().expect("a name"),
                certificate_serial: "0a1c".into(),
                expires: Some("2027-02-20T00:00:00Z".parse().expect("a time")),
            },
            Event::NodeRenewed {
                node: NodeNo(1),
                replaces: "0a1c".into(),
                certificate_serial: "0a1d".into(),
                expires: "2027-04-20T00:00:00Z".parse().expect("a time"),
            },
            Event::NodeRevoked { node: NodeNo(1), reason: "the key was copied".into() },
            Event::DepartmentRevoked { department, reason: "dissolved".into() },
        ]
    }

    /// Frozen: logs that hold these exist.
    const FROZEN: &str = r#"{"exchange_founded":{"exchange":"tieling","data_partitions":4}}
{"department_registered":{"department":"11100000000013338W","name":"示例局"}}
{"node_enrolled":{"node":1,"department":"11100000000013338W","name":"n0001","certificate_serial":"0a1b"}}
{"node_retired":{"node":1,"reason":"replaced"}}
{"epoch_opened":{"resource":7,"shard":0,"epoch":2,"node":1}}
{"grant_withdrawn":{"grant":3,"reason":"ended"}}
{"clock_date":{"as_of":20261121}}
{"node_enrolled":{"node":1,"department":"11100000000013338W","name":"n0001","certificate_serial":"0a1c","expires":"2027-02-20T00:00:00Z"}}
{"node_renewed":{"node":1,"replaces":"0a1c","certificate_serial":"0a1d","expires":"2027-04-20T00:00:00Z"}}
{"node_revoked":{"node":1,"reason":"the key was copied"}}
{"department_revoked":{"department":"11100000000013338W","reason":"dissolved"}}
"#;

    #[test]
    fn events_have_their_frozen_form() {
        let mut text = String::new();
        for event in sample() {
            let bytes = event.encode().expect("encodes");
            assert_eq!(Event::decode(&bytes).expect("decodes"), event);
            assert!(bytes.starts_with(format!("{{\"{}\"", event.name()).as_bytes()));
            text.push_str(std::str::from_utf8(&bytes).expect("JSON is UTF-8"));
            text.push('\n');
        }
        assert_eq!(text, FROZEN);
    }

    #[test]
    fn an_event_of_a_newer_version_is_named_as_such() {
        let error = Event::decode(br#"{"moon_landed":{}}"#).expect_err("unknown");
        assert!(error.to_string().contains("this version"));
    }

    #[test]
    fn a_space_lives_in_exactly_one_data_partition() {
        for space in [0, 1, 2, 3, 0x1_0001, u32::MAX] {
            let scope = BarrierScope::Space(SpaceNo(space));
            let at: Vec<_> = scope.partitions(4).collect();
            assert_eq!(at, [partition_of(SpaceNo(space), 4)]);
            assert!((2..6).contains(&at[0].0));
        }
        assert_eq!(BarrierScope::Everywhere.partitions(3).count(), 3);
        assert_eq!(BarrierScope::Nowhere.partitions(3).count(), 0);
    }
}
