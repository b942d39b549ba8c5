//! Disks fill up: the hub's, an agent's, that of a subscriber's files.

use std::fs;
use std::process::ExitStatus;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_hub::app::EXIT_DISK_FULL;
use hutong_tests::harness::Exchange;
use hutong_tests::harness::churn::{Churn, PUBLISHER, SUBSCRIBER};
use hutong_tests::harness::delivered::lines;
use hutong_tests::harness::exchange::{SOON, Wish};
use hutong_tests::harness::hub::NOTICES_SOON;
use hutong_tests::harness::promise::Promise;
use hutong_tests::harness::small_disk::{SmallDisk, alone};
use hutong_tests::harness::wait::until_true;

/// The log reserves room ahead of itself, so the disk must not be too small.
const HUB_MEBIBYTES: u64 = 512;
const AGENT_MEBIBYTES: u64 = 64;
/// How long the hub may take to notice, and to end.
const NOTICED: Duration = Duration::from_secs(20);

/// An exchange whose hub has a disk of its own, looked at every so many seconds.
fn exchange(check_seconds: u32) -> Result<(Exchange, SmallDisk)> {
    let mut exchange = Exchange::new()?;
    let disk = SmallDisk::replace(&exchange.hub.data(), HUB_MEBIBYTES)?;
    exchange.hub.set(&format!("{NOTICES_SOON}\n[disk]\ncheck_seconds = {check_seconds}"))?;
    exchange.hub.start()?;
    Ok((exchange, disk))
}

fn hub_ends(exchange: &mut Exchange) -> Result<ExitStatus> {
    exchange.hub.process().context("the hub was started")?.wait(NOTICED)
}

fn hub_said(exchange: &Exchange, words: &str) -> Result<bool> {
    Ok(fs::read_to_string(exchange.path("logs/hub.log"))?.contains(words))
}

#[test]
fn a_hub_whose_disk_fills_refuses_batches_serves_on_and_ends_in_time() -> Result<()> {
    alone("a_hub_whose_disk_fills_refuses_batches_serves_on_and_ends_in_time", || {
        let (exchange, disk) = exchange(1)?;
        exchange.play(|exchange| {
            let mut churn = Churn::begin(exchange, 21)?;
            disk.leave(8)?;
            until_true(NOTICED, "the hub says that its disk is nearly full", || {
                hub_said(exchange, "batches are refused until there is room")
            })?;
            let resource = "301002/000001".parse()?;
            let before = exchange.hub.status(true)?["resources"].clone();
            churn.change(exchange, 1)?;
            until_true(SOON, "a batch is refused", || {
                Ok(exchange.hub.metrics()?.sum("hutong_intake_busy_total") > 0.0)
            })?;
            ensure!(exchange.hub.status(true)?["resources"] == before, "a batch was taken");
            until_true(SOON, "the department sees why its batches wait", || {
                let status = exchange.machines[PUBLISHER].status()?.to_string();
                Ok(status.contains("until the hub takes more") && status.contains("HT-1107"))
            })?;
            // Questions are put on record, and new deliveries run, all the same.
            let key = hutong_tests::harness::entries::citizen(30)?;
            exchange.hub.lookup("301002/000001", &key)?;
            let wish = Wish { target: "301002/000001", ..Wish::default() };
            let grant = exchange.grant(SUBSCRIBER, &wish)?;
            let path = exchange.machines[SUBSCRIBER].delivered(grant);
            let rows = exchange.rows_now(&resource)?.context("the hub knows it")?;
            until_true(SOON, "the new grant is delivered", || {
                Ok(lines(&path)?.len() as u64 == rows)
            })?;
            disk.make_room()?;
            exchange.equal(SOON)?;
            let status = exchange.machines[PUBLISHER].status()?.to_string();
            ensure!(!status.contains("HT-1107"), "it still waits: {status}");

            disk.leave(2)?;
            let mut promise = Promise::default();
            promise.observe(&exchange.hub, Duration::ZERO);
            let ended = hub_ends(exchange)?;
            ensure!(ended.code() == Some(EXIT_DISK_FULL.into()), "the hub ended with {ended}");
            ensure!(hub_said(exchange, "make room, then start it again")?, "it does not say so");
            // A service manager that starts it all the same gets the same answer. What the log had
            // reserved ahead was given back at the end.
            disk.leave(2)?;
            exchange.hub.launch()?;
            let ended = hub_ends(exchange)?;
            ensure!(ended.code() == Some(EXIT_DISK_FULL.into()), "the hub ended with {ended}");
            churn.change(exchange, 2)?;
            disk.make_room()?;
            exchange.hub.start()?;
            exchange.nothing_lost(&promise)
        })
    })
}

