//! The shared registry: one writer, many cheap readers.

use std::sync::Arc;

use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::GrantId,
    ids::{CreditCode, NodeName, ResourceCode},
};
use jiff::civil::Date;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::{
    RwLock as Order, RwLockReadGuard as Unchanged, RwLockWriteGuard as Changing, watch,
};

use super::{Entry, GrantRecord, Registry};
use crate::{
    log::{
        EntryKind, Log, LogError, Offset, PartitionId,
        event::{Event, UnknownEvent},
    },
    numbers::{NodeNo, ResourceNo},
};

/// The registry as the hub's parts share it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    state: Arc<RwLock<Registry>>,
    applied: Arc<watch::Sender<Offset>>,
    /// Keeps what is judged by the registry and the barriers of its changes in one order.
    order: Arc<Order<()>>,
}

/// Why the registry cannot be brought up.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The log cannot be read.
    #[error("the log's meta partition cannot be read")]
    Log(#[from] LogError),
    /// An event was written by a newer version, or is damaged.
    #[error(
        "the event at meta/{offset} cannot be read; was it written by a newer version of the hub?"
    )]
    Event {
        /// Where it is.
        offset: Offset,
        /// Why it cannot be read.
        #[source]
        source: UnknownEvent,
    },
}

/// Entries read at a time: events are small.
const READ_ENTRIES: usize = 1_024;
const READ_BYTES: usize = 8 * 1024 * 1024;

impl RegistryHandle {
    /// Folds the whole meta partition. Blocks on the disk.
    ///
    /// # Errors
    /// When the log cannot be read, or holds an event that this version does not know.
    pub fn load<L: Log>(log: &L) -> Result<Self, LoadError> {
        let mut registry = Registry::default();
        let mut next = Offset::FIRST;
        loop {
            let entries = log.read(PartitionId::META, next, READ_ENTRIES, READ_BYTES)?;
            let Some(last) = entries.last() else { break };
            next = last.position.offset.next();
            for stored in &entries {
                // Only events are folded; a redaction's note changes nothing that was decided.
                if stored.envelope.kind == EntryKind::Event {
                    let offset = stored.position.offset;
                    let event = Event::decode(&stored.payload)
                        .map_err(|source| LoadError::Event { offset, source })?;
                    registry.apply(offset, &event);
                }
            }
        }
        Ok(Self::new(registry))
    }

    /// Shares a registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let applied = watch::Sender::new(registry.applied());
        Self {
            state: Arc::new(RwLock::new(registry)),
            applied: Arc::new(applied),
            order: Arc::default(),
        }
    }

    /// The registry as it is now. Hold the guard for a moment only, and never across an await: take
    /// out what is needed (records are shared, so that costs no copy).
    pub fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.state.read()
    }

    /// No event is applied while this is held. Whoever judges by the registry and appends the
    /// verdict to a data partition holds it until the entries have their place there: otherwise
    /// they could stand behind the barrier of an event that forbids them.
    pub(crate) async fn unchanged(&self) -> Unchanged<'_, ()> {
        self.order.read().await
    }

    /// Held from an event's application until its barriers have their places.
    pub(crate) async fn changing(&self) -> Changing<'_, ()> {
        self.order.write().await
    }

    /// Applies durable events in the order of their offsets. The governor alone calls this.
    pub(crate) fn apply<'e>(&self, events: impl IntoIterator<Item = (Offset, &'e Event)>) {
        let applied = {
            let mut state = self.state.write();
            for (offset, event) in events {
                state.apply(offset, event);
            }
            state.applied()
        };
        self.applied.send_replace(applied);
    }

    /// The number of a node in service.
    #[must_use]
    pub fn node(&self, department: &CreditCode, name: &NodeName) -> Option<NodeNo> {
        let state = self.read();
        let node = state.node_named(*department, name)?;
        node.retired.is_none().then_some(node.number)
    }

    /// A resource's entry.
    #[must_use]
    pub fn entry(&self, number: ResourceNo) -> Option<Arc<Entry>> {
        self.read().entry(number).cloned()
    }

    /// A resource's entry by its code.
    #[must_use]
    pub fn entry_coded(&self, code: &ResourceCode) -> Option<Arc<Entry>> {
        self.read().entry_coded(code).cloned()
    }

    /// At most `limit` entries in the order of their codes, after a code, of one provider or all.
    #[must_use]
    pub fn entries_after(
        &self,
        after: Option<&ResourceCode>,
        provider: Option<&CreditCode>,
        limit: usize,
    ) -> Vec<Arc<CatalogueEntry>> {
        let state = self.read();
        state
            .entries_after(after)
            .filter(|entry| provider.is_none_or(|provider| entry.entry.provider == *provider))
            .take(limit)
            .map(|entry| Arc::clone(&entry.entry))
            .collect()
    }

    /// A grant, withdrawn or not.
    #[must_use]
    pub fn grant(&self, id: GrantId) -> Option<Arc<GrantRecord>> {
        self.read().grant(id).cloned()
    }

    /// A department's grants that may be used on a day.
    #[must_use]
    pub fn grants_in_force(&self, grantee: &CreditCode, day: Date) -> Vec<Arc<GrantRecord>> {
        let state = self.read();
        state.grants_of(*grantee).filter(|record| record.in_force(day)).cloned().collect()
    }

    /// Follows the offset of the last event applied.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Offset> {
        self.applied.subscribe()
    }
}
