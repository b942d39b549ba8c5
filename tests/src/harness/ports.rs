//! Addresses that stay a hub's own while it is dead.
//!
//! A hub that is killed and started again asks for the same ports, because its agents know them. Were
//! they of those that the system gives to anybody, an agent of another exchange could have one of them
//! by then. So each process of tests has a loopback address of its own, and ports below the system's
//! range are given out in turn.

use std::net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket};
use std::sync::atomic::{AtomicU16, Ordering};

use anyhow::{Result, bail};

/// First port that is given out, and the first that is not: there begins what Linux gives to sockets
/// that ask for none (`ip_local_port_range`).
const FIRST: u16 = 10_000;
const END: u16 = 32_768;

/// An address that nobody else gets, neither in this process nor in another one that runs tests.
///
/// # Errors
/// When there is none left.
pub fn own() -> Result<SocketAddr> {
    static NEXT: AtomicU16 = AtomicU16::new(FIRST);
    loop {
        let port = NEXT.fetch_add(1, Ordering::Relaxed);
        if !(FIRST..END).contains(&port) {
            NEXT.store(END, Ordering::Relaxed);
            bail!("all ports from {FIRST} to {END} were given out");
        }
        let address = SocketAddr::from((of_process(std::process::id()), port));
        // Some service of the machine may listen on all addresses.
        if UdpSocket::bind(address).is_ok() && TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

/// Numbers of processes have 22 bits at most (`pid_max`, proc(5)), the network 127/8 has 24. Far from
/// 127.0.0.1, which everybody uses.
fn of_process(id: u32) -> Ipv4Addr {
    Ipv4Addr::from_bits(Ipv4Addr::new(127, 64, 0, 0).to_bits() | (id & 0x3F_FFFF))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end where it is surprised")]

    use super::*;

    #[test]
    fn no_two_processes_or_hubs_share_an_address() {
        assert_eq!(of_process(1), Ipv4Addr::new(127, 64, 0, 1));
        assert_eq!(of_process(0x3F_FFFF), Ipv4Addr::new(127, 127, 255, 255));
        assert!(of_process(4_000).is_loopback());
        let (one, other) = (own().unwrap(), own().unwrap());
        assert_ne!(one, other);
        assert!((FIRST..END).contains(&one.port()));
    }

    /// Whoever asks for no port in particular does not get one of ours.
    #[test]
    fn the_system_gives_other_ports() {
        let given = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).unwrap().local_addr().unwrap();
        assert!(!(FIRST..END).contains(&given.port()), "{given}");
    }
}
