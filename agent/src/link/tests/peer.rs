//! A hub that greets, answers lists, and leaves every other stream to the test.

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use hutong_certs::{
    authority::{Authority, HUB_VALIDITY, NODE_VALIDITY},
    clock,
    credentials::Credentials,
    identity::NodeIdentity,
    live::Live,
    request::PrivateKey,
    revoke::RevocationList,
    roots::RootSet,
    stream::{FrameReader, FrameWriter},
    tls::{self, AgentTls, HubTls},
};
use hutong_schema::{
    catalogue::CatalogueEntry,
    grant::GrantView,
    limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX},
    wire::{
        frame::{self, Message},
        v1::{
            Json, RefusalCode, Refused,
            command::{CatalogueList, CataloguePage, GrantList, GrantPage},
            control::{Hello, Welcome},
            publish::{Ack, Batch, PublishOpen, PublishReady},
        },
    },
};
use parking_lot::Mutex;
use quinn::Endpoint;
use tokio::sync::mpsc;

use super::within;
use crate::testing::entry;

/// What the hub tells when it is asked for lists.
#[derive(Clone, Default)]
pub(super) struct Lists {
    pub(super) entries: Vec<CatalogueEntry>,
    pub(super) grants: Vec<GrantView>,
}

pub(super) struct Peer {
    pub(super) address: SocketAddr,
    pub(super) lists: Arc<Mutex<Lists>>,
    authority: Authority,
    streams: mpsc::Receiver<Stream>,
    controls: mpsc::Receiver<Control>,
    connection: Arc<Mutex<Option<quinn::Connection>>>,
    endpoint: Endpoint,
}

/// The control stream of a connection, greeted. It stays open as long as it is kept.
pub(super) struct Control {
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
}

/// A stream that the node opened, and what it said first.
pub(super) struct Stream {
    first: Bytes,
    pub(super) reader: FrameReader,
    pub(super) writer: FrameWriter,
}

impl Peer {
    pub(super) fn start() -> Self {
        let (authority, endpoint) = exchange();
        let address = endpoint.local_addr().unwrap();
        let lists = Arc::new(Mutex::new(Lists { entries: vec![entry()], grants: Vec::new() }));
        let (sender, streams) = mpsc::channel(16);
        let (greeted, controls) = mpsc::channel(16);
        let connection = Arc::new(Mutex::new(None));
        tokio::spawn(accept(endpoint.clone(), sender, greeted, lists.clone(), connection.clone()));
        Self { address, lists, authority, streams, controls, connection, endpoint }
    }

    pub(super) fn agent_tls(&self) -> AgentTls {
        agent_tls(&self.authority)
    }

    /// The next stream that the node opens.
    pub(super) async fn stream(&mut self) -> Stream {
        within(self.streams.recv()).await.unwrap()
    }

    /// The control stream of the next connection.
    pub(super) async fn control(&mut self) -> Control {
        within(self.controls.recv()).await.unwrap()
    }

    /// A publish stream, answered with a refusal.
    pub(super) async fn refuse(&mut self, refused: Refused) -> PublishOpen {
        let mut stream = self.stream().await;
        let open = stream.opened();
        stream.refuse(refused).await;
        open
    }

    /// A publish stream, let in.
    pub(super) async fn admit(&mut self, ready: PublishReady) -> (PublishOpen, Stream) {
        let mut stream = self.stream().await;
        stream.writer.send(&ready).await.unwrap();
        (stream.opened(), stream)
    }

    /// Cuts the connection without a word of farewell on any stream.
    pub(super) fn cut(&self) {
        if let Some(connection) = self.connection.lock().take() {
            connection.close(9u32.into(), b"cut");
        }
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        self.endpoint.close(0u32.into(), b"");
    }
}

impl Stream {
    pub(super) fn opened<'a, M: Message + serde::Deserialize<'a>>(&'a self) -> M {
        frame::expect(&self.first).unwrap()
    }

    pub(super) async fn refuse(&mut self, refused: Refused) {
        self.writer.send(&refused).await.unwrap();
        self.writer.finish();
    }

    pub(super) async fn next(&mut self) -> Bytes {
        within(self.reader.due(FRAME_BYTES_MAX)).await.unwrap()
    }

