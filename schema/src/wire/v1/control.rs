//! The control stream: the first bidirectional stream an agent opens. The greeting is frozen.

use serde::{Deserialize, Serialize};

use crate::{
    digest::{BucketSummary, Digest, Leaf},
    grant::GrantId,
    ids::ResourceCode,
    wire::v1::subscribe::Cursor,
};

/// First message of a node. Frozen: it must be readable in every version.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// Oldest protocol version spoken.
    pub min: u16,
    /// Newest protocol version spoken.
    pub max: u16,
    /// Software name and version, for the operator.
    pub software: String,
    /// Tells two processes with one identity apart: 8 bytes that stay the same while this state
    /// folder is used on this machine (since its start), and 8 random bytes of this process.
    pub instance: [u8; 16],
    /// The node's clock, milliseconds since 1970 UTC.
    pub clock_ms: i64,
}

/// The hub's answer to [`Hello`]. Frozen as well.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Welcome {
    /// Version chosen for everything that follows.
    pub version: u16,
    /// Software name and version, for the operator.
    pub software: String,
    /// The hub's clock, milliseconds since 1970 UTC.
    pub hub_time_ms: i64,
    /// Name of the exchange.
    pub exchange: String,
    /// Incarnation of the hub's log.
    pub incarnation: u64,
    /// How often a heartbeat is due, milliseconds.
    pub heartbeat_ms: u32,
}

/// Sign of life with the node's queues.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heartbeat {
    /// The node's clock, milliseconds since 1970 UTC.
    pub clock_ms: i64,
    /// Batches in the outbox not yet acknowledged.
    pub queued_batches: u64,
    /// Their size, bytes.
    pub queued_bytes: u64,
    /// Age of the oldest of them, milliseconds.
    pub oldest_unacked_ms: u64,
    /// Resources that need attention or changed since the last heartbeat; at most 64.
    pub resources: Vec<ResourceReport>,
}

/// How one publication stands at its node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceReport {
    /// The resource.
    pub resource: ResourceCode,
    /// Rows read from the source in all.
    pub read: u64,
    /// Rows accepted by the hub in all.
    pub accepted: u64,
    /// Rows in quarantine.
    pub rejected: u64,
    /// Why the publication stands still, if it does.
    pub trouble: Option<String>,
}

/// Answer to [`Heartbeat`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeartbeatReply {
    /// The hub's clock, milliseconds since 1970 UTC.
    pub hub_time_ms: i64,
}

/// The sender closes the connection in good order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Goodbye {
    /// Why, for a log.
    pub reason: String,
}

/// Hub to agent: the grants of the node's department changed; ask for them again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantsChanged {}

/// What a digest is asked of.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Subject {
    /// The accepted image of a publication.
    Published(ResourceCode),
    /// What a subscription has delivered.
    Subscription(GrantId),
}

/// Hub to agent: tell your digest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestAsk {
    /// Number of the question.
    pub ask: u64,
    /// Of what.
    pub subject: Subject,
    /// How deep.
    pub depth: Depth,
}

/// How deep a digest goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Depth {
    /// Count and root.
    Root,
    /// All non-empty buckets.
    Buckets,
    /// Keys and leaves of one bucket, after a key if the bucket needs more than one answer.
    Leaves {
        /// Bucket, `0..4096`.
        bucket: u16,
        /// Continue after this key.
        after: Option<Key>,
    },
}

/// A key in a message.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Key(#[serde(with = "serde_bytes")] pub Vec<u8>);

/// Agent to hub: the answer to [`DigestAsk`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DigestAnswer {
    /// Number of the question.
    pub ask: u64,
    /// The answer.
    pub found: DigestFound,
}

/// What a digest question found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum DigestFound {
    /// The node does not hold this subject.
    Unknown,
    /// Count and root.
    Root {
        /// The digest.
        digest: Digest,
        /// Where it stands.
        at: Standing,
    },
    /// Non-empty buckets.
    Buckets {
        /// Where it stands.
        at: Standing,
        /// Bucket number and summary, ascending.
        buckets: Vec<(u16, BucketSummary)>,
    },
    /// Keys and leaves of a bucket in the order of the key hash.
    Leaves {
        /// Where it stands.
        at: Standing,
        /// Keys and leaves.
        leaves: Vec<(Key, Leaf)>,
        /// Whether the bucket ends here.
        complete: bool,
    },
}

/// The point at which a node's image stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// A publication: last acknowledged batch.
    Published {
        /// Epoch.
        epoch: u32,
        /// Sequence number in the epoch.
        seq: u64,
    },
    /// A subscription: last durable cursor; `None` before the first.
    Subscribed(Option<Cursor>),
}

/// Hub to agent: forget that these keys were accepted, read them again from the source and send
/// what you find there (their removal, if the source no longer has them).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Republish {
    /// The resource.
    pub resource: ResourceCode,
    /// At most 10,000 keys.
    pub keys: Vec<Key>,
}

/// Agent to hub: the roots that the node trusts. Sent once after the greeting, and again whenever it
/// took others; a hub sends [`TrustedRoots`] only to a node that said this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RootsHeld {
    /// SHA-256 of each root certificate.
    pub fingerprints: Vec<[u8; 32]>,
}

/// Hub to agent: the roots that the exchange trusts, all of them: they replace what the node held.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TrustedRoots {
    /// The certificates (DER); at most 16.
    pub roots: Vec<Root>,
}

/// A certificate in a message.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Root(#[serde(with = "serde_bytes")] pub Vec<u8>);

super::messages! {
    RootsHeld => ROOTS_HELD,
    TrustedRoots => TRUSTED_ROOTS,
    Hello => HELLO,
    Welcome => WELCOME,
    Heartbeat => HEARTBEAT,
    HeartbeatReply => HEARTBEAT_REPLY,
    Goodbye => GOODBYE,
    GrantsChanged => GRANTS_CHANGED,
    DigestAsk => DIGEST_ASK,
    DigestAnswer => DIGEST_ANSWER,
    Republish => REPUBLISH,
}
