//! What the registry knows about each thing.

use std::{collections::BTreeMap, sync::Arc};

use hutong_schema::{
    catalogue::{CatalogueEntry, DataType},
    grant::Grant,
    ids::{CreditCode, NodeName},
    row::FieldId,
};
use jiff::{Timestamp, civil::Date};

use crate::{
    log::{PartitionId, event::partition_of},
    numbers::{FeedNo, NodeNo, ResourceNo, SpaceNo},
};

/// A department.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Department {
    /// Its unified social credit code.
    pub code: CreditCode,
    /// Its name.
    pub name: String,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// Its number.
    pub number: NodeNo,
    /// Its department.
    pub department: CreditCode,
    /// Its name within the department.
    pub name: NodeName,
    /// The certificates that are taken from it, the newest first: never none, and a second one
    /// after a renewal, because the node may not have got the newest.
    pub certificates: Vec<Certificate>,
    /// Why it is out of service, if it is.
    pub retired: Option<String>,
    /// Why its certificates are revoked, if they are. With a new join token it gets another.
    pub revoked: Option<String>,
}

/// A certificate that a node was given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certificate {
    /// Serial number, hexadecimal.
    pub serial: String,
    /// When it ends, if the log says so.
    pub expires: Option<Timestamp>,
}

impl Node {
    /// Whether its certificates are taken at all.
    #[must_use]
    pub fn in_service(&self) -> bool {
        self.retired.is_none() && self.revoked.is_none()
    }

    /// Whether this is a certificate that is taken from it.
    #[must_use]
    pub fn shows(&self, serial: &str) -> bool {
        self.certificates.iter().any(|certificate| certificate.serial == serial)
    }

    /// The newest certificate.
    #[must_use]
    pub fn newest(&self) -> Option<&Certificate> {
        self.certificates.first()
    }
}

/// Who publishes a shard of a resource.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// The node.
    pub node: NodeNo,
    /// The epoch in force.
    pub epoch: u32,
}

/// A grant and whether it still stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantRecord {
    /// The grant.
    pub grant: Grant,
    /// Why it was withdrawn, if it was.
    pub withdrawn: Option<String>,
}

impl GrantRecord {
    /// Whether the grant may be used on a day.
    #[must_use]
    pub fn in_force(&self, day: Date) -> bool {
        self.withdrawn.is_none() && self.grant.in_force(day)
    }
}

/// A catalogue entry with its number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its number.
    pub number: ResourceNo,
    /// The entry as it is in force.
    pub entry: Arc<CatalogueEntry>,
    /// Items that earlier versions had and this one has not: rows may still hold values of them, so
    /// their numbers must not come back with another type.
    former: BTreeMap<FieldId, DataType>,
}

impl Entry {
    pub(super) fn following(
        before: Option<&Self>,
        number: ResourceNo,
        entry: &CatalogueEntry,
    ) -> Self {
        let mut former = before.map(|before| before.former.clone()).unwrap_or_default();
        for item in before.iter().flat_map(|before| &before.entry.items) {
            former.insert(item.id, item.data_type);
        }
        former.retain(|id, _| entry.item(*id).is_none());
        Self { number, entry: Arc::new(entry.clone()), former }
    }

    /// The type that an item number has had in any version.
    #[must_use]
    pub fn type_of(&self, id: FieldId) -> Option<DataType> {
        let now = self.entry.item(id).map(|item| item.data_type);
        now.or_else(|| self.former.get(&id).copied())
    }

    /// The key space that its rows live in.
    #[must_use]
    pub fn space(&self) -> SpaceNo {
        self.number.space(self.entry.binding.as_ref().map(|binding| binding.library))
    }

    /// Its own feed.
    #[must_use]
    pub fn feed(&self) -> FeedNo {
        self.number.feed()
    }

    /// The data partition that its rows live in.
    #[must_use]
    pub fn partition(&self, data_partitions: u16) -> PartitionId {
        partition_of(self.space(), data_partitions)
    }
}
