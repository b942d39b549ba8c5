//! The simulation: one history played step by step, and what must hold behind each and at the end.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use anyhow::{Context as _, Result, ensure};
use hutong_agent::changes::ScanOutcome;
use hutong_hub::govern::Command;
use hutong_hub::log::{Log as _, Offset, PartitionId};
use hutong_hub::numbers::ResourceNo;
use hutong_hub::views::{HubDigests, Place};
use hutong_schema::grant::AsOf;
use tokio::runtime::Runtime;

use super::agent::{Agent, From, Source};
use super::delivering::Subscription;
use super::figures::Figures;
use super::hub::{Hub, Opened, Time, copy_folder, newest_wal};
use super::publishing::Late;
use super::step::{AgentEnd, HubEnd, Step};
use super::truth::{Truth, digest, granted};
use super::world::{self, GRANTS, PUBLISHERS};

/// Rounds after which everything must be at rest.
const ROUNDS: usize = 40;

pub(crate) struct Sim {
    pub(crate) runtime: Arc<Runtime>,
    base: PathBuf,
    time: Time,
    pub(crate) hub: Hub,
    life: u32,
    pub(crate) agents: Vec<Agent>,
    sources: Vec<Source>,
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
    fn command(&mut self, command: Command) -> Result<()> {
        self.sync()?;
        if let Err(refused) = self.runtime.block_on(self.hub.command(command)) {
            self.note(format!("    {refused}"));
        }
        self.truth.book.read_on(&self.hub.log)?;
        self.truth.granted(&self.hub)
    }

    fn set_date(&mut self) -> Result<()> {
        self.command(Command::SetClockDate { as_of: AsOf::new(self.time.today()) })
    }

    fn edit(&mut self, number: usize, rows: &[(u8, Option<u8>)]) -> Result<()> {
        for (key, seed) in rows {
            let key = world::key(number, usize::from(*key) % world::KEYS)?;
            match seed {
                Some(seed) => self.sources[number].rows.insert(key, world::row(number, *seed)),
                None => self.sources[number].rows.remove(&key),
            };
        }
        self.sources[number].write(&world::entry(number, 0)?)
    }

