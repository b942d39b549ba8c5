//! The simulation: one history played step by step, and what must hold behind each and at the end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result};
use hutong_agent::changes::ScanOutcome;
use hutong_hub::govern::Command;
use hutong_hub::log::Log as _;
use hutong_schema::grant::AsOf;
use tokio::runtime::Runtime;

use super::agent::{Agent, Source};
use super::delivering::Subscription;
use super::figures::Figures;
use super::hub::{Hub, Time, copy_folder};
use super::publishing::Late;
use super::step::Step;
use super::truth::Truth;
use super::world::{self, GRANTS, PUBLISHERS};

pub(crate) struct Sim {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) base: PathBuf,
    pub(crate) time: Time,
    pub(crate) hub: Hub,
    /// Starts of the hub.
    pub(crate) life: u32,
    pub(crate) agents: Vec<Agent>,
    pub(crate) sources: Vec<Source>,
    /// The label variant that each publisher wants its schema to have.
    variants: [u32; 3],
    pub(crate) late: Vec<Late>,
    pub(crate) subscriptions: Vec<Subscription>,
    pub(crate) truth: Truth,
    pub(crate) figures: Figures,
    trace: Vec<String>,
}

/// Plays a history in an empty folder. `founded` is a hub's folder to begin with.
pub(crate) fn play(
    runtime: &Arc<Runtime>,
    founded: &std::path::Path,
    base: PathBuf,
    history: &[Step],
) -> (Result<Figures>, Vec<String>) {
    let mut sim = match Sim::begin(runtime, founded, base) {
        Ok(sim) => sim,
        Err(error) => return (Err(error), Vec::new()),
    };
    let result = sim.run(history);
    let Sim { trace, figures, hub, runtime, .. } = sim;
    let ended = runtime.block_on(hub.vanish());
    (result.and(ended).map(|()| figures), trace)
}

impl Sim {
    fn begin(runtime: &Arc<Runtime>, founded: &std::path::Path, base: PathBuf) -> Result<Self> {
        let dir = base.join("hub-0");
        copy_folder(founded, &dir)?;
        let time = Time::default();
        let hub = runtime.block_on(Hub::open(&dir, &time))?;
        let mut agents = Vec::new();
        let mut sources: Vec<Source> = Vec::new();
        for index in 0..world::AGENTS {
            let folder = base.join(format!("agent-{index}"));
            fs::create_dir_all(&folder)?;
            for number in (0..PUBLISHERS.len()).filter(|number| PUBLISHERS[*number] == index) {
                sources.push(Source::new(&folder, number)?);
            }
            agents.push(Agent::new(folder, index, runtime)?);
        }
        let mut sim = Self {
            runtime: Arc::clone(runtime),
            base,
            time,
            hub,
            life: 0,
            agents,
            sources,
            variants: [0; 3],
            late: Vec::new(),
            subscriptions: Vec::new(),
            truth: Truth::default(),
            figures: Figures { histories: 1, ..Figures::default() },
            trace: Vec::new(),
        };
        sim.truth.started_again(&sim.hub, false)?;
        for agent in 0..world::AGENTS {
            sim.connect(agent)?;
        }
        Ok(sim)
    }

    fn run(&mut self, history: &[Step]) -> Result<()> {
        for (number, step) in history.iter().enumerate() {
            self.note(format!("{number:3} {step:?}"));
            self.step(step).with_context(|| format!("in step {number}, {step:?}"))?;
            self.figures.steps += 1;
        }
        self.note("    everything comes to rest".to_owned());
        self.rest().context("at rest")
    }

    pub(crate) fn note(&mut self, line: String) {
        self.trace.push(line);
    }

    /// Agent and place in it of a publication.
    pub(crate) fn publisher(&self, number: usize) -> (usize, usize) {
        let agent = PUBLISHERS[number];
        (agent, (0..number).filter(|before| PUBLISHERS[*before] == agent).count())
    }

