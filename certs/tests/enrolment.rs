//! From a join token to a certificate, over a real connection; and every way in which it fails.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on says so by panicking")]

mod common;

use common::*;
use hutong_certs::authority::HUB_VALIDITY;
use hutong_certs::clock;
use hutong_certs::enrol::{self, EnrolError, EnrolEvent, EnrolRefusal, EnrolRequest, SecretBytes};
use hutong_certs::join::{JoinToken, sheet};
use hutong_certs::request::PrivateKey;
use hutong_certs::roots::{CaFingerprint, RootSet};
use hutong_schema::wire::frame;

fn refused(result: Result<enrol::NodeMaterial, EnrolError>) -> EnrolRefusal {
    match result {
        Err(EnrolError::Refused(refused)) => EnrolRefusal::from_number(refused.code).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_token_becomes_a_node_that_is_let_in() {
    let exchange = Exchange::start();
    let token = exchange.token("n0001").await;
    let text = token.to_text();
    let folder = exchange.node_folder("n0001");
    assert!(!folder.is_enrolled());
    let material = exchange.enrol(&text.parse().unwrap(), &folder).await.unwrap();
    assert_eq!(material.identity, node("n0001"));
    assert!(folder.is_enrolled());

    let read = folder.load().unwrap();
    assert_eq!(read.identity, node("n0001"));
    assert_eq!(exchange.visit(&read.into_tls()).await.unwrap(), "welcome n0001");

    let path = exchange.node_path("n0001");
    for file in ["node.key", "node.crt", "roots.pem", "identity.json"] {
        assert!(path.join(file).exists(), "{file}");
    }
    let about = std::fs::read_to_string(path.join("identity.json")).unwrap();
    assert!(about.contains("spiffe://tieling.example/department/11100000000013338W/node/n0001"));
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::metadata(path.join("node.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
}

#[tokio::test]
async fn a_hub_with_another_fingerprint_gets_no_secret() {
    let exchange = Exchange::start();
    let token = JoinToken { authority: CaFingerprint([9; 32]), ..exchange.token("n1").await };
    let folder = exchange.node_folder("n1");
    let error = exchange.enrol(&token, &folder).await.unwrap_err();
    let EnrolError::Connection(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.code.as_deref(), Some("HT-2009"), "{failure}");
    assert!(!exchange.node_path("n1").exists(), "not even a key was made");
}

#[tokio::test]
async fn showing_a_root_without_being_of_it_does_not_help_an_impostor() {
    // The impostor appends the true root to its own chain.
    let exchange = Exchange::start();
    let impostor = authority("tieling.example");
    let own = impostor.issue_hub(&[], clock::now(), HUB_VALIDITY).unwrap();
    let token = exchange.token("n1").await;
    exchange.tls.credentials.replace(own);
    let error = exchange.enrol(&token, &exchange.node_folder("n1")).await.unwrap_err();
    let EnrolError::Connection(failure) = error else { panic!("{error:?}") };
    assert_eq!(failure.code.as_deref(), Some("HT-2003"), "{failure}");
}

#[tokio::test]
async fn a_node_of_the_exchange_cannot_enrol_others_in_the_hubs_place() {
    let exchange = Exchange::start();
    let token = exchange.token("n1").await;
    exchange.tls.credentials.replace(issued(&exchange.authority, &node("n2"), clock::now(), DAY));
    assert!(exchange.enrol(&token, &exchange.node_folder("n1")).await.is_err());
}

#[tokio::test]
async fn an_expired_token_is_told_with_the_hubs_clock() {
    let exchange = Exchange::start();
    let token = exchange.token_at("n1", clock::now() - DAY * 2).await;
    let result = exchange.enrol(&token, &exchange.node_folder("n1")).await;
    let Err(EnrolError::Refused(answer)) = &result else { panic!("{result:?}") };
    assert!(answer.detail.contains("the hub's clock says"), "{}", answer.detail);
    assert_eq!(refused(result), EnrolRefusal::TokenExpired);
    assert!(!exchange.node_folder("n1").is_enrolled());
}

#[tokio::test]
async fn a_used_token_is_refused_to_another_machine_but_not_to_the_same_key() {
    let exchange = Exchange::start();
    let token = exchange.token("n1").await;
    let first = exchange.node_folder("first");
    exchange.enrol(&token, &first).await.unwrap();
    let other = exchange.enrol(&token, &exchange.node_folder("other")).await;
    assert_eq!(refused(other), EnrolRefusal::TokenUsed);

    // The answer was lost on the way: no certificate, but the key is there.
    std::fs::remove_file(exchange.node_path("first").join("node.crt")).unwrap();
    assert!(!first.is_enrolled());
    let material = exchange.enrol(&token, &first).await.unwrap();
    assert!(exchange.visit(&material.into_tls()).await.is_ok());
}

#[tokio::test]
async fn unknown_and_altered_tokens_are_refused() {
    let exchange = Exchange::start();
    let token = exchange.token("n1").await;
    let stranger = Exchange::start().token("n1").await;
    let unknown = JoinToken { authority: token.authority, ..stranger };
    let result = exchange.enrol(&unknown, &exchange.node_folder("a")).await;
    assert_eq!(refused(result), EnrolRefusal::TokenUnknown);
    let altered = JoinToken { node: "n2".parse().unwrap(), ..token.clone() };
    let result = exchange.enrol(&altered, &exchange.node_folder("b")).await;
    assert_eq!(refused(result), EnrolRefusal::WrongIdentity);
    assert!(exchange.enrol(&token, &exchange.node_folder("c")).await.is_ok());
}

#[tokio::test]
async fn a_bad_signing_request_does_not_cost_the_token() {
    let exchange = Exchange::start();
    let token = exchange.token("n1").await;
    let secret = secret_of(&token);
    let key = PrivateKey::generate().unwrap();
    let mut request = EnrolRequest {
        software: "test".to_owned(),
        clock_ms: 0,
        secret,
        department: token.department,
        node: token.node.clone(),
        signing_request: vec![1, 2, 3],
    };
    let (event, answer) = exchange.enrolment.decide(request.clone(), clock::now()).await;
    assert_eq!(answer.unwrap_err().code, EnrolRefusal::SigningRequest.number());
    assert!(matches!(event, EnrolEvent::Refused { reason: EnrolRefusal::SigningRequest, .. }));
    request.signing_request = key.signing_request().unwrap();
    let (event, answer) = exchange.enrolment.decide(request.clone(), clock::now()).await;
    assert!(matches!(event, EnrolEvent::Enrolled { again: false, .. }) && answer.is_ok());
    let (event, _) = exchange.enrolment.decide(request, clock::now()).await;
    assert!(matches!(event, EnrolEvent::Enrolled { again: true, .. }));
}

/// The secret as it stands in the token's text, behind prefix and fingerprint.
fn secret_of(token: &JoinToken) -> SecretBytes {
    let text = token.to_text().to_uppercase();
    let bytes = data_encoding::BASE32_NOPAD.decode(&text.as_bytes()["HTJ1-".len()..]).unwrap();
    SecretBytes(bytes[32..64].try_into().unwrap())
}

#[tokio::test]
async fn garbage_on_the_wire_is_answered_and_disturbs_nobody() {
    let exchange = Exchange::start();
    let token = exchange.token("n1").await;
    let endpoint = client();
    let connection =
        enrol::connect(&endpoint, exchange.address, token.authority, transport(), DEADLINE)
            .await
            .unwrap();
    let garbage: [&[u8]; 4] =
        [&[0; 4], &[0xff; 64], &[2, 0, 0, 0, 0x60, 0xff], &[1, 0, 0, 0, 0x01]];
    for bytes in garbage {
        let (mut send, mut receive) = connection.open_bi().await.unwrap();
        send.write_all(bytes).await.unwrap();
        send.finish().unwrap();
        let answer = receive.read_to_end(1024).await.unwrap();
        let refused: hutong_schema::wire::v1::Refused =
            frame::expect(&answer[frame::PREFIX..]).unwrap();
        assert_eq!(refused.code, EnrolRefusal::Protocol.number());
    }
    let folder = exchange.node_folder("n1");
    enrol::enrol(&connection, &token, &folder, "test 1.0", DEADLINE).await.unwrap();
}

#[tokio::test]
async fn a_certificate_is_no_use_at_enrolment_and_a_token_none_at_the_exchange() {
    let exchange = Exchange::start();
    let config =
        hutong_certs::tls::enrolment_client_config(exchange.authority.fingerprint(), transport());
    let endpoint = client();
    let connection = endpoint
        .connect_with(config.unwrap(), exchange.address, hutong_certs::tls::SERVER_NAME)
        .unwrap()
        .await
        .unwrap();
    assert_eq!(
        hutong_certs::tls::protocol(&connection),
        Some(hutong_certs::tls::Protocol::Enrolment)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_sheet_of_nodes_enrols_at_once_over_few_connections() {
    const MACHINES: usize = 8;
    const NODES: usize = 200;
    let exchange = std::sync::Arc::new(Exchange::start());
    let department = node("n").department;
    let names: Vec<_> =
        (0..NODES).map(|i| (department, format!("n{i:04}").parse().unwrap())).collect();
    let fingerprint = exchange.authority.fingerprint();
    let tokens = exchange.enrolment.book.issue(&names, fingerprint, clock::now(), DAY).await;
    let rows: Vec<_> = tokens
        .unwrap()
        .into_iter()
        .map(|token| sheet::SheetRow { department_name: "示例局".to_owned(), token })
        .collect();
    let path = exchange.folder.path().join("tokens.csv");
    sheet::save(&path, &rows).unwrap();
    let rows = sheet::load(&path).unwrap();
    assert_eq!(rows.len(), NODES);

    let mut machines = tokio::task::JoinSet::new();
    for share in rows.chunks(NODES / MACHINES).map(<[_]>::to_vec) {
        let exchange = std::sync::Arc::clone(&exchange);
        machines.spawn(async move {
            let endpoint = client();
            let connection =
                enrol::connect(&endpoint, exchange.address, fingerprint, transport(), DEADLINE)
                    .await
                    .unwrap();
            let mut nodes = tokio::task::JoinSet::new();
            for row in share {
                let folder = exchange.node_folder(row.token.node.as_str());
                let connection = connection.clone();
                nodes.spawn(async move {
                    enrol::enrol(&connection, &row.token, &folder, "test 1.0", DEADLINE).await
                });
            }
            nodes.join_all().await.into_iter().for_each(|enrolled| drop(enrolled.unwrap()));
        });
    }
    let finished = machines.join_all().await;
    assert_eq!(finished.len(), MACHINES);
    let last = exchange.node_folder("n0199").load().unwrap();
    assert_eq!(exchange.visit(&last.into_tls()).await.unwrap(), "welcome n0199");
}

#[tokio::test]
async fn a_node_learns_all_trusted_roots_when_it_enrols() {
    let exchange = Exchange::start();
    let next = authority("tieling.example");
    exchange
        .tls
        .roots
        .replace(RootSet::new([next.root().clone(), exchange.authority.root().clone()]).unwrap());
    let token = exchange.token("n1").await;
    let material = exchange.enrol(&token, &exchange.node_folder("n1")).await.unwrap();
    assert_eq!(material.roots.certificates().len(), 2);
    let hub = next.issue_hub(&[], clock::now(), HUB_VALIDITY).unwrap();
    exchange.tls.credentials.replace(hub);
    assert!(exchange.visit(&material.into_tls()).await.is_ok());
}

#[tokio::test]
async fn an_outcome_that_cannot_be_recorded_is_not_granted_but_may_be_repeated() {
    let exchange = Exchange::start();
    let token = exchange.token("n1").await;
    let config = hutong_certs::tls::hub_server_config(&exchange.tls, transport()).unwrap();
    let hub = quinn::Endpoint::server(config, "127.0.0.1:0".parse().unwrap()).unwrap();
    let address = hub.local_addr().unwrap();
    let enrolment = std::sync::Arc::clone(&exchange.enrolment);
    tokio::spawn(async move {
        let connection = hub.accept().await.unwrap().await.unwrap();
        enrolment.answer(&connection, |_| async { Err("the log is full") }).await;
    });
    let folder = exchange.node_folder("n1");
    let endpoint = client();
    let connection =
        enrol::connect(&endpoint, address, token.authority, transport(), DEADLINE).await.unwrap();
    let result = enrol::enrol(&connection, &token, &folder, "test 1.0", DEADLINE).await;
    assert_eq!(refused(result), EnrolRefusal::Unavailable);
    assert!(exchange.enrol(&token, &folder).await.is_ok());
}
