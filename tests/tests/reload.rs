//! The configuration is read again while the agent runs.

use std::fs;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::{Exchange, SOON, Wish, issue_sheet, scene};
use hutong_tests::harness::links;
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::{until, until_true};

const FIRST: &str = "301001/000001";
const SECOND: &str = "301001/000002";
const THIRD: &str = "301001/000003";

/// How often the machine's agent has made a connection.
fn connections(exchange: &Exchange) -> Result<usize> {
    Ok(exchange.machines[0].log()?.matches(" connected ").count())
}

/// Writes the configuration and has it read again; what the command printed.
fn reload(exchange: &Exchange) -> Result<String> {
    let machine = &exchange.machines[0];
    machine.configure(exchange.hub.quic()?)?;
    machine.command(["reload"])?.ok()
}

/// A department whose node publishes the first resource and receives everything.
fn begun(exchange: &mut Exchange) -> Result<()> {
    let entry = entries::people(FIRST, entries::department_code(0)?)?;
    let machine = exchange.department("civil")?;
    machine.write("first.csv", csv(&people(10)?))?;
    machine.publish("n1", &entry, "first.csv")?;
    exchange.run(0)?;
    exchange.rows(&entry.code, 10, SOON)
}

#[test]
fn what_is_added_starts_what_is_removed_ends_and_the_rest_is_not_disturbed() -> Result<()> {
    scene(|exchange| {
        begun(exchange)?;
        let code = exchange.machines[0].code;
        let once = connections(exchange)?;

        // Nothing changed.
        let said = reload(exchange)?;
        ensure!(said.contains("nothing to change"), "{said}");

        // A second resource, of the same node: over the connection that there is.
        let second = entries::people(SECOND, code)?;
        exchange.machines[0].write("second.csv", csv(&people(5)?))?;
        exchange.machines[0].publish("n1", &second, "second.csv")?;
        let said = reload(exchange)?;
        ensure!(said.contains(&format!("node n1: {SECOND} begun")), "{said}");
        exchange.rows(&second.code, 5, SOON)?;
        ensure!(connections(exchange)? == once, "the node kept its connection");

        // The same resource from another file.
        exchange.machines[0].write("other.csv", csv(&people(7)?))?;
        let path = exchange.machines[0].path("other.csv");
        exchange.machines[0].node("n1").publish[1].path = path;
        let said = reload(exchange)?;
        ensure!(said.contains(&format!("node n1: {SECOND} changed")), "{said}");
        exchange.rows(&second.code, 7, SOON)?;

        // A further node with a resource and a subscription.
        let third = entries::people(THIRD, code)?;
        exchange.machines[0].write("third.csv", csv(&people(4)?))?;
        exchange.machines[0].publish("n2", &third, "third.csv")?;
        exchange.machines[0].subscribe("n2", "all");
        let machine = &exchange.machines[0];
        let line = format!("department,department_name,node\n{code},{},n2\n", machine.title);
        let nodes = machine.write("nodes.csv", line)?;
        issue_sheet(&exchange.hub, &nodes, &machine.path("n2.csv"))?;
        fs::copy(machine.path("n2.csv"), machine.sheet())?;
        let said = reload(exchange)?;
        ensure!(said.contains("node n2: begun"), "{said}");
        links::connected(&exchange.machines[0], "n2", SOON)?;
        exchange.rows(&third.code, 4, SOON)?;
        ensure!(connections(exchange)? == once + 1, "only the new node made a connection");
        let grant = exchange.grant(0, &Wish { target: FIRST, ..Wish::default() })?;
        exchange.equal(SOON)?;

        // The subscription goes elsewhere, then away.
        let elsewhere = exchange.machines[0].path("elsewhere");
        exchange.machines[0].node("n2").subscribe[0].path.clone_from(&elsewhere);
        reload(exchange)?;
        let file = elsewhere.join(format!("{grant}.jsonl"));
        let lines = || Ok(fs::read_to_string(&file).unwrap_or_default().lines().count() == 10);
        until_true(SOON, "the rows are written to the other folder", lines)?;
        exchange.machines[0].node("n2").subscribe.clear();
        reload(exchange)?;
        let none = || {
            let node = links::node(&exchange.machines[0], "n2")?;
            Ok(node["subscriptions"].as_array().is_none_or(Vec::is_empty))
        };
        until_true(SOON, "nothing is received any more", none)?;
        ensure!(connections(exchange)? == once + 1, "nobody made a new connection");

        // A resource and a node are removed; the source of the first is not read any more.
        exchange.machines[0].node("n1").publish.remove(1);
        exchange.machines[0].nodes.retain(|node| node.name == "n1");
        let said = reload(exchange)?;
        ensure!(said.contains("node n2: ended"), "{said}");
        ensure!(said.contains(&format!("node n1: {SECOND} ended")), "{said}");
        let gone =
            || Ok(links::line(&exchange.hub, &exchange.machines[0], "n2")?["connection"].is_null());
        until_true(SOON, "the hub sees the node leave", gone)?;
        exchange.machines[0].write("other.csv", csv(&people(20)?))?;
        exchange.machines[0].write("first.csv", csv(&people(12)?))?;
        exchange.rows(&FIRST.parse()?, 12, SOON)?;
        ensure!(exchange.rows_now(&second.code)? == Some(7), "it was read once more");
        let status = exchange.machines[0].status()?;
        ensure!(status["nodes"].as_array().is_some_and(|nodes| nodes.len() == 1), "{status}");
        ensure!(connections(exchange)? == once + 1, "the first node kept its connection");

        // Back again: the hub knows the rows, and gets what is new.
        let catalogue = exchange.machines[0].node("n1").catalogue.clone();
        let lines = fs::read_to_string(&catalogue)?;
        exchange.machines[0].publish("n1", &second, "other.csv")?;
        fs::write(&catalogue, lines)?;
        reload(exchange)?;
        exchange.rows(&second.code, 20, SOON)?;
        exchange.machines[0].stop()
    })
}

