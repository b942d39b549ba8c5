//! Bells: who waits for a feed is woken when it moved.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::numbers::FeedNo;

/// One bell per feed that somebody listens to; a cheap handle.
#[derive(Clone, Debug, Default)]
pub(super) struct Wakes(Arc<Mutex<HashMap<FeedNo, Weak<Notify>>>>);

impl Wakes {
    /// The bell of a feed.
    pub(super) fn bell(&self, feed: FeedNo) -> Arc<Notify> {
        let mut bells = self.0.lock();
        if let Some(bell) = bells.get(&feed).and_then(Weak::upgrade) {
            return bell;
        }
        let bell = Arc::new(Notify::new());
        bells.insert(feed, Arc::downgrade(&bell));
        bell
    }

    /// The feed moved.
    pub(super) fn ring(&self, feed: FeedNo) {
        let mut bells = self.0.lock();
        match bells.get(&feed).map(Weak::upgrade) {
            Some(Some(bell)) => bell.notify_waiters(),
            Some(None) => {
                bells.remove(&feed);
            }
            None => {}
        }
    }
}
