//! Certificates that live for seconds are renewed while rows flow, without anybody noticing.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::exchange::{Exchange, SOON};
use hutong_tests::harness::links;
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;
use serde_json::Value;

const CODE: &str = "301001/000001";

/// A publisher and a subscriber, at a hub with these settings.
fn world(settings: &str) -> Result<Exchange> {
    let mut exchange = Exchange::new()?;
    exchange.hub.set(settings)?;
    // The hub's certificate that the founding made lives a year; the next one as the settings say.
    fs::remove_dir_all(exchange.hub.data().join("hub"))?;
    exchange.hub.start()?;
    exchange.people_from_civil(CODE, 10)?;
    exchange.granted_to_social(CODE)?;
    Ok(exchange)
}

fn serial(exchange: &Exchange, machine: usize, node: &str) -> Result<String> {
    let path = exchange.machines[machine].state().join(format!("nodes/{node}/identity.json"));
    let text = fs::read_to_string(&path)?;
    let about: Value = serde_json::from_str(&text)?;
    Ok(about["serial"].as_str().context("a serial number")?.to_owned())
}

/// How often the machine's agent has made a connection.
fn connections(exchange: &Exchange, machine: usize) -> Result<usize> {
    Ok(exchange.machines[machine].log()?.matches(" connected ").count())
}