    fn step(&mut self, step: &Step) -> Result<()> {
        self.time.tick();
        let subscription = |pick: &u8| usize::from(*pick) % self.subscriptions.len().max(1);
        match step {
            Step::Edit { publication, rows } => self.edit(usize::from(*publication), rows)?,
            Step::Scan { publication } => {
                let outcome = self.scan(usize::from(*publication))?;
                self.note(format!("    {}", outcome_name(&outcome)));
            }
            Step::Confirm { publication } => self.confirm(usize::from(*publication))?,
            Step::Fill { publication, rows } => {
                let number = usize::from(*publication);
                self.edit(number, rows)?;
                self.exchange(number)?;
                let outcome = self.scan(number)?;
                self.note(format!("    {}", outcome_name(&outcome)));
            }
            Step::Append { publication, batches, bad } => {
                for _ in 0..*batches {
                    self.append(usize::from(*publication), *bad)?;
                }
            }
            Step::Connect { agent } => self.connect(usize::from(*agent))?,
            Step::Disconnect { agent, sending } => {
                for number in (0..PUBLISHERS.len()).filter(|_| *sending) {
                    if PUBLISHERS[number] == usize::from(*agent) {
                        self.upload(number, false)?;
                    }
                }
                self.disconnect(usize::from(*agent))?;
            }
            Step::Publish { publication } => _ = self.publish(usize::from(*publication))?,
            Step::Send { publication, batches } => {
                for _ in 0..*batches {
                    self.send(usize::from(*publication))?;
                }
            }
            Step::HubTakes { publication, messages } => {
                for _ in 0..*messages {
                    self.hub_takes(usize::from(*publication))?;
                }
            }
            Step::AgentTakes { publication, messages } => {
                for _ in 0..*messages {
                    self.agent_takes(usize::from(*publication))?;
                }
            }
            Step::Upload { publication, taken } => {
                self.upload(usize::from(*publication), *taken)?
            }
            Step::Late { stream } => _ = self.hub_takes_late(usize::from(*stream))?,
            Step::Sync => self.sync()?,
            Step::Apply => self.apply()?,
            Step::Flush => self.hub.views.flush()?,
            Step::Subscribe { subscription: pick } => _ = self.subscribe(subscription(pick))?,
            Step::Tell { subscription: pick, messages } => {
                let at = subscription(pick);
                for _ in 0..*messages {
                    self.tell(at)?;
                }
            }
            Step::Receive { subscription: pick, messages } => {
                let at = subscription(pick);
                for _ in 0..*messages {
                    self.receive(at)?;
                }
            }
            Step::Pour { subscription: pick, messages } => {
                let at = subscription(pick);
                self.apply()?;
                self.pour(at, *messages)?;
            }
            Step::Commit { subscription: pick } => _ = self.commit(subscription(pick))?,
            Step::Exchange { publication } => self.exchange(usize::from(*publication))?,
            Step::Follow { subscription: pick } => {
                let at = subscription(pick);
                self.apply()?;
                self.follow(at)?;
            }
            Step::All => self.all()?,
            Step::Twins { publication, rows, first_wins } => {
                self.twins(usize::from(*publication), rows, *first_wins)?;
            }
            Step::Interrupt { subscription: pick } => self.interrupt(subscription(pick))?,
            Step::Hub { end, busy } => {
                for number in (0..PUBLISHERS.len()).filter(|_| *busy) {
                    self.upload(number, true)?;
                }
                self.end_hub(*end)?;
            }
            Step::Agent { agent, end } => self.end_agent(usize::from(*agent), *end)?,
            Step::Backup { agent } => self.agents[usize::from(*agent)].back_up()?,
            Step::NextDay => {
                self.time.next_day();
                self.set_date()?;
            }
            Step::Grant { grant } => {
                let request = world::grant(usize::from(*grant) % GRANTS.len())?;
                self.command(Command::MakeGrant(request))?;
                self.learn_grants();
            }
            Step::Withdraw { subscription: pick } => self.withdraw(subscription(pick))?,
            Step::Schema { publication } => self.change_schema(usize::from(*publication))?,
        }
        Ok(())
    }

