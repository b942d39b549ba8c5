//! Subscriptions in the store: their names there, and what they answer about themselves.

use hutong_schema::{
    digest::Digest,
    grant::GrantId,
    ids::NodeName,
    wire::v1::control::{Depth, DigestFound, Key, Standing},
};

use super::{Record, Side, SinkError};
use crate::spool::{Area, ImageId, Store, StoreError, View};

/// Leaves in one answer: with the longest keys they stay below the limit of a control frame.
const LEAVES_MAX: usize = 1_500;

/// One subscription of one node.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SubscriptionKey {
    /// The receiving node.
    pub node: NodeName,
    /// The grant.
    pub grant: GrantId,
}

/// A subscription as the store knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SubscriptionView {
    /// Which.
    pub key: SubscriptionKey,
    /// What is known.
    pub record: Record,
}

/// The two images of a subscription: that of the live file and that of a staged one take turns.
#[derive(Clone, Copy, Debug)]
pub(super) struct Images([ImageId; 2]);

impl SubscriptionKey {
    /// The key of its record: node, a zero byte, the grant's number.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut key = prefix(&self.node);
        key.extend_from_slice(&self.grant.0.to_be_bytes());
        key
    }

    /// Its record.
    ///
    /// # Errors
    /// When the store fails or the record is damaged.
    pub fn record(&self, store: &Store) -> Result<Option<Record>, SinkError> {
        let stored = store.get(Area::Subscriptions, &self.bytes())?;
        stored.map(|bytes| Record::decode(&bytes)).transpose()
    }

    fn image_name(&self, side: Side) -> Vec<u8> {
        let mut name = b"subscription/".to_vec();
        name.extend_from_slice(&self.bytes());
        name.push(match side {
            Side::A => b'A',
            Side::B => b'B',
        });
        name
    }
}

impl Images {
    pub(super) async fn of(store: &Store, key: &SubscriptionKey) -> Result<Self, StoreError> {
        let first = store.open_image(&key.image_name(Side::A)).await?;
        Ok(Self([first, store.open_image(&key.image_name(Side::B)).await?]))
    }

    pub(super) fn side(self, side: Side) -> ImageId {
        match side {
            Side::A => self.0[0],
            Side::B => self.0[1],
        }
    }
}

/// All subscriptions of a node that were ever begun.
///
/// # Errors
/// When the store fails or a record is damaged.
pub fn known(store: &Store, node: &NodeName) -> Result<Vec<SubscriptionView>, SinkError> {
    let mut found = Vec::new();
    for (key, value) in store.records(Area::Subscriptions, &prefix(node))? {
        let number = key.last_chunk::<8>().ok_or(SinkError::Record)?;
        let key =
            SubscriptionKey { node: node.clone(), grant: GrantId(u64::from_be_bytes(*number)) };
        found.push(SubscriptionView { key, record: Record::decode(&value)? });
    }
    Ok(found)
}

/// The digest of an image, read on a thread that may block.
///
/// # Errors
/// When the store fails.
pub(super) async fn digest(store: &Store, image: ImageId) -> Result<Digest, SinkError> {
    let store = store.clone();
    let read = move || store.view()?.digest(image);
    Ok(tokio::task::spawn_blocking(read).await.map_err(|_| SinkError::Interrupted)??)
}

/// Answers the hub's question about what a subscription holds, from one consistent view. Blocks.
///
/// # Errors
/// When the store fails or the record is damaged.
pub fn answer(
    store: &Store,
    key: &SubscriptionKey,
    depth: &Depth,
) -> Result<DigestFound, SinkError> {
    let view = store.view()?;
    let Some(stored) = view.get(Area::Subscriptions, &key.bytes())? else {
        return Ok(DigestFound::Unknown);
    };
    let record = Record::decode(&stored)?;
    let Some(number) = view.get(Area::Images, &key.image_name(record.side))? else {
        return Ok(DigestFound::Unknown);
    };
    let number = <[u8; 4]>::try_from(number).map_err(|_| SinkError::Record)?;
    let at = Standing::Subscribed(record.cursor);
    Ok(of_image(&view, ImageId(u32::from_be_bytes(number)), at, depth)?)
}

/// Answers a question about an image.
///
/// # Errors
/// When the store fails.
pub fn of_image(
    view: &View,
    image: ImageId,
    at: Standing,
    depth: &Depth,
) -> Result<DigestFound, StoreError> {
    match depth {
        Depth::Root => Ok(DigestFound::Root { digest: view.digest(image)?, at }),
        Depth::Buckets => {
            let numbered =
                (0u16..).zip(view.buckets(image)?).filter(|(_, bucket)| bucket.count > 0);
            Ok(DigestFound::Buckets { at, buckets: numbered.collect() })
        }
        Depth::Leaves { bucket, after } => {
            let after = after.as_ref().map(|key| &key.0[..]);
            let found = view.leaves(image, *bucket, after, LEAVES_MAX)?;
            let leaves = found.leaves.into_iter().map(|(key, leaf)| (Key(key), leaf)).collect();
            Ok(DigestFound::Leaves { at, leaves, complete: found.complete })
        }
    }
}

fn prefix(node: &NodeName) -> Vec<u8> {
    let mut key = node.as_str().as_bytes().to_vec();
    key.push(0);
    key
}