#[test]
fn a_hub_whose_disk_is_full_at_once_acknowledges_nothing_that_it_loses() -> Result<()> {
    alone("a_hub_whose_disk_is_full_at_once_acknowledges_nothing_that_it_loses", || {
        // It is looked at so seldom that writing meets the end first.
        let (exchange, disk) = exchange(3_600)?;
        exchange.play(|exchange| {
            let mut churn = Churn::begin(exchange, 22)?;
            let mut promise = Promise::default();
            disk.fill()?;
            let mut round = 0;
            let mut ended = None;
            // What the log had reserved is used up first.
            while ended.is_none() && round < 60 {
                round += 1;
                churn.change(exchange, round)?;
                promise.observe(&exchange.hub, Duration::from_millis(1_200));
                ended = exchange.hub.process().context("the hub was started")?.ended()?;
                if ended.is_none() {
                    // Compaction gives room back.
                    disk.fill()?;
                }
            }
            let ended = ended.context("the hub goes on with a full disk")?;
            ensure!(!ended.success(), "the hub ended with {ended}");
            ensure!(hub_said(exchange, "No space left on device")?, "it does not say why");
            // What started it again would start it once: then it stays down until there is room.
            disk.leave(1)?;
            exchange.hub.launch()?;
            let ended = hub_ends(exchange)?;
            ensure!(ended.code() == Some(EXIT_DISK_FULL.into()), "the hub ended with {ended}");
            disk.make_room()?;
            exchange.hub.start()?;
            exchange.nothing_lost(&promise)
        })
    })
}

/// An exchange with hub and agents ready, and a small disk in the place of a machine's folder.
fn with_disk_of(
    machine: usize,
    folder: &str,
    seed: u64,
    test: impl FnOnce(&mut Exchange, &mut Churn, &SmallDisk) -> Result<()>,
) -> Result<()> {
    let mut exchange = Exchange::new()?;
    exchange.hub.start()?;
    exchange.play(|exchange| {
        let mut churn = Churn::begin(exchange, seed)?;
        let machine = &mut exchange.machines[machine];
        machine.stop()?;
        let disk = SmallDisk::replace(&machine.path(folder), AGENT_MEBIBYTES)?;
        machine.start()?;
        exchange.equal(SOON)?;
        test(exchange, &mut churn, &disk)
    })
}

#[test]
fn an_agent_whose_disk_is_full_says_so_and_goes_on_when_there_is_room() -> Result<()> {
    alone("an_agent_whose_disk_is_full_says_so_and_goes_on_when_there_is_room", || {
        with_disk_of(PUBLISHER, "state", 23, |exchange, churn, disk| {
            let mut promise = Promise::default();
            let mut ended = None;
            for round in 1..60 {
                disk.fill()?;
                churn.change(exchange, round)?;
                promise.observe(&exchange.hub, Duration::from_millis(1_200));
                let agent = exchange.machines[PUBLISHER].process().context("it was started")?;
                ended = agent.ended()?;
                if ended.is_some() {
                    break;
                }
            }
            let ended = ended.context("the agent goes on with a full disk")?;
            ensure!(!ended.success(), "the agent ended with {ended}");
            let said = exchange.machines[PUBLISHER].log()?;
            ensure!(said.contains("No space left on device"), "it does not say why");
            // As often as it is started: it says so again, and harms nothing.
            exchange.machines[PUBLISHER].start()?;
            promise.observe(&exchange.hub, Duration::from_millis(500));
            exchange.machines[PUBLISHER].kill()?;
            disk.make_room()?;
            exchange.machines[PUBLISHER].start()?;
            exchange.nothing_lost(&promise)
        })
    })
}

#[test]
fn a_delivery_waits_while_the_subscribers_disk_is_full() -> Result<()> {
    alone("a_delivery_waits_while_the_subscribers_disk_is_full", || {
        with_disk_of(SUBSCRIBER, "out", 24, |exchange, churn, disk| {
            let path = exchange.grants[1].path.clone();
            disk.fill()?;
            let mut round = 0;
            until_true(SOON, "the agent says that its file cannot be written", || {
                round += 1;
                churn.change(exchange, round)?;
                std::thread::sleep(Duration::from_millis(1_200));
                disk.fill()?;
                Ok(exchange.machines[SUBSCRIBER].log()?.contains("No space left on device"))
            })?;
            let before = lines(&path)?.len();
            churn.change(exchange, round + 1)?;
            let agent = exchange.machines[SUBSCRIBER].process().context("it was started")?;
            let ended = agent.ended()?;
            ensure!(ended.is_none(), "the agent ended with {ended:?}");
            disk.make_room()?;
            exchange.equal(SOON)?;
            ensure!(lines(&path)?.len() > before, "nothing more was delivered");
            exchange.nothing_delivered_anew()?;
            exchange.nothing_delivered_twice()
        })
    })
}
