//! What the store knows of a subscription: its record and its two images.

use super::{Record, SinkError, SubscriptionKey, subscription::Images};
use crate::spool::{Area, ImageId, Store, WriteBatch};

/// The record and the images of one subscription. Changes of the record are durable after
/// [`put`](Self::put).
pub(super) struct Ledger {
    pub(super) store: Store,
    pub(super) key: SubscriptionKey,
    pub(super) images: Images,
    pub(super) record: Record,
}

impl Ledger {
    /// Reads what is known; a subscription that never began has an empty record.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub(super) async fn open(store: Store, key: SubscriptionKey) -> Result<Self, SinkError> {
        let images = Images::of(&store, &key).await?;
        let record = key.record(&store)?.unwrap_or_default();
        Ok(Self { store, key, images, record })
    }

    /// The image of the live rows.
    pub(super) fn live(&self) -> ImageId {
        self.images.side(self.record.side)
    }

    /// The image of the rows of a snapshot under way.
    pub(super) fn staged(&self) -> ImageId {
        self.images.side(self.record.side.other())
    }

    /// The image of the rows that are written at present.
    pub(super) fn written(&self) -> ImageId {
        if self.record.staged.is_some() { self.staged() } else { self.live() }
    }

    /// Makes the record durable, together with other writes.
    ///
    /// # Errors
    /// When the store fails.
    pub(super) async fn put(&self, mut writes: WriteBatch) -> Result<(), SinkError> {
        writes.put(Area::Subscriptions, &self.key.bytes(), self.record.encode()?);
        self.store.commit(writes).await?;
        Ok(())
    }
}
