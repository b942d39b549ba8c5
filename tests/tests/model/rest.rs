//! The end of a history: everything works again, all comes to rest, and all hold the same.

use anyhow::{Context as _, Result, ensure};
use hutong_agent::changes::ScanOutcome;
use hutong_hub::log::{Offset, PartitionId};
use hutong_hub::numbers::ResourceNo;
use hutong_hub::views::{HubDigests, Place};

use super::delivering::Subscription;
use super::sim::{Sim, outcome_name};
use super::truth::{digest, granted};
use super::world::{self, PUBLISHERS};

/// Rounds after which everything must be at rest.
const ROUNDS: usize = 40;

impl Sim {
    /// Everything works again and everybody does what is due, until nothing moves.
    pub(crate) fn rest(&mut self) -> Result<()> {
        for number in 0..PUBLISHERS.len() {
            self.sources[number].write(&world::entry(number, 0)?)?;
        }
        self.hub_takes_all_late()?;
        self.sync()?;
        self.late.clear();
        for agent in 0..self.agents.len() {
            self.connect(agent)?;
        }
        let mut open = String::new();
        for round in 0..ROUNDS {
            open.clear();
            for number in 0..PUBLISHERS.len() {
                let (agent, at) = self.publisher(number);
                if round > 3 && self.agents[agent].publications[at].stands_still() {
                    self.note(format!("    a person confirms publication {number}"));
                    self.publish(number)?;
                    self.exchange(number)?;
                    self.confirm(number)?;
                }
                self.exchange(number)?;
                if let ScanOutcome::Waiting(_) = self.scan(number)? {
                    self.confirm(number)?;
                }
                self.exchange(number)?;
                let scanned = self.scan(number)?;
                let before = self.agents[agent].state(at)?;
                self.exchange(number)?;
                let state = self.agents[agent].state(at)?;
                // The hub may have had another epoch opened: then the source is to be read again.
                let idle = scanned == ScanOutcome::Unchanged
                    && state.generation == before.generation
                    && state.is_drained()
                    && !state.checkpoint_due()
                    && self.agents[agent].publications[at].stream.is_some();
                if !idle {
                    open.push_str(&format!(
                        "publication {number}: {}, {state:?}, {:?}\n",
                        outcome_name(&scanned),
                        self.agents[agent].publications[at].link.troubles()
                    ));
                }
            }
            self.apply()?;
            self.learn_grants();
            for at in 0..self.subscriptions.len() {
                self.follow(at)?;
                if !self.subscriptions[at].ended && self.subscriptions[at].stream.is_none() {
                    open.push_str(&format!("grant {}\n", self.subscriptions[at].grant));
                }
            }
            if open.is_empty() {
                return self.all_are_equal();
            }
        }
        anyhow::bail!("after {ROUNDS} rounds there is still to do:\n{open}")
    }

    /// Source = hub = subscriber.
    pub(crate) fn all_are_equal(&mut self) -> Result<()> {
        for number in 0..PUBLISHERS.len() {
            let place = Place::Resource(ResourceNo(number as u32 + 1));
            let moment = self.truth.now(place).context("a feed")?;
            let mut hub = world::Rows::new();
            for (key, row) in moment.rows.iter() {
                let row = hutong_schema::row::RowRef::parse(row)?;
                let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
                let fields = row.iter().map(|(field, value)| (field.0, text(value))).collect();
                hub.insert(text(key), fields);
            }
            let source = &self.sources[number].rows;
            ensure!(hub == *source, "publication {number}: hub {hub:?}, source {source:?}");
            let (agent, at) = self.publisher(number);
            let of = &self.agents[agent];
            let image = of.store.view()?.digest(of.publications[at].link.stream.into())?;
            ensure!(image == digest(source), "publication {number}: the image is not the source");
            self.checkpoints(place)?;
        }
        for partition in (0..world::DATA_PARTITIONS).map(PartitionId::data) {
            let findings = self.hub.views.snapshot().findings(partition, Offset::NONE, 10)?;
            ensure!(findings.is_empty(), "the views parked something: {findings:?}");
        }
        for at in 0..self.subscriptions.len() {
            self.subscription_is_equal(at)?;
        }
        Ok(())
    }

    /// Every checkpoint that was counted says the same at source and hub.
    pub(crate) fn checkpoints(&self, place: Place) -> Result<()> {
        for (seq, record) in self.hub.views.snapshot().checkpoints(place, usize::MAX)? {
            if let HubDigests::Found { full: Some(full), .. } = &record.hub {
                let source = record.source;
                ensure!(*full == source, "checkpoint {seq} of {place:?}: {full:?} and {source:?}");
            }
        }
        Ok(())
    }

    pub(crate) fn subscription_is_equal(&mut self, at: usize) -> Result<()> {
        let Subscription { agent, grant, ended, .. } = self.subscriptions[at];
        let record = self.hub.registry.grant(grant);
        let stands = record.as_ref().filter(|record| record.withdrawn.is_none());
        let Some(record) = stands else {
            ensure!(ended, "grant {grant} ended, and its data are still held");
            for name in [format!("{grant}.jsonl"), format!("{grant}.jsonl.new")] {
                let path = self.agents[agent].received().join(name);
                ensure!(!path.exists(), "grant {grant} ended, and {} is there", path.display());
            }
            return Ok(());
        };
        ensure!(!ended, "grant {grant} stands, and its data were given up");
        self.check_subscription(at)?;
        let place = self.hub.views.place(&record.grant.target).context("a place")?;
        let moment = self.truth.now(place).context("a feed")?;
        let expected = digest(&granted(&record.grant, place, moment)?);
        let of = &self.agents[agent];
        let stream = self.subscriptions[at].stream.as_ref().context("an open stream")?;
        let held = self.runtime.block_on(stream.sink().digest())?;
        ensure!(held == expected, "grant {grant}: {held:?} at its agent, {expected:?} at the hub");
        let held = hutong_agent::sinks::known(&of.store, &of.name()?)?;
        let held = held.iter().find(|view| view.key.grant == grant).context("a record")?;
        let cursor = held.record.cursor.context("a cursor")?;
        ensure!(
            held.record.consistent() && cursor.seq == self.truth.head(place),
            "grant {grant} stands at {cursor:?}, its feed ends at {}",
            self.truth.head(place)
        );
        Ok(())
    }
}
