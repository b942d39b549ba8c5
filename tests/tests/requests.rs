//! Requests as nobody should send them: to the operator's socket of a hub, to its HTTP address, and to the socket of an
//! agent. Each is answered or cut off; nothing fails, and both serve on.

use std::fs;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;

use anyhow::{Context, Result, ensure};
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::{Exchange, SOON, scene};
use hutong_tests::harness::http;
use hutong_tests::harness::rows::{csv, people};
use serde_json::{Value, json};

const CODE: &str = "301001/000001";

/// Rounds for each request: enough that every field of it was every kind of nonsense.
const ROUNDS: u64 = 60;

#[test]
fn a_hub_answers_whatever_its_operator_sends() -> Result<()> {
    scene(|exchange| {
        publishing(exchange)?;
        let (socket, page) = (exchange.hub.socket(), exchange.hub.http()?);
        let mut rng = Rng::new(0x5A7E_0501);
        let mut codes = [0u32; 6];
        for (path, order) in orders()? {
            for round in 0..ROUNDS {
                let body =
                    if round == 0 { order.to_string().into() } else { spoiled(&order, &mut rng) };
                let request = post(path, &body);
                let answer = whole(UnixStream::connect(&socket)?, &request)?;
                let code = status(&answer).with_context(|| format!("{path} {}", shown(&body)))?;
                ensure!(
                    code < 500,
                    "{path} failed with {code} over {}: {}",
                    shown(&body),
                    shown(&answer)
                );
                codes[usize::from(code / 100)] += 1;
                // What is no HTTP at all is cut off or refused.
                let cut = garbled(&request, &mut rng);
                for answer in [
                    http::raw(UnixStream::connect(&socket)?, &cut),
                    http::raw(TcpStream::connect(page)?, &cut),
                ] {
                    let failed = answer.ok().and_then(|answer| status(&answer).ok());
                    ensure!(failed.is_none_or(|code| code < 500), "{} failed", shown(&cut));
                }
            }
        }
        ensure!(codes[2] > 5 && codes[4] > 100, "some are taken and most refused: {codes:?}");
        exchange.hub.page_ok("/ready", SOON)?;
        exchange.hub.status(true)?;
        nobody_panicked(exchange)
    })
}

#[test]
fn an_agent_answers_whatever_its_operator_sends() -> Result<()> {
    scene(|exchange| {
        publishing(exchange)?;
        let socket = exchange.machines[0].state().join("agent.sock");
        let mut rng = Rng::new(0x5A7E_0502);
        let mut taken = 0;
        for order in questions() {
            for round in 0..ROUNDS {
                let mut line =
                    if round == 0 { order.to_string().into() } else { spoiled(&order, &mut rng) };
                line.retain(|byte| *byte != b'\n');
                line.push(b'\n');
                let answer = http::raw(UnixStream::connect(&socket)?, &line)?;
                let answer: Value = serde_json::from_slice(&answer).with_context(|| {
                    format!("{} was answered with {}", shown(&line), shown(&answer))
                })?;
                ensure!(answer.get("Ok").is_some() != answer.get("Err").is_some(), "{answer}");
                taken += u32::from(answer.get("Ok").is_some());
            }
        }
        ensure!(taken >= 3, "the right ones are taken");
        exchange.machines[0].status()?;
        nobody_panicked(exchange)
    })
}

/// A department that publishes 20 people.
fn publishing(exchange: &mut Exchange) -> Result<()> {
    let entry = entries::people(CODE, entries::department_code(0)?)?;
    let machine = exchange.department("civil")?;
    machine.write("people.csv", csv(&people(20)?))?;
    machine.publish("n1", &entry, "people.csv")?;
    exchange.run(0)?;
    exchange.rows(&entry.code, 20, SOON)
}

