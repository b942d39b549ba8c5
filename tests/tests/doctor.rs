//! `hutong-agent doctor` and `check`: what stands in the way is found and named, one thing after the
//! other.

use std::fs;
use std::net::UdpSocket;
use std::os::unix::fs::PermissionsExt;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::Machine;
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::links;
use hutong_tests::harness::rows::{csv, people};
use serde_json::Value;

const CODE: &str = "301001/000001";

/// What the doctor says, and whether it ended with success.
fn doctor(machine: &Machine, lang: &str) -> Result<(bool, Vec<Value>)> {
    let ran = machine.command(["doctor", "--json", "--lang", lang])?;
    let said: Value = serde_json::from_str(&ran.out).with_context(|| ran.err.clone())?;
    let findings = said["findings"].as_array().cloned().context("findings")?;
    ensure!(said["healthy"] == ran.success, "{said}");
    Ok((ran.success, findings))
}

/// The findings that need a person, as `area: found`.
fn ills(findings: &[Value]) -> Vec<String> {
    let ill = findings.iter().filter(|each| each["level"] == "person");
    ill.map(|each| {
        format!("{}: {}", each["area"].as_str().unwrap_or(""), each["found"].as_str().unwrap_or(""))
    })
    .collect()
}

/// The doctor finds exactly this one ill, with what it means and what to do.
fn one_ill(machine: &Machine, area: &str, found: &str) -> Result<Value> {
    let (healthy, findings) = doctor(machine, "en")?;
    let ills = ills(&findings);
    ensure!(!healthy && ills.len() == 1, "{found} and nothing else: {ills:?}");
    ensure!(ills[0].starts_with(area) && ills[0].contains(found), "{found} in {ills:?}");
    let ill = findings.into_iter().find(|each| each["level"] == "person").context("the ill")?;
    let said = |key: &str| ill[key].as_str().is_some_and(|text| !text.is_empty());
    ensure!(said("means") && said("do"), "{ill}");
    let (_, chinese) = doctor(machine, "zh")?;
    let same = chinese.iter().find(|each| each["level"] == "person").context("in Chinese")?;
    ensure!(same["do"] != ill["do"] && same["code"] == ill["code"], "{same}");
    Ok(ill)
}

