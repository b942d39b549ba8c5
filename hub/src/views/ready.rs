//! Which feeds moved on: a set, not a queue, so that it is bounded by the number of feeds however
//! slow its reader is.

use std::collections::BTreeMap;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::numbers::FeedNo;

/// Feeds that have entries which the reader of this set was not told of.
#[derive(Default)]
pub(super) struct ReadySet {
    feeds: Mutex<BTreeMap<FeedNo, u64>>,
    notify: Notify,
}

impl ReadySet {
    /// Feeds have reached these entries.
    pub(super) fn advance(&self, feeds: Vec<(FeedNo, u64)>) {
        if feeds.is_empty() {
            return;
        }
        self.feeds.lock().extend(feeds);
        self.notify.notify_one();
    }

    /// Waits until feeds have moved on since the last call, and tells which and how far. For one
    /// reader.
    pub(super) async fn next(&self) -> Vec<(FeedNo, u64)> {
        loop {
            let feeds = std::mem::take(&mut *self.feeds.lock());
            if !feeds.is_empty() {
                return feeds.into_iter().collect();
            }
            self.notify.notified().await;
        }
    }
}
