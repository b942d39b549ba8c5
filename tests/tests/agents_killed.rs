//! The agents, publisher and subscriber, are killed at random points while they work.

use anyhow::{Context, Result};
use hutong_tests::harness::churn::{Churn, PUBLISHER, SUBSCRIBER};
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::promise::Promise;

const ROUNDS: u64 = 6;

#[test]
fn nothing_is_lost_or_doubled_when_the_publisher_is_killed() -> Result<()> {
    killed(PUBLISHER, 2)
}

#[test]
fn nothing_is_lost_or_doubled_when_the_subscriber_is_killed() -> Result<()> {
    killed(SUBSCRIBER, 3)
}

fn killed(machine: usize, seed: u64) -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, seed)?;
        for round in 0..ROUNDS {
            let step = || format!("round {round}");
            let mut promise = Promise::default();
            churn.change(exchange, round)?;
            match machine {
                SUBSCRIBER => churn.strike_subscriber(exchange, round, &mut promise),
                _ => churn.strike(exchange, round, &mut promise),
            }
            .with_context(step)?;
            exchange.machines[machine].kill()?;
            exchange.machines[machine].start()?;
            exchange.equal(SOON).with_context(step)?;
            promise.no_epoch_began(&exchange.hub).with_context(step)?;
        }
        exchange.nothing_delivered_anew()?;
        exchange.nothing_delivered_twice()?;
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}
