//! The hub is killed at random points while a department publishes.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::Exchange;
use hutong_tests::harness::churn::{Churn, PUBLISHER};
use hutong_tests::harness::exchange::SOON;
use hutong_tests::harness::hub::NOTICES_SOON;
use hutong_tests::harness::promise::Promise;
use hutong_tests::powercut::PowerCut;

const ROUNDS: u64 = 6;
/// Rounds until an acknowledgement must have been lost at least once.
const LOST_ROUNDS: u64 = 3;
/// A slow disk: while the first batch of a round is written, the others arrive and wait.
const SYNC_TAKES: Duration = Duration::from_millis(60);

#[test]
fn nothing_acknowledged_is_lost_when_the_hub_is_killed() -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.set(NOTICES_SOON)?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
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

/// The publisher is made to stand still while the hub stores what is under way; then both are killed,
/// and the publisher, which never heard of it, sends again what the log holds already.
#[test]
fn a_batch_whose_acknowledgement_was_lost_is_stored_once() -> Result<()> {
    let mut exchange = Exchange::new()?;
    // Only for its slow syncs: the power stays.
    let disk = PowerCut::new(&exchange.hub.data(), &exchange.path("journal"))?;
    exchange.hub.set_environment(disk.slow_disk(SYNC_TAKES).environment());
    exchange.hub.set(NOTICES_SOON)?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
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
            exchange.machines[PUBLISHER].kill()?;
            exchange.machines[PUBLISHER].start()?;
            exchange.equal(SOON).with_context(step)?;
            promise.no_epoch_began(&exchange.hub).with_context(step)?;
            repeats += exchange.hub.metrics()?.sum("hutong_intake_repeats_total");
        }
        exchange.nothing_delivered_twice()?;
        exchange.hub.stop()?;
        exchange.log_is_sound()?;
        // Asked last: a hub that takes a repeat for something new counts none.
        ensure!(
            repeats > 0.0,
            "no batch was sent twice in {LOST_ROUNDS} rounds: nothing was tried"
        );
        Ok(())
    })
}
