//! Somebody changes a subscriber's file; reconciliation names the row and mends it.

use std::fs;

use anyhow::{Context, Result, ensure};
use hutong_schema::catalogue::CatalogueEntry;
use hutong_tests::harness::exchange::{Exchange, SOON, Wish, scene};
use hutong_tests::harness::rows::{PersonRow, csv, people};
use hutong_tests::harness::{entries, until};
use serde_json::{Value, json};

const CODE: &str = "301001/000001";

/// Sixty people, delivered and proven equal; the grant.
fn delivered(exchange: &mut Exchange) -> Result<(Vec<PersonRow>, u64)> {
    let rows = people(60)?;
    let entry = entries::people(CODE, entries::department_code(0)?)?;
    let grant = delivered_of(exchange, &entry, &rows)?;
    Ok((rows, grant))
}

/// Rows of this entry, delivered and proven equal; the grant.
fn delivered_of(
    exchange: &mut Exchange,
    entry: &CatalogueEntry,
    rows: &[PersonRow],
) -> Result<u64> {
    let machine = exchange.department("civil")?;
    machine.write("people.csv", csv(rows))?;
    machine.publish("n1", entry, "people.csv")?;
    exchange.run(0)?;
    exchange.rows(&entry.code, rows.len() as u64, SOON)?;
    exchange.department("social")?.subscribe("s1", "all");
    exchange.run(1)?;
    let grant = exchange.grant(1, &Wish { target: CODE, ..Wish::default() })?;
    exchange.equal(SOON)?;
    Ok(grant)
}

/// What reconciling says of the only subscription, once it could be compared.
fn subscription(exchange: &Exchange) -> Result<Value> {
    until(SOON, "the subscription is compared", || {
        let ran = exchange.hub.command(["reconcile", "--json"])?;
        let report: Value = serde_json::from_str(&ran.out).with_context(|| ran.err)?;
        let found = report["subscriptions"][0].clone();
        Ok(found["verdict"].is_string().then_some(found))
    })
}

#[test]
fn the_changed_row_is_named_and_mended() -> Result<()> {
    scene(|exchange| {
        let (rows, grant) = delivered(exchange)?;
        let path = exchange.machines[1].delivered(grant);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen("示例7\"", "示例9\"", 1))?;
        let proof = exchange.prove()?.refused()?;
        ensure!(proof.contains(&rows[7].sfzh), "the proof names the key:\n{proof}");

        let found = subscription(exchange)?;
        ensure!(found["verdict"] == "different", "{found}");
        let named = json!([{ "key": rows[7].sfzh, "difference": "differs" }]);
        ensure!(found["differences"] == named, "exactly the key is named: {found}");

        let repaired = exchange.hub.command(["reconcile", "--repair"])?;
        ensure!(repaired.out.contains("1 key was sent again"), "{}", repaired.out);
        until(SOON, "reconcile finds all equal", || {
            Ok(exchange.hub.command(["reconcile"])?.success.then_some(()))
        })?;
        exchange.equal(SOON)?;
        exchange.nothing_delivered_anew()
    })
}

#[test]
fn rows_that_do_not_fit_into_one_message_are_all_mended() -> Result<()> {
    scene(|exchange| {
        // 12 MB: three messages at least.
        let mut entry = entries::people(CODE, entries::department_code(0)?)?;
        entry.items[1].length = 21_000;
        let mut rows = people(200)?;
        rows.iter_mut().for_each(|row| row.xm.push_str(&"长".repeat(20_000)));
        let grant = delivered_of(exchange, &entry, &rows)?;
        let path = exchange.machines[1].delivered(grant);
        fs::write(&path, fs::read_to_string(&path)?.replace("示例", "样例"))?;

        let found = subscription(exchange)?;
        ensure!(found["differences"].as_array().map(Vec::len) == Some(200), "{found}");
        let repaired = exchange.hub.command(["reconcile", "--repair"])?;
        ensure!(repaired.out.contains("200 keys were sent again"), "{}", repaired.out);
        exchange.equal(SOON)?;
        exchange.nothing_delivered_anew()
    })
}

#[test]
fn a_file_that_cannot_be_mended_is_kept_aside_and_delivered_anew() -> Result<()> {
    scene(|exchange| {
        let (_, grant) = delivered(exchange)?;
        let path = exchange.machines[1].delivered(grant);
        let broken = fs::read_to_string(&path)?.replacen("示例7\"", "示例7", 1);
        fs::write(&path, &broken)?;

        let asked = exchange.hub.command(["reconcile"])?;
        ensure!(!asked.success, "{}", asked.out);
        until(SOON, "reconcile finds all equal", || {
            Ok(exchange.hub.command(["reconcile"])?.success.then_some(()))
        })?;
        exchange.equal(SOON)?;
        let folder = path.parent().context("the file is in a folder")?;
        let mut kept = fs::read_dir(folder)?.flatten().map(|file| file.path());
        let kept = kept.find(|path| path.to_string_lossy().contains(".jsonl.changed-"));
        ensure!(fs::read_to_string(kept.context("it is kept aside")?)? == broken);
        Ok(())
    })
}
