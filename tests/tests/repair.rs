//! Somebody changes a subscriber's file; the proof over the files names the row.

use std::fs;

use anyhow::{Result, ensure};
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::{SOON, Wish, scene};
use hutong_tests::harness::rows::{csv, people};

const CODE: &str = "301001/000001";

#[test]
fn the_changed_row_is_named() -> Result<()> {
    scene(|exchange| {
        let rows = people(60)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.write("people.csv", csv(&rows))?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, 60, SOON)?;
        exchange.department("social")?.subscribe("s1", "all");
        exchange.run(1)?;
        let grant = exchange.grant(1, &Wish { target: CODE, ..Wish::default() })?;
        exchange.equal(SOON)?;

        let path = exchange.machines[1].delivered(grant);
        let text = fs::read_to_string(&path)?;
        fs::write(&path, text.replacen("示例7\"", "示例9\"", 1))?;
        let proof = exchange.prove()?.refused()?;
        ensure!(proof.contains(&rows[7].sfzh), "the proof names the key:\n{proof}");
        Ok(())
    })
}
