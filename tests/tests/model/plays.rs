//! Scenes of several steps: exchanges, deliveries, twins, snapshots that break off.

use anyhow::Result;
use hutong_hub::govern::Command;

use super::sim::Sim;
use super::step::AgentEnd;
use super::world::PUBLISHERS;

impl Sim {
    pub(crate) fn apply(&mut self) -> Result<()> {
        self.hub.views.apply_all()?;
        self.truth.book.read_on(&self.hub.log)?;
        self.truth.applied(&self.hub)
    }

    /// Everything of a publication goes to the hub and back.
    pub(crate) fn exchange(&mut self, number: usize) -> Result<()> {
        self.publish(number)?;
        loop {
            let mut moved = self.hub_takes(number)?;
            moved |= self.agent_takes(number)?;
            moved |= self.send(number)?;
            if !moved {
                self.sync()?;
                if !self.agent_takes(number)? {
                    return Ok(());
                }
            }
        }
    }

    /// Everything in the outbox is sent; nothing is acknowledged.
    pub(crate) fn upload(&mut self, number: usize, taken: bool) -> Result<()> {
        self.publish(number)?;
        // The opening and its answer.
        self.hub_takes(number)?;
        self.agent_takes(number)?;
        while self.send(number)? {}
        if taken {
            while self.hub_takes(number)? {}
        }
        Ok(())
    }

    pub(crate) fn twins(
        &mut self,
        number: usize,
        rows: &[(u8, Option<u8>)],
        first_wins: bool,
    ) -> Result<()> {
        let (agent, _) = self.publisher(number);
        self.connect(agent)?;
        self.exchange(number)?;
        self.agents[agent].back_up()?;
        self.edit(number, rows)?;
        self.scan(number)?;
        self.upload(number, false)?;
        self.end_agent(agent, AgentEnd::Restored)?;
        let others: Vec<_> =
            rows.iter().map(|(key, seed)| (key + 1, seed.map(|seed| seed ^ 3))).collect();
        self.edit(number, &others)?;
        // Its answer is that of the hub before the first one's batches came.
        self.publish(number)?;
        self.hub_takes(number)?;
        self.agent_takes(number)?;
        self.scan(number)?;
        while self.send(number)? {}
        if first_wins {
            self.hub_takes_all_late()?;
        }
        while self.hub_takes(number)? {}
        self.hub_takes_all_late()?;
        self.sync()?;
        // What had to wait for credit.
        while self.hub_takes(number)? {}
        self.sync()?;
        while self.agent_takes(number)? {}
        Ok(())
    }

    pub(crate) fn interrupt(&mut self, at: usize) -> Result<()> {
        let Some(agent) = self.subscriptions.get(at).map(|subscription| subscription.agent) else {
            return Ok(());
        };
        // Whoever receives a field of this resource is told anew.
        self.change_schema(0)?;
        self.apply()?;
        self.disconnect(agent)?;
        self.connect(agent)?;
        self.subscribe(at)?;
        self.receive(at)?;
        self.news()?;
        self.tell(at)?;
        self.receive(at)?;
        self.disconnect(agent)?;
        self.connect(agent)?;
        self.follow(at)
    }

    /// Every source changes, and the views have it.
    pub(crate) fn news(&mut self) -> Result<()> {
        for number in 0..PUBLISHERS.len() {
            let seed = (self.figures.steps % 36) as u8;
            let rows = [(seed, Some(seed)), (seed + 1, Some(seed ^ 1)), (seed + 2, None)];
            self.edit(number, &rows)?;
            self.exchange(number)?;
            self.scan(number)?;
            self.exchange(number)?;
        }
        self.apply()
    }

    /// So many messages come to a subscriber, which does not make them durable.
    pub(crate) fn pour(&mut self, at: usize, messages: u8) -> Result<()> {
        self.subscribe(at)?;
        for _ in 0..messages {
            self.tell(at)?;
            self.receive(at)?;
        }
        Ok(())
    }

    /// Everybody does once what is due.
    pub(crate) fn all(&mut self) -> Result<()> {
        for number in 0..PUBLISHERS.len() {
            self.exchange(number)?;
            self.scan(number)?;
            self.exchange(number)?;
        }
        self.apply()?;
        (0..self.subscriptions.len()).try_for_each(|at| self.follow(at))
    }

    /// Everything that there is comes to a subscriber.
    pub(crate) fn follow(&mut self, at: usize) -> Result<()> {
        self.subscribe(at)?;
        loop {
            while self.tell(at)? || self.receive(at)? {}
            let waits = self.waits_for_credit(at);
            if !self.commit(at)? || !waits {
                return Ok(());
            }
        }
    }

    pub(crate) fn withdraw(&mut self, at: usize) -> Result<()> {
        let Some(grant) = self.subscriptions.get(at).map(|subscription| subscription.grant) else {
            return Ok(());
        };
        self.command(Command::WithdrawGrant { grant, reason: "示例".to_owned() })
    }
}
