//! What the gate allows a peer, each with its reason. All of it can be set in the configuration.

use std::time::Duration;

use serde::Deserialize;

/// Limits of the QUIC endpoint and of one connection.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct GateLimits {
    /// Streams that one node may have open at once. Memory is reserved per permitted stream, so it
    /// is small; resources beyond it take turns.
    pub streams_per_node: u32,
    /// Bytes one stream may have under way: two batches of the largest size.
    pub stream_window: u32,
    /// Bytes one connection may have under way: what a fast node on a local line needs.
    pub connection_window: u32,
    /// Bytes the hub sends on one connection ahead of acknowledgements.
    pub send_window: u64,
    /// Handshakes under way at once; further ones wait for the client's retry.
    pub handshakes: usize,
    /// Unfinished handshakes above which clients must first prove their address.
    pub retry_above: usize,
    /// Bytes kept for connections that are not yet accepted.
    pub handshake_buffer: u64,
    /// A connection without any packet for this long is gone.
    pub idle_seconds: u64,
    /// How often nodes send a heartbeat.
    pub heartbeat_seconds: u64,
    /// Time for the greeting after the handshake.
    pub greeting_seconds: u64,
    /// Payload bytes a publish stream may have under way.
    pub publish_credit: u64,
}

impl Default for GateLimits {
    fn default() -> Self {
        Self {
            streams_per_node: 32,
            stream_window: 8 * 1024 * 1024,
            connection_window: 8 * 1024 * 1024,
            send_window: 8 * 1024 * 1024,
            handshakes: 1_024,
            retry_above: 512,
            handshake_buffer: 16 * 1024 * 1024,
            idle_seconds: 60,
            heartbeat_seconds: 15,
            greeting_seconds: 10,
            publish_credit: 8 * 1024 * 1024,
        }
    }
}

impl GateLimits {
    /// The same for QUIC.
    pub fn transport(&self) -> quinn::TransportConfig {
        let mut transport = quinn::TransportConfig::default();
        let idle = quinn::VarInt::from_u64(self.idle_seconds.saturating_mul(1_000));
        transport
            .max_concurrent_bidi_streams(self.streams_per_node.into())
            .max_concurrent_uni_streams(0u32.into())
            .stream_receive_window(self.stream_window.into())
            .receive_window(self.connection_window.into())
            .send_window(self.send_window)
            .datagram_receive_buffer_size(None)
            .max_idle_timeout(idle.ok().map(Into::into))
            .keep_alive_interval(None);
        transport
    }

    /// Time for the greeting.
    pub fn greeting_within(&self) -> Duration {
        Duration::from_secs(self.greeting_seconds)
    }
}
