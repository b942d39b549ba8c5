//! What the gate allows a peer.

use super::{Reader, mib};
use crate::gate::GateLimits;

pub(super) fn read(reader: &mut Reader) -> GateLimits {
    let default = GateLimits::default();
    let window = |reader: &mut Reader, key, default: u32| {
        let bytes = mib(reader, key, default as usize, 1..=1_024);
        u32::try_from(bytes).unwrap_or(u32::MAX)
    };
    macro_rules! number {
        ($name:ident, $range:expr) => {
            reader.number(concat!("gate.", stringify!($name)), default.$name, $range)
        };
    }
    GateLimits {
        connections: number!(connections, 1..=1_000_000),
        connections_per_address: number!(connections_per_address, 1..=1_000_000),
        connections_per_node: number!(connections_per_node, 2..=1_000),
        connects_per_second: number!(connects_per_second, 1..=1_000_000),
        connects_burst: number!(connects_burst, 1..=1_000_000),
        enrolments: number!(enrolments, 1..=65_536),
        enrolments_per_address: number!(enrolments_per_address, 1..=65_536),
        streams_per_node: number!(streams_per_node, 2..=1_024),
        stream_window: window(reader, "gate.stream_window_mib", default.stream_window),
        connection_window: window(reader, "gate.connection_window_mib", default.connection_window),
        send_window: window(reader, "gate.send_window_mib", 8 << 20).into(),
        peers_memory: mib(reader, "gate.peers_mib", default.peers_memory, LEAST_PEERS..=1 << 20),
        patience_seconds: number!(patience_seconds, 1..=3_600),
        slowest_line: number!(slowest_line, 1..=1 << 30),
        handshakes: number!(handshakes, 1..=65_536),
        retry_above: number!(retry_above, 0..=65_536),
        handshakes_per_address: number!(handshakes_per_address, 1..=65_536),
        handshake_buffer: window(reader, "gate.handshake_buffer_mib", 16 << 20).into(),
        idle_seconds: number!(idle_seconds, 5..=3_600),
        heartbeat_seconds: number!(heartbeat_seconds, 1..=600),
        greeting_seconds: number!(greeting_seconds, 1..=300),
        publish_credit: window(reader, "gate.publish_credit_mib", 8 << 20).into(),
        questions_per_second: number!(questions_per_second, 1..=10_000_000),
        questions_burst: number!(questions_burst, 1..=10_000_000),
        commands_per_second: number!(commands_per_second, 1..=1_000_000),
        commands_burst: number!(commands_burst, 1..=1_000_000),
    }
}

/// Least memory for peers, MiB: one node's eighth of the quarter for deliveries must hold a parcel.
const LEAST_PEERS: usize = 128;