#[test]
fn renewal_disturbs_nothing_that_is_under_way() -> Result<()> {
    let settings = "[enrolment]\ncertificate_seconds = 9\nhub_certificate_seconds = 6\n";
    world(settings)?.play(|exchange| {
        exchange.equal(SOON)?;
        let mut promise = Promise::default();
        promise.observe_rest(&exchange.hub)?;
        let before = [connections(exchange, 0)?, connections(exchange, 1)?];
        let first = [serial(exchange, 0, "n1")?, serial(exchange, 1, "s1")?];
        let key = fs::read(exchange.machines[0].state().join("nodes/n1/node.key"))?;

        // Rows flow until every certificate was replaced twice.
        let (mut count, mut renewed) = (10, [0; 2]);
        let mut last = first.clone();
        let end = Instant::now() + SOON;
        while renewed.iter().any(|times| *times < 2) {
            ensure!(Instant::now() < end, "renewed {renewed:?} times within {SOON:?}");
            count += 10;
            exchange.machines[0].write("people.csv", csv(&people(count)?))?;
            exchange.rows(&CODE.parse()?, count as u64, SOON)?;
            for (machine, node) in [(0, "n1"), (1, "s1")] {
                let now = serial(exchange, machine, node)?;
                if now != last[machine] {
                    renewed[machine] += 1;
                    last[machine] = now;
                }
            }
        }
        exchange.equal(SOON)?;
        ensure!(
            fs::read(exchange.machines[0].state().join("nodes/n1/node.key"))? != key,
            "every renewal has a new key"
        );
        let after = [connections(exchange, 0)?, connections(exchange, 1)?];
        ensure!(before == after, "connections were made anew: {before:?}, then {after:?}");
        promise.no_epoch_began(&exchange.hub)?;
        exchange.nothing_delivered_twice()?;
        exchange.nothing_delivered_anew()?;

        // Whoever connects now shows the newest certificate, and sees that the hub renewed its own.
        exchange.hub.kill()?;
        exchange.hub.start()?;
        for (machine, node) in [(0, "n1"), (1, "s1")] {
            links::connected(&exchange.machines[machine], node, SOON)?;
        }
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

#[test]
fn a_node_that_was_off_beyond_its_certificates_end_comes_back_by_itself() -> Result<()> {
    world("[enrolment]\ncertificate_seconds = 4\n")?.play(|exchange| {
        exchange.machines[0].stop()?;
        let expired = || {
            let line = links::line(&exchange.hub, &exchange.machines[0], "n1")?;
            let ends = line["certificate_ends"].as_str().context("an end")?.to_owned();
            Ok(ends.parse::<jiff::Timestamp>()? < hutong_certs::clock::now())
        };
        until_true(SOON, "the certificate has ended", expired)?;
        exchange.machines[0].write("people.csv", csv(&people(20)?))?;
        exchange.machines[0].start()?;
        links::connected(&exchange.machines[0], "n1", SOON)?;
        exchange.rows(&CODE.parse()?, 20, SOON)?;
        ensure!(exchange.machines[0].log()?.contains("the certificate was renewed"));
        exchange.equal(SOON)
    })
}

#[test]
fn a_hub_that_cannot_be_reached_is_asked_again_and_the_trouble_is_shown() -> Result<()> {
    world("[enrolment]\ncertificate_seconds = 6\n")?.play(|exchange| {
        exchange.hub.kill()?;
        until_true(SOON, "the status says that the renewal fails", || {
            let node = links::node(&exchange.machines[0], "n1")?;
            Ok(node["renewal_trouble"].is_string())
        })?;
        until_true(SOON, "the certificate has ended", || {
            Ok(links::node(&exchange.machines[0], "n1")?["certificate_seconds_left"] == 0)
        })?;
        ensure!(exchange.machines[0].log()?.contains("the certificate could not be renewed"));
        exchange.hub.start()?;
        links::connected(&exchange.machines[0], "n1", Duration::from_secs(60))?;
        let node = links::node(&exchange.machines[0], "n1")?;
        ensure!(node["renewal_trouble"].is_null(), "{node}");
        exchange.machines[0].write("people.csv", csv(&people(20)?))?;
        exchange.rows(&CODE.parse()?, 20, SOON)
    })
}

/// As a machine that was suspended: its agent cannot renew, and hears later what it missed.
#[test]
fn a_connection_ends_with_its_certificate_and_the_agent_comes_back_with_the_next() -> Result<()> {
    world("[enrolment]\ncertificate_seconds = 4\n")?.play(|exchange| {
        let before = connections(exchange, 0)?;
        let agent = exchange.machines[0].process().context("the agent runs")?;
        agent.signal("STOP")?;
        until_true(SOON, "the hub has ended the connection", || {
            Ok(links::line(&exchange.hub, &exchange.machines[0], "n1")?["connection"].is_null())
        })?;
        let ends = links::line(&exchange.hub, &exchange.machines[0], "n1")?;
        let ends = ends["certificate_ends"].as_str().context("an end")?.to_owned();
        ensure!(ends.parse::<jiff::Timestamp>()? <= hutong_certs::clock::now(), "it ended early");
        let log = hub_log(exchange)?;
        ensure!(log.contains("HT-1010"), "the hub does not say why: {log}");
        let thrown_out = exchange.hub.metrics()?.sum("hutong_gate_thrown_out_total");
        ensure!(thrown_out > 0.0, "it is not counted");

        exchange.machines[0].write("people.csv", csv(&people(20)?))?;
        exchange.machines[0].process().context("the agent runs")?.signal("CONT")?;
        until_true(
            SOON,
            "the agent is connected again",
            || Ok(connections(exchange, 0)? > before),
        )?;
        ensure!(exchange.machines[0].log()?.contains("the certificate was renewed"));
        exchange.rows(&CODE.parse()?, 20, SOON)?;
        exchange.equal(SOON)
    })
}

#[test]
fn a_hub_that_cannot_renew_its_own_certificate_says_so_before_and_after_its_end() -> Result<()> {
    world("[enrolment]\nhub_certificate_seconds = 8\n")?.play(|exchange| {
        let (folder, kept) =
            (exchange.hub.data().join("hub"), exchange.hub.data().join("hub.kept"));
        fs::rename(&folder, &kept)?;
        fs::write(&folder, "in the way")?;
        let left = |exchange: &Exchange| -> Result<f64> {
            let metrics = exchange.hub.metrics()?;
            let mut of_hub = metrics.with("hutong_certificate_seconds_left", "of=\"hub\"");
            of_hub.next().map(|(_, value)| value).context("the metric of the hub's certificate")
        };
        let trouble = "the hub's certificate could not be renewed";
        until_true(SOON, "the hub says that it cannot renew", || {
            Ok(hub_log(exchange)?.contains(trouble))
        })?;
        ensure!(left(exchange)? < 4.0, "less than half of its life is left");
        // A certificate is good through the whole last second that it names (RFC 5280, 4.1.2.5).
        until_true(SOON, "the metric says that it is over", || Ok(left(exchange)? < -1.0))?;

        // What is connected stays; whoever comes now refuses the hub, and says whom to tell.
        ensure!(links::node(&exchange.machines[0], "n1")?["link"] == "connected");
        exchange.machines[1].kill()?;
        exchange.machines[1].start()?;
        links::refused(&exchange.machines[1], "s1", &["HT-2001"], SOON)?;
        ensure!(exchange.machines[1].log()?.contains("tell the hub's operator"));

        fs::remove_file(&folder)?;
        fs::rename(&kept, &folder)?;
        // Both sides have failed some times and wait up to half a minute.
        links::connected(&exchange.machines[1], "s1", 3 * SOON)?;
        until_true(SOON, "the metric says that it is good", || Ok(left(exchange)? > 0.0))?;
        exchange.equal(SOON)
    })
}

fn hub_log(exchange: &Exchange) -> Result<String> {
    let path = exchange.path("logs").join("hub.log");
    fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))
}
