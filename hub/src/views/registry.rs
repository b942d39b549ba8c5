//! The registry: departments, nodes, catalogue, leases and grants, as the fold of all governance
//! events. It holds no row values and fits in memory; it is rebuilt from the meta partition at
//! every start, since that partition is never trimmed.

mod handle;
mod records;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use hutong_schema::{
    grant::{AsOf, GrantId, Target},
    ids::{CreditCode, ExchangeName, NodeName, ResourceCode},
    library,
};

use crate::{
    log::{
        Offset,
        event::{BarrierScope, Event},
    },
    numbers::{FeedNo, NodeNo, ResourceNo, SpaceNo},
};
pub use handle::{LoadError, RegistryHandle};
pub use records::{Certificate, Department, Entry, GrantRecord, Lease, Node};

/// Everything that governance has decided up to one event.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registry {
    applied: Offset,
    founding: Option<(ExchangeName, u16)>,
    departments: BTreeMap<CreditCode, Arc<Department>>,
    nodes: BTreeMap<NodeNo, Arc<Node>>,
    nodes_by_name: HashMap<(CreditCode, NodeName), NodeNo>,
    revoked: BTreeMap<String, Arc<str>>,
    entries: BTreeMap<ResourceNo, Arc<Entry>>,
    entries_by_code: BTreeMap<ResourceCode, ResourceNo>,
    leases: HashMap<(ResourceNo, u16), Lease>,
    grants: BTreeMap<GrantId, Arc<GrantRecord>>,
    grants_by_grantee: HashMap<CreditCode, Vec<GrantId>>,
    grants_by_target: HashMap<Target, Vec<GrantId>>,
    as_of: Option<AsOf>,
}

impl Registry {
    /// Applies the event at `offset` of the meta partition. Total: an event that names something
    /// unknown changes what it can and no more. An offset that was applied already is skipped.
    pub fn apply(&mut self, offset: Offset, event: &Event) {
        if offset > self.applied {
            self.applied = offset;
            self.fold(event);
        }
    }

