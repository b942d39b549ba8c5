//! The same batches over bare QUIC with the exchange's own TLS settings: both ends on this machine,
//! nothing decoded, checked or kept.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use hutong_certs::authority::{Authority, HUB_VALIDITY, NODE_VALIDITY};
use hutong_certs::clock;
use hutong_certs::credentials::Credentials;
use hutong_certs::identity::NodeIdentity;
use hutong_certs::live::Live;
use hutong_certs::request::PrivateKey;
use hutong_certs::revoke::RevocationList;
use hutong_certs::roots::RootSet;
use hutong_certs::tls::{self, AgentTls, HubTls, SERVER_NAME};
use quinn::{Endpoint, TransportConfig, VarInt};

/// Bytes under way: as the hub permits on a publish stream.
const WINDOW: u32 = 8 * 1024 * 1024;

/// Seconds until the receiver has all payloads and has said so.
pub(in super::super) fn wire(payloads: &[Bytes]) -> Result<f64> {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let payloads = payloads.to_vec();
    runtime.block_on(async move {
        let (server, client) = ends()?;
        let address = server.local_addr()?;
        let receiver = tokio::spawn(receive(server));
        let connection = client.0.connect_with(client.1, address, SERVER_NAME)?.await?;
        let (mut send, mut answer) = connection.open_bi().await?;
        let bytes: usize = payloads.iter().map(Bytes::len).sum();
        let began = Instant::now();
        for payload in payloads {
            send.write_chunk(payload).await?;
        }
        send.finish()?;
        let mut count = [0; 8];
        answer.read_exact(&mut count).await?;
        let took = began.elapsed();
        if u64::from_le_bytes(count) != bytes as u64 {
            bail!("{bytes} bytes were sent, {} came", u64::from_le_bytes(count));
        }
        connection.close(0u32.into(), b"");
        receiver.await??;
        Ok(took.as_secs_f64())
    })
}

async fn receive(server: Endpoint) -> Result<()> {
    let connection = server.accept().await.context("a connection")?.await?;
    let (mut answer, mut receive) = connection.accept_bi().await?;
    let mut count = 0u64;
    let mut chunks: [Bytes; 32] = std::array::from_fn(|_| Bytes::new());
    while let Some(read) = receive.read_chunks(&mut chunks).await? {
        count += chunks[..read].iter().map(|chunk| chunk.len() as u64).sum::<u64>();
    }
    answer.write_all(&count.to_le_bytes()).await?;
    answer.finish()?;
    connection.closed().await;
    Ok(())
}

fn ends() -> Result<(Endpoint, (Endpoint, quinn::ClientConfig))> {
    let exchange = "bench.example".parse().context("a name")?;
    let now = clock::now();
    let authority = Authority::create(&exchange, now)?;
    let roots = || RootSet::new([authority.root().clone()]).map(Live::new);
    let hub = HubTls {
        credentials: Live::new(authority.issue_hub(&["127.0.0.1".into()], now, HUB_VALIDITY)?),
        roots: roots()?,
        revoked: RevocationList::default(),
        exchange: exchange.clone(),
    };
    let identity = NodeIdentity {
        exchange: exchange.clone(),
        department: crate::harness::entries::department_code(0)?,
        node: "bench".parse().context("a node's name")?,
    };
    let key = PrivateKey::generate()?;
    let issued = authority.issue_node(&key.signing_request()?, &identity, now, NODE_VALIDITY)?;
    let agent = AgentTls {
        credentials: Live::new(Credentials::new(issued.chain, key)?),
        roots: roots()?,
        exchange,
    };
    let config = tls::hub_server_config(&hub, transport())?;
    let server = Endpoint::server(config, ([127, 0, 0, 1], 0).into())?;
    let client = Endpoint::client(([127, 0, 0, 1], 0).into())?;
    Ok((server, (client, tls::agent_client_config(&agent, transport())?)))
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .stream_receive_window(VarInt::from_u32(WINDOW))
        .receive_window(VarInt::from_u32(WINDOW))
        .send_window(WINDOW.into())
        .keep_alive_interval(Some(Duration::from_secs(4)));
    Arc::new(transport)
}
