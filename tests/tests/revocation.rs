//! Certificates are revoked: one node's, and a whole department's. What is connected is thrown out
//! within five seconds, and nothing lets it back in but a new join token.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use hutong_agent::link::{Dialler, EnrolFailure};
use hutong_certs::enrol::{EnrolError, NodeFolder};
use hutong_tests::harness::exchange::{Exchange, SOON, scene};
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{entries, links};

const CODE: &str = "301001/000001";

/// What is promised.
const WITHIN: Duration = Duration::from_secs(5);

/// A department with the nodes `n1`, which publishes, and `n2`.
fn department(exchange: &mut Exchange, name: &str, code: &str) -> Result<()> {
    let number = exchange.machines.len();
    let entry = entries::people(code, entries::department_code(number)?)?;
    let machine = exchange.department(name)?;
    machine.write("people.csv", csv(&people(30)?))?;
    machine.publish("n1", &entry, "people.csv")?;
    machine.node("n2");
    fs::write(machine.node("n2").catalogue.clone(), "")?;
    exchange.run(number)?;
    exchange.rows(&entry.code, 30, SOON)?;
    links::connected(&exchange.machines[number], "n2", SOON)
}

/// Revokes, and measures from the command's start until the hub and the agent say that the
/// connection is gone.
fn revoke(exchange: &Exchange, machine: usize, whom: &[&str], nodes: &[&str]) -> Result<Duration> {
    let machine = &exchange.machines[machine];
    let began = Instant::now();
    let mut args = vec!["node", "revoke", "--department", machine.code.as_str()];
    args.extend_from_slice(whom);
    args.extend(["--reason", "密钥被复制"]);
    exchange.hub.command(args)?.ok()?;
    for node in nodes {
        until_true(WITHIN, &format!("the hub has no connection of {node}"), || {
            Ok(links::line(&exchange.hub, machine, node)?["connection"].is_null())
        })?;
        links::refused(machine, node, &["HT-", "密钥被复制", "enrol --anew"], WITHIN)?;
    }
    let took = began.elapsed();
    ensure!(took <= WITHIN, "revoking took {took:?}, {WITHIN:?} are promised");
    Ok(took)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        fs::copy(entry.path(), to.join(entry.file_name()))?;
    }
    Ok(())
}

/// What the hub answers to whoever asks for a renewal with the keys in a folder.
fn renewal(exchange: &Exchange, folder: &Path) -> Result<Result<(), u16>> {
    let folder = NodeFolder::new(folder);
    let tls = folder.load()?.into_tls();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let dialler = Dialler::open(&exchange.hub.quic()?.to_string())?;
        match dialler.renew(&tls, &folder).await {
            Ok(_) => Ok(Ok(())),
            Err(EnrolFailure::Enrol(EnrolError::Refused(refused))) => Ok(Err(refused.code)),
            Err(other) => bail!("the renewal ended otherwise: {other}"),
        }
    })
}

/// Gets a token for a node and has it enrolled while its agent runs.
fn enrol_anew(exchange: &Exchange, machine: usize, node: &str) -> Result<()> {
    let machine = &exchange.machines[machine];
    let code = machine.code.as_str();
    let token =
        exchange.hub.command(["token", "add", "--department", code, "--node", node])?.ok()?;
    let file = machine.write("token.txt", token.trim())?;
    let file = file.to_str().context("a path")?;
    machine.command(["enrol", "--anew", "--token", file])?.ok()?;
    Ok(())
}

#[test]
fn a_revoked_node_is_out_within_five_seconds_and_only_a_new_token_lets_it_in() -> Result<()> {
    scene(|exchange| {
        department(exchange, "civil", CODE)?;
        let mut promise = Promise::default();
        promise.observe_rest(&exchange.hub)?;
        let stolen = exchange.path("stolen");
        copy(&exchange.machines[0].state().join("nodes/n1"), &stolen)?;
        let copied = exchange.path("copied");
        copy(&stolen, &copied)?;
        ensure!(renewal(exchange, &copied)? == Ok(()), "before, a renewal is granted");

        let took = revoke(exchange, 0, &["--node", "n1"], &["n1"])?;
        println!("a node was out {took:?} after the command");
        links::connected(&exchange.machines[0], "n2", Duration::ZERO)?;
        ensure!(exchange.hub.metrics()?.sum("hutong_gate_thrown_out_total") >= 1.0);
        ensure!(renewal(exchange, &stolen)? == Err(1_007), "it gets no next certificate");

        // The sheet's token was used with this key, so it would have been good for another answer.
        fs::remove_file(stolen.join("node.crt"))?;
        let again = exchange.machines[0].state().join("nodes/n1/node.crt");
        let kept = fs::read(&again)?;
        fs::remove_file(&again)?;
        exchange.machines[0].command(["enrol"])?.refused()?;
        fs::write(&again, kept)?;

        exchange.hub.kill()?;
        exchange.hub.start()?;
        links::refused(&exchange.machines[0], "n1", &["HT-2005", "密钥被复制"], SOON)?;
        links::connected(&exchange.machines[0], "n2", SOON)?;
        ensure!(renewal(exchange, &copied)? == Err(1_007), "nor after a restart of the hub");
        let line = links::line(&exchange.hub, &exchange.machines[0], "n1")?;
        ensure!(line["revoked"] == "密钥被复制", "{line}");

        let code = CODE.parse()?;
        exchange.machines[0].write("people.csv", csv(&people(40)?))?;
        enrol_anew(exchange, 0, "n1")?;
        links::connected(&exchange.machines[0], "n1", SOON)?;
        exchange.rows(&code, 40, SOON)?;
        promise.no_epoch_began(&exchange.hub).context("its publication goes on")?;
        exchange.equal(SOON)?;
        ensure!(renewal(exchange, &copied)? == Err(1_007), "the old certificate stays revoked");
        Ok(())
    })
}

#[test]
fn a_revoked_department_is_out_with_all_its_nodes_and_no_other() -> Result<()> {
    scene(|exchange| {
        department(exchange, "civil", CODE)?;
        department(exchange, "other", "301001/000002")?;
        let took = revoke(exchange, 0, &["--all"], &["n1", "n2"])?;
        println!("a department was out {took:?} after the command");
        for node in ["n1", "n2"] {
            links::connected(&exchange.machines[1], node, Duration::ZERO)?;
        }
        exchange.hub.kill()?;
        exchange.hub.start()?;
        for node in ["n1", "n2"] {
            links::connected(&exchange.machines[1], node, SOON)?;
            links::refused(&exchange.machines[0], node, &["HT-2005"], SOON)?;
        }
        enrol_anew(exchange, 0, "n2")?;
        links::connected(&exchange.machines[0], "n2", SOON)?;
        links::refused(&exchange.machines[0], "n1", &["HT-2005"], SOON).map(|_| ())
    })
}
