//! The power fails: a process is killed and every write that it had not synced is gone.

use std::time::Duration;

use anyhow::{Context, Result};
use hutong_tests::harness::Exchange;
use hutong_tests::harness::churn::{Churn, PUBLISHER, SUBSCRIBER};
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::hub::NOTICES_SOON;
use hutong_tests::harness::promise::Promise;
use hutong_tests::powercut::PowerCut;

const ROUNDS: u64 = 5;
/// A slow disk: what must not happen before a sync has returned gets time to happen.
const SYNC_TAKES: Duration = Duration::from_millis(25);

#[test]
fn nothing_acknowledged_is_lost_when_the_hubs_power_fails() -> Result<()> {
    let mut exchange = Exchange::new()?;
    let cut = PowerCut::new(&exchange.hub.data(), &exchange.path("journal"))?.slow_disk(SYNC_TAKES);
    exchange.hub.set_environment(cut.environment());
    exchange.hub.set(NOTICES_SOON)?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        let mut churn = Churn::begin(exchange, 11)?;
        for round in 0..ROUNDS {
            let step = || format!("round {round}");
            let mut promise = Promise::default();
            churn.change(exchange, round)?;
            churn.strike(exchange, round, &mut promise).with_context(step)?;
            exchange.hub.kill()?;
            cut.discard_unsynced()?;
            exchange.hub.start().with_context(step)?;
            promise.kept(&exchange.hub).with_context(step)?;
            exchange.equal(SOON).with_context(step)?;
            promise.no_epoch_began(&exchange.hub).with_context(step)?;
        }
        exchange.nothing_delivered_twice()?;
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

#[test]
fn nothing_is_lost_or_doubled_when_the_publishers_power_fails() -> Result<()> {
    agent_cut(PUBLISHER, 12)
}

#[test]
fn nothing_is_lost_or_doubled_when_the_subscribers_power_fails() -> Result<()> {
    agent_cut(SUBSCRIBER, 13)
}

fn agent_cut(machine: usize, seed: u64) -> Result<()> {
    scene(|exchange| {
        let mut churn = Churn::begin(exchange, seed)?;
        // From here on it is watched; what it wrote before is taken as durable.
        exchange.machines[machine].stop()?;
        let folder = exchange.machines[machine].path("");
        let cut = PowerCut::new(&folder, &exchange.path("journal"))?.slow_disk(SYNC_TAKES);
        exchange.machines[machine].set_environment(cut.environment());
        exchange.machines[machine].start()?;
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
            cut.discard_unsynced()?;
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