#[test]
fn with_a_mistake_nothing_changes_and_all_mistakes_are_told() -> Result<()> {
    scene(|exchange| {
        begun(exchange)?;
        let machine = &exchange.machines[0];
        let good = fs::read_to_string(machine.config())?;
        let bad = good.replace("first.csv", "other.csv").replace("rescan_seconds", "rescan")
            + "\n[[node]]\nname = \"NO\"\n";
        fs::write(machine.config(), bad)?;
        let told = machine.command(["status"])?.refused()?;
        ensure!(told.contains("rescan is not a setting"), "{told}");

        // The command cannot read the configuration itself; SIGHUP makes the agent try.
        let hang_up = |exchange: &mut Exchange| -> Result<()> {
            exchange.machines[0].process().context("it runs")?.signal("HUP")
        };
        hang_up(exchange)?;
        let log = until(SOON, "the agent tells the mistakes", || {
            let log = exchange.machines[0].log()?;
            Ok(log.contains("the configuration was not taken").then_some(log))
        })?;
        for mistake in ["publish[0].rescan is not a setting", "node[1].name is "] {
            ensure!(log.contains(mistake), "{mistake} in {log}");
        }
        // Everything goes on as before, with the file that was right.
        exchange.machines[0].write("first.csv", csv(&people(11)?))?;
        exchange.rows(&FIRST.parse()?, 11, SOON)?;

        // Corrected, a signal is enough.
        exchange.machines[0].write("other.csv", csv(&people(13)?))?;
        let text = good.replace("first.csv", "other.csv") + "\n[outbox]\ncap_bytes = 8388608\n";
        fs::write(exchange.machines[0].config(), text)?;
        hang_up(exchange)?;
        exchange.rows(&FIRST.parse()?, 13, SOON)?;
        let log = exchange.machines[0].log()?;
        ensure!(log.contains("after_restart=[\"outbox.cap_bytes\"]"), "{log}");
        Ok(())
    })
}
