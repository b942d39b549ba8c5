//! Who may come in: wrong, reused, expired and tampered tokens, and another exchange's certificate.

use std::fs;

use anyhow::{Context, Result, ensure};
use hutong_certs::clock;
use hutong_certs::join::{JoinToken, TokenBook};
use hutong_tests::harness::exchange::{Exchange, SOON, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::{Hub, entries, until};
use jiff::SignedDuration;

const CODE: &str = "301001/000001";

/// A machine with one node and one resource, not enrolled.
fn prepare(exchange: &mut Exchange, name: &str) -> Result<usize> {
    let number = exchange.machines.len();
    let entry = entries::people(CODE, entries::department_code(number)?)?;
    let machine = exchange.department(name)?;
    machine.write("people.csv", csv(&people(10)?))?;
    machine.publish("n1", &entry, "people.csv")?;
    exchange.admit(number)?;
    Ok(number)
}

fn rewrite_token(
    exchange: &Exchange,
    machine: usize,
    change: impl FnOnce(&str) -> Result<String>,
) -> Result<()> {
    let sheet = exchange.machines[machine].sheet();
    let text = fs::read_to_string(&sheet)?;
    let token = text.split([',', '\n']).find(|word| word.starts_with("htj1")).context("a token")?;
    let changed = change(token)?;
    fs::write(&sheet, text.replace(token, &changed))?;
    Ok(())
}

fn enrolled(exchange: &Exchange, machine: usize) -> bool {
    exchange.machines[machine].state().join("nodes/n1/node.crt").exists()
}

#[test]
fn a_token_lets_its_node_in_once() -> Result<()> {
    scene(|exchange| {
        let first = prepare(exchange, "first")?;
        let refused = |exchange: &Exchange, why: &str| -> Result<()> {
            let answer = exchange.machines[first].command(["enrol"])?.refused()?;
            ensure!(!enrolled(exchange, first), "{why}: there is a certificate");
            ensure!(!answer.trim().is_empty(), "{why}: a refusal says why");
            Ok(())
        };
        let sheet = fs::read(exchange.machines[first].sheet())?;
        rewrite_token(exchange, first, |token| {
            let last = if token.ends_with('a') { 'b' } else { 'a' };
            Ok(format!("{}{last}", &token[..token.len() - 1]))
        })?;
        refused(exchange, "a token with another last character")?;
        rewrite_token(exchange, first, |token| Ok(token[..token.len() - 8].to_owned()))?;
        refused(exchange, "a token cut short")?;

        fs::write(exchange.machines[first].sheet(), &sheet)?;
        exchange.machines[first].command(["enrol"])?.ok()?;
        ensure!(enrolled(exchange, first), "the right token gives a certificate");

        // The same token again, on a machine that was set up anew.
        fs::remove_dir_all(exchange.machines[first].state())?;
        let answer = exchange.machines[first].command(["enrol"])?.refused()?;
        ensure!(!enrolled(exchange, first), "a token lets in once: {answer}");
        Ok(())
    })
}

#[test]
fn a_token_is_bound_to_its_department_and_node() -> Result<()> {
    scene(|exchange| {
        let first = prepare(exchange, "first")?;
        let second = prepare(exchange, "second")?;
        let sheet = fs::read_to_string(exchange.machines[first].sheet())?;
        let token =
            sheet.split([',', '\n']).find(|word| word.starts_with("htj1")).context("a token")?;
        rewrite_token(exchange, second, |_| Ok(token.to_owned()))?;
        let answer = exchange.machines[second].command(["enrol"])?.refused()?;
        ensure!(!enrolled(exchange, second), "another department's token: {answer}");
        Ok(())
    })
}

#[test]
fn an_expired_token_is_refused() -> Result<()> {
    scene(|exchange| {
        let first = prepare(exchange, "first")?;
        let sheet = fs::read_to_string(exchange.machines[first].sheet())?;
        let token =
            sheet.split([',', '\n']).find(|word| word.starts_with("htj1")).context("a token")?;
        let issued: JoinToken = token.parse()?;
        // One that was issued two hours ago for one hour.
        exchange.hub.stop()?;
        let then = clock::now().checked_sub(SignedDuration::from_hours(2))?;
        let old = {
            let book = TokenBook::open(&exchange.hub.data().join("tokens"), then)?;
            let nodes = [(issued.department, issued.node.clone())];
            let order = book.issue(&nodes, issued.authority, then, SignedDuration::from_hours(1));
            tokio::runtime::Builder::new_current_thread().build()?.block_on(order)?.remove(0)
        };
        exchange.hub.start()?;
        rewrite_token(exchange, first, |_| Ok(old.to_text()))?;
        let answer = exchange.machines[first].command(["enrol"])?.refused()?;
        ensure!(!enrolled(exchange, first), "an expired token: {answer}");
        ensure!(answer.contains("expired"), "the refusal says it: {answer}");
        Ok(())
    })
}

#[test]
fn another_exchanges_certificate_is_refused() -> Result<()> {
    scene(|exchange| {
        let first = prepare(exchange, "first")?;
        let ours = exchange.hub.quic()?;
        // A second exchange of the same name, with another authority.
        let mut other = Hub::found(&exchange.path("other"), &exchange.path("logs-other"))?;
        other.start()?;
        let nodes = exchange.machines[first].path("nodes.csv");
        hutong_tests::harness::exchange::issue_sheet(
            &other,
            &nodes,
            &exchange.machines[first].sheet(),
        )?;
        exchange.machines[first].configure(other.quic()?)?;
        exchange.machines[first].command(["enrol"])?.ok()?;

        exchange.machines[first].configure(ours)?;
        exchange.machines[first].start()?;
        until(SOON, "the agent is told that its certificate is not of this exchange", || {
            let process = exchange.machines[first].process().context("the agent runs")?;
            let told = process.tail().to_lowercase();
            Ok((told.contains("certificate") || told.contains("authority")).then_some(()))
        })?;
        ensure!(exchange.rows_now(&CODE.parse()?)?.is_none(), "nothing of it came in");
        other.stop()
    })
}
