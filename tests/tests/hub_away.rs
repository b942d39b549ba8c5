//! The hub goes away and comes back.

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::churn::{Churn, PUBLISHER};
use hutong_tests::harness::exchange::{SOON, scene};
use hutong_tests::harness::wait::until_true;

const CODE: &str = "301001/000001";

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

#[test]
fn a_killed_hub_tells_its_agents_that_their_connections_are_gone() -> Result<()> {
    scene(|exchange| {
        exchange.people_from_civil(CODE, 10)?;
        exchange.hub.kill()?;
        exchange.hub.start()?;
        // The reason tells this from an agent that waited until the silence was too long.
        until_true(SOON, "the agent was told, and is connected again", || {
            let process = exchange.machines[0].process().context("the agent runs")?;
            let told = process.tail();
            Ok(told.contains("reset by peer") && told.matches(" connected ").count() == 2)
        })
    })
}

#[test]
fn a_subscription_that_goes_on_where_it_stopped_follows_although_nothing_changes() -> Result<()> {
    scene(|exchange| {
        exchange.people_from_civil(CODE, 10)?;
        exchange.granted_to_social(CODE)?;
        exchange.equal(SOON)?;
        exchange.hub.kill()?;
        exchange.hub.start()?;
        let mut last = serde_json::Value::Null;
        let follows = until_true(SOON, "status and metric say that it follows", || {
            last = exchange.hub.status(false)?["subscriptions"][0].clone();
            let level = exchange.hub.metrics()?.sum("hutong_subscriptions_level") as u64;
            Ok(last["state"] == "following" && level == 1)
        });
        follows.with_context(|| last.to_string())
    })
}
