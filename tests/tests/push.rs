//! Programs push rows over HTTP: what was answered 200 is at the hub, once, whatever is killed.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_tests::city::rng::Rng;
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::push::{Header, Pushed, door, get, post, post_until_taken};
use hutong_tests::harness::rows::{PersonRow, csv, people, person};
use hutong_tests::harness::wait::{until, until_true};
use hutong_tests::harness::{Exchange, entries};

const CODE: &str = "301001/000001";
const SAID: &str = "said.csv";

/// A department whose program pushes people.
fn begin(exchange: &mut Exchange) -> Result<()> {
    let entry = entries::people(CODE, entries::department_code(0)?)?;
    exchange.department("civil")?.publish_pushed("n1", &entry, SAID)?;
    exchange.run(0)
}

/// One JSON object a line.
fn lines(rows: &[PersonRow]) -> Vec<u8> {
    let line = |PersonRow { sfzh, xm, csrq, hjqh, je }: &PersonRow| {
        format!(
            "{{\"sfzh\":\"{sfzh}\",\"姓名\":\"{xm}\",\"csrq\":\"{csrq}\",\"hjqh\":\"{hjqh}\",\"je\":{je}}}\n"
        )
    };
    rows.iter().map(line).collect::<String>().into_bytes()
}

/// Pushes until it is answered otherwise than "not yet".
fn taken(at: SocketAddr, header: Header<'_>, rows: &[u8]) -> Result<Pushed> {
    until(SOON, "the agent is ready for rows", || {
        let answer = post(at, CODE, header, rows)?;
        Ok((answer.status != 503).then_some(answer))
    })
}

/// What was read and accepted since the stream exists.
fn counted(exchange: &Exchange) -> Result<(u64, u64)> {
    let publication = exchange.machines[0].publication(CODE)?;
    let number = |name: &str| publication[name].as_u64().context("a number");
    Ok((number("read")?, number("accepted")?))
}

#[test]
fn pushed_rows_arrive_and_refused_ones_are_named_and_kept() -> Result<()> {
    scene(|exchange| {
        begin(exchange)?;
        let at = door(&exchange.machines[0], SOON)?;
        let rows = people(40)?;
        let mut body = lines(&rows);
        body.extend_from_slice(b"{\"sfzh\":\"110101199001010010\",\"xm\":\"x\"}\nno row\n");
        let header = Header { key: Some("first"), ..Header::default() };
        let first = taken(at, header, &body)?;
        ensure!(first.status == 200 && first.body["accepted"] == 40, "{first:?}");
        let refused = first.body["refused"].as_array().context("refused rows")?;
        ensure!(refused.len() == 2 && refused[0]["index"] == 40, "{refused:?}");
        ensure!(
            refused[0]["field"] == "sfzh" && refused[0]["reason_zh"] == "校验码错误",
            "{refused:?}"
        );
        exchange.machines[0].write(SAID, csv(&rows))?;
        exchange.rows(&CODE.parse()?, 40, SOON)?;
        exchange.equal(SOON)?;
        let listed = exchange.machines[0].command(["quarantine", "list", "--json"])?.ok()?;
        ensure!(listed.contains("\"rows\": 2"), "{listed}");

        // A repeat is answered as the first was, and not taken again; the key is for these rows only.
        let before = counted(exchange)?;
        let again = post(at, CODE, header, &body)?;
        ensure!(again.body["repeated"] == true && again.body["accepted"] == 40, "{again:?}");
        ensure!(post(at, CODE, header, &lines(&rows[..1]))?.status == 422);
        ensure!(counted(exchange)? == before, "a repeat is not read again");

        // An array, a change, and a removal, in one request.
        let gone = &rows[7].sfzh;
        let array = format!(
            "[{{\"op\":\"delete\",\"key\":\"{gone}\"}},{{\"sfzh\":\"{}\",\"xm\":\"后来\"}}]",
            rows[8].sfzh
        );
        let json = Header { content_type: "application/json", ..Header::default() };
        let answer = post(at, CODE, json, array.as_bytes())?;
        ensure!(answer.body["deletes"] == 1 && answer.body["upserts"] == 1, "{answer:?}");
        exchange.rows(&CODE.parse()?, 39, SOON)?;
        until_true(SOON, "the change arrives", || {
            Ok(exchange.hub.lookup(CODE, &rows[8].sfzh)?.contains("后来"))
        })?;
        until_true(SOON, "the publication is in order", || {
            Ok(exchange.machines[0].publication(CODE)?["state"] == "ok")
        })
    })
}

