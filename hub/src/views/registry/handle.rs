//! The shared registry: one writer, many cheap readers.

use std::sync::Arc;

use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::watch;

use super::Registry;
use crate::log::{Offset, event::Event};

/// The registry as the hub's parts share it. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct RegistryHandle {
    state: Arc<RwLock<Registry>>,
    applied: Arc<watch::Sender<Offset>>,
}

impl RegistryHandle {
    /// Shares a registry.
    #[must_use]
    pub fn new(registry: Registry) -> Self {
        let applied = watch::Sender::new(registry.applied());
        Self { state: Arc::new(RwLock::new(registry)), applied: Arc::new(applied) }
    }

    /// The registry as it is now. Hold the guard for a moment only, and never across an await: take
    /// out what is needed (records are shared, so that costs no copy).
    pub fn read(&self) -> RwLockReadGuard<'_, Registry> {
        self.state.read()
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

    /// Follows the offset of the last event applied.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Offset> {
        self.applied.subscribe()
    }
}
