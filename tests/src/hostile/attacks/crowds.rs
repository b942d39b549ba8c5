//! Too many at once: handshakes that nobody finishes, connections of one certificate, and strangers at
//! the door for enrolment.

use std::net::Ipv4Addr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_certs::enrol::{EnrolRequest, NodeFolder, SecretBytes};
use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_certs::tls::{SERVER_NAME, renewal_client_config};
use hutong_schema::limits::CONTROL_FRAME_BYTES_MAX;
use hutong_schema::wire::frame;
use hutong_schema::wire::v1::{RefusalCode, Refused};

use super::super::initials::{fling, initials};
use super::super::wire::transport;
use super::super::{Door, Rogue, Siege, Windows};
use crate::harness::entries::department_code;
use crate::harness::exchange::SOON;
use crate::harness::wait::until_true;

/// Handshakes under way at once, when one certificate comes again and again.
const AT_ONCE: usize = 32;

/// First packets from more sockets than the hub has places for handshakes. Addresses must be proven
/// from then on; whoever does so gets in all the while.
pub fn half_open_handshakes(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    let packets = siege.runtime.block_on(initials(&door, "h0", 600))?;
    let addresses: Vec<Ipv4Addr> = (1..200).map(|last| Ipv4Addr::new(127, 0, 1, last)).collect();
    let sockets = siege.runtime.block_on(fling(&door, &packets, &addresses))?;
    until_true(SOON, "addresses have to be proven", || {
        Ok(siege.level("hutong_gate_retries_total")? >= 1.0)
    })?;
    let under_way = siege.level("hutong_gate_handshakes")?;
    ensure!(under_way <= 60.0, "{under_way} handshakes are under way");
    siege.runtime.block_on(async {
        for node in 1..8 {
            let name = format!("h{node}");
            let visit = Rogue::visit(&endpoint, &door, &name, Windows::default());
            tokio::time::timeout(Duration::from_secs(10), visit)
                .await
                .with_context(|| format!("{name} is not let in during the flood"))??;
        }
        anyhow::Ok(())
    })?;
    drop(sockets);
    siege.counted_slow_handshakes()
}

impl Siege<'_> {
    fn counted_slow_handshakes(&self) -> Result<()> {
        until_true(SOON, "handshakes that nobody finished are counted", || {
            Ok(self.refused(RefusalCode::Slow.number(), "handshake")? >= 40.0)
        })
    }
}

/// One certificate, thousands of connections: few are kept, the others are told why not.
pub fn crowd_with_one_certificate(siege: &mut Siege<'_>, connections: usize) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    let refused = siege.runtime.block_on(async {
        let config = door.tls("h0", Windows::default())?;
        let mut tasks = tokio::task::JoinSet::new();
        let (mut begun, mut refused) = (0, 0);
        while begun < connections || !tasks.is_empty() {
            while begun < connections && tasks.len() < AT_ONCE {
                let connecting =
                    endpoint.connect_with(config.clone(), door.address, SERVER_NAME)?;
                tasks.spawn(async move {
                    let closed = connecting.await?.closed().await;
                    anyhow::Ok(matches!(
                        closed,
                        quinn::ConnectionError::ApplicationClosed(close)
                            if close.error_code.into_inner() == 1008
                                && close.reason.starts_with(b"HT-1008")
                    ))
                });
                begun += 1;
            }
            if let Some(told) = tasks.join_next().await {
                refused += usize::from(told??);
            }
        }
        anyhow::Ok(refused)
    })?;
    // Four at a time wait for their greeting to be missed, the others are told at once.
    ensure!(
        refused >= connections * 8 / 10,
        "{refused} of {connections} were told that it is too much"
    );
    siege.counted(1008, "node-connections", refused)
}

/// Strangers at the door for enrolment: made-up tokens, large requests, and many who say nothing.
pub fn enrolment_door(siege: &mut Siege<'_>) -> Result<()> {
    let (door, endpoint) = (siege.door.clone(), siege.endpoint.clone());
    let department = department_code(1)?;
    siege.runtime.block_on(async {
        let tls = enrol_tls(&door)?;
        let connect = || async {
            let connecting = endpoint.connect_with(tls.clone(), door.address, SERVER_NAME)?;
            anyhow::Ok(connecting.await?)
        };
        // Sixteen refusals, then the connection is not served any more.
        let connection = connect().await?;
        for guess in 0..16u8 {
            let request = EnrolRequest {
                software: "x".repeat(1_000),
                clock_ms: 0,
                secret: SecretBytes([guess; 32]),
                department,
                node: "h0".parse()?,
                signing_request: vec![0x30; 50_000],
            };
            let (send, receive) = connection.open_bi().await?;
            FrameWriter::new(send).send(&request).await?;
            let content = FrameReader::new(receive).due(CONTROL_FRAME_BYTES_MAX).await?;
            let refused: Refused = frame::expect(&content)?;
            ensure!((2100..2200).contains(&refused.code), "{refused}");
        }
        let mut silent = Vec::new();
        let mut refused = 0;
        for _ in 0..80 {
            let connection = connect().await?;
            let closed =
                tokio::time::timeout(Duration::from_millis(100), connection.closed()).await;
            match closed {
                Ok(quinn::ConnectionError::ApplicationClosed(close)) => {
                    ensure!(close.error_code.into_inner() == 1008, "{close}");
                    refused += 1;
                }
                Ok(other) => anyhow::bail!("{other}"),
                Err(_) => silent.push(connection),
            }
        }
        ensure!(silent.len() <= 20, "{} strangers are waited for", silent.len());
        ensure!(refused >= 60, "{refused} strangers were sent away");
        anyhow::Ok(())
    })?;
    siege.counted(1008, "address-enrolments", 60)?;
    let enrolments = siege.exchange.hub.metrics()?;
    let refused: f64 =
        enrolments.with("hutong_enrolments_total", "refused").map(|(_, count)| count).sum();
    ensure!(refused >= 16.0, "{refused} enrolments were refused");
    Ok(())
}

fn enrol_tls(door: &Door) -> Result<quinn::ClientConfig> {
    let material = NodeFolder::new(door.nodes.join("h0")).load()?;
    Ok(renewal_client_config(&material.into_tls(), transport(Windows::default()))?)
}
