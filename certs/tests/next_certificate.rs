//! From one certificate to the next, over a real connection; and every way in which it fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::*;
use hutong_certs::authority::HUB_VALIDITY;
use hutong_certs::clock;
use hutong_certs::credentials::Credentials;
use hutong_certs::enrol::{self, EnrolAnswer, EnrolError, EnrolRefusal, NodeFolder, RenewRequest};
use hutong_certs::lifetime::RENEWABLE_FOR;
use hutong_certs::request::PrivateKey;
use hutong_certs::stream::{FrameReader, FrameWriter};
use hutong_certs::tls::AgentTls;
use hutong_schema::wire::frame;
use hutong_schema::wire::v1::{Refused, kind};
use jiff::SignedDuration;
use sha2::{Digest, Sha256};

const LABEL: &[u8] = b"hutong-enrol/1 renew";

async fn known(exchange: &Exchange, tls: &AgentTls) -> quinn::Connection {
    let endpoint = client();
    enrol::connect_known(&endpoint, exchange.address, tls, transport(), DEADLINE).await.unwrap()
}

async fn renew(
    exchange: &Exchange,
    tls: &AgentTls,
    folder: &NodeFolder,
) -> Result<enrol::NodeMaterial, EnrolError> {
    let connection = known(exchange, tls).await;
    enrol::renew(&connection, &tls.credentials.current(), folder, "test 1.0", DEADLINE).await
}

fn code<T: std::fmt::Debug>(result: Result<T, EnrolError>) -> EnrolRefusal {
    match result {
        Err(EnrolError::Refused(refused)) => EnrolRefusal::from_number(refused.code).unwrap(),
        other => panic!("{other:?}"),
    }
}

/// A request as an honest node makes it, for a next key.
fn request(connection: &quinn::Connection, present: &Credentials) -> RenewRequest {
    let signing_request = PrivateKey::generate().unwrap().signing_request().unwrap();
    let proof = sign(connection, present.key(), &signing_request);
    RenewRequest {
        software: "test".to_owned(),
        clock_ms: 0,
        chain: present.chain().iter().map(|certificate| certificate.to_vec()).collect(),
        signing_request,
        proof,
    }
}

/// What the protocol's text says has to be signed.
fn sign(connection: &quinn::Connection, key: &PrivateKey, signing_request: &[u8]) -> Vec<u8> {
    let mut exported = [0; 32];
    connection.export_keying_material(&mut exported, LABEL, &[]).unwrap();
    let digest = Sha256::digest(signing_request);
    key.sign(&[LABEL, &[0], &exported[..], &digest[..]].concat()).unwrap()
}

async fn ask(connection: &quinn::Connection, request: &RenewRequest) -> Result<EnrolAnswer, u16> {
    let (send, receive) = connection.open_bi().await.unwrap();
    let mut writer = FrameWriter::new(send);
    writer.send(request).await.unwrap();
    writer.finish();
    let content = FrameReader::new(receive).due(enrol::FRAME_BYTES_MAX).await.unwrap();
    match frame::split(&content).unwrap().0 {
        kind::REFUSED => Err(frame::expect::<Refused>(&content).unwrap().code),
        _ => Ok(frame::expect(&content).unwrap()),
    }
}

#[tokio::test]
async fn a_node_gets_a_new_key_and_certificate_and_keeps_its_name() {
    let exchange = Exchange::start();
    let (token, folder) = (exchange.token("n1").await, exchange.node_folder("n1"));
    let first = exchange.enrol(&token, &folder).await.unwrap();
    let (serial, key) =
        (first.credentials.facts().serial.clone(), first.credentials.key().public_key());
    let tls = first.into_tls();
    let second = renew(&exchange, &tls, &folder).await.unwrap();
    assert_eq!(second.identity, node("n1"));
    assert_ne!(second.credentials.facts().serial, serial);
    assert_ne!(second.credentials.key().public_key(), key);
    let read = folder.load().unwrap();
    assert_eq!(read.credentials.facts(), second.credentials.facts());
    assert_eq!(exchange.visit(&read.into_tls()).await.unwrap(), "welcome n1");
}

