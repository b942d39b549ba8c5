//! A grant is withdrawn.

use std::fs;

use anyhow::{Result, ensure};
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::{SOON, Wish, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;

const CODE: &str = "301001/000001";

#[test]
fn delivery_stops_and_the_file_is_set_aside() -> Result<()> {
    scene(|exchange| {
        let mut rows = people(20)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.write("people.csv", csv(&rows))?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, 20, SOON)?;
        exchange.department("social")?.subscribe("s1", "all");
        exchange.run(1)?;
        let wish = Wish { target: CODE, ..Wish::default() };
        let ended = exchange.grant(1, &wish)?;
        let other = exchange.grant(1, &Wish { fields: &["xm"], ..wish })?;
        exchange.equal(SOON)?;

        exchange.hub.withdraw(ended, "任务结束")?;
        let path = exchange.machines[1].delivered(ended);
        until_true(SOON, "the file of the withdrawn grant is set aside", || Ok(!path.exists()))?;
        (rows[0].xm, rows[0].je) = ("改名".to_owned(), "987654".to_owned());
        exchange.machines[0].write("people.csv", csv(&rows))?;
        exchange.grants.retain(|grant| grant.id == other);
        exchange.equal(SOON)?;
        // The other grant has the change, so the withdrawn one would have it, too.
        for entry in fs::read_dir(path.parent().unwrap_or(&path))? {
            let entry = entry?.path();
            let name = entry.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let of_ended = name.starts_with(&format!("{ended}."));
            if of_ended && entry.is_file() {
                ensure!(!fs::read_to_string(&entry)?.contains("改名"), "{name} was written on");
            }
        }
        // Of the two grants only the one on the name is left.
        let answer = exchange.machines[1].command([
            "lookup",
            "--target",
            CODE,
            "--key",
            &rows[0].sfzh,
            "--reason",
            "test",
        ])?;
        let answer = answer.ok()?;
        ensure!(answer.contains("改名") && !answer.contains("987654"), "{answer}");
        Ok(())
    })
}
