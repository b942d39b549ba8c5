//! A node against a scripted hub: the corners of the protocol.

mod catalogue_file;
mod check;
mod deliver;
mod dial;
mod peer;
mod publish;

use std::{path::Path, sync::Arc, time::Duration};

use hutong_schema::ids::ResourceCode;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

use self::peer::Peer;
use super::*;
use crate::{
    quarantine::Quarantine,
    sinks::{Disposal, LineFormat, SinkOptions},
    spool::{NewBatch, Store, StreamId, StreamState, WriteBatch},
    testing::{OPTIONS, entry},
};

const DEADLINE: Duration = Duration::from_secs(30);

/// A node with one publication and one subscription of all grants.
struct Setup {
    folder: tempfile::TempDir,
    peer: Peer,
    node: Arc<Node>,
    store: Store,
    stream: StreamId,
    wishes: mpsc::Receiver<ScanWish>,
    cancel: CancellationToken,
}

/// A node's store, with a stream for its publication if it has one.
async fn store_of(folder: &Path, publishes: bool) -> (Store, Vec<(StreamId, ResourceCode)>) {
    let store = Store::open(&folder.join("store"), OPTIONS).unwrap();
    let mut publications = Vec::new();
    if publishes {
        let wanted = vec![("n1".parse().unwrap(), entry().code)];
        publications.push((store.open_streams(wanted).await.unwrap()[0], entry().code));
    }
    (store, publications)
}

impl Setup {
    async fn new(peer: Peer) -> Self {
        Self::with(peer, Patience::default()).await
    }

    async fn with(peer: Peer, patience: Patience) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, publications) = store_of(folder.path(), true).await;
        let stream = publications[0].0;
        let (scans, wishes) = mpsc::channel(8);
        let cancel = CancellationToken::new();
        let process = Process::new(
            Dialler::open(&peer.address.to_string()).unwrap().with_patience(patience),
            store.clone(),
            Quarantine::new(folder.path().join("quarantine")),
            scans,
            Fatal::new(cancel.clone()),
        );
        let options = NodeOptions {
            name: "n1".parse().unwrap(),
            folder: hutong_certs::enrol::NodeFolder::new(folder.path().join("nodes/n1")),
            catalogue: None,
            publications,
            subscriptions: vec![SubscriptionOptions {
                grant: None,
                sink: SinkOptions::Files {
                    folder: folder.path().join("out"),
                    format: LineFormat::Jsonl,
                },
                disposal: Disposal::KeepAside,
            }],
        };
        let node = Node::new(options, peer.agent_tls(), process).unwrap();
        let setup = Self { folder, peer, node, store, stream, wishes, cancel };
        tokio::spawn(Arc::clone(&setup.node).keep(setup.cancel.clone()));
        setup
    }

    fn publication(&self) -> Arc<Publication> {
        Arc::clone(&self.node.publications()[0])
    }

    fn state(&self) -> StreamState {
        self.store.stream(self.stream).unwrap().state
    }

    /// Appends a batch with one row, as a scan would.
    async fn append(&self, key: &str) {
        let mut builder =
            hutong_schema::block::BlockBuilder::new(&[hutong_schema::row::FieldId(2)]);
        builder.upsert(key.as_bytes(), [Some(&b"x"[..])]);
        let batch = NewBatch::rows(1, &builder.finish(), 1, Vec::new()).unwrap();
        let (store, stream, cancel) = (self.store.clone(), self.stream, self.cancel.clone());
        let append = move || {
            store.append(stream, batch, WriteBatch::new(), &cancel).unwrap().wait().unwrap()
        };
        tokio::task::spawn_blocking(append).await.unwrap();
        self.node.poke(&self.publication());
    }

    /// Waits for the wish to read the source, and pretends that it was read.
    async fn scanned(&mut self) {
        let wish = within(self.wishes.recv()).await.unwrap();
        assert_eq!(wish.stream, self.stream);
        self.publication().scan_begins();
        self.node.scan_ended(&self.publication(), true);
    }

    /// Waits until something is so.
    async fn until(&self, what: &str, so: impl Fn(&Self) -> bool) {
        let waiting = async {
            while !so(self) {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        if tokio::time::timeout(DEADLINE, waiting).await.is_err() {
            panic!("not in time: {what}; {:?} {:?}", self.state(), self.publication().troubles());
        }
    }
}

impl Drop for Setup {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn within<T>(waiting: impl Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, waiting).await.expect("it happens in time")
}

#[tokio::test]
async fn a_hub_that_nobody_answers_for_is_called_unreachable() {
    let peer = Peer::start();
    let (tls, instance) = (peer.agent_tls(), [1; 16]);
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let dialler = Dialler::open(&socket.local_addr().unwrap().to_string()).unwrap();
    let Err(error) = within(Session::visit(&dialler, &tls, instance)).await else {
        panic!("nobody is there")
    };
    assert!(matches!(error, LinkError::Silent { .. }), "{error:?}");
    assert!(error.advice().unwrap().contains("UDP"));
}

#[tokio::test]
async fn another_exchanges_hub_is_refused_for_its_certificate() {
    let (peer, other) = (Peer::start(), Peer::start());
    let dialler = Dialler::open(&peer.address.to_string()).unwrap();
    let Err(error) = within(Session::visit(&dialler, &other.agent_tls(), [1; 16])).await else {
        panic!("the certificate is another authority's")
    };
    let LinkError::Ended(failure) = &error else { panic!("{error:?}") };
    assert_eq!(failure.code.as_deref(), Some("HT-2003"), "{error}");
    assert!(error.needs_person());
}
