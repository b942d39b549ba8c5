//! Departments that were granted the same share the work of packing it; one that was granted other
//! fields or rows gets its own.

use anyhow::{Result, ensure};
use hutong_tests::harness::delivered::held;
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::{SOON, Wish, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;

const CODE: &str = "301001/000001";
const ROWS: usize = 600;

#[test]
fn who_was_granted_the_same_gets_the_same_and_nobody_gets_anothers() -> Result<()> {
    scene(|exchange| {
        let mut rows = people(ROWS)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.write("people.csv", csv(&rows))?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, ROWS as u64, SOON)?;
        let names = Wish { target: CODE, fields: &["xm"], filter: "hjqh = \"211204\"" };
        let more = Wish { target: CODE, fields: &["xm", "hjqh"], filter: "hjqh = \"211204\"" };
        let others = Wish { target: CODE, fields: &["xm"], filter: "hjqh = \"211202\"" };
        let mut grants = Vec::new();
        for (machine, (name, wish)) in
            (1..).zip([("one", &names), ("two", &names), ("three", &more), ("four", &others)])
        {
            exchange.department(name)?.subscribe("s1", "all");
            exchange.run(machine)?;
            grants.push((machine, exchange.grant(machine, wish)?));
        }
        exchange.equal(SOON)?;

        // Whoever comes first makes a block; two may come at the same moment.
        until_true(SOON, "a block is shared", || {
            rows.iter_mut().for_each(|row| row.xm.push('改'));
            exchange.machines[0].write("people.csv", csv(&rows))?;
            let newest = rows[1].xm.clone();
            until_true(SOON, "the change is delivered to all four", || {
                let at = |(machine, grant): &(usize, u64)| {
                    let held = held(&exchange.machines[*machine].delivered(*grant))?;
                    let newest = if *machine == 4 { &rows[0].xm } else { &newest };
                    Ok::<_, anyhow::Error>(
                        held.values().any(|row| row.to_string().contains(newest)),
                    )
                };
                grants.iter().try_fold(true, |all, grant| Ok(all && at(grant)?))
            })?;
            Ok(exchange.hub.metrics()?.sum("hutong_routed_shared_blocks_total") > 0.0)
        })?;
        exchange.equal(SOON)?;
        let of = |at: usize| held(&exchange.machines[grants[at].0].delivered(grants[at].1));
        ensure!(of(0)? == of(1)?, "the same grant, other rows");
        ensure!(of(2)?.keys().eq(of(0)?.keys()), "the same filter, other keys");
        ensure!(of(3)?.keys().all(|key| !of(0).is_ok_and(|held| held.contains_key(key))));
        let fields = |at: usize| {
            of(at).map(|held| held.values().all(|row| row.to_string().contains("hjqh")))
        };
        ensure!(!fields(0)? && fields(2)?, "each gets its own fields");
        Ok(())
    })
}
