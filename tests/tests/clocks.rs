//! A clock that is wrong by more than a certificate's life forgives, at an agent or at the hub: the
//! agent says that the clocks differ, by how much, and which to look at first. Once the clock is right
//! everything goes on where it stopped.

use anyhow::{Result, ensure};
use hutong_tests::harness::exchange::{Exchange, SOON, scene};
use hutong_tests::harness::rows::{csv, people};
use hutong_tests::harness::wait::until_true;
use hutong_tests::harness::{clock, links};

const CODE: &str = "301001/000001";
/// What a person is told to do.
const ADVICE: &str = "check this machine's clock first (timedatectl)";

/// Starts the agent with a clock that is so many days ahead of the hub's: it is not let in, or lets
/// the hub not in, and says `words`. With the right clock it comes back.
fn agent_ahead_by(exchange: &mut Exchange, days: i64, words: &[&str]) -> Result<()> {
    exchange.people_from_civil(CODE, 10)?;
    exchange.machines[0].stop()?;
    exchange.machines[0].set_environment(clock::ahead_by_days(days)?);
    exchange.machines[0].start()?;
    links::refused(&exchange.machines[0], "n1", words, SOON)?;
    let log = exchange.machines[0].log()?;
    ensure!(log.contains(ADVICE), "nobody is told what to do: {log}");
    ensure!(!log.contains("the certificate was renewed"), "a wrong clock is no reason to renew");

    exchange.machines[0].stop()?;
    exchange.machines[0].set_environment(clock::right());
    exchange.machines[0].write("people.csv", csv(&people(20)?))?;
    exchange.machines[0].start()?;
    links::connected(&exchange.machines[0], "n1", SOON)?;
    exchange.rows(&CODE.parse()?, 20, SOON)
}

#[test]
fn an_agent_whose_clock_is_ahead_says_so() -> Result<()> {
    // Both certificates are over by its clock.
    let words = ["HT-2001", "this machine's clock is 400 days", "ahead of the hub's"];
    scene(|exchange| agent_ahead_by(exchange, 400, &words))
}

#[test]
fn an_agent_whose_clock_is_behind_says_so() -> Result<()> {
    // By its clock nobody has a certificate yet.
    let words = ["HT-2002", "this machine's clock is 30 days", "behind the hub's"];
    scene(|exchange| agent_ahead_by(exchange, -30, &words))
}

/// The agent cannot know which of the two clocks is wrong. The hub's own is what it is told to suspect
/// if its own is right.
fn hub_ahead_by(exchange: &mut Exchange, days: i64, words: &[&str]) -> Result<()> {
    exchange.people_from_civil(CODE, 10)?;
    exchange.hub.stop()?;
    exchange.hub.set_environment(clock::ahead_by_days(days)?);
    exchange.hub.start()?;
    links::refused(&exchange.machines[0], "n1", words, SOON)?;
    let advice = "if this one is right, tell the hub's operator";
    until_true(SOON, "the agent says what to do", || {
        Ok(exchange.machines[0].log()?.contains(advice))
    })?;

    exchange.hub.stop()?;
    exchange.hub.set_environment(clock::right());
    exchange.hub.start()?;
    exchange.machines[0].write("people.csv", csv(&people(20)?))?;
    links::connected(&exchange.machines[0], "n1", SOON)?;
    exchange.rows(&CODE.parse()?, 20, SOON)
}

#[test]
fn a_hub_whose_clock_is_behind_is_told_from_one_that_is_not() -> Result<()> {
    // By the hub's clock the node has no certificate yet.
    let words = ["HT-2002", "this machine's clock is", "ahead of the hub's"];
    scene(|exchange| hub_ahead_by(exchange, -30, &words))
}

#[test]
fn a_hub_whose_clock_is_ahead_is_told_from_one_that_is_not() -> Result<()> {
    // By the hub's clock the node's certificate is over; what it would give for it is of the future.
    let words = ["this machine's clock is", "behind the hub's"];
    scene(|exchange| hub_ahead_by(exchange, 100, &words))
}
