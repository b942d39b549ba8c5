//! A node whose catalogue file is not there.

use super::{peer::Peer, *};

/// What a node says of its catalogue after it has settled it with the hub.
async fn trouble(publishes: bool) -> Option<String> {
    let peer = Peer::start();
    let folder = tempfile::tempdir().unwrap();
    let (store, publications) = store_of(folder.path(), publishes).await;
    let dialler = Dialler::open(&peer.address.to_string()).unwrap();
    let process = Process::new(
        dialler.clone(),
        store,
        Quarantine::new(folder.path().join("quarantine")),
        mpsc::channel(8).0,
        Fatal::new(CancellationToken::new()),
    );
    let options = NodeOptions {
        name: "n1".parse().unwrap(),
        folder: hutong_certs::enrol::NodeFolder::new(folder.path().join("nodes/n1")),
        catalogue: Some(folder.path().join("catalogue.toml")),
        publications,
        subscriptions: Vec::new(),
    };
    let node = Node::new(options, peer.agent_tls(), process).unwrap();
    let (session, _control) = within(Session::connect(&dialler, &node.tls, [1; 16])).await.unwrap();
    within(entries::prepare(&node, &session)).await.unwrap();
    node.catalogue_trouble()
}

#[tokio::test]
async fn a_node_that_publishes_needs_it_and_says_so() {
    let trouble = trouble(true).await.expect("it is named");
    assert!(trouble.contains("cannot read") && trouble.contains("catalogue.toml"), "{trouble}");
}

#[tokio::test]
async fn a_node_that_only_receives_needs_none() {
    assert_eq!(trouble(false).await, None);
}