    fn connect(&mut self, agent: usize) -> Result<()> {
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

    fn apply_catalogue(&mut self, agent: usize) -> Result<()> {
        for number in (0..PUBLISHERS.len()).filter(|number| PUBLISHERS[*number] == agent) {
            let before = self.entry_version(number)?;
            self.command(world::publish(number, self.variants[number])?)?;
            if self.entry_version(number)? != before {
                self.note(format!("    the entry of publication {number} is registered again"));
            }
        }
        Ok(())
    }

    fn entry_version(&self, number: usize) -> Result<u32> {
        let entry = self.hub.registry.entry(world::resource(number)).context("an entry")?;
        Ok(entry.entry.schema_version)
    }

    fn change_schema(&mut self, number: usize) -> Result<()> {
        self.variants[number] += 1;
        self.command(world::publish(number, self.variants[number])?)
    }

    fn disconnect(&mut self, agent: usize) -> Result<()> {
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
    fn cut(&mut self, agent: usize) {
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

    fn apply(&mut self) -> Result<()> {
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
    fn upload(&mut self, number: usize, taken: bool) -> Result<()> {
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

    fn twins(&mut self, number: usize, rows: &[(u8, Option<u8>)], first_wins: bool) -> Result<()> {
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
        let late = |sim: &mut Self| -> Result<()> {
            while sim.hub_takes_late(0)? {}
            Ok(())
        };
        if first_wins {
            late(self)?;
        }
        while self.hub_takes(number)? {}
        late(self)?;
        self.sync()?;
        while self.agent_takes(number)? {}
        Ok(())
    }

    fn interrupt(&mut self, at: usize) -> Result<()> {
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
    fn news(&mut self) -> Result<()> {
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
    fn pour(&mut self, at: usize, messages: u8) -> Result<()> {
        self.subscribe(at)?;
        for _ in 0..messages {
            self.tell(at)?;
            self.receive(at)?;
        }
        Ok(())
    }

    /// Everybody does once what is due.
    fn all(&mut self) -> Result<()> {
        for number in 0..PUBLISHERS.len() {
            self.exchange(number)?;
            self.scan(number)?;
            self.exchange(number)?;
        }
        self.apply()?;
        (0..self.subscriptions.len()).try_for_each(|at| self.follow(at))
    }

    /// Everything that there is comes to a subscriber.
    fn follow(&mut self, at: usize) -> Result<()> {
        self.subscribe(at)?;
        while self.tell(at)? || self.receive(at)? {}
        self.commit(at)?;
        Ok(())
    }

    fn withdraw(&mut self, at: usize) -> Result<()> {
        let Some(grant) = self.subscriptions.get(at).map(|subscription| subscription.grant) else {
            return Ok(());
        };
        self.command(Command::WithdrawGrant { grant, reason: "示例".to_owned() })
    }

    fn end_hub(&mut self, end: HubEnd) -> Result<()> {
        self.nothing_answered_too_early()?;
        let before = self.base.join(format!("hub-{}", self.life));
        let after = self.base.join(format!("hub-{}", self.life + 1));
        self.life += 1;
        self.figures.ended(match end {
            HubEnd::Stopped => "hub stopped",
            HubEnd::Killed => "hub killed",
            HubEnd::ViewsLost => "hub without its views",
            HubEnd::Cut(_) | HubEnd::CutBelowMarks(_) => "hub whose disk lied",
        });
        if matches!(end, HubEnd::Stopped) {
            self.sync()?;
        }
        for agent in 0..self.agents.len() {
            if self.agents[agent].connected {
                self.disconnect(agent)?;
            }
        }
        self.late.clear();
        self.figures.lost_batches += self.hub.held.waiting();
        if matches!(end, HubEnd::Stopped | HubEnd::CutBelowMarks(_)) {
            self.runtime.block_on(self.hub.close())?;
        }
        // What its disk has now is what the next one finds.
        copy_folder(&before, &after)?;
        if let HubEnd::Cut(bytes) | HubEnd::CutBelowMarks(bytes) = end
            && let Some(wal) = newest_wal(&after)?
        {
            let length = fs::metadata(&wal)?.len();
            let file = fs::File::options().write(true).open(&wal)?;
            file.set_len(length.saturating_sub(u64::from(bytes)))?;
        }
        if end == HubEnd::ViewsLost {
            fs::remove_dir_all(after.join("views"))?;
        }
        let next = self.runtime.block_on(Hub::open(&after, &self.time))?;
        let old = std::mem::replace(&mut self.hub, next);
        self.runtime.block_on(old.vanish())?;
        fs::remove_dir_all(before)?;
        let lied = matches!(end, HubEnd::Cut(_) | HubEnd::CutBelowMarks(_));
        let opened = self.hub.opened;
        ensure!(lied || opened == Opened::Whole, "an honest end was found {opened:?}");
        let whole = self.truth.started_again(&self.hub, lied)?;
        if !whole {
            let known = match opened {
                Opened::Anew => "known to its marks",
                Opened::Torn | Opened::Whole => "known to its peers only",
            };
            *self.figures.lies.entry(known).or_default() += 1;
        }
        self.note(format!(
            "    the hub is back: {opened:?}, {}",
            if whole { "whole" } else { "less" }
        ));
        // As at every start.
        self.set_date()?;
        for agent in 0..self.agents.len() {
            self.connect(agent)?;
        }
        Ok(())
    }

    fn end_agent(&mut self, agent: usize, end: AgentEnd) -> Result<()> {
        let from = match end {
            AgentEnd::Restored if !self.agents[agent].has_backup() => return Ok(()),
            AgentEnd::Restored => From::Backup,
            AgentEnd::StoreLost => From::WithoutStore,
            AgentEnd::Killed | AgentEnd::PowerCut | AgentEnd::InCommit(_) => From::Disk,
        };
        self.figures.ended(match end {
            AgentEnd::Killed => "agent killed",
            AgentEnd::PowerCut => "agent's power cut",
            AgentEnd::InCommit(_) => "agent killed while it commits",
            AgentEnd::StoreLost => "agent without its store",
            AgentEnd::Restored => "agent restored from a copy",
        });
        if let AgentEnd::InCommit(waits) = end {
            self.news()?;
            for at in 0..self.subscriptions.len() {
                if self.subscriptions[at].agent == agent {
                    // The answer, and the first rows behind it.
                    let messages = if self.subscriptions[at].stream.is_some() { 1 } else { 2 };
                    self.pour(at, messages)?;
                }
            }
            self.commit_in_part(agent, waits);
        }
        self.cut(agent);
        if end == AgentEnd::PowerCut {
            self.cut_files(agent)?;
        }
        let old = self.agents.remove(agent);
        let again = old.restart(from, &self.runtime)?;
        self.agents.insert(agent, again);
        // It knows those that its store knows; what had been disposed of may be back with an old copy.
        let of = &self.agents[agent];
        let known = hutong_agent::sinks::known(&of.store, &of.name()?)?;
        self.subscriptions.retain(|subscription| subscription.agent != agent);
        for view in known {
            let ended = view.record.ended.is_some();
            let grant = view.key.grant;
            self.subscriptions.push(Subscription { agent, grant, stream: None, ended });
        }
        for at in 0..self.subscriptions.len() {
            if self.subscriptions[at].agent == agent {
                self.check_subscription(at)?;
            }
        }
        self.connect(agent)
    }

    /// What stands in received files without having been synced is gone.
    fn cut_files(&mut self, agent: usize) -> Result<()> {
        let of = &self.agents[agent];
        for record in hutong_agent::sinks::known(&of.store, &of.name()?)? {
            let live = of.received().join(format!("{}.jsonl", record.key.grant));
            let mut staged = live.clone().into_os_string();
            staged.push(".new");
            let durable = record.record.staged.as_ref().map_or(0, |staged| staged.length);
            // While a swap is under way the staged file is the live one under its old name.
            if !record.record.rename_due {
                for (path, length) in [(live, record.record.length), (staged.into(), durable)] {
                    let Ok(found) = fs::metadata(&path) else { continue };
                    if found.len() > length {
                        fs::File::options().write(true).open(&path)?.set_len(length)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// Everything works again and everybody does what is due, until nothing moves.
    fn rest(&mut self) -> Result<()> {
        for number in 0..PUBLISHERS.len() {
            self.sources[number].write(&world::entry(number, 0)?)?;
        }
        for agent in 0..self.agents.len() {
            self.connect(agent)?;
        }
        while self.hub_takes_late(0)? {}
        self.sync()?;
        self.late.clear();
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
    fn all_are_equal(&mut self) -> Result<()> {
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
    fn checkpoints(&self, place: Place) -> Result<()> {
        for (seq, record) in self.hub.views.snapshot().checkpoints(place, usize::MAX)? {
            if let HubDigests::Found { full: Some(full), .. } = &record.hub {
                let source = record.source;
                ensure!(*full == source, "checkpoint {seq} of {place:?}: {full:?} and {source:?}");
            }
        }
        Ok(())
    }

    fn subscription_is_equal(&mut self, at: usize) -> Result<()> {
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

fn outcome_name(outcome: &ScanOutcome) -> String {
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
