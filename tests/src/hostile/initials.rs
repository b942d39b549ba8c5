//! First packets of handshakes that nobody will finish. A real client makes them, towards a socket of
//! ours; they are sent to the hub from other sockets, whose owners never answer.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use anyhow::{Context, Result};
use hutong_certs::tls::SERVER_NAME;
use tokio::net::UdpSocket;

use super::wire::{Door, Windows, endpoint};

/// How long the client may take for its next packet.
const NEXT_WITHIN: Duration = Duration::from_secs(10);

/// So many first packets, each of another handshake.
///
/// # Errors
/// When the client does not make them.
pub(super) async fn initials(door: &Door, node: &str, count: usize) -> Result<Vec<Vec<u8>>> {
    let trap = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await?;
    let address = trap.local_addr()?;
    let config = door.tls(node, Windows::default())?;
    let mut packets = Vec::with_capacity(count);
    let mut buffer = vec![0; 2_048];
    for _ in 0..count {
        let client = endpoint(Ipv4Addr::LOCALHOST)?;
        let connecting = client.connect_with(config.clone(), address, SERVER_NAME)?;
        let from = client.local_addr()?;
        let packet = loop {
            let (length, sender) =
                tokio::time::timeout(NEXT_WITHIN, trap.recv_from(&mut buffer)).await??;
            // Others may still repeat theirs.
            if sender.port() == from.port() {
                break buffer[..length].to_vec();
            }
        };
        packets.push(packet);
        drop(connecting);
        client.close(0u32.into(), b"");
    }
    Ok(packets)
}

/// Sends each packet from a socket of its own; addresses take turns. The sockets are open as long as
/// what is returned.
///
/// # Errors
/// When a socket cannot be opened.
pub(super) async fn fling(
    door: &Door,
    packets: &[Vec<u8>],
    from: &[Ipv4Addr],
) -> Result<Vec<UdpSocket>> {
    let mut sockets = Vec::with_capacity(packets.len());
    for (packet, address) in packets.iter().zip(from.iter().cycle()) {
        let socket = UdpSocket::bind(SocketAddr::new(IpAddr::V4(*address), 0)).await?;
        socket.send_to(packet, door.address).await.context("send a first packet")?;
        sockets.push(socket);
    }
    Ok(sockets)
}
