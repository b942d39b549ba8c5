//! A row that enters, leaves and re-enters a grant's filter.

use anyhow::{Result, ensure};
use hutong_tests::harness::delivered::{Delivered, held, lines};
use hutong_tests::harness::exchange::{SOON, Wish, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{Exchange, entries};

const CODE: &str = "301001/000001";

fn changes_of(exchange: &Exchange, grant: u64, key: &str) -> Result<Vec<Delivered>> {
    let mut lines = lines(&exchange.machines[1].delivered(grant))?;
    lines.retain(|line| line.key == key);
    Ok(lines)
}

#[test]
fn a_row_that_leaves_the_filter_is_deleted_and_comes_back_when_it_re_enters() -> Result<()> {
    scene(|exchange| {
        let mut rows = people(30)?;
        let entry = entries::people(CODE, entries::department_code(0)?)?;
        let machine = exchange.department("civil")?;
        machine.write("people.csv", csv(&rows))?;
        machine.publish("n1", &entry, "people.csv")?;
        exchange.run(0)?;
        exchange.rows(&entry.code, 30, SOON)?;
        exchange.department("county")?.subscribe("s1", "all");
        exchange.run(1)?;
        let wish = Wish { target: CODE, fields: &["xm"], filter: "hjqh = \"211204\"" };
        let grant = exchange.grant(1, &wish)?;
        exchange.equal(SOON)?;
        // Person 0 lives in 211202, person 1 in 211204.
        let (outsider, key) = (rows[0].sfzh.clone(), rows[1].sfzh.clone());
        ensure!(changes_of(exchange, grant, &outsider)?.is_empty(), "a key outside is never named");

        for (division, changes, holds) in
            [("211202", 2, false), ("211204", 3, true), ("211221", 4, false), ("211204", 5, true)]
        {
            rows[1].hjqh = division.to_owned();
            // The outsider changes too, and stays outside.
            rows[0].xm.push('改');
            exchange.machines[0].write("people.csv", csv(&rows))?;
            let what = format!("the move to {division} is delivered");
            until_true(SOON, &what, || Ok(changes_of(exchange, grant, &key)?.len() == changes))?;
            let last = changes_of(exchange, grant, &key)?.pop().map(|line| line.op);
            let expected = if holds { "upsert" } else { "delete" };
            ensure!(last.as_deref() == Some(expected), "{division}: {last:?}");
            let kept = held(&exchange.machines[1].delivered(grant))?.contains_key(&key);
            ensure!(kept == holds, "{division}: the subscriber holds the row: {kept}");
        }
        exchange.equal(SOON)?;
        let named = changes_of(exchange, grant, &outsider)?;
        ensure!(named.is_empty(), "a key outside is never named: {named:?}");
        Ok(())
    })
}