    /// A command of an operator or a node; a refusal is an answer, too.
    pub(crate) fn command(&mut self, command: Command) -> Result<()> {
        self.sync()?;
        if let Err(refused) = self.runtime.block_on(self.hub.command(command)) {
            self.note(format!("    {refused}"));
        }
        self.truth.book.read_on(&self.hub.log)?;
        self.truth.granted(&self.hub)
    }

    pub(crate) fn set_date(&mut self) -> Result<()> {
        self.command(Command::SetClockDate { as_of: AsOf::new(self.time.today()) })
    }

    pub(crate) fn edit(&mut self, number: usize, rows: &[(u8, Option<u8>)]) -> Result<()> {
        for (key, seed) in rows {
            let key = world::key(number, usize::from(*key) % world::KEYS)?;
            match seed {
                Some(seed) => self.sources[number].rows.insert(key, world::row(number, *seed)),
                None => self.sources[number].rows.remove(&key),
            };
        }
        self.sources[number].write(&world::entry(number, 0)?)
    }

    pub(crate) fn connect(&mut self, agent: usize) -> Result<()> {
        if self.agents[agent].connected {
            return Ok(());
        }
        self.agents[agent].connected = true;
        // A log that began anew may not have what was registered.
        let incarnation = self.hub.log.incarnation().0;
        if self.agents[agent].applied_to != Some(incarnation) {
            self.agents[agent].applied_to = Some(incarnation);
            self.apply_catalogue(agent)?;
        }
        self.learn_grants();
        Ok(())
    }

    pub(crate) fn apply_catalogue(&mut self, agent: usize) -> Result<()> {
        for number in (0..PUBLISHERS.len()).filter(|number| PUBLISHERS[*number] == agent) {
            let before = self.entry_version(number)?;
            self.command(world::publish(number, self.variants[number])?)?;
            if self.entry_version(number)? != before {
                self.note(format!("    the entry of publication {number} is registered again"));
            }
        }
        Ok(())
    }

    pub(crate) fn entry_version(&self, number: usize) -> Result<u32> {
        let entry = self.hub.registry.entry(world::resource(number)).context("an entry")?;
        Ok(entry.entry.schema_version)
    }

    pub(crate) fn change_schema(&mut self, number: usize) -> Result<()> {
        self.variants[number] += 1;
        self.command(world::publish(number, self.variants[number])?)
    }

    pub(crate) fn disconnect(&mut self, agent: usize) -> Result<()> {
        if !self.agents[agent].connected {
            return Ok(());
        }
        // What was taken is worth keeping although the credit can no longer be told.
        for at in 0..self.subscriptions.len() {
            if self.subscriptions[at].agent == agent {
                self.commit(at)?;
            }
        }
        self.cut(agent);
        Ok(())
    }

    /// The connection is gone, whatever was under way.
    pub(crate) fn cut(&mut self, agent: usize) {
        self.figures.broken += 1;
        self.agents[agent].connected = false;
        for publication in &mut self.agents[agent].publications {
            if let Some(stream) = publication.stream.take() {
                self.late.extend(stream.into_late());
            }
        }
        for subscription in self.subscriptions.iter_mut().filter(|s| s.agent == agent) {
            subscription.stream = None;
        }
    }
}

pub(crate) fn outcome_name(outcome: &ScanOutcome) -> String {
    match outcome {
        ScanOutcome::Done(report) => {
            format!("{} upserts, {} deletes", report.upserts, report.deletes)
        }
        ScanOutcome::Waiting(waiting) => format!("waits: {:?}", waiting.reason),
        other @ (ScanOutcome::NoEpoch
        | ScanOutcome::NotDrained
        | ScanOutcome::Unchanged
        | ScanOutcome::Unstable
        | ScanOutcome::Trouble(_)
        | ScanOutcome::Cancelled) => format!("{other:?}"),
    }
}
