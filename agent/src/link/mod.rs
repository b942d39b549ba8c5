//! The connection to the hub: one UDP socket for the process, one connection per node, and the
//! streams on it.
//!
//! A node's connection is kept by [`Node::keep`]: dial, greet, apply the catalogue, then publish what
//! the outbox holds, receive what was granted, and answer the hub's questions, until the connection
//! breaks; then again after a growing wait. Everything that has to survive is in the store.

mod backoff;
pub mod catalogue;
mod certificate;
mod check;
mod control;
mod deliver;
mod deliveries;
mod endpoint;
mod entries;
mod failure;
mod health;
mod machine;
mod node;
mod probe;
mod process;
mod progress;
mod publication;
mod publications;
mod publish;
mod publish_end;
mod session;
mod subscription;

pub use backoff::{Backoff, Patience};
pub use certificate::Wanted;
pub use endpoint::{Dialler, EnrolFailure, SOFTWARE};
pub use failure::LinkError;
pub use node::Node;
pub use probe::{Answered, probe};
pub use process::{Fatal, LinkState, NodeOptions, Process, ScanWish, SubscriptionOptions};
pub use progress::{Moments, Progress};
pub use publication::{Hindrance, Publication};
pub use publish_end::{Next, PublishFailure, Recovery, is_news, next};
pub use session::{Session, Visitor};
pub use subscription::{Phase, Subscription, SubscriptionState};

#[cfg(test)]
mod tests;
