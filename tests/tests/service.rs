//! What hub and agent tell a service manager: ready, alive, how they stand, stopping.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_tests::harness::exchange::{Exchange, SOON};
use hutong_tests::harness::service_manager::ServiceManager;

const CODE: &str = "301001/000001";

#[test]
fn a_hub_tells_that_it_starts_serves_lives_and_stops() -> Result<()> {
    let mut exchange = Exchange::new()?;
    let manager = ServiceManager::listen(&exchange.path("notify"))?;
    exchange.hub.set_environment(manager.environment());
    exchange.play(|exchange| {
        exchange.hub.start()?;
        manager.until("EXTEND_TIMEOUT_USEC=", SOON)?;
        manager.until("READY=1", SOON)?;
        manager.until("WATCHDOG=1", SOON)?;
        exchange.people_from_civil(CODE, 5)?;
        manager.until("STATUS=serving, 1 node(s) connected", SOON)?;
        manager.until("WATCHDOG=1", SOON)?;
        let hub = exchange.hub.process().context("the hub runs")?;
        hub.ask_to_end()?;
        manager.until("STOPPING=1", SOON)?;
        ensure!(hub.wait(SOON)?.success(), "{}", hub.tail());
        Ok(())
    })
}

#[test]
fn a_hub_without_room_on_its_disk_says_so_and_ends_with_its_status() -> Result<()> {
    let mut exchange = Exchange::new()?;
    let manager = ServiceManager::listen(&exchange.path("notify"))?;
    exchange.hub.set_environment(manager.environment());
    exchange.play(|exchange| {
        exchange.hub.set("[disk]\nlow_percent = 100\nfull_percent = 99\n")?;
        exchange.hub.launch()?;
        let said = manager.until("ERRNO=28", SOON)?;
        ensure!(said.contains("STATUS=the disk is full: make room"), "{said}");
        let status = exchange.hub.process().map(|hub| hub.wait(SOON)).transpose()?;
        ensure!(status.and_then(|status| status.code()) == Some(28), "{status:?}");
        Ok(())
    })
}

#[test]
fn an_agent_tells_that_it_works_and_never_that_all_is_well_when_it_is_not() -> Result<()> {
    let exchange = Exchange::new()?;
    let manager = ServiceManager::listen(&exchange.path("notify"))?;
    exchange.play(|exchange| {
        exchange.hub.start()?;
        exchange.people_from_civil(CODE, 5)?;
        exchange.machines[0].stop()?;
        exchange.machines[0].set_environment(manager.environment());
        exchange.machines[0].start()?;
        manager.until("READY=1", SOON)?;
        let well =
            "STATUS=1 of 1 node(s) connected, 0 batch(es) not acknowledged; everything works";
        manager.until(well, SOON)?;
        exchange.hub.kill()?;
        // The connection is known to be gone when the hub's silence has become too long.
        let away =
            "STATUS=0 of 1 node(s) connected, 0 batch(es) not acknowledged; something does not";
        manager.until(away, Duration::from_secs(90))?;
        manager.until("WATCHDOG=1", SOON)?;
        let agent = exchange.machines[0].process().context("the agent runs")?;
        agent.ask_to_end()?;
        manager.until("STOPPING=1", SOON)?;
        ensure!(agent.wait(SOON)?.success(), "{}", agent.tail());
        Ok(())
    })
}
