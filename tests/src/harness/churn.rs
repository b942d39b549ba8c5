//! A publisher whose files change all the time and a subscriber of them: what is to survive kills.

use std::fs;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use hutong_schema::library::LibraryId;

use super::entries;
use super::exchange::{Exchange, SOON, Wish};
use super::promise::Promise;
use super::rows::{PersonRow, csv, people};
use crate::city::rng::Rng;

/// Position of the publisher in the exchange's machines.
pub const PUBLISHER: usize = 0;
/// Position of the subscriber.
pub const SUBSCRIBER: usize = 1;

/// Resources, each with a file of its own.
const RESOURCES: usize = 4;
/// Rows of each file.
const ROWS: usize = 1_500;
/// Latest moment of a kill after a change: by then the files have been read, sent and delivered.
const LATEST: u64 = 1_500;

/// Files that change.
#[derive(Debug)]
pub struct Churn {
    rng: Rng,
    rows: Vec<PersonRow>,
}

impl Churn {
    /// Two machines, four resources (one of them bound to the population library), two grants, all
    /// delivered and equal. `seed` decides the moments.
    ///
    /// # Errors
    /// When that cannot be reached.
    pub fn begin(exchange: &mut Exchange, seed: u64) -> Result<Self> {
        let churn = Self { rng: Rng::new(seed), rows: people(ROWS + 100)? };
        let publisher = entries::department_code(PUBLISHER)?;
        let machine = exchange.department("publisher")?;
        for resource in 0..RESOURCES {
            let code = format!("30100{resource}/000001");
            let entry = match resource {
                0 => entries::bound("101001/000001", publisher, LibraryId::POPULATION, 10)?,
                _ => entries::people(&code, publisher)?,
            };
            machine.write(&file(resource), churn.text(resource, 0))?;
            // Two nodes, so that there are two connections.
            machine.publish(["n1", "n2"][resource % 2], &entry, &file(resource))?;
        }
        exchange.run(PUBLISHER)?;
        exchange.department("subscriber")?.subscribe("s1", "all");
        exchange.run(SUBSCRIBER)?;
        let adults =
            Wish { target: "population", fields: &["xm", "csrq"], filter: "age(csrq) >= 18" };
        exchange.grant(SUBSCRIBER, &adults)?;
        let code = "301001/000001".parse()?;
        exchange.rows(&code, ROWS as u64, SOON)?;
        let some = Wish { target: "301001/000001", fields: &[], filter: "je > 700" };
        exchange.grant(SUBSCRIBER, &some)?;
        exchange.equal(SOON)?;
        Ok(churn)
    }

    /// Changes all files: some rows are other ones, some are gone, some are new.
    ///
    /// # Errors
    /// When a file cannot be written.
    pub fn change(&mut self, exchange: &Exchange, round: u64) -> Result<()> {
        for resource in 0..RESOURCES {
            let text = self.text(resource, round + 1);
            exchange.machines[PUBLISHER].write(&file(resource), text)?;
        }
        Ok(())
    }

    /// A random moment: how long to wait until something breaks.
    pub fn moment(&mut self) -> Duration {
        Duration::from_millis(self.rng.below(LATEST))
    }

    /// Waits for the moment at which the hub or the publisher is to break. Rounds take turns: a
    /// random one; as soon as the hub's log grows; as soon as its views have applied something.
    ///
    /// # Errors
    /// When nothing comes.
    pub fn strike(&mut self, exchange: &Exchange, round: u64, promise: &mut Promise) -> Result<()> {
        match round % 3 {
            0 => promise.observe(&exchange.hub, self.moment()),
            1 => promise.observe_growth(&exchange.hub)?,
            _ => promise.observe_applying(&exchange.hub)?,
        }
        Ok(())
    }

    /// Waits for the moment at which the subscriber is to break: in every third round a random one,
    /// else as soon as one of its files grows, while it commits what it has written.
    ///
    /// # Errors
    /// When none grows.
    pub fn strike_subscriber(
        &mut self,
        exchange: &Exchange,
        round: u64,
        promise: &mut Promise,
    ) -> Result<()> {
        let lengths = || -> Vec<u64> {
            let length = |path| fs::metadata(path).map_or(0, |found: fs::Metadata| found.len());
            exchange.grants.iter().map(|grant| length(&grant.path)).collect()
        };
        let (before, end) = (lengths(), Instant::now() + SOON);
        if round.is_multiple_of(3) {
            promise.observe(&exchange.hub, self.moment());
            return Ok(());
        }
        // No pause between the looks: the moment lasts a few milliseconds.
        while lengths() == before {
            ensure!(Instant::now() < end, "nothing was delivered within {SOON:?}");
        }
        Ok(())
    }

    fn text(&self, resource: usize, round: u64) -> String {
        let round = round as usize;
        let from = round * 13 % 100;
        let mut rows = self.rows[from..from + ROWS].to_vec();
        for row in rows.iter_mut().skip(round % 3).step_by(3) {
            row.je = (round * 100 + resource).to_string();
        }
        let text = csv(&rows);
        // The library has no amount; its telephone number stands in.
        if resource == 0 { text.replace(",je\n", ",lxdh\n") } else { text }
    }
}

fn file(resource: usize) -> String {
    format!("people-{resource}.csv")
}
