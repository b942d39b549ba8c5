//! The whole way of a row: enrolled, registered, published, merged, granted, delivered, asked for,
//! reconciled.

use anyhow::{Context, Result, ensure};
use hutong_schema::library::LibraryId;
use hutong_tests::harness::exchange::{SOON, Wish, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::{delivered, entries, until};

const CODE: &str = "101001/000001";

#[test]
fn rows_reach_the_hub_the_library_and_the_subscriber_and_all_can_prove_it() -> Result<()> {
    scene(|exchange| {
        let rows = people(300)?;
        let code = entries::department_code(0)?;
        let entry = entries::bound(CODE, code, LibraryId::POPULATION, 10)?;
        let provider = exchange.department("civil")?;
        provider.write("people.csv", csv(&rows).replace(",je", ",lxdh"))?;
        provider.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, 300, SOON)?;

        let receiver = exchange.department("social")?;
        receiver.subscribe("s1", "all");
        exchange.run(1)?;
        let wish =
            Wish { target: "population", fields: &["xm", "hjqh"], filter: "hjqh = \"211202\"" };
        let grant = exchange.grant(1, &wish)?;
        exchange.equal(SOON)?;
        let held = delivered::held(&exchange.machines[1].delivered(grant))?;
        ensure!(held.len() == 100, "{} people live in 211202", held.len());

        let listed = exchange.machines[1].command(["catalogue", "list"])?.ok()?;
        ensure!(listed.contains(CODE), "the entry is in the catalogue:\n{listed}");

        // Person 0 lives in 211202, person 1 does not; the grant covers the name, not the date.
        let (within, without) = (&rows[0], &rows[1]);
        let receiver = &exchange.machines[1];
        let found = receiver.lookup("population", &within.sfzh)?.ok()?;
        ensure!(found.contains(&within.xm), "the name is in the answer:\n{found}");
        ensure!(!found.contains("csrq"), "the birth date is not granted:\n{found}");
        let absent = receiver.lookup("population", &without.sfzh)?;
        ensure!(!absent.out.contains(&without.xm), "outside of the grant:\n{}", absent.out);
        let claim = format!("xm={}", within.xm);
        let agrees = receiver.verify("population", &within.sfzh, &claim)?.ok()?;
        ensure!(agrees.contains("match") && !agrees.contains("mismatch"), "{agrees}");
        let differs = receiver.verify("population", &within.sfzh, "xm=另一人")?.ok()?;
        ensure!(differs.contains("mismatch"), "{differs}");
        ensure!(!differs.contains(&within.xm), "a verification never shows the value");
        // What was read once is in memory: no other thread is woken for it.
        let metrics = exchange.hub.metrics()?;
        let read = |by: &str| -> f64 {
            let by = format!("by=\"{by}\"");
            metrics.with("hutong_questions_read_total", &by).map(|(_, count)| count).sum()
        };
        let (memory, reader) = (read("memory"), read("reader"));
        ensure!(
            memory >= 2.0 && memory + reader == 4.0,
            "of four questions, three about one key, {memory} were answered at once, {reader} by a reader"
        );

        let last = until(SOON, "reconcile finds all equal", || {
            let ran = exchange.hub.command(["reconcile"])?;
            Ok(ran.success.then_some(ran.out))
        });
        last.context("reconcile")?;
        Ok(())
    })
}
