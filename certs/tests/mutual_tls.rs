//! Who is let in at `hutong/1`, whom a node takes for its hub, and what both are told otherwise.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::*;
use hutong_certs::authority::{HUB_VALIDITY, NODE_VALIDITY};
use hutong_certs::clock;
use hutong_certs::roots::{CaFingerprint, RootSet};
use hutong_certs::tls::{self, By, HandshakeFailure};

fn refusal(result: Result<String, HandshakeFailure>) -> (By, String, String) {
    let failure = result.unwrap_err();
    (failure.by, failure.code.unwrap_or_default(), failure.text)
}

#[tokio::test]
async fn a_node_and_its_hub_know_each_other() {
    let exchange = Exchange::start();
    let credentials = issued(&exchange.authority, &node("n0001"), clock::now(), NODE_VALIDITY);
    let visit = exchange.visit(&exchange.agent(credentials)).await;
    assert_eq!(visit.unwrap(), "welcome n0001");
}

#[tokio::test]
async fn without_a_certificate_nobody_passes_at_the_exchange_protocol() {
    let exchange = Exchange::start();
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    // The configuration of the exchange protocol, but with nothing to show.
    let provider = std::sync::Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(tls.roots.current().certificates()[0].clone()).unwrap();
    let verifier =
        rustls::client::WebPkiServerVerifier::builder_with_provider(roots.into(), provider.clone())
            .build()
            .unwrap();
    let mut config = rustls::ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_webpki_verifier(verifier)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"hutong/1".to_vec()];
    let crypto = quinn::crypto::rustls::QuicClientConfig::try_from(config).unwrap();
    let config = quinn::ClientConfig::new(std::sync::Arc::new(crypto));
    let endpoint = client();
    let connection =
        endpoint.connect_with(config, exchange.address, "hub.example").unwrap().await.unwrap();
    let closed = tokio::time::timeout(DEADLINE, connection.closed()).await.unwrap();
    let quinn::ConnectionError::ApplicationClosed(close) = closed else { panic!("{closed:?}") };
    assert_eq!(close.error_code, NO_IDENTITY);
    assert!(String::from_utf8_lossy(&close.reason).contains("HT-2008"));
}

#[tokio::test]
async fn a_certificate_of_an_unknown_authority_is_refused_and_both_learn_why() {
    let exchange = Exchange::start();
    let stranger = authority("tieling.example");
    let tls = exchange.agent(issued(&stranger, &node("n1"), clock::now(), NODE_VALIDITY));
    let (by, code, text) = refusal(exchange.visit(&tls).await);
    assert_eq!((by, code.as_str()), (By::Peer, "HT-2003"), "{text}");

    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    tls.roots.replace(RootSet::new([stranger.root().clone()]).unwrap());
    let (by, code, text) = refusal(exchange.visit(&tls).await);
    assert_eq!((by, code.as_str()), (By::Us, "HT-2003"), "{text}");
}

#[tokio::test]
async fn members_of_another_exchange_are_named() {
    let exchange = Exchange::start();
    let other = authority("other.example");
    let credentials = issued(&other, &node_of("other.example", "n1"), clock::now(), NODE_VALIDITY);
    let (by, code, text) = refusal(exchange.visit(&exchange.agent(credentials)).await);
    assert_eq!((by, code.as_str()), (By::Peer, "HT-2004"));
    assert!(text.contains("other.example") && text.contains("tieling.example"), "{text}");

    // Trusting a root is not enough either: the name counts.
    exchange.tls.roots.update(|roots| roots.with(other.root().clone()).unwrap());
    let credentials = issued(&other, &node_of("other.example", "n1"), clock::now(), NODE_VALIDITY);
    let (_, code, text) = refusal(exchange.visit(&exchange.agent(credentials)).await);
    assert_eq!(code, "HT-2004", "{text}");

    let mut tls =
        exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    tls.exchange = "other.example".parse().unwrap();
    let (by, code, text) = refusal(exchange.visit(&tls).await);
    assert_eq!((by, code.as_str()), (By::Us, "HT-2004"), "{text}");
}

#[tokio::test]
async fn expired_and_not_yet_valid_certificates_are_refused_with_both_clocks() {
    let exchange = Exchange::start();
    let now = clock::now();
    let credentials = issued(&exchange.authority, &node("n1"), now - DAY * 2, DAY);
    let (by, code, text) = refusal(exchange.visit(&exchange.agent(credentials)).await);
    assert_eq!((by, code.as_str()), (By::Peer, "HT-2001"), "{text}");
    assert!(text.contains("the checking side's clock says 20"), "{text}");
    assert!(text.contains("this machine's clock says 20"), "{text}");

    let credentials = issued(&exchange.authority, &node("n1"), now + DAY * 3, DAY);
    let (by, code, text) = refusal(exchange.visit(&exchange.agent(credentials)).await);
    assert_eq!((by, code.as_str()), (By::Peer, "HT-2002"), "{text}");
    assert!(text.contains("clock says") && text.contains("this machine's clock says"), "{text}");

    // A clock that is 20 hours slow at the issuer's side is within the backdating.
    let credentials = issued(&exchange.authority, &node("n1"), now + DAY * 20 / 24, DAY);
    assert!(exchange.visit(&exchange.agent(credentials)).await.is_ok());
}

