//! The hub goes away and comes back.

use anyhow::{Result, ensure};
use hutong_tests::harness::churn::{Churn, PUBLISHER};
use hutong_tests::harness::exchange::{SOON, scene};

#[test]
fn what_changed_while_the_hub_was_away_arrives_when_it_is_back() -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, 4)?;
        exchange.hub.stop()?;
        churn.change(exchange, 1)?;
        exchange.machines[PUBLISHER].kill()?;
        // Its agent starts while nobody answers, and must neither end nor give up.
        exchange.machines[PUBLISHER].start()?;
        churn.change(exchange, 2)?;
        exchange.hub.start()?;
        exchange.equal(SOON)?;
        for machine in &mut exchange.machines {
            let ended = machine.process().map(|process| process.ended()).transpose()?.flatten();
            ensure!(ended.is_none(), "{} ended: {ended:?}", machine.name);
        }
        Ok(())
    })
}
