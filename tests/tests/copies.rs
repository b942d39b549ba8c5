//! A machine's state exists twice: as an old image that was restored, or on two machines at once.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::exchange::{Exchange, SOON, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until;
use hutong_tests::harness::{Machine, links};

const CODE: &str = "301001/000001";

fn copy(from: &Path, to: &Path) -> Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let to = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &to)?;
        } else if entry.file_type()?.is_file() {
            fs::copy(entry.path(), to)?;
        }
    }
    Ok(())
}

/// A publisher with ten rows at the hub, and a subscriber.
fn world(exchange: &mut Exchange) -> Result<()> {
    exchange.people_from_civil(CODE, 10)?;
    exchange.granted_to_social(CODE)?;
    exchange.equal(SOON)
}

#[test]
fn a_restored_image_is_refused_as_forked_until_a_person_says_that_it_is_meant() -> Result<()> {
    scene(|exchange| {
        world(exchange)?;
        let (state, image) = (exchange.machines[0].state(), exchange.path("image"));
        exchange.machines[0].stop()?;
        copy(&state, &image)?;
        exchange.machines[0].start()?;
        exchange.machines[0].write("people.csv", csv(&people(20)?))?;
        exchange.rows(&CODE.parse()?, 20, SOON)?;
        exchange.equal(SOON)?;

        exchange.machines[0].stop()?;
        fs::remove_dir_all(&state)?;
        copy(&image, &state)?;
        // The source is as old as the image, but somebody goes on working with it.
        let mut rows = people(12)?;
        rows[3].xm = "改名".to_owned();
        exchange.machines[0].write("people.csv", csv(&rows))?;
        exchange.machines[0].start()?;
        links::connected(&exchange.machines[0], "n1", SOON)?;
        let trouble = until(SOON, "the publication is refused", || {
            let publication = exchange.machines[0].publication(CODE)?;
            let troubles = publication["troubles"].as_array().into_iter().flatten();
            let mut texts = troubles.filter_map(|trouble| trouble.as_str().map(str::to_owned));
            Ok(texts.find(|text| text.contains("HT-1105 FORKED")))
        })?;
        let way_out = format!("hutong-agent confirm {CODE}");
        ensure!(trouble.contains(&way_out) && trouble.contains("restored"), "{trouble}");
        let publication = exchange.machines[0].publication(CODE)?;
        ensure!(publication["state"] == "stands still", "{publication}");
        ensure!(exchange.rows_now(&CODE.parse()?)? == Some(20), "nothing was taken");
        until(SOON, "the hub's list names it", || {
            let line = links::line(&exchange.hub, &exchange.machines[0], "n1")?;
            Ok(line["connection"]["trouble"].to_string().contains("HT-1105").then_some(()))
        })?;

        exchange.machines[0].command(["confirm", CODE])?.ok()?;
        exchange.rows(&CODE.parse()?, 12, SOON)?;
        exchange.equal(SOON)?;
        let publication = exchange.machines[0].publication(CODE)?;
        ensure!(publication["epoch"] == 2, "a new epoch began: {publication}");
        Ok(())
    })
}

#[test]
fn two_machines_with_one_identity_are_noticed_and_named() -> Result<()> {
    scene(|exchange| {
        world(exchange)?;
        let original = &mut exchange.machines[0];
        original.stop()?;
        let (code, nodes, state) = (original.code, original.nodes.clone(), original.state());
        let (folder, logs) = (exchange.path("clone"), exchange.path("logs"));
        let mut clone = Machine::new(&folder, &logs, "clone", code, "示例局（civil）")?;
        clone.nodes = nodes;
        clone.configure(exchange.hub.quic()?)?;
        copy(&state, &clone.state())?;
        fs::copy(exchange.machines[0].sheet(), clone.sheet())?;

        exchange.machines[0].start()?;
        links::connected(&exchange.machines[0], "n1", SOON)?;
        clone.start()?;
        // On one machine the copy looks like the original, started again, until that comes back.
        links::refused(&exchange.machines[0], "n1", &["HT-1006", "copy"], SOON)?;
        links::connected(&clone, "n1", SOON)?;
        let line = links::line(&exchange.hub, &exchange.machines[0], "n1")?;
        let seen =
            line["copy"]["address"].as_str().context("the hub's list names the other one")?;
        let here = line["connection"]["address"].as_str().context("one of them is connected")?;
        ensure!(seen != here, "{line}");
        let log = fs::read_to_string(exchange.path("logs").join("hub.log"))?;
        let warned = log.lines().find(|line| line.contains("one identity on two machines"));
        let warned = warned.context("the hub warns")?;
        ensure!(warned.contains(seen) && warned.contains(here), "{warned}");
        let metrics = exchange.hub.metrics()?;
        ensure!(metrics.sum("hutong_gate_copies_refused_total") >= 1.0);
        ensure!(metrics.sum("hutong_nodes_copied") == 1.0);

        // When one of them is gone, even without a goodbye, the other one is let in.
        clone.kill()?;
        links::connected(&exchange.machines[0], "n1", SOON)?;
        exchange.machines[0].write("people.csv", csv(&people(30)?))?;
        exchange.rows(&CODE.parse()?, 30, SOON)?;
        exchange.equal(SOON)
    })
}