#[tokio::test]
async fn an_expired_hub_is_refused_by_its_nodes() {
    let exchange = Exchange::start();
    let old = exchange.authority.issue_hub(&[], clock::now() - DAY * 2, DAY).unwrap();
    exchange.tls.credentials.replace(old);
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    let (by, code, text) = refusal(exchange.visit(&tls).await);
    assert_eq!((by, code.as_str()), (By::Us, "HT-2001"), "{text}");
}

#[tokio::test]
async fn a_revoked_certificate_is_refused_from_the_next_handshake_on() {
    let exchange = Exchange::start();
    let credentials = issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY);
    let serial = credentials.facts().serial.clone();
    let tls = exchange.agent(credentials);
    assert!(exchange.visit(&tls).await.is_ok());
    exchange.tls.revoked.replace([(serial.clone(), "the key was copied".into())]);
    let (by, code, text) = refusal(exchange.visit(&tls).await);
    assert_eq!((by, code.as_str()), (By::Peer, "HT-2005"));
    assert!(text.contains(&serial.to_string()) && text.contains("the key was copied"), "{text}");

    // Another certificate of the same node is not affected; renewal needs no new configuration.
    tls.credentials.replace(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    assert!(exchange.visit(&tls).await.is_ok());
}

#[tokio::test]
async fn a_node_cannot_play_the_hub_nor_the_hub_a_node() {
    let exchange = Exchange::start();
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    let impostor = issued(&exchange.authority, &node("n2"), clock::now(), NODE_VALIDITY);
    exchange.tls.credentials.replace(impostor);
    let (by, _, text) = refusal(exchange.visit(&tls).await);
    assert_eq!(by, By::Us, "{text}");

    let exchange = Exchange::start();
    let hub = exchange.authority.issue_hub(&[], clock::now(), HUB_VALIDITY).unwrap();
    let (by, _, text) = refusal(exchange.visit(&exchange.agent(hub)).await);
    assert_eq!(by, By::Peer, "{text}");
}

#[tokio::test]
async fn one_root_takes_over_from_another_without_a_restart() {
    let exchange = Exchange::start();
    let next = authority("tieling.example");
    let old =
        exchange.agent(issued(&exchange.authority, &node("old"), clock::now(), NODE_VALIDITY));
    let new = exchange.agent(issued(&next, &node("new"), clock::now(), NODE_VALIDITY));
    assert!(exchange.visit(&new).await.is_err());

    // Both ends trust both; then the hub shows a certificate of the next root.
    let both = RootSet::new([exchange.authority.root().clone(), next.root().clone()]).unwrap();
    for roots in [&exchange.tls.roots, &old.roots, &new.roots] {
        roots.replace(both.clone());
    }
    assert_eq!(exchange.visit(&old).await.unwrap(), "welcome old");
    assert_eq!(exchange.visit(&new).await.unwrap(), "welcome new");
    let hub = next.issue_hub(&[], clock::now(), HUB_VALIDITY).unwrap();
    exchange.tls.credentials.replace(hub);
    assert_eq!(exchange.visit(&old).await.unwrap(), "welcome old");

    // The old root goes.
    let one = RootSet::new([next.root().clone()]).unwrap();
    exchange.tls.roots.replace(one);
    assert_eq!(refusal(exchange.visit(&old).await).1, "HT-2003");
    assert_eq!(exchange.visit(&new).await.unwrap(), "welcome new");
}

#[tokio::test]
async fn a_change_of_the_hubs_names_disturbs_no_node() {
    let exchange = Exchange::start();
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    let names: Vec<_> = (0..200).map(|i| format!("hub{i}.example").as_str().into()).collect();
    let moved = exchange.authority.issue_hub(&names, clock::now(), HUB_VALIDITY).unwrap();
    exchange.tls.credentials.replace(moved);
    assert!(exchange.visit(&tls).await.is_ok());
}

#[tokio::test]
async fn nothing_is_resumed_and_nothing_goes_early() {
    let exchange = Exchange::start();
    let credentials = issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY);
    let serial = credentials.facts().serial.clone();
    let config = tls::agent_client_config(&exchange.agent(credentials), transport()).unwrap();
    assert!(exchange.visit_as(config.clone()).await.is_ok());
    // The same configuration object has met this hub before; still there is no 0-RTT to offer.
    let endpoint = client();
    let connecting =
        endpoint.connect_with(config.clone(), exchange.address, tls::SERVER_NAME).unwrap();
    assert!(connecting.into_0rtt().is_err());
    exchange.tls.revoked.replace([(serial, "a test".into())]);
    assert_eq!(refusal(exchange.visit_as(config).await).1, "HT-2005");
}

#[tokio::test]
async fn the_hub_tells_a_node_who_it_is() {
    let exchange = Exchange::start();
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), NODE_VALIDITY));
    let config = tls::agent_client_config(&tls, transport()).unwrap();
    let endpoint = client();
    let connection =
        endpoint.connect_with(config, exchange.address, tls::SERVER_NAME).unwrap().await.unwrap();
    assert_eq!(tls::protocol(&connection), Some(tls::Protocol::Exchange));
    let hub = tls::peer_certificate(&connection).unwrap();
    assert_eq!(hub.identity.to_string(), "spiffe://tieling.example/hub");
    assert!(tls::require_identity(&connection).is_err(), "a hub is not a node");
    let fingerprint = CaFingerprint::of(&tls.roots.current().certificates()[0]);
    assert_eq!(fingerprint, exchange.authority.fingerprint());
}
