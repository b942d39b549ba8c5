//! A web service that takes rows, refuses them, or takes them and never answers.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use hutong_schema::batch::Codec;
use hutong_schema::grant::GrantId;
use hutong_schema::wire::v1::subscribe::{DeliveryMode, Packed, SnapshotEnd, SubscribeReady};

use super::super::testing::{block, cursor, view_json};
use super::super::{
    Begin, Disposal, Sink, SinkError, SinkOptions, SubscriptionKey, WebhookError, WebhookOptions,
};
use crate::config::SecretSource;
use crate::spool::{Store, StoreOptions};

const OPTIONS: StoreOptions =
    StoreOptions { cache_bytes: 1 << 20, outbox_cap_bytes: 1 << 20, image_rest: Duration::ZERO };

/// What the service does with the next request; it takes what nothing is said about.
#[derive(Clone, Copy, Debug)]
enum Deed {
    /// Answers with this.
    Answer(&'static str),
    /// Takes the lines and hangs up.
    HangUp,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Request {
    key: String,
    token: String,
    body: String,
}

/// A service on a port of its own.
#[derive(Clone)]
struct Service {
    url: String,
    seen: Arc<Mutex<Vec<Request>>>,
    deeds: Arc<Mutex<VecDeque<Deed>>>,
}

impl Service {
    fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/rows", listener.local_addr().unwrap());
        let service = Self { url, seen: Arc::default(), deeds: Arc::default() };
        let serving = service.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = BufReader::new(stream.unwrap());
                let (mut length, mut key, mut token) = (0, String::new(), String::new());
                loop {
                    let mut line = String::new();
                    if stream.read_line(&mut line).unwrap() <= 2 {
                        break;
                    }
                    let Some((name, value)) = line.trim_end().split_once(": ") else { continue };
                    match name.to_ascii_lowercase().as_str() {
                        "content-length" => length = value.parse().unwrap(),
                        "idempotency-key" => value.clone_into(&mut key),
                        "authorization" => value.clone_into(&mut token),
                        _ => {}
                    }
                }
                let mut body = vec![0; length];
                stream.read_exact(&mut body).unwrap();
                let body = String::from_utf8(body).unwrap();
                serving.seen.lock().unwrap().push(Request { key, token, body });
                let deed = serving.deeds.lock().unwrap().pop_front();
                let answer = match deed {
                    None => "204 No Content\r\n\r\n",
                    Some(Deed::Answer(answer)) => answer,
                    Some(Deed::HangUp) => continue,
                };
                let answer = format!("HTTP/1.1 {answer}");
                let _ = stream.get_mut().write_all(answer.as_bytes());
            }
        });
        service
    }

    fn next(&self, deeds: &[Deed]) {
        self.deeds.lock().unwrap().extend(deeds);
    }

    fn seen(&self) -> Vec<Request> {
        self.seen.lock().unwrap().clone()
    }

    /// The lines of everything taken, each key's once.
    fn lines(&self) -> Vec<String> {
        let (mut keys, mut lines) = (Vec::new(), Vec::new());
        for request in self.seen() {
            if !keys.contains(&request.key) {
                keys.push(request.key);
                lines.extend(request.body.lines().map(str::to_owned));
            }
        }
        lines
    }
}

async fn open(folder: &std::path::Path, service: &Service) -> Result<Sink, SinkError> {
    let store = Store::open(&folder.join("store"), OPTIONS).unwrap();
    let key = SubscriptionKey { node: "n1".parse().unwrap(), grant: GrantId(7) };
    let token = folder.join("token");
    std::fs::write(&token, "sesame\n").unwrap();
    let rights = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    std::fs::set_permissions(&token, rights).unwrap();
    let options = WebhookOptions {
        url: service.url.clone(),
        token: Some(SecretSource::File(token)),
        ca_file: None,
    };
    Sink::open(store, key, &SinkOptions::Webhook(Box::new(options))).await
}

fn packed(raw: &[u8]) -> Packed<'_> {
    Packed { rows: 0, raw_len: raw.len() as u32, codec: Codec::Plain, payload: raw }
}

fn ready(mode: DeliveryMode) -> SubscribeReady {
    SubscribeReady { view: view_json(1), mode }
}

