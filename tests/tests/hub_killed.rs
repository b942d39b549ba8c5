//! The hub is killed at random points while a department publishes.

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::churn::{Churn, PUBLISHER};
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::promise::Promise;

const ROUNDS: u64 = 6;
/// Rounds until an acknowledgement must have been lost at least once.
const LOST_ROUNDS: u64 = 6;

#[test]
fn nothing_acknowledged_is_lost_when_the_hub_is_killed() -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, 1)?;
        for round in 0..ROUNDS {
            let step = || format!("round {round}");
            let mut promise = Promise::default();
            churn.change(exchange, round)?;
            churn.strike(exchange, round, &mut promise).with_context(step)?;
            exchange.hub.kill()?;
            exchange.hub.start()?;
            promise.kept(&exchange.hub).with_context(step)?;
            exchange.equal(SOON).with_context(step)?;
            promise.no_epoch_began(&exchange.hub).with_context(step)?;
        }
        exchange.nothing_delivered_twice()?;
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

/// The publisher is made to stand still while the hub stores what is under way; then the hub is
/// killed, and the publisher, which never heard of it, sends again what the log holds already.
#[test]
fn a_batch_whose_acknowledgement_was_lost_is_stored_once() -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, 4)?;
        let mut repeats = 0.0;
        for round in 0..LOST_ROUNDS {
            let step = || format!("round {round}");
            let mut promise = Promise::default();
            churn.change(exchange, round)?;
            promise.observe_growth(&exchange.hub).with_context(step)?;
            let publisher = exchange.machines[PUBLISHER].process().context("the publisher runs")?;
            publisher.signal("STOP")?;
            promise.observe_rest(&exchange.hub).with_context(step)?;
            exchange.hub.kill()?;
            exchange.hub.start()?;
            promise.kept(&exchange.hub).with_context(step)?;
            let publisher = exchange.machines[PUBLISHER].process().context("the publisher runs")?;
            publisher.signal("CONT")?;
            exchange.equal(SOON).with_context(step)?;
            promise.no_epoch_began(&exchange.hub).with_context(step)?;
            repeats += exchange.hub.metrics()?.sum("hutong_intake_repeats_total");
        }
        exchange.nothing_delivered_twice()?;
        exchange.hub.stop()?;
        exchange.log_is_sound()?;
        // Asked last: a hub that takes a repeat for something new counts none.
        ensure!(repeats > 0.0, "no batch was sent twice in {LOST_ROUNDS} rounds: nothing was tried");
        Ok(())
    })
}