#[tokio::test]
async fn an_expired_certificate_is_renewed_for_ninety_days_and_not_longer() {
    let exchange = Exchange::start();
    let (token, folder) = (exchange.token("n1").await, exchange.node_folder("n1"));
    exchange.enrol(&token, &folder).await.unwrap();
    let of_age = |age: SignedDuration| {
        exchange.agent(issued(&exchange.authority, &node("n1"), clock::now() - age - DAY, DAY))
    };
    let hour = SignedDuration::from_hours(1);
    let tls = of_age(RENEWABLE_FOR - hour);
    assert!(exchange.visit(&tls).await.is_err(), "it has expired");
    let material = renew(&exchange, &tls, &folder).await.unwrap();
    assert!(exchange.visit(&material.into_tls()).await.is_ok());

    let late = renew(&exchange, &of_age(RENEWABLE_FOR + hour), &folder).await;
    let Err(EnrolError::Refused(refused)) = &late else { panic!("{late:?}") };
    assert!(refused.detail.contains("new join token"), "{}", refused.detail);
    assert_eq!(code(late), EnrolRefusal::TooLate);
}

#[tokio::test]
async fn only_the_keys_holder_on_this_connection_for_this_request_gets_one() {
    let exchange = Exchange::start();
    let present = issued(&exchange.authority, &node("n1"), clock::now(), DAY);
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), DAY));
    let connection = known(&exchange, &tls).await;
    let honest = request(&connection, &present);
    assert!(ask(&connection, &honest).await.is_ok());

    let proof = Err(EnrolRefusal::Proof.number());
    let none = RenewRequest { proof: Vec::new(), ..honest.clone() };
    assert_eq!(ask(&connection, &none).await, proof);
    let stranger = PrivateKey::generate().unwrap();
    let by_stranger = sign(&connection, &stranger, &honest.signing_request);
    assert_eq!(
        ask(&connection, &RenewRequest { proof: by_stranger, ..honest.clone() }).await,
        proof
    );
    let other = stranger.signing_request().unwrap();
    let swapped = RenewRequest { signing_request: other, ..honest.clone() };
    assert_eq!(ask(&connection, &swapped).await, proof, "a request for another key");
    // What was heard on one connection is worth nothing on another.
    let elsewhere = known(&exchange, &tls).await;
    assert_eq!(ask(&elsewhere, &honest).await, proof);
}

#[tokio::test]
async fn the_same_key_another_authority_and_a_hubs_certificate_are_refused() {
    let exchange = Exchange::start();
    let present = issued(&exchange.authority, &node("n1"), clock::now(), DAY);
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), DAY));
    let connection = known(&exchange, &tls).await;
    let mut again = request(&connection, &present);
    again.signing_request = present.key().signing_request().unwrap();
    again.proof = sign(&connection, present.key(), &again.signing_request);
    let refused = Err(EnrolRefusal::SigningRequest.number());
    assert_eq!(ask(&connection, &again).await, refused, "every renewal has a new key");

    let refused = Err(EnrolRefusal::Certificate.number());
    let foreign = issued(&authority("tieling.example"), &node("n1"), clock::now(), DAY);
    assert_eq!(ask(&connection, &request(&connection, &foreign)).await, refused);
    let hub = exchange.authority.issue_hub(&[], clock::now(), HUB_VALIDITY).unwrap();
    assert_eq!(ask(&connection, &request(&connection, &hub)).await, refused);
    let empty = RenewRequest { chain: Vec::new(), ..request(&connection, &present) };
    assert_eq!(ask(&connection, &empty).await, refused);
}

#[tokio::test]
async fn a_hub_out_of_its_time_tells_its_clock_and_nothing_else_is_trusted() {
    let exchange = Exchange::start();
    let expired = exchange.authority.issue_hub(&[], clock::now() - DAY * 3, DAY).unwrap();
    exchange.tls.credentials.replace(expired);
    let tls = exchange.agent(issued(&exchange.authority, &node("n1"), clock::now(), DAY));
    let endpoint = client();
    let known =
        enrol::connect_known(&endpoint, exchange.address, &tls, transport(), DEADLINE).await;
    let Err(EnrolError::Connection(failure)) = known else { panic!("let in") };
    assert_eq!(failure.code.as_deref(), Some("HT-2001"));

    let address = exchange.address;
    let connect =
        || enrol::connect_to_compare_clocks(&endpoint, address, &tls, transport(), DEADLINE);
    let told = enrol::hub_clock(&connect().await.unwrap(), DEADLINE).await.unwrap();
    assert!(told.duration_since(clock::now()).abs() < SignedDuration::from_secs(20), "{told}");

    let impostor = authority("tieling.example").issue_hub(&[], clock::now(), HUB_VALIDITY).unwrap();
    exchange.tls.credentials.replace(impostor);
    assert!(connect().await.is_err(), "chain and name are checked");
}
