//! A hub's life in this process: founded, served, asked, stopped, served again.

use std::{collections::HashMap, path::Path, time::Duration};

use hutong_hub::{
    api::Readiness,
    app::{Addresses, Ended, Founding, files, found, serve},
    config::Config,
};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UnixStream},
    sync::oneshot,
    task::JoinHandle,
};

const SOON: Duration = Duration::from_secs(60);

struct Served {
    addresses: Addresses,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<anyhow::Result<Ended>>,
}

fn config(dir: &Path) -> Config {
    let variables = [("HUTONG_HUB__LISTEN", "127.0.0.1:0"), ("HUTONG_HUB__HTTP", "127.0.0.1:0")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    Config::from_sources(&dir.join("hub.toml"), HashMap::from(variables)).expect("a configuration")
}

async fn found_in(dir: &Path) -> anyhow::Result<()> {
    let founding = Founding {
        config: dir.join("hub.toml"),
        exchange: Some("tieling".parse().expect("a name")),
        partitions: Some(2),
        names: vec!["hub.example".into(), "127.0.0.1".into()],
        offline_root: None,
    };
    found(&founding).await.map(|_| ())
}

async fn start(dir: &Path) -> Served {
    let (stop, stopped) = oneshot::channel::<()>();
    let (ready, readied) = oneshot::channel();
    let config = config(dir);
    let ended = tokio::spawn(async move {
        let stop = async move {
            let _ = stopped.await;
        };
        serve(config, &Readiness::waiting("it begins"), stop, |addresses| {
            let _ = ready.send(addresses);
        })
        .await
    });
    let addresses = tokio::time::timeout(SOON, readied).await.expect("in time").expect("ready");
    Served { addresses, stop, ended }
}

async fn stop(served: Served) {
    served.stop.send(()).expect("it runs");
    let ended = tokio::time::timeout(SOON, served.ended).await.expect("in time").expect("no panic");
    assert_eq!(ended.expect("served"), Ended::InOrder);
}

async fn exchange(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    request: String,
) -> (u16, String) {
    stream.write_all(request.as_bytes()).await.expect("asked");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.expect("answered");
    let (head, body) = answer.split_once("\r\n\r\n").expect("an answer");
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok()).expect("a status");
    (status, body.to_owned())
}

async fn page(served: &Served, path: &str) -> (u16, String) {
    let stream = TcpStream::connect(served.addresses.http).await.expect("connects");
    exchange(stream, format!("GET {path} HTTP/1.0\r\n\r\n")).await
}

async fn admin(dir: &Path, path: &str, order: Option<Value>) -> (u16, Value) {
    let stream = UnixStream::connect(dir.join(files::SOCKET)).await.expect("connects");
    let request = match order {
        None => format!("GET {path} HTTP/1.0\r\n\r\n"),
        Some(order) => {
            let body = order.to_string();
            let head = format!("Content-Type: application/json\r\nContent-Length: {}", body.len());
            format!("POST {path} HTTP/1.0\r\n{head}\r\n\r\n{body}")
        }
    };
    let (status, body) = exchange(stream, request).await;
    (status, serde_json::from_str(&body).expect("JSON"))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_is_founded_serves_remembers_and_ends_in_order() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path().join("hub");
    found_in(&dir).await.expect("founded");
    let again = found_in(&dir).await.expect_err("founded already");
    assert!(again.to_string().contains("was founded here"), "{again}");

    let served = start(&dir).await;
    assert_eq!(page(&served, "/health").await, (200, "alive\n".into()));
    assert_eq!(page(&served, "/ready").await, (200, "ready\n".into()));
    let (status, metrics) = page(&served, "/metrics").await;
    assert_eq!(status, 200);
    assert!(metrics.contains("hutong_nodes_enrolled 0"), "{metrics}");

    let department = "11100000000013338W";
    let node = json!({ "department": department, "department_name": "示例局", "node": "n1" });
    let (status, issued) = admin(&dir, "/admin/tokens", Some(json!({ "nodes": [node] }))).await;
    assert_eq!(status, 200, "{issued}");
    assert!(issued["tokens"][0]["token"].as_str().is_some_and(|token| token.starts_with("htj1-")));

    let grant = json!({
        "target": "population", "grantee": department, "fields": ["xm"], "filter": "age(csrq) >= 18",
        "purpose": "示例用途", "modes": { "deliver": true, "lookup": true, "verify": true },
    });
    let (status, made) = admin(&dir, "/admin/grants", Some(grant.clone())).await;
    assert_eq!((status, &made["id"]), (200, &json!(1)), "{made}");
    let mut wrong = grant;
    wrong["fields"] = json!(["xm", "nonsense"]);
    wrong["filter"] = json!("age(xm) >= 18");
    let (status, failure) = admin(&dir, "/admin/grants", Some(wrong)).await;
    assert_eq!((status, failure["problems"].as_array().map(Vec::len)), (422, Some(2)), "{failure}");

    let question = json!({
        "target": "population", "by": { "key": "11010519491231002X" }, "limit": 5,
        "reason": "示例", "operator": "test",
    });
    let (status, answer) = admin(&dir, "/admin/lookup", Some(question.clone())).await;
    assert_eq!((status, &answer["rows"]), (200, &json!([])), "{answer}");
    let mut unreasoned = question;
    unreasoned["reason"] = json!(" ");
    assert_eq!(admin(&dir, "/admin/lookup", Some(unreasoned)).await.0, 422);
    assert_eq!(admin(&dir, "/admin/flush", Some(json!(null))).await.0, 200);
    stop(served).await;
    assert!(!dir.join(files::SOCKET).exists(), "the socket is gone");

    let served = start(&dir).await;
    let (_, status) = admin(&dir, "/admin/status", None).await;
    assert_eq!(status["departments"], json!(1), "{status}");
    assert_eq!(status["partitions"].as_array().map(Vec::len), Some(4));
    assert_eq!(status["partitions"][1]["head"], json!(1), "the lookup is in the access log");
    assert_eq!(status["subscriptions"][0]["grant"], json!(1));
    let (_, grants) = admin(&dir, "/admin/grants", None).await;
    assert_eq!(grants[0]["fields"], json!(["xm"]));
    let socket = std::fs::metadata(dir.join(files::SOCKET)).expect("a socket");
    assert_eq!(std::os::unix::fs::PermissionsExt::mode(&socket.permissions()) & 0o777, 0o600);
    stop(served).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hub_does_not_serve_what_was_not_founded_or_not_so() {
    let dir = tempfile::tempdir().expect("a folder");
    let dir = dir.path();
    let text = "[hub]\nexchange = \"tieling\"\n[log]\npartitions = 2\n";
    std::fs::write(dir.join("hub.toml"), text).expect("written");
    let (never, readiness) = (std::future::pending::<()>, Readiness::waiting("it begins"));
    let error = serve(config(dir), &readiness, never(), |_| ()).await.expect_err("not founded");
    assert!(error.to_string().contains("hutong-hub init"), "{error:#}");

    found_in(dir).await.expect("founded");
    for other in
        ["[hub]\nexchange = \"other\"\n[log]\npartitions = 2\n", "[hub]\nexchange = \"tieling\"\n"]
    {
        std::fs::write(dir.join("hub.toml"), other).expect("written");
        let error =
            serve(config(dir), &readiness, never(), |_| ()).await.expect_err("founded otherwise");
        assert!(error.to_string().contains("was founded"), "{error:#}");
    }
}
