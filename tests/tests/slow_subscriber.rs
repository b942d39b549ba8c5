//! A subscriber that stands still slows nobody.

use anyhow::{Context, Result};
use hutong_tests::harness::churn::{Churn, SUBSCRIBER};
use hutong_tests::harness::exchange::{SOON, Wish, scene};

#[test]
fn others_get_their_rows_while_one_stands_still() -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, 5)?;
        exchange.department("second")?.subscribe("s2", "all");
        let second = exchange.machines.len() - 1;
        exchange.run(second)?;
        exchange.grant(second, &Wish { target: "population", ..Wish::default() })?;
        exchange.equal(SOON)?;

        let signal = |exchange: &mut hutong_tests::harness::Exchange, signal| {
            let process = exchange.machines[SUBSCRIBER].process().context("the subscriber runs")?;
            process.signal(signal)
        };
        signal(exchange, "STOP")?;
        let all = exchange.grants.clone();
        exchange.grants.retain(|grant| grant.grantee == "second");
        for round in 0..3 {
            churn.change(exchange, round)?;
            exchange.equal(SOON)?;
        }
        signal(exchange, "CONT")?;
        exchange.grants = all;
        exchange.equal(SOON)
    })
}
