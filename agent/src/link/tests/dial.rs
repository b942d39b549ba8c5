//! Dialling a hub that stays silent, closes at once, or restarts again and again.

use hutong_certs::{authority::Authority, stream::FrameReader};
use hutong_schema::{
    limits::CONTROL_FRAME_BYTES_MAX,
    wire::{
        frame::{self, Message},
        v1::command::CatalogueList,
    },
};
use quinn::{Connection, Endpoint};

use super::{
    peer::{agent_tls, exchange, greet},
    *,
};

/// What a test may wait for at all, and what never comes within one.
const NEVER: Duration = Duration::from_secs(3_600);

/// Dials without delay, and with patience for everything.
const PATIENT: Patience = Patience {
    greeting: NEVER,
    answer: NEVER,
    first: Duration::from_millis(1),
    longest: Duration::from_millis(8),
    good_after: NEVER,
};

/// A hub whose every connection is the test's own.
struct Hub {
    authority: Authority,
    endpoint: Endpoint,
}

impl Hub {
    fn new() -> Self {
        let (authority, endpoint) = exchange();
        Self { authority, endpoint }
    }

    /// The next connection: its handshake is over, and nothing on it was answered.
    async fn dialled(&self) -> Connection {
        within(async { self.endpoint.accept().await.unwrap().await.unwrap() }).await
    }
}

/// A node of a hub, kept by the loop that keeps it in an agent.
struct Kept {
    _folder: tempfile::TempDir,
    node: Arc<Node>,
    cancel: CancellationToken,
}

impl Kept {
    async fn new(hub: &Hub, patience: Patience, publishes: bool) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let (store, publications) = store_of(folder.path(), publishes).await;
        let address = hub.endpoint.local_addr().unwrap().to_string();
        let cancel = CancellationToken::new();
        let process = Process::new(
            Dialler::open(&address).unwrap().with_patience(patience),
            store,
            Quarantine::new(folder.path().join("quarantine")),
            mpsc::channel(8).0,
            Fatal::new(cancel.clone()),
        );
        let options = NodeOptions {
            name: "n1".parse().unwrap(),
            folder: hutong_certs::enrol::NodeFolder::new(folder.path().join("nodes/n1")),
            catalogue: None,
            publications,
            subscriptions: Vec::new(),
        };
        let node = Node::new(options, agent_tls(&hub.authority), process).unwrap();
        tokio::spawn(Arc::clone(&node).keep(cancel.clone()));
        Self { _folder: folder, node, cancel }
    }

    /// Failures in a row so far. Between a dial and its greeting nothing changes them.
    fn failures(&self) -> u32 {
        match self.node.state() {
            LinkState::Away { failures, .. } => failures,
            LinkState::Idle | LinkState::Connecting => 0,
            state @ LinkState::Connected { .. } => panic!("not connected yet: {state:?}"),
        }
    }

    async fn connected(&self) {
        within(async {
            while !matches!(self.node.state(), LinkState::Connected { .. }) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await;
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

#[tokio::test]
async fn a_hub_that_never_greets_is_left_and_dialled_ever_less_often() {
    let hub = Hub::new();
    // Shorter than the wait for the greeting: only the time since a greeting may count.
    let good_after = Duration::from_millis(20);
    let patience = Patience { greeting: Duration::from_millis(100), good_after, ..PATIENT };
    let kept = Kept::new(&hub, patience, false).await;
    // Every connection is held and never answered.
    let held = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(hub.dialled().await);
        }
    });
    let state = within(async {
        while kept.failures() < 5 {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        kept.node.state()
    })
    .await;
    let LinkState::Away { reason, .. } = state else { panic!("it is away") };
    assert!(reason.contains("no greeting came"), "{reason}");
    held.abort();
}

#[tokio::test]
async fn a_hub_that_greets_and_closes_at_once_is_dialled_ever_less_often() {
    let hub = Hub::new();
    let kept = Kept::new(&hub, PATIENT, false).await;
    for failures in 0..6 {
        let connection = hub.dialled().await;
        assert_eq!(kept.failures(), failures);
        let _control = within(greet(&connection)).await.unwrap();
        connection.close(9u32.into(), b"at once");
    }
    let connection = hub.dialled().await;
    let _control = within(greet(&connection)).await.unwrap();
    kept.connected().await;
}

#[tokio::test]
async fn after_a_connection_that_lasted_the_next_dial_follows_at_once() {
    let hub = Hub::new();
    let good_after = Duration::from_millis(50);
    let kept = Kept::new(&hub, Patience { good_after, ..PATIENT }, false).await;
    for failures in 0..3 {
        let connection = hub.dialled().await;
        assert_eq!(kept.failures(), failures);
        connection.close(9u32.into(), b"not greeted");
    }
    for after in [3, 1, 1, 1] {
        let connection = hub.dialled().await;
        assert_eq!(kept.failures(), after);
        let _control = within(greet(&connection)).await.unwrap();
        kept.connected().await;
        // Time that passes is what this is about: the node counts from its greeting, before this.
        tokio::time::sleep(good_after).await;
        connection.close(9u32.into(), b"restarted");
    }
}

#[tokio::test]
async fn a_hub_that_greets_and_leaves_the_first_question_unanswered_is_asked_again() {
    let hub = Hub::new();
    let patience = Patience { answer: Duration::from_millis(100), ..PATIENT };
    let _kept = Kept::new(&hub, patience, true).await;
    let connection = hub.dialled().await;
    let _control = within(greet(&connection)).await.unwrap();
    let mut unanswered = Vec::new();
    for _ in 0..2 {
        let (send, receive) = within(connection.accept_bi()).await.unwrap();
        let mut reader = FrameReader::new(receive);
        let asked = within(reader.due(CONTROL_FRAME_BYTES_MAX)).await.unwrap();
        assert_eq!(frame::split(&asked).unwrap().0, CatalogueList::KIND);
        unanswered.push((send, reader));
    }
}
