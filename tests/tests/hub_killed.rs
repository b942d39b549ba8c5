//! The hub is killed at random points while a department publishes.

use anyhow::Result;
use hutong_tests::harness::churn::Churn;
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::promise::Promise;

const ROUNDS: u64 = 5;

#[test]
fn nothing_acknowledged_is_lost_when_the_hub_is_killed() -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, 1)?;
        for round in 0..ROUNDS {
            let mut promise = Promise::default();
            churn.change(exchange, round)?;
            promise.observe(&exchange.hub, churn.moment());
            exchange.hub.kill()?;
            exchange.hub.start()?;
            promise.kept(&exchange.hub)?;
            exchange.equal(SOON)?;
        }
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}
