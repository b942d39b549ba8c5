//! Disks fail: a sync, reads, or every sync takes its time.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::Exchange;
use hutong_tests::harness::churn::{Churn, PUBLISHER};
use hutong_tests::harness::entries;
use hutong_tests::harness::exchange::SOON;
use hutong_tests::harness::hub::NOTICES_SOON;
use hutong_tests::harness::process::Process;
use hutong_tests::harness::promise::Promise;
use hutong_tests::powercut::{Fault, PowerCut};

/// How long a process may take to end after its disk failed.
const ENDS_WITHIN: Duration = Duration::from_secs(20);
/// A very slow disk.
const SYNC_TAKES: Duration = Duration::from_millis(500);

/// An exchange whose hub's disk can be made to fail.
fn exchange(seed: u64, slow: Duration) -> Result<(Exchange, PowerCut, Churn)> {
    let mut exchange = Exchange::new()?;
    let disk = PowerCut::new(&exchange.hub.data(), &exchange.path("journal"))?.slow_disk(slow);
    exchange.hub.set_environment(disk.environment());
    exchange.hub.set(NOTICES_SOON)?;
    exchange.hub.start()?;
    let churn = Churn::begin(&mut exchange, seed)?;
    Ok((exchange, disk, churn))
}

/// The process ended by itself and not well; one sync failed, and none was tried again.
fn ended_without_another_try(process: &mut Process, disk: &PowerCut) -> Result<()> {
    let ended = process.wait(ENDS_WITHIN)?;
    ensure!(!ended.success() && ended.code().is_some(), "it ended with {ended}");
    let failures = disk.failures()?;
    let failed = failures.iter().filter(|line| line.starts_with("failed ")).count();
    ensure!(failed == 1 && failures.len() == 1, "not one failed sync: {failures:?}");
    Ok(())
}

#[test]
fn a_hub_whose_log_cannot_be_synced_ends_and_has_acknowledged_nothing_of_it() -> Result<()> {
    let (exchange, disk, mut churn) = exchange(31, Duration::from_millis(25))?;
    exchange.play(|exchange| {
        let mut promise = Promise::default();
        promise.observe(&exchange.hub, Duration::ZERO);
        disk.fail(Fault::Sync, "/data/log/")?;
        churn.change(exchange, 1)?;
        promise.observe(&exchange.hub, Duration::from_millis(1_500));
        let hub = exchange.hub.process().context("the hub was started")?;
        ended_without_another_try(hub, &disk)?;
        // What the failed sync was to cover is gone, as it is on a disk that failed.
        disk.discard_unsynced()?;
        exchange.hub.start()?;
        exchange.nothing_lost(&promise)
    })
}

#[test]
fn a_hub_whose_views_cannot_be_synced_ends_and_applies_the_log_again() -> Result<()> {
    let (exchange, disk, mut churn) = exchange(32, Duration::ZERO)?;
    exchange.play(|exchange| {
        let mut promise = Promise::default();
        churn.change(exchange, 1)?;
        promise.observe_applying(&exchange.hub)?;
        disk.fail(Fault::Sync, "/data/views/")?;
        ensure!(exchange.hub.flush().is_err(), "the views were written to a disk that failed");
        let hub = exchange.hub.process().context("the hub was started")?;
        ended_without_another_try(hub, &disk)?;
        disk.discard_unsynced()?;
        exchange.hub.start()?;
        exchange.nothing_lost(&promise)
    })
}

#[test]
fn an_agent_whose_store_cannot_be_synced_ends_and_loses_nothing() -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        let mut churn = Churn::begin(exchange, 33)?;
        exchange.machines[PUBLISHER].stop()?;
        let folder = exchange.machines[PUBLISHER].path("");
        let disk = PowerCut::new(&folder, &exchange.path("journal"))?;
        exchange.machines[PUBLISHER].set_environment(disk.environment());
        exchange.machines[PUBLISHER].start()?;
        exchange.equal(SOON)?;
        let mut promise = Promise::default();
        disk.fail(Fault::Sync, "/state/")?;
        churn.change(exchange, 1)?;
        promise.observe(&exchange.hub, Duration::from_millis(1_500));
        let agent = exchange.machines[PUBLISHER].process().context("it was started")?;
        ended_without_another_try(agent, &disk)?;
        disk.discard_unsynced()?;
        exchange.machines[PUBLISHER].start()?;
        exchange.nothing_lost(&promise)
    })
}

#[test]
fn reads_that_fail_are_told_and_give_no_wrong_answer() -> Result<()> {
    let (exchange, disk, _) = exchange(34, Duration::ZERO)?;
    exchange.play(|exchange| {
        // Started anew, so that nothing is in memory yet.
        exchange.hub.stop()?;
        exchange.hub.start()?;
        disk.fail(Fault::Read, ".sst")?;
        let (mut refused, mut right) = (0, 0);
        for number in 30..60 {
            let key = entries::citizen(number)?;
            let asked = ["lookup", "301001/000001", &key, "--reason", "test"];
            let answer = exchange.hub.command(asked)?;
            match answer.success && answer.out.contains(&key) {
                true => right += 1,
                false => {
                    ensure!(!answer.success, "a row was denied: {}", answer.out);
                    refused += 1;
                }
            }
        }
        ensure!(refused > 0, "nothing was read from the disk ({right} right answers)");
        let log = fs::read_to_string(exchange.path("logs/hub.log"))?;
        ensure!(log.contains("the views cannot be read"), "the operator was not told");
        disk.heal()?;
        // Writing the views out reads as well: a hub that met the fault there ends.
        if exchange.hub.flush().is_err() {
            let hub = exchange.hub.process().context("the hub was started")?;
            let ended = hub.wait(ENDS_WITHIN)?;
            ensure!(!ended.success() && ended.code().is_some(), "it ended with {ended}");
            exchange.hub.start()?;
        }
        exchange.equal(SOON)?;
        exchange.hub.stop()?;
        exchange.log_is_sound()
    })
}

#[test]
fn a_slow_disk_delays_acknowledgements_and_nothing_else() -> Result<()> {
    let (exchange, _disk, mut churn) = exchange(35, SYNC_TAKES)?;
    exchange.play(|exchange| {
        let mut promise = Promise::default();
        promise.observe(&exchange.hub, Duration::ZERO);
        let connects = || -> Result<usize> {
            let log = fs::read_to_string(exchange.path("logs/hub.log"))?;
            Ok(log.matches("node connected").count())
        };
        let before = connects()?;
        for round in 1..4 {
            churn.change(exchange, round)?;
            promise.observe_growth(&exchange.hub)?;
            // A question that writes nothing is not kept waiting by those who write.
            let began = Instant::now();
            exchange.hub.status(true)?;
            ensure!(began.elapsed() < SYNC_TAKES, "the status took {:?}", began.elapsed());
        }
        exchange.equal(SOON)?;
        ensure!(connects()? == before, "connections broke and were made again");
        exchange.nothing_lost(&promise)
    })
}