#[test]
fn what_is_not_understood_is_answered_with_what_to_do() -> Result<()> {
    scene(|exchange| {
        begin(exchange)?;
        let at = door(&exchange.machines[0], SOON)?;
        let body = lines(&people(1)?);
        taken(at, Header::default(), &body)?;
        let status = |resource: &str, header: Header<'_>, body: &[u8]| -> Result<Pushed> {
            Ok(post(at, resource, header, body)?)
        };
        for token in ["", "wrong", &"x".repeat(10_000)] {
            let answer = status(CODE, Header { token, ..Header::default() }, &body)?;
            ensure!(answer.status == 401, "{answer:?}");
            ensure!(!answer.body.to_string().contains(CODE), "nothing is told: {answer:?}");
        }
        let unknown = status("301001/000009", Header::default(), &body)?;
        ensure!(unknown.status == 404 && unknown.body["resources"][0] == CODE, "{unknown:?}");
        let large = status(CODE, Header::default(), &vec![b' '; 5 << 20])?;
        ensure!(large.status == 413 && large.body["limit_bytes"] == 4 << 20, "{large:?}");
        let many = status(CODE, Header::default(), "{}\n".repeat(20_001).as_bytes())?;
        ensure!(many.status == 413 && many.body["limit_rows"] == 20_000, "{many:?}");
        let csv = status(CODE, Header { content_type: "text/csv", ..Header::default() }, &body)?;
        ensure!(csv.status == 415, "{csv:?}");
        let json = Header { content_type: "application/json", ..Header::default() };
        let half = status(CODE, json, b"[{\"sfzh\":")?;
        ensure!(half.status == 400 && half.body["en"].to_string().contains("nothing was taken"));
        let known = get(at, "/v1/resources")?;
        ensure!(known.status == 200 && known.body["resources"][0] == CODE, "{known:?}");
        ensure!(get(at, "/")?.status == 404);
        ensure!(
            get(at, &format!("/v1/resources/{CODE}/wanted"))?.body["keys"] == serde_json::json!([])
        );
        ensure!(counted(exchange)?.0 == 1, "nothing of all that was taken");
        Ok(())
    })
}

const KILLS: usize = 8;
const ROWS: usize = 60;
/// Keys come again and again with other values, so that order counts.
const KEYS: u64 = 400;

