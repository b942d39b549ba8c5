//! Whether anything that speaks QUIC answers at an address, before certificates and protocols matter.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use tokio::net::UdpSocket;

/// Who answers at an address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answered {
    /// A QUIC server.
    Quic,
    /// Something that is none.
    Other,
    /// The machine: nobody listens at that port.
    Closed,
    /// Nobody.
    Nobody,
    /// This machine does not send there: why.
    Unsent(String),
}

/// The question is put this often within the time: single packets may be lost.
const TRIES: u32 = 4;

/// A QUIC server must not answer a shorter packet (RFC 9000, section 14.1).
const PACKET_BYTES: usize = 1_200;

/// A version that no server speaks: it must answer with those that it does (RFC 9000, section 6.3).
const NO_VERSION: [u8; 4] = [0x1A, 0x2A, 0x3A, 0x4A];

const ID_BYTES: usize = 8;

/// Asks an address whether it speaks QUIC.
pub async fn probe(address: SocketAddr, within: Duration) -> Answered {
    match ask(address, within).await {
        Ok(answered) => answered,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => Answered::Closed,
        Err(error) => Answered::Unsent(error.to_string()),
    }
}

async fn ask(address: SocketAddr, within: Duration) -> io::Result<Answered> {
    let any: SocketAddr = match address {
        SocketAddr::V4(_) => (Ipv4Addr::UNSPECIFIED, 0).into(),
        SocketAddr::V6(_) => (Ipv6Addr::UNSPECIFIED, 0).into(),
    };
    let socket = UdpSocket::bind(any).await?;
    // A connected socket is told when the other machine says that its port is closed.
    socket.connect(address).await?;
    let ours: [u8; ID_BYTES] = rand::random();
    let question = question(rand::random(), ours);
    let mut answer = [0; PACKET_BYTES];
    for _ in 0..TRIES {
        socket.send(&question).await?;
        if let Ok(read) = tokio::time::timeout(within / TRIES, socket.recv(&mut answer)).await {
            return Ok(judge(&answer[..read?], ours));
        }
    }
    Ok(Answered::Nobody)
}

/// A packet with a long header of a version that does not exist.
fn question(theirs: [u8; ID_BYTES], ours: [u8; ID_BYTES]) -> Vec<u8> {
    let id = |bytes: [u8; ID_BYTES]| [&[ID_BYTES as u8][..], &bytes].concat();
    let mut packet = [&[0xC0][..], &NO_VERSION, &id(theirs), &id(ours)].concat();
    packet.resize(PACKET_BYTES, 0);
    packet
}

/// A version negotiation packet has version 0 and gives our connection identifier back.
fn judge(answer: &[u8], ours: [u8; ID_BYTES]) -> Answered {
    let negotiation = [&[0, 0, 0, 0, ID_BYTES as u8][..], &ours].concat();
    match answer.split_first() {
        Some((first, rest)) if first & 0x80 != 0 && rest.starts_with(&negotiation) => {
            Answered::Quic
        }
        Some(_) | None => Answered::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_answer_to_this_question_is_one_of_quic() {
        let ours = [7; ID_BYTES];
        let negotiation =
            [&[0x8F, 0, 0, 0, 0, 8][..], &ours, &[8], &[1; 8], &[0, 0, 0, 1]].concat();
        assert_eq!(judge(&negotiation, ours), Answered::Quic);
        assert_eq!(judge(&negotiation, [8; ID_BYTES]), Answered::Other);
        assert_eq!(judge(b"hello", ours), Answered::Other);
        assert_eq!(judge(b"", ours), Answered::Other);
    }

    #[tokio::test]
    async fn a_closed_port_a_silent_one_and_one_that_echoes_are_told_apart() {
        let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let within = Duration::from_millis(200);
        let address = silent.local_addr().unwrap();
        assert_eq!(probe(address, within).await, Answered::Nobody);
        drop(silent);
        assert_eq!(probe(address, within).await, Answered::Closed);
        let echo = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = echo.local_addr().unwrap();
        let echoes = tokio::spawn(async move {
            let mut packet = [0; PACKET_BYTES];
            let (read, from) = echo.recv_from(&mut packet).await.unwrap();
            echo.send_to(&packet[..read], from).await.unwrap();
        });
        assert_eq!(probe(address, Duration::from_secs(8)).await, Answered::Other);
        echoes.await.unwrap();
    }
}