async fn snapshot(sink: &mut Sink) {
    let mode = DeliveryMode::Snapshot { start: cursor(1), because: None };
    assert_eq!(sink.begin(&ready(mode)).await.unwrap(), Begin::Fresh);
    sink.chunk(cursor(1), b"a\x1f1", packed(&block(&[("a\x1f1", Some("one"))]))).unwrap();
    let end = SnapshotEnd { start: cursor(1), consistent_at: cursor(1) };
    sink.end_snapshot(&end).await.unwrap();
}

const SNAPSHOT: [&str; 3] = [
    r#"{"grant":7,"op":"snapshot_begin"}"#,
    r#"{"grant":7,"op":"upsert","key":"a\u001f1","row":{"qh":"a","bh":"1","mc":"one"}}"#,
    r#"{"grant":7,"op":"snapshot_end"}"#,
];

#[tokio::test]
async fn lines_are_posted_with_the_token_and_a_key_of_their_own() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    let mut sink = open(folder.path(), &service).await.unwrap();
    snapshot(&mut sink).await;
    sink.tail(1, cursor(2), packed(&block(&[("a\x1f1", None)]))).unwrap();
    sink.commit().await.unwrap();
    let gone = r#"{"grant":7,"op":"delete","key":"a\u001f1"}"#;
    assert_eq!(service.lines(), [&SNAPSHOT[..], &[gone]].concat());
    let seen = service.seen();
    assert!(seen.iter().all(|request| request.token == "Bearer sesame"), "{seen:?}");
    assert!(seen[0].key.starts_with("n1-7-1.1.1-"), "{seen:?}");
    let now = jiff::Timestamp::from_second(1_795_262_400).unwrap();
    sink.dispose("ended", Disposal::Delete, now).await.unwrap();
    let last = r#"{"grant":7,"op":"withdrawn","reason":"ended"}"#;
    assert_eq!(service.lines().last().unwrap(), last);
}

#[tokio::test]
async fn what_was_taken_without_an_answer_is_posted_again_with_the_same_key() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    let mut sink = open(folder.path(), &service).await.unwrap();
    snapshot(&mut sink).await;
    service.next(&[Deed::HangUp]);
    let rows = [("a\x1f1", Some("two")), ("a\x1f2", Some("new"))];
    sink.tail(1, cursor(2), packed(&block(&rows))).unwrap();
    assert!(matches!(sink.commit().await, Err(SinkError::Webhook(_))));
    drop(sink);
    service.next(&[Deed::Answer("503 Away\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nlate")]);
    let Err(SinkError::Webhook(error)) = open(folder.path(), &service).await else {
        panic!("it was refused")
    };
    assert_eq!(error.retry_after(), Some(Duration::from_secs(7)));
    let mut sink = open(folder.path(), &service).await.unwrap();
    let seen = service.seen();
    let [.., first, second, third] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!((first, second), (second, third));
    assert_eq!(service.lines().len(), 5, "{:?}", service.lines());
    // It goes on behind it.
    assert_eq!(sink.record().resumption().cursor, Some(cursor(2)));
    sink.begin(&ready(DeliveryMode::Tail)).await.unwrap();
    sink.tail(2, cursor(3), packed(&block(&[("a\x1f2", None)]))).unwrap();
    sink.commit().await.unwrap();
    assert_eq!(service.lines().len(), 6);
}

#[tokio::test]
async fn a_refusal_is_shown_by_its_first_line() {
    let (folder, service) = (tempfile::tempdir().unwrap(), Service::start());
    let mut sink = open(folder.path(), &service).await.unwrap();
    let long = "422 No\r\nContent-Length: 33\r\n\r\nno column named mc\nand other words";
    service.next(&[Deed::Answer(long)]);
    let mode = DeliveryMode::Snapshot { start: cursor(1), because: None };
    sink.begin(&ready(mode)).await.unwrap();
    sink.chunk(cursor(1), b"a\x1f1", packed(&block(&[("a\x1f1", Some("one"))]))).unwrap();
    let error = sink.commit().await.unwrap_err();
    assert!(matches!(&error, SinkError::Webhook(WebhookError::Refused { status: 422, .. })));
    let shown = error.to_string();
    assert!(shown.ends_with("/rows answered 422: no column named mc"), "{shown}");
    assert!(!shown.contains("sesame"));
}