/// A right order for each of the operator's commands. What takes something away is about a department that the test
/// does without.
fn orders() -> Result<Vec<(&'static str, Value)>> {
    let other = entries::department_code(7)?.to_string();
    let modes = json!({"deliver": true, "lookup": true, "verify": false});
    Ok(vec![
        (
            "/admin/tokens",
            json!({"nodes": [{"department": other, "department_name": "n", "node": "x1"}], "hours": 2}),
        ),
        ("/admin/nodes/retire", json!({"department": other, "node": "x1", "reason": "test"})),
        ("/admin/nodes/revoke", json!({"department": other, "node": "x1", "reason": "test"})),
        (
            "/admin/authority/trust",
            json!({"pem": "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"}),
        ),
        ("/admin/authority/distrust", json!({"fingerprint": "00".repeat(32)})),
        ("/admin/authority/install", json!({"pem": "", "force": true})),
        (
            "/admin/grants",
            json!({"target": CODE, "grantee": other, "fields": ["xm"], "filter": "je >= 5", "purpose": "p", "modes": modes, "from": "2026-01-01", "until": "2999-12-31"}),
        ),
        ("/admin/grants/withdraw", json!({"id": 1, "reason": "test"})),
        (
            "/admin/lookup",
            json!({"target": CODE, "by": {"key": "x"}, "limit": 5, "reason": "test", "operator": "root"}),
        ),
        (
            "/admin/lookup",
            json!({"target": "geospatial", "by": {"nearest": [123.8, 42.2]}, "limit": 5, "reason": "test", "operator": "root"}),
        ),
        ("/admin/reconcile", json!({"subject": CODE, "repair": false})),
    ])
}

fn questions() -> [Value; 5] {
    let ask = |question: Value| json!({"Ask": {"node": "n1", "question": question}});
    [
        json!("Status"),
        json!({"Confirm": {"resource": CODE}}),
        ask(
            json!({"Lookup": {"target": CODE, "by": {"Key": ["x"]}, "reason": "test", "limit": 5}}),
        ),
        ask(
            json!({"Verify": {"target": CODE, "key": ["x"], "claims": [["xm", "y"]], "reason": "test"}}),
        ),
        ask(json!({"CatalogueList": {"own": true}})),
    ]
}

fn post(path: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.0\r\nHost: hub\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends a whole request, and keeps the connection open until it is answered: to a server, a half-closed one is gone.
fn whole(mut stream: UnixStream, request: &[u8]) -> Result<Vec<u8>> {
    stream.set_read_timeout(Some(SOON))?;
    stream.write_all(request)?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    Ok(answer)
}

/// The order with one of its values turned into something else, or its text spoiled.
fn spoiled(order: &Value, rng: &mut Rng) -> Vec<u8> {
    if rng.chance(25) {
        return garbled(order.to_string().as_bytes(), rng);
    }
    let mut order = order.clone();
    let nonsense = match rng.below(12) {
        0 => Value::Null,
        1 => json!(-1),
        2 => json!(u64::MAX),
        3 => json!(1e308),
        4 => json!(""),
        5 => json!("长".repeat(40_000)),
        6 => json!("a = \"b\" and ".repeat(300)),
        7 => json!("((((((((((((((((((((((((((((((((((((((((("),
        8 => json!("../../etc\u{0}\u{1f}\u{7f}"),
        9 => json!({}),
        10 => (0..100).fold(json!([]), |inner, _| json!([inner])),
        _ => json!(true),
    };
    let leaves = count(&order);
    let mut at = rng.below(leaves);
    put(&mut order, &mut at, &nonsense);
    order.to_string().into_bytes()
}

fn count(value: &Value) -> u64 {
    1 + match value {
        Value::Array(values) => values.iter().map(count).sum(),
        Value::Object(values) => values.values().map(count).sum(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
    }
}

fn put(value: &mut Value, at: &mut u64, new: &Value) {
    if *at == 0 {
        *value = new.clone();
        *at = u64::MAX;
        return;
    }
    *at -= 1;
    match value {
        Value::Array(values) => values.iter_mut().for_each(|value| put(value, at, new)),
        Value::Object(values) => values.values_mut().for_each(|value| put(value, at, new)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Bytes changed, doubled, or cut off.
fn garbled(bytes: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = bytes.to_vec();
    for _ in 0..rng.between(1, 4) {
        let length = bytes.len() as u64;
        if length == 0 {
            break;
        }
        let at = rng.below(length) as usize;
        match rng.below(3) {
            0 => bytes[at] = rng.draw() as u8,
            1 => bytes.truncate(at),
            _ => bytes.extend_from_within(at..),
        }
    }
    bytes
}

fn status(answer: &[u8]) -> Result<u16> {
    let text = String::from_utf8_lossy(answer);
    let code = text.split(' ').nth(1).with_context(|| format!("no HTTP: {text:.80}"))?;
    Ok(code.parse()?)
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(300).collect()
}

fn nobody_panicked(exchange: &Exchange) -> Result<()> {
    for log in fs::read_dir(exchange.path("logs"))? {
        let text = fs::read_to_string(log?.path())?;
        ensure!(!text.contains("panicked at"), "a program panicked:\n{text}");
    }
    Ok(())
}
