//! One root takes over from another, and a root's key stays offline: no agent enrols anew.

use std::fs;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::exchange::{Exchange, SOON, issue_sheet, scene};
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Hub, Machine, entries, links};
use serde_json::Value;

const CODE: &str = "301001/000001";

fn publisher(exchange: &mut Exchange) -> Result<()> {
    let entry = entries::people(CODE, entries::department_code(0)?)?;
    let machine = exchange.department("civil")?;
    machine.write("people.csv", csv(&people(10)?))?;
    machine.publish("n1", &entry, "people.csv")?;
    exchange.run(0)?;
    exchange.rows(&entry.code, 10, SOON)
}

/// A machine with one node that does nothing.
fn idle(exchange: &mut Exchange, name: &str) -> Result<()> {
    let number = exchange.machines.len();
    let machine = exchange.department(name)?;
    let catalogue = machine.node("n1").catalogue.clone();
    fs::write(catalogue, "")?;
    exchange.run(number)?;
    links::connected(&exchange.machines[number], "n1", SOON)
}

fn roots(hub: &Hub) -> Result<Vec<Value>> {
    let status = hub.json(["ca", "show", "--json"])?;
    Ok(status["roots"].as_array().context("the roots")?.clone())
}

fn fingerprint(root: &Value) -> Result<String> {
    Ok(root["fingerprint"].as_str().context("a fingerprint")?.to_owned())
}

fn text(path: &std::path::Path) -> Result<&str> {
    path.to_str().context("a path")
}

/// Has the next authority of the hub signed with the root in a folder; the file to install.
fn signed(hub: &Hub, root: &str, exchange: &Exchange) -> Result<String> {
    let (request, file) = (exchange.path("ca.csr"), exchange.path("ca.next"));
    hub.command(["ca", "request", "--out", text(&request)?])?.ok()?;
    let args = ["ca", "sign", "--root", root, "--request", text(&request)?, "--out", text(&file)?];
    hub.command(args)?.ok()?;
    Ok(text(&file)?.to_owned())
}

#[test]
fn a_new_root_takes_over_and_the_old_one_goes() -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.set("[enrolment]\ncertificate_seconds = 8\n")?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        publisher(exchange)?;
        idle(exchange, "other")?;
        let mut promise = Promise::default();
        promise.observe_rest(&exchange.hub)?;
        let old = fingerprint(&roots(&exchange.hub)?[0])?;
        exchange.machines[1].kill()?;

        let offline = exchange.path("offline");
        let offline = text(&offline)?;
        exchange
            .hub
            .command(["ca", "new-root", "--exchange", "tieling", "--out", offline])?
            .ok()?;
        let next = signed(&exchange.hub, offline, exchange)?;
        let early = exchange.hub.command(["ca", "install", &next, "--force"])?.refused()?;
        ensure!(early.contains("not trusted"), "{early}");
        exchange.hub.command(["ca", "trust", &format!("{offline}/ca.crt")])?.ok()?;

        // The one that is away does not know it, and would be left behind.
        let known_to = |hub: &Hub, without: u64| -> Result<()> {
            until_true(SOON, &format!("all but {without} nodes know the new root"), || {
                let roots = roots(hub)?;
                let new = roots.iter().find(|root| root["fingerprint"] != old.as_str());
                Ok(new.context("the new root")?["nodes_without"] == without)
            })
        };
        known_to(&exchange.hub, 1)?;
        let refused = exchange.hub.command(["ca", "install", &next])?.refused()?;
        ensure!(refused.contains(exchange.machines[1].code.as_str()), "{refused}");
        exchange.machines[1].start()?;
        known_to(&exchange.hub, 0)?;
        exchange.hub.command(["ca", "install", &next])?.ok()?;

        // The hub shows a certificate of the new root: also after its next start.
        exchange.hub.kill()?;
        exchange.hub.start()?;
        for machine in 0..2 {
            links::connected(&exchange.machines[machine], "n1", SOON)?;
        }
        // Every node gets its next certificate from the new authority; then the old root can go.
        let began = hutong_certs::clock::now();
        for machine in 0..2 {
            let facts = || -> Result<bool> {
                let folder = exchange.machines[machine].state().join("nodes/n1");
                let material = hutong_certs::enrol::NodeFolder::new(folder).load()?;
                Ok(material.credentials.chain().len() == 2)
            };
            until_true(SOON, &format!("renewed by the new authority since {began}"), facts)?;
        }
        exchange.hub.command(["ca", "distrust", &old])?.ok()?;
        let left = roots(&exchange.hub)?;
        ensure!(left.len() == 1 && left[0]["issues"] == true, "{left:?}");
        exchange.hub.kill()?;
        exchange.hub.start()?;
        for machine in 0..2 {
            links::connected(&exchange.machines[machine], "n1", SOON)?;
        }
        idle(exchange, "newcomer")?;
        exchange.machines[0].write("people.csv", csv(&people(20)?))?;
        exchange.rows(&CODE.parse()?, 20, SOON)?;
        promise.no_epoch_began(&exchange.hub)?;
        exchange.equal(SOON)
    })
}

#[test]
fn an_exchange_lives_without_its_roots_key() -> Result<()> {
    scene(|exchange| {
        let offline = exchange.path("offline");
        let offline = text(&offline)?;
        let (folder, logs) = (exchange.path("second"), exchange.path("logs-second"));
        let mut hub = Hub::found_with(&folder, &logs, &["--offline-root", offline])?;
        hub.start()?;
        let status = hub.json(["ca", "show", "--json"])?;
        ensure!(status["intermediate"] == true, "{status}");
        let root = fs::read_to_string(format!("{offline}/ca.key"))?;
        for entry in fs::read_dir(hub.data().join("ca"))? {
            let path = entry?.path();
            ensure!(fs::read_to_string(&path)? != root, "{} is the root's key", path.display());
        }

        let code = entries::department_code(0)?;
        let mut machine =
            Machine::new(&exchange.path("lone"), &exchange.path("logs"), "lone", code, "示例局")?;
        fs::write(machine.node("n1").catalogue.clone(), "")?;
        let nodes = format!("department,department_name,node\n{code},示例局,n1\n");
        issue_sheet(&hub, &machine.write("nodes.csv", nodes)?, &machine.sheet())?;
        machine.configure(hub.quic()?)?;
        machine.start()?;
        links::connected(&machine, "n1", SOON)?;

        // Another root is told over the connection: the certificate is not due for two months.
        let second = exchange.path("offline-second");
        let second = text(&second)?;
        hub.command(["ca", "new-root", "--exchange", "tieling", "--out", second])?.ok()?;
        hub.command(["ca", "trust", &format!("{second}/ca.crt")])?.ok()?;
        until_true(SOON, "the node knows both roots", || {
            let roots = roots(&hub)?;
            Ok(roots.len() == 2 && roots.iter().all(|root| root["nodes_without"] == 0))
        })?;

        // The intermediate is replaced; the node notices nothing, not even at its next connection.
        let next = signed(&hub, offline, exchange)?;
        hub.command(["ca", "install", &next])?.ok()?;
        hub.kill()?;
        hub.start()?;
        links::connected(&machine, "n1", SOON)?;
        ensure!(hub.metrics()?.with("hutong_certificate_seconds_left", "authority").count() == 1);
        machine.stop()?;
        hub.stop()
    })
}
