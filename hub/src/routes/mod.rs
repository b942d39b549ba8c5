//! Grants become deliveries: a snapshot, then the tail of the feed, filtered and projected.
//!
//! A subscription that nobody listens to is a record. An open one waits on its feed's bell; when
//! the feed has moved, or the receiver gave credit, it takes a turn ([`turns`]) and makes one
//! parcel. A receiver that gives no credit costs nothing and slows nobody.

mod change;
mod delivery;
mod parcel;
mod plan;
mod shared;
mod snapshot;
mod start;
mod subscriptions;
mod tail;
pub mod turns;
mod wakes;

use std::sync::Arc;

use hutong_schema::{
    batch::PayloadError,
    grant::GrantView,
    ids::CreditCode,
    wire::v1::{
        Json, RefusalCode, Refused,
        subscribe::{Cursor, DeliveryMode, SubscribeOpen, SubscribeReady},
    },
};
use tokio_util::sync::CancellationToken;

pub use change::{Projection, project};
pub use delivery::Delivery;
pub use parcel::{Chunk, PackedBlock, Parcel, Tail};
pub(crate) use plan::Plan;
pub use subscriptions::{NotRepaired, Standing, Subscriptions};

use crate::{
    numbers::NodeNo,
    views::{ViewError, Views, registry::RegistryHandle},
};
use shared::SharedBlocks;
use start::{FeedHere, Start};
use turns::{Class, Turns};
use wakes::Wakes;

/// Routes; a cheap handle.
#[derive(Clone)]
pub struct Router {
    views: Views,
    registry: RegistryHandle,
    subscriptions: Subscriptions,
    turns: Turns,
    wakes: Wakes,
    shared: SharedBlocks,
    incarnation: u64,
}

/// Why a delivery cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum RouteError {
    /// The views cannot be read.
    #[error(transparent)]
    Views(#[from] ViewError),
    /// A block cannot be packed.
    #[error(transparent)]
    Pack(#[from] PayloadError),
    /// The receiver opened a newer stream for this grant.
    #[error("another stream of this subscription took over")]
    Replaced,
    /// The receiver must start again: its position is no longer held.
    #[error("{0}")]
    CursorLost(String),
}

impl From<RouteError> for Refused {
    fn from(error: RouteError) -> Self {
        match error {
            RouteError::Replaced => Self::new(RefusalCode::Leased, error.to_string()),
            RouteError::CursorLost(_) | RouteError::Views(ViewError::NoSuchPosition { .. }) => {
                Self::new(RefusalCode::CursorLost, error.to_string()).retry_after(100)
            }
            RouteError::Views(_) | RouteError::Pack(_) => {
                tracing::error!(error = &error as &dyn std::error::Error, "a delivery failed");
                Self::new(
                    RefusalCode::Internal,
                    "the delivery failed at the hub; the operator was told",
                )
                .retry_after(5_000)
            }
        }
    }
}

impl Router {
    /// Routes from these views under the grants of this registry, so many slices of work at once.
    pub fn new(views: Views, registry: RegistryHandle, incarnation: u64, turns: usize) -> Self {
        Self {
            views,
            registry,
            subscriptions: Subscriptions::default(),
            turns: Turns::new(turns),
            wakes: Wakes::default(),
            shared: SharedBlocks::default(),
            incarnation,
        }
    }

    /// Rings the bells of feeds that moved, until cancelled.
    pub async fn run(self, cancel: CancellationToken) {
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                feeds = self.views.feeds_moved() => {
                    feeds.iter().for_each(|(feed, _)| self.wakes.ring(*feed));
                }
            }
        }
    }

    /// How the subscriptions stand.
    pub fn subscriptions(&self) -> &Subscriptions {
        &self.subscriptions
    }

    /// The grants in force for a department, as it sees them.
    pub fn grants_of(&self, department: &CreditCode) -> Vec<GrantView> {
        let registry = self.registry.read();
        let Some(today) = registry.as_of().map(|as_of| as_of.date()) else { return Vec::new() };
        registry
            .grants_of(*department)
            .filter(|record| record.in_force(today))
            .filter_map(|record| Plan::ready(&registry, &record.grant))
            .map(|plan| plan.view)
            .collect()
    }

    /// Starts a delivery to a node. Where it starts is looked up in turn: each look blocks a thread, and
    /// a node may ask for many deliveries at once.
    ///
    /// # Errors
    /// When no grant covers it, or the views cannot be read.
    pub async fn attach(
        &self,
        node: NodeNo,
        department: &CreditCode,
        open: &SubscribeOpen,
    ) -> Result<(SubscribeReady, Delivery), Refused> {
        let plan = Plan::of(&self.registry.read(), open.grant, *department)?;
        let class = Class { department: *department, feed: plan.feed };
        let turn = self.turns.take(class.clone()).await;
        let (mode, position) = tokio::task::block_in_place(|| self.start(&plan, open))?;
        drop(turn);
        let view = Json::of(&plan.view).map_err(|error| {
            Refused::new(RefusalCode::Internal, format!("the grant has no JSON form: {error}"))
        })?;
        let snapshot = matches!(position, delivery::Position::Snapshot { .. });
        let registration = self.subscriptions.start(open.grant, node, snapshot, open.cursor);
        tracing::info!(grant = open.grant.0, node = node.0, ?mode, "delivery starts");
        let delivery = Delivery::new(self.clone(), Arc::new(plan), position, registration, class);
        Ok((SubscribeReady { view, mode }, delivery))
    }

    fn start(
        &self,
        plan: &Plan,
        open: &SubscribeOpen,
    ) -> Result<(DeliveryMode, delivery::Position), RouteError> {
        let head = self.views.snapshot().feed_state(plan.place)?;
        let here = FeedHere {
            incarnation: self.incarnation,
            generation: plan.view.grant.generation,
            head: head.seq,
        };
        // An unreadable position is treated as one that is not held: the receiver starts afresh.
        let hash_at =
            |seq| self.views.feed_hash(plan.place, seq).ok().flatten().map(|hash| short(&hash));
        Ok(match start::decide(open, here, hash_at) {
            Start::Tail(cursor) => (
                DeliveryMode::Tail,
                delivery::Position::Tail { seq: cursor.seq, hash: cursor.feed_hash },
            ),
            Start::Resume(resume) => {
                let start = resume.start;
                let after = Some(resume.last_key.0);
                // At which positions the earlier chunks were read is not known here; none was read
                // behind the present one.
                let last = self.cursor(plan, head.seq, short(&head.hash));
                (
                    DeliveryMode::Resume { start },
                    delivery::Position::Snapshot { start, last, after },
                )
            }
            Start::Snapshot(because) => {
                let start = self.cursor(plan, head.seq, short(&head.hash));
                let position = delivery::Position::Snapshot { start, last: start, after: None };
                (DeliveryMode::Snapshot { start, because }, position)
            }
        })
    }

    fn cursor(&self, plan: &Plan, seq: u64, feed_hash: [u8; 16]) -> Cursor {
        let generation = plan.view.grant.generation;
        Cursor { incarnation: self.incarnation, generation, seq, feed_hash }
    }
}

/// The part of a feed's hash that cursors carry.
fn short(hash: &[u8; 32]) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&hash[..16]);
    short
}
