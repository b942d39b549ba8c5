//! A task that cannot work is never shown healthy: each part is broken in turn, the status says so, and
//! says that all is well again when it is.

use std::fs;

use anyhow::{Result, ensure};
use hutong_tests::harness::Machine;
use hutong_tests::harness::exchange::{Exchange, SOON, Wish};
use hutong_tests::harness::links;
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::{until, until_true};
use serde_json::Value;

const CODE: &str = "301001/000001";

/// Waits until `status --check` succeeds.
fn well(machine: &Machine) -> Result<()> {
    until_true(SOON, &format!("{} is well", machine.name), || {
        Ok(machine.command(["status", "--check"])?.success)
    })
}

/// Waits until `status --check` fails and names all of these; what it said.
fn unwell(machine: &Machine, words: &[&str]) -> Result<String> {
    until(SOON, &format!("the status of {} says {words:?}", machine.name), || {
        let ran = machine.command(["status", "--check"])?;
        let said = words.iter().all(|word| ran.err.contains(word));
        Ok((!ran.success && said).then_some(ran.err))
    })
}

#[test]
fn a_task_that_cannot_work_is_never_shown_healthy() -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.set("[enrolment]\ncertificate_seconds = 8\n")?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        exchange.people_from_civil(CODE, 10)?;
        exchange.department("social")?;
        let grant = {
            // The grant must be there before its number can stand in the configuration.
            exchange.machines[1].node("s1");
            let wish = Wish { target: CODE, ..Wish::default() };
            exchange.admit(1)?;
            exchange.machines[1].start()?;
            well(&exchange.machines[1])?;
            let grant = exchange.grant(1, &wish)?;
            exchange.machines[1].subscribe("s1", &grant.to_string());
            let hub = exchange.hub.quic()?;
            exchange.machines[1].configure(hub)?;
            exchange.machines[1].command(["reload"])?.ok()?;
            grant
        };
        exchange.equal(SOON)?;
        exchange.machines.iter().try_for_each(well)?;
        times_are_told(exchange)?;

        // The source is missing.
        let source = exchange.machines[0].path("people.csv");
        fs::remove_file(&source)?;
        unwell(&exchange.machines[0], &[CODE, "stands still", "does not exist"])?;
        exchange.machines[0].write("people.csv", csv(&people(11)?))?;
        well(&exchange.machines[0])?;

        // The folder cannot be written to: a file is in its place.
        exchange.machines[1].stop()?;
        let (out, aside) = (exchange.machines[1].path("out"), exchange.machines[1].path("aside"));
        fs::rename(&out, &aside)?;
        fs::write(&out, "")?;
        exchange.machines[1].start()?;
        unwell(&exchange.machines[1], &[&format!("grant {grant} stands still")])?;
        fs::remove_file(&out)?;
        fs::rename(&aside, &out)?;
        well(&exchange.machines[1])?;

        // The hub is away, and longer than the certificates live.
        exchange.hub.stop()?;
        for machine in &exchange.machines {
            unwell(machine, &["not connected"])?;
        }
        unwell(&exchange.machines[0], &["the certificate has expired"])?;
        exchange.hub.start()?;
        exchange.machines.iter().try_for_each(well)?;

        // The agent itself.
        exchange.machines[0].kill()?;
        unwell(&exchange.machines[0], &["the agent is not running"])?;
        exchange.machines[0].start()?;
        well(&exchange.machines[0])?;

        // The grant that the configuration names is withdrawn.
        exchange.hub.withdraw(grant, "任务结束")?;
        unwell(&exchange.machines[1], &[&format!("grant {grant} ended"), "任务结束"])?;
        well(&exchange.machines[0])
    })
}

/// The status tells when something last happened, and how much.
fn times_are_told(exchange: &Exchange) -> Result<()> {
    let publication = until(SOON, "everything sent is settled", || {
        let publication = exchange.machines[0].publication(CODE)?;
        Ok((publication["last_settled"].is_string()).then_some(publication))
    })?;
    for time in ["last_read", "last_acknowledged", "last_settled"] {
        ensure!(publication[time].is_string(), "{time}: {publication}");
    }
    ensure!(publication["sent"] == 10 && publication["accepted"] == 10, "{publication}");
    ensure!(publication["settled"] == publication["acknowledged"], "{publication}");
    let subscription = until(SOON, "what was delivered is told", || {
        let subscription = exchange.machines[1].status()?["nodes"][0]["subscriptions"][0].clone();
        Ok(subscription["last_delivery"].is_string().then_some(subscription))
    })?;
    ensure!(subscription["quiet_seconds"].is_number(), "{subscription}");
    ensure!(subscription["by_number"] == true && subscription["position"].is_number());
    Ok(())
}

#[test]
fn the_hub_knows_every_machine_and_marks_the_node_that_needs_a_person() -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.set("[gate]\nheartbeat_seconds = 1\n")?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        exchange.people_from_civil(CODE, 10)?;
        let health = |exchange: &Exchange| -> Result<Value> {
            Ok(links::line(&exchange.hub, &exchange.machines[0], "n1")?["health"].clone())
        };
        let told = until(SOON, "the node tells of its machine", || {
            let health = health(exchange)?;
            Ok((health["need_person"] == 0).then_some(health))
        })?;
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease")?;
        ensure!(told["kernel"] == kernel.trim(), "{told}");
        for fact in ["processors", "memory_bytes", "disk_bytes", "outbox_cap_bytes"] {
            ensure!(told[fact].as_u64().is_some_and(|fact| fact > 0), "{fact}: {told}");
        }
        ensure!(told["software"].as_str().is_some_and(|name| name.starts_with("hutong-agent/")));

        fs::remove_file(exchange.machines[0].path("people.csv"))?;
        let needs = |exchange: &Exchange, count: f64| -> Result<bool> {
            Ok(exchange.hub.metrics()?.sum("hutong_nodes_needing_person") == count)
        };
        until_true(SOON, "the node needs a person", || needs(exchange, 1.0))?;
        let list = exchange.hub.command(["node", "list"])?.ok()?;
        ensure!(list.contains(&format!("NEEDS A PERSON: {CODE}: ")), "{list}");
        ensure!(list.contains("does not exist"), "{list}");
        // Also when it is away: that may be why.
        exchange.machines[0].stop()?;
        ensure!(needs(exchange, 1.0)?, "it is not forgotten");

        exchange.machines[0].write("people.csv", csv(&people(11)?))?;
        exchange.machines[0].start()?;
        until_true(SOON, "the node needs nobody", || needs(exchange, 0.0))?;
        ensure!(health(exchange)?["troubles"].as_array().is_some_and(Vec::is_empty));
        Ok(())
    })
}
