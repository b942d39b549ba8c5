//! The agents, publisher and subscriber, are killed at random points while they work.

use std::thread;

use anyhow::Result;
use hutong_tests::harness::churn::{Churn, PUBLISHER, SUBSCRIBER};
use hutong_tests::harness::exchange::{SOON, scene};

const ROUNDS: u64 = 4;

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
            churn.change(exchange, round)?;
            thread::sleep(churn.moment());
            exchange.machines[machine].kill()?;
            exchange.machines[machine].start()?;
            exchange.equal(SOON)?;
        }
        Ok(())
    })
}