    /// Takes a batch and acknowledges it; returns its number.
    pub(super) async fn acknowledge(&mut self) -> u64 {
        let content = self.next().await;
        let batch: Batch<'_> = frame::expect(&content).unwrap();
        let seq = batch.header.seq;
        let ack = Ack {
            stored_through: seq,
            chain: batch.chain,
            settled_through: seq,
            rejected: Vec::new(),
        };
        self.writer.send(&ack).await.unwrap();
        seq
    }
}

pub(super) fn refused(code: RefusalCode) -> Refused {
    Refused::new(code, "scripted").retry_after(20)
}

/// An exchange's authority, and the endpoint of its hub; nobody accepts yet.
pub(super) fn exchange() -> (Authority, Endpoint) {
    let authority = Authority::create(&"tieling.example".parse().unwrap(), clock::now()).unwrap();
    let hub = authority.issue_hub(&["127.0.0.1".into()], clock::now(), HUB_VALIDITY).unwrap();
    let tls = HubTls {
        credentials: Live::new(hub),
        roots: Live::new(RootSet::new([authority.root().clone()]).unwrap()),
        revoked: RevocationList::default(),
        exchange: authority.exchange().clone(),
    };
    let config = tls::hub_server_config(&tls, Arc::default()).unwrap();
    (authority, Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap())
}

/// The identity of node `n1`.
pub(super) fn agent_tls(authority: &Authority) -> AgentTls {
    let identity = NodeIdentity {
        exchange: authority.exchange().clone(),
        department: "11100000000013338W".parse().unwrap(),
        node: "n1".parse().unwrap(),
    };
    let key = PrivateKey::generate().unwrap();
    let request = key.signing_request().unwrap();
    let issued = authority.issue_node(&request, &identity, clock::now(), NODE_VALIDITY).unwrap();
    AgentTls {
        credentials: Live::new(Credentials::new(issued.chain, key).unwrap()),
        roots: Live::new(RootSet::new([authority.root().clone()]).unwrap()),
        exchange: authority.exchange().clone(),
    }
}

/// Takes a node's greeting and answers it; `None` when the node left before.
pub(super) async fn greet(connection: &quinn::Connection) -> Option<Control> {
    let (send, receive) = connection.accept_bi().await.ok()?;
    let (mut reader, mut writer) = (FrameReader::new(receive), FrameWriter::new(send));
    let hello = reader.due(CONTROL_FRAME_BYTES_MAX).await.unwrap();
    frame::expect::<Hello>(&hello).unwrap();
    let welcome = Welcome {
        version: 1,
        software: "scripted".to_owned(),
        hub_time_ms: clock::now().as_millisecond(),
        exchange: "tieling.example".to_owned(),
        incarnation: 1,
        heartbeat_ms: 60_000,
    };
    writer.send(&welcome).await.unwrap();
    Some(Control { reader, writer })
}

async fn accept(
    endpoint: Endpoint,
    streams: mpsc::Sender<Stream>,
    controls: mpsc::Sender<Control>,
    lists: Arc<Mutex<Lists>>,
    current: Arc<Mutex<Option<quinn::Connection>>>,
) {
    while let Some(incoming) = endpoint.accept().await {
        let Ok(connection) = incoming.await else { continue };
        let Some(control) = greet(&connection).await else { continue };
        *current.lock() = Some(connection.clone());
        // As long as nobody takes it, the control stream waits in the queue, open.
        controls.send(control).await.unwrap();
        let (streams, lists) = (streams.clone(), lists.clone());
        tokio::spawn(async move {
            while let Ok((send, receive)) = connection.accept_bi().await {
                let (mut reader, mut writer) = (FrameReader::new(receive), FrameWriter::new(send));
                let Ok(first) = reader.due(CONTROL_FRAME_BYTES_MAX).await else { continue };
                let (kind, _) = frame::split(&first).unwrap();
                let lists = lists.lock().clone();
                if kind == CatalogueList::KIND {
                    let page =
                        CataloguePage { entries: Json::of(&lists.entries).unwrap(), next: None };
                    writer.send(&page).await.unwrap();
                    writer.finish();
                } else if kind == GrantList::KIND {
                    writer
                        .send(&GrantPage { grants: Json::of(&lists.grants).unwrap() })
                        .await
                        .unwrap();
                    writer.finish();
                } else if streams.send(Stream { first, reader, writer }).await.is_err() {
                    return;
                }
            }
        });
    }
}