    /// Applies an event whose offset is not known yet: the governor's own copy runs ahead of the
    /// log by the commands it has decided and not yet appended.
    pub fn fold(&mut self, event: &Event) {
        match event {
            Event::ExchangeFounded { exchange, data_partitions } => {
                self.founding.get_or_insert_with(|| (exchange.clone(), *data_partitions));
            }
            Event::DepartmentRegistered { department, name } => {
                let record = Department { code: *department, name: name.clone() };
                self.departments.insert(*department, Arc::new(record));
            }
            Event::NodeEnrolled { node, department, name, certificate_serial, expires } => {
                self.revoke(*node, "the node was enrolled again with a new join token");
                let certificate =
                    Certificate { serial: certificate_serial.clone(), expires: *expires };
                let record = Node {
                    number: *node,
                    department: *department,
                    name: name.clone(),
                    certificates: vec![certificate],
                    retired: None,
                    revoked: None,
                };
                self.nodes_by_name.insert((*department, name.clone()), *node);
                self.nodes.insert(*node, Arc::new(record));
            }
            Event::NodeRetired { node, reason } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    Arc::make_mut(node).retired = Some(reason.clone());
                }
            }
            Event::EntryPublished { resource, entry } => {
                let before = self.entries.get(resource).map(Arc::as_ref);
                let record = Entry::following(before, *resource, entry);
                self.entries_by_code.insert(entry.code.clone(), *resource);
                self.entries.insert(*resource, Arc::new(record));
            }
            Event::EpochOpened { resource, shard, epoch, node } => {
                let lease = Lease { node: *node, epoch: *epoch };
                self.leases.insert((*resource, *shard), lease);
            }
            Event::GrantMade { grant } => {
                let record = GrantRecord { grant: grant.clone(), withdrawn: None };
                if self.grants.insert(grant.id, Arc::new(record)).is_none() {
                    self.grants_by_grantee.entry(grant.grantee).or_default().push(grant.id);
                    self.grants_by_target.entry(grant.target.clone()).or_default().push(grant.id);
                }
            }
            Event::GrantWithdrawn { grant, reason } => {
                if let Some(record) = self.grants.get_mut(grant) {
                    Arc::make_mut(record).withdrawn = Some(reason.clone());
                }
            }
            Event::ClockDate { as_of } => self.as_of = self.as_of.max(Some(*as_of)),
            Event::NodeRenewed { node, replaces, certificate_serial, expires } => {
                if let Some(node) = self.nodes.get_mut(node) {
                    let node = Arc::make_mut(node);
                    node.certificates.retain(|known| known.serial == *replaces);
                    let serial = certificate_serial.clone();
                    node.certificates.insert(0, Certificate { serial, expires: Some(*expires) });
                }
            }
            Event::NodeRevoked { node, reason } => self.revoke_node(*node, reason),
            Event::DepartmentRevoked { department, reason } => {
                let all = self.nodes.values().filter(|node| node.department == *department);
                for node in all.map(|node| node.number).collect::<Vec<_>>() {
                    self.revoke_node(node, reason);
                }
            }
        }
    }

    fn revoke_node(&mut self, node: NodeNo, reason: &str) {
        self.revoke(node, reason);
        if let Some(node) = self.nodes.get_mut(&node) {
            Arc::make_mut(node).revoked = Some(reason.to_owned());
        }
    }

    /// Notes that no certificate that the node has now will be taken any more.
    fn revoke(&mut self, node: NodeNo, reason: &str) {
        let Some(node) = self.nodes.get(&node) else { return };
        for certificate in &node.certificates {
            // The first reason stays.
            self.revoked.entry(certificate.serial.clone()).or_insert_with(|| reason.into());
        }
    }

    /// Offset of the last event applied.
    #[must_use]
    pub fn applied(&self) -> Offset {
        self.applied
    }

    /// Name of the exchange; `None` before its foundation.
    #[must_use]
    pub fn exchange(&self) -> Option<&ExchangeName> {
        self.founding.as_ref().map(|(exchange, _)| exchange)
    }

    /// Number of data partitions; 0 before the foundation.
    #[must_use]
    pub fn data_partitions(&self) -> u16 {
        self.founding.as_ref().map_or(0, |(_, partitions)| *partitions)
    }

    /// The date that filters count ages to.
    #[must_use]
    pub fn as_of(&self) -> Option<AsOf> {
        self.as_of
    }

    /// A department.
    #[must_use]
    pub fn department(&self, code: CreditCode) -> Option<&Arc<Department>> {
        self.departments.get(&code)
    }

    /// All departments in the order of their codes.
    pub fn departments(&self) -> impl ExactSizeIterator<Item = &Arc<Department>> {
        self.departments.values()
    }

    /// A node, retired or not.
    #[must_use]
    pub fn node(&self, number: NodeNo) -> Option<&Arc<Node>> {
        self.nodes.get(&number)
    }

    /// A node by its identity, retired or not.
    #[must_use]
    pub fn node_named(&self, department: CreditCode, name: &NodeName) -> Option<&Arc<Node>> {
        self.node(*self.nodes_by_name.get(&(department, name.clone()))?)
    }

    /// All nodes in the order of their numbers.
    pub fn nodes(&self) -> impl ExactSizeIterator<Item = &Arc<Node>> {
        self.nodes.values()
    }

    /// Serial numbers that were revoked, hexadecimal, and why.
    pub fn revoked(&self) -> impl ExactSizeIterator<Item = (&str, &Arc<str>)> {
        self.revoked.iter().map(|(serial, reason)| (serial.as_str(), reason))
    }

    /// A resource's entry.
    #[must_use]
    pub fn entry(&self, number: ResourceNo) -> Option<&Arc<Entry>> {
        self.entries.get(&number)
    }

    /// A resource's entry by its code.
    #[must_use]
    pub fn entry_coded(&self, code: &ResourceCode) -> Option<&Arc<Entry>> {
        self.entry(*self.entries_by_code.get(code)?)
    }

    /// All entries in the order of their numbers.
    pub fn entries(&self) -> impl ExactSizeIterator<Item = &Arc<Entry>> {
        self.entries.values()
    }

    /// Entries in the order of their codes, after a code.
    pub fn entries_after(&self, after: Option<&ResourceCode>) -> impl Iterator<Item = &Arc<Entry>> {
        use std::ops::Bound::{Excluded, Unbounded};
        let from = after.map_or(Unbounded, Excluded);
        self.entries_by_code
            .range::<ResourceCode, _>((from, Unbounded))
            .filter_map(|(_, number)| self.entry(*number))
    }

    /// Who publishes a shard of a resource, and in which epoch.
    #[must_use]
    pub fn lease(&self, resource: ResourceNo, shard: u16) -> Option<Lease> {
        self.leases.get(&(resource, shard)).copied()
    }

    /// Whether an epoch of the resource was ever opened, so that the log may hold rows of it.
    #[must_use]
    pub fn was_opened(&self, resource: ResourceNo) -> bool {
        // A resource is not split yet; its first shard is opened whenever any is.
        self.leases.contains_key(&(resource, 0))
    }

    /// A grant, withdrawn or not.
    #[must_use]
    pub fn grant(&self, id: GrantId) -> Option<&Arc<GrantRecord>> {
        self.grants.get(&id)
    }

    /// All grants in the order of their numbers, withdrawn ones included.
    pub fn grants(&self) -> impl ExactSizeIterator<Item = &Arc<GrantRecord>> {
        self.grants.values()
    }

    /// A department's grants, withdrawn ones included.
    pub fn grants_of(&self, grantee: CreditCode) -> impl Iterator<Item = &Arc<GrantRecord>> {
        self.listed(self.grants_by_grantee.get(&grantee))
    }

    /// The grants of a target, withdrawn ones included.
    pub fn grants_on(&self, target: &Target) -> impl Iterator<Item = &Arc<GrantRecord>> {
        self.listed(self.grants_by_target.get(target))
    }

    fn listed<'r>(
        &'r self,
        ids: Option<&'r Vec<GrantId>>,
    ) -> impl Iterator<Item = &'r Arc<GrantRecord>> {
        ids.into_iter().flatten().filter_map(|id| self.grants.get(id))
    }

    /// The key space of a target; `None` when the resource is not registered or the library is not
    /// defined.
    #[must_use]
    pub fn space_of(&self, target: &Target) -> Option<SpaceNo> {
        match target {
            Target::Resource(code) => self.entry_coded(code).map(|entry| entry.space()),
            Target::Library(id) => library::definition(*id).map(|_| SpaceNo::library(*id)),
        }
    }

    /// The feed of a target; `None` as for [`Registry::space_of`].
    #[must_use]
    pub fn feed_of(&self, target: &Target) -> Option<FeedNo> {
        match target {
            Target::Resource(code) => self.entry_coded(code).map(|entry| entry.number.feed()),
            Target::Library(id) => library::definition(*id).map(|_| FeedNo::library(*id)),
        }
    }

    /// Where copies of an event belong. The event itself must have been applied.
    #[must_use]
    pub fn scope_of(&self, event: &Event) -> BarrierScope {
        let of = |space: Option<SpaceNo>| space.map_or(BarrierScope::Nowhere, BarrierScope::Space);
        match event {
            Event::ExchangeFounded { .. }
            | Event::DepartmentRegistered { .. }
            | Event::NodeEnrolled { .. }
            | Event::NodeRetired { .. }
            | Event::NodeRenewed { .. }
            | Event::NodeRevoked { .. }
            | Event::DepartmentRevoked { .. } => BarrierScope::Nowhere,
            Event::EntryPublished { resource, entry } => {
                let library = entry.binding.as_ref().map(|binding| binding.library);
                BarrierScope::Space(resource.space(library))
            }
            Event::EpochOpened { resource, .. } => {
                of(self.entry(*resource).map(|entry| entry.space()))
            }
            Event::GrantMade { grant } => of(self.space_of(&grant.target)),
            Event::GrantWithdrawn { grant, .. } => {
                of(self.grant(*grant).and_then(|record| self.space_of(&record.grant.target)))
            }
            Event::ClockDate { .. } => BarrierScope::Everywhere,
        }
    }

    /// The number of the next node.
    pub(crate) fn next_node(&self) -> NodeNo {
        NodeNo(self.nodes.last_key_value().map_or(1, |(last, _)| last.0 + 1))
    }

    /// The number of the next resource.
    pub(crate) fn next_resource(&self) -> ResourceNo {
        ResourceNo(self.entries.last_key_value().map_or(1, |(last, _)| last.0 + 1))
    }

    /// The number of the next grant.
    pub(crate) fn next_grant(&self) -> GrantId {
        GrantId(self.grants.last_key_value().map_or(1, |(last, _)| last.0 + 1))
    }
}