#[test]
fn everything_answered_is_at_the_hub_once_when_the_agent_is_killed() -> Result<()> {
    scene(|exchange| {
        begin(exchange)?;
        let at = Arc::new(Mutex::new(Some(door(&exchange.machines[0], SOON)?)));
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let program = std::thread::spawn({
            let (at, stop, answered) = (Arc::clone(&at), Arc::clone(&stop), Arc::clone(&answered));
            move || program(&at, &stop, &answered)
        });
        let mut rng = Rng::new(11);
        for kill in 0..KILLS {
            let reached = answered.load(Ordering::SeqCst) + 3;
            until_true(SOON, "the program gets on", || {
                Ok(program.is_finished() || answered.load(Ordering::SeqCst) >= reached)
            })?;
            std::thread::sleep(Duration::from_millis(rng.below(30)));
            let machine = &mut exchange.machines[0];
            machine.kill()?;
            machine.start()?;
            *at.lock().unwrap() = None;
            let now = door(machine, SOON).with_context(|| format!("after kill {kill}"))?;
            *at.lock().unwrap() = Some(now);
        }
        stop.store(true, Ordering::SeqCst);
        let (said, sent) = program.join().map_err(|_| anyhow::anyhow!("the program broke"))??;
        let rows: Vec<PersonRow> = said.into_values().collect();
        exchange.machines[0].write(SAID, csv(&rows))?;
        exchange.rows(&CODE.parse()?, rows.len() as u64, SOON)?;
        exchange.equal(SOON)?;
        let counted = counted(exchange)?;
        ensure!(
            counted == (sent, sent),
            "{sent} rows were answered, (read, accepted): {counted:?}"
        );
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

/// Pushes until stopped; what it was told to be safe, and how many rows that were.
fn program(
    at: &Mutex<Option<SocketAddr>>,
    stop: &AtomicBool,
    answered: &AtomicUsize,
) -> Result<(BTreeMap<String, PersonRow>, u64)> {
    let (mut said, mut sent, mut rng) = (BTreeMap::new(), 0, Rng::new(7));
    while !stop.load(Ordering::SeqCst) {
        let number = answered.load(Ordering::SeqCst);
        let mut rows = Vec::new();
        for _ in 0..ROWS {
            let row = person(rng.below(KEYS) as usize)?;
            rows.push(PersonRow { je: (number * ROWS + rows.len()).to_string(), ..row });
        }
        let now = || at.lock().ok().and_then(|at| *at);
        post_until_taken(now, CODE, &format!("push-{number}"), &lines(&rows), SOON)?;
        sent += rows.len() as u64;
        said.extend(rows.into_iter().map(|row| (row.sfzh.clone(), row)));
        answered.fetch_add(1, Ordering::SeqCst);
    }
    Ok((said, sent))
}

#[test]
fn a_full_outbox_asks_the_program_to_come_again_and_loses_nothing() -> Result<()> {
    scene(|exchange| {
        begin(exchange)?;
        taken(door(&exchange.machines[0], SOON)?, Header::default(), &lines(&people(1)?))?;
        exchange.rows(&CODE.parse()?, 1, SOON)?;
        exchange.hub.kill()?;
        let machine = &mut exchange.machines[0];
        machine.stop()?;
        machine.set_environment([("HUTONG_AGENT_OUTBOX__CAP_BYTES", "8388608")]);
        machine.start()?;
        let at = door(machine, SOON)?;
        let (mut rng, mut said) = (Rng::new(3), people(1)?);
        let register = people(8_000)?;
        let full = until(SOON * 2, "the outbox is full", || {
            let mut rows = register.clone();
            for row in &mut rows {
                row.xm = (0..12).map(|_| format!("{:04x}", rng.below(1 << 16))).collect();
            }
            let answer = post(at, CODE, Header::default(), &lines(&rows))?;
            if answer.status == 200 {
                said = rows;
                return Ok(None);
            }
            Ok(Some(answer))
        })?;
        ensure!(full.status == 503 && full.body["error"] == "outbox_full", "{full:?}");
        ensure!(full.head.contains("retry-after: "), "{}", full.head);
        ensure!(said.len() > 1, "some were taken before");
        exchange.hub.start()?;
        exchange.machines[0].write(SAID, csv(&said))?;
        exchange.rows(&CODE.parse()?, said.len() as u64, SOON * 2)?;
        exchange.equal(SOON)?;
        let answer = taken(at, Header::default(), &lines(&people(1)?))?;
        ensure!(answer.status == 200, "{answer:?}");
        Ok(())
    })
}

#[test]
fn after_a_lost_outbox_the_hub_keeps_its_rows_until_a_person_says_otherwise() -> Result<()> {
    scene(|exchange| {
        begin(exchange)?;
        let rows = people(50)?;
        let at = door(&exchange.machines[0], SOON)?;
        taken(at, Header::default(), &lines(&rows))?;
        exchange.rows(&CODE.parse()?, 50, SOON)?;
        let machine = &mut exchange.machines[0];
        machine.stop()?;
        std::fs::remove_dir_all(machine.state().join("store"))?;
        machine.start()?;
        let at = door(&exchange.machines[0], SOON)?;
        let state = |exchange: &Exchange| exchange.machines[0].publication(CODE);
        until_true(SOON, "a person is asked", || {
            let publication = state(exchange)?;
            let asks = publication["troubles"].to_string().contains("Push every row once more");
            Ok(asks && publication["state"] == "waiting for confirmation")
        })?;
        let refused = exchange.machines[0].command(["confirm", CODE])?.ok()?;
        ensure!(refused.contains("push every row first"), "{refused}");
        // One of them was deleted meanwhile.
        taken(at, Header::default(), &lines(&rows[1..]))?;
        until_true(SOON, "all of them are acknowledged", || Ok(counted(exchange)?.1 == 49))?;
        exchange.rows(&CODE.parse()?, 50, SOON)?;
        exchange.machines[0].command(["confirm", CODE])?.ok()?;
        exchange.rows(&CODE.parse()?, 49, SOON)?;
        exchange.machines[0].write(SAID, csv(&rows[1..]))?;
        exchange.equal(SOON)?;
        until_true(SOON, "nothing is asked any more", || Ok(state(exchange)?["state"] == "ok"))
    })
}
