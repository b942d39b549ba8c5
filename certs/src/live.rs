//! A value that many handshakes read and one owner replaces.

use std::sync::Arc;

use tokio::sync::watch;

/// A shared value that can be replaced while it is in use. Clones are handles to the same value:
/// the TLS configurations hold one and read it at every handshake, the owner (renewal, revocation,
/// a reload of the roots) holds another and replaces it.
#[derive(Debug)]
pub struct Live<T>(watch::Sender<Arc<T>>);

impl<T> Live<T> {
    /// Starts with `value`.
    pub fn new(value: T) -> Self {
        Self(watch::Sender::new(Arc::new(value)))
    }

    /// Starts with a value that others hold as well.
    pub fn shared(value: Arc<T>) -> Self {
        Self(watch::Sender::new(value))
    }

    /// The value as of now. Cheap: one reference count.
    #[must_use]
    pub fn current(&self) -> Arc<T> {
        Arc::clone(&self.0.borrow())
    }

    /// Replaces the value; handshakes that begin from now on see the new one.
    pub fn replace(&self, value: T) {
        self.0.send_replace(Arc::new(value));
    }

    /// A receiver that is told of every replacement, for whoever must act on one (close the
    /// connections of a revoked node, say).
    #[must_use]
    pub fn subscribe(&self) -> watch::Receiver<Arc<T>> {
        self.0.subscribe()
    }

    /// Computes the next value from the present one, as one step: concurrent updates do not lose
    /// each other.
    pub fn update(&self, next: impl FnOnce(&T) -> T) {
        self.0.send_modify(|value| *value = Arc::new(next(value)));
    }
}

impl<T> Clone for Live<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}