#[test]
fn the_doctor_finds_each_ill_alone_and_nothing_in_a_sound_agent() -> Result<()> {
    scene(|exchange| {
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let rows = csv(&people(20)?);
        let machine = exchange.department("civil")?;
        machine.write("people.csv", &rows)?;
        machine.publish("n1", &entry, "people.csv")?;
        machine.subscribe("n1", "all");
        exchange.run(0)?;
        exchange.rows(&entry.code, 20, SOON)?;
        let hub = exchange.hub.quic()?;

        // The agent runs: it is asked, and keeps its connection.
        let before = exchange.machines[0].status()?["nodes"][0]["since"].clone();
        let (healthy, findings) = doctor(&exchange.machines[0], "en")?;
        ensure!(healthy, "{:?}", ills(&findings));
        let fine = |findings: &[Value], area: &str| {
            findings.iter().any(|each| each["area"] == area && each["level"] == "fine")
        };
        for area in ["agent", "network", "clock", "node", "state", "outbox", "source", "sink"] {
            ensure!(fine(&findings, area), "{area} was looked at: {findings:?}");
        }
        let after = exchange.machines[0].status()?["nodes"][0]["since"].clone();
        ensure!(before == after, "the doctor does not disturb: {before} {after}");

        // It does not run: the doctor knocks itself.
        exchange.machines[0].stop()?;
        let machine = &exchange.machines[0];
        let (healthy, findings) = doctor(machine, "en")?;
        ensure!(healthy, "{:?}", ills(&findings));
        let let_in = findings.iter().any(|each| {
            each["found"].as_str().is_some_and(|found| found.contains("the hub lets it in"))
        });
        ensure!(let_in, "{findings:?}");

        // The source.
        let path = machine.path("people.csv");
        fs::remove_file(&path)?;
        one_ill(machine, "source", "does not exist")?;
        fs::write(&path, "nothing,of,this\n1,2,3\n")?;
        one_ill(machine, "source", "lacks required items")?;
        fs::write(&path, encoding_rs::GB18030.encode(&rows).0)?;
        one_ill(machine, "source", "of the first 20 rows are refused")?;
        fs::write(&path, &rows)?;

        // The sink: a file is where the folder should be.
        let out = machine.path("out");
        if out.exists() {
            fs::remove_dir_all(&out)?;
        }
        fs::write(&out, "")?;
        let (_, findings) = doctor(machine, "en")?;
        ensure!(ills(&findings).iter().all(|ill| ill.starts_with("sink")), "{findings:?}");
        ensure!(!ills(&findings).is_empty(), "{findings:?}");
        fs::remove_file(&out)?;

        // The key.
        let key = machine.state().join("nodes/n1/node.key");
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644))?;
        one_ill(machine, "node", "may read the key")?;
        fs::set_permissions(&key, fs::Permissions::from_mode(0o600))?;

        // The way: a silent port, a closed one, a name that does not exist.
        let silent = UdpSocket::bind("127.0.0.1:0")?;
        machine.configure(silent.local_addr()?)?;
        one_ill(machine, "network", "no answer at all over UDP")?;
        let closed = silent.local_addr()?;
        drop(silent);
        machine.configure(closed)?;
        one_ill(machine, "network", "nobody listens at this UDP port")?;
        let text = fs::read_to_string(machine.config())?;
        fs::write(machine.config(), text.replace("127.0.0.1:", "nowhere.invalid:"))?;
        one_ill(machine, "network", "cannot be resolved")?;
        machine.configure(hub)?;

        // The hub took the node out.
        let code = exchange.machines[0].code.to_string();
        let whom = ["node", "revoke", "--department", &code, "--node", "n1", "--reason", "Test"];
        exchange.hub.command(whom)?.ok()?;
        let ill = one_ill(&exchange.machines[0], "node", "HT-")?;
        ensure!(ill["code"].is_string(), "{ill}");
        Ok(())
    })
}

#[test]
fn another_exchanges_hub_is_told_from_no_hub() -> Result<()> {
    scene(|exchange| {
        let machine = exchange.department("civil")?;
        machine.subscribe("n1", "all");
        exchange.run(0)?;
        links::connected(&exchange.machines[0], "n1", SOON)?;
        exchange.machines[0].stop()?;
        let mut other =
            hutong_tests::harness::Hub::found(&exchange.path("other"), &exchange.path("logs-o"))?;
        other.start()?;
        exchange.machines[0].configure(other.quic()?)?;
        let ill = one_ill(&exchange.machines[0], "network", "HT-2003")?;
        ensure!(ill["code"] == "HT-2003", "{ill}");
        other.stop()
    })
}

#[test]
fn check_names_the_line_of_every_problem() -> Result<()> {
    scene(|exchange| {
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.write("people.csv", csv(&people(3)?))?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        let machine = &exchange.machines[0];
        machine.command(["check"])?.ok()?;
        fs::remove_file(machine.path("people.csv"))?;
        let text = fs::read_to_string(machine.config())?;
        let line_of = |word: &str| {
            text.lines().position(|line| line.starts_with(word)).map(|at| at + 1).context("a line")
        };
        let place = |line| format!("{}:{line}: ", machine.config().display());
        let told = machine.command(["check"])?.refused()?;
        let expected = format!("{}node[0].publish[0].path: {CODE}", place(line_of("path = ")?));
        ensure!(told.contains(&expected), "{expected} in {told}");

        fs::write(machine.config(), text.replace("rescan_seconds", "rescan_second"))?;
        let told = machine.command(["check"])?.refused()?;
        let line = line_of("rescan_seconds")?;
        let expected = format!("{}node[0].publish[0].rescan_second is not a setting", place(line));
        ensure!(told.contains(&expected), "{expected} in {told}");
        ensure!(told.contains("did you mean \"rescan_seconds\"?"), "{told}");
        Ok(())
    })
}
