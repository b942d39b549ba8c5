//! What the gate allows a peer, each with its reason. All of it can be set in the configuration.

use std::time::Duration;

use hutong_certs::stream::Pace;
use serde::Deserialize;

use super::bucket::Rate;

/// Bytes that a connection may have under way in each direction as long as it neither publishes nor
/// subscribes: questions, commands and heartbeats need no more, and every connection may take it.
pub(super) const BASE_WINDOW: u32 = 128 * 1024;

/// Of what there is for all departments, one may take this part.
pub(super) const PART_OF_DEPARTMENT: usize = 4;

/// Of what there is for all departments, one node may take this part.
pub(super) const PART_OF_NODE: usize = 8;

/// Limits of the QUIC endpoint and of one connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateLimits {
    /// Connections of nodes at once. Each costs about 50 KiB and may hold twice the base window.
    pub connections: usize,
    /// Connections at once from one address (from one /64 of IPv6): several machines may share one,
    /// but no single one takes all places.
    pub connections_per_address: usize,
    /// Connections at once with one node's certificate: the one that is served, and those that are
    /// about to take its place.
    pub connections_per_node: usize,
    /// New connections a second from one address, in the long run: a handshake costs half a
    /// millisecond of processor time.
    pub connects_per_second: u32,
    /// New connections from one address at once: all nodes of a machine come back together.
    pub connects_burst: u32,
    /// Connections for enrolment at once. Whoever knows the hub's address may open one.
    pub enrolments: usize,
    /// The same from one address: a whole city's first start may share one, eight for each machine.
    pub enrolments_per_address: usize,
    /// Streams that one node may have open at once. Memory is reserved per permitted stream, so it
    /// is small; resources beyond it take turns.
    pub streams_per_node: u32,
    /// Bytes one stream may have under way: two batches of the largest size.
    pub stream_window: u32,
    /// Bytes one connection may have under way while it publishes: what a fast node on a local line
    /// needs.
    pub connection_window: u32,
    /// Bytes the hub sends ahead of acknowledgements on one connection that subscribes.
    pub send_window: u64,
    /// Memory that all peers together may make the hub hold in frames under way, deliveries and
    /// windows above the base, bytes. A quarter is for frames, a quarter for deliveries, a half for
    /// windows; one department may take a quarter of each, one node an eighth.
    pub peers_memory: usize,
    /// Time for a frame once it has begun, either way, however small it is.
    pub patience_seconds: u64,
    /// The slowest line that is served, bytes per second: larger frames get so much more time.
    pub slowest_line: u64,
    /// Handshakes under way at once; further ones wait for the client's retry.
    pub handshakes: usize,
    /// Unfinished handshakes above which clients must first prove their address.
    pub retry_above: usize,
    /// Unfinished handshakes at once from one address.
    pub handshakes_per_address: usize,
    /// Bytes kept for connections that are not yet accepted.
    pub handshake_buffer: u64,
    /// A connection without any packet for this long is gone.
    pub idle_seconds: u64,
    /// How often nodes send a heartbeat.
    pub heartbeat_seconds: u64,
    /// Time for the greeting after the handshake, and for any stream to begin.
    pub greeting_seconds: u64,
    /// Payload bytes a publish stream may have under way.
    pub publish_credit: u64,
    /// Questions a second that a node may ask in the long run: far above what people at counters
    /// need, far below what copying a library key by key takes.
    pub questions_per_second: u32,
    /// Questions that a node may ask at once.
    pub questions_burst: u32,
    /// Commands, new epochs, checkpoints and subscriptions a second of one node: each costs the hub a
    /// governance event, a count over rows, or a start from the disk.
    pub commands_per_second: u32,
    /// The same at once: a node with many resources begins with an epoch for each.
    pub commands_burst: u32,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            connections: 12_000,
            connections_per_address: 4_096,
            connections_per_node: 4,
            connects_per_second: 200,
            connects_burst: 4_096,
            enrolments: 1_536,
            enrolments_per_address: 1_024,
            streams_per_node: 32,
            stream_window: 8 * 1024 * 1024,
            connection_window: 8 * 1024 * 1024,
            send_window: 8 * 1024 * 1024,
            peers_memory: 1024 * 1024 * 1024,
            patience_seconds: 30,
            slowest_line: 1024,
            handshakes: 1_024,
            retry_above: 512,
            handshakes_per_address: 256,
            handshake_buffer: 16 * 1024 * 1024,
            idle_seconds: 60,
            heartbeat_seconds: 15,
            greeting_seconds: 10,
            publish_credit: 8 * 1024 * 1024,
            questions_per_second: 200,
            questions_burst: 2_000,
            commands_per_second: 20,
            commands_burst: 1_000,
        }
    }
}

impl GateLimits {
    /// The same for QUIC. Connections begin with the base window in both directions.
    pub fn transport(&self) -> quinn::TransportConfig {
        let mut transport = quinn::TransportConfig::default();
        let idle = quinn::VarInt::from_u64(self.idle_seconds.saturating_mul(1_000));
        transport
            .max_concurrent_bidi_streams(self.streams_per_node.into())
            .max_concurrent_uni_streams(0u32.into())
            .stream_receive_window(self.stream_window.into())
            .receive_window(BASE_WINDOW.into())
            .send_window(BASE_WINDOW.into())
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(idle.ok().map(Into::into))
            .keep_alive_interval(None);
        transport
    }

    /// Time for the greeting, and for a stream to begin.
    pub fn greeting_within(&self) -> Duration {
        Duration::from_secs(self.greeting_seconds)
    }

    /// How slow a peer may be.
    pub(crate) fn pace(&self) -> Pace {
        let patience = Duration::from_secs(self.patience_seconds);
        Pace { patience, bytes_per_second: self.slowest_line }
    }

    /// New connections from one address.
    pub(super) fn connects(&self) -> Rate {
        Rate { per_second: self.connects_per_second, burst: self.connects_burst }
    }

    /// Questions of one node.
    pub(super) fn questions(&self) -> Rate {
        Rate { per_second: self.questions_per_second, burst: self.questions_burst }
    }

    /// Commands of one node.
    pub(super) fn commands(&self) -> Rate {
        Rate { per_second: self.commands_per_second, burst: self.commands_burst }
    }
}
