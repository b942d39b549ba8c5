//! Publishing in the model. Real: scans, the outbox, `resume`, `acknowledge`, the decision what follows a
//! failure, the order of messages at both ends, the intake and all behind it, every message's encoding.
//! Played: when the two loops that hand messages over (`link::publish`, `gate::publish`) get their turns.

use std::collections::VecDeque;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hutong_agent::link::{Hindrance, Next, PublishFailure, is_news, next};
use hutong_agent::spool::{AckError, Resume, SHARD};
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::order::node::Acknowledged;
use hutong_schema::wire::v1::Refused;
use hutong_schema::wire::v1::publish::{Ack, Batch, PublishOpen, PublishReady};
use serde::Serialize;

use super::served::{HubEnd, Served};
use super::sim::Sim;

/// A publish stream as both ends see it, and what is between them.
pub(crate) struct PublishStream {
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    /// `None` until the hub has answered.
    sending: Option<Sending>,
    /// A new epoch was asked for.
    new: bool,
    hub: HubEnd,
}

/// What the agent keeps of a stream that the hub has answered.
struct Sending {
    /// Last batch sent.
    sent: u64,
    order: Acknowledged,
}

/// What is left of a stream whose connection broke: the hub may still take some of it.
pub(crate) struct Late {
    up: VecDeque<Bytes>,
    hub: HubEnd,
}

pub(crate) fn content<M: Message + Serialize>(message: &M) -> Result<Bytes> {
    Ok(Bytes::from(frame::encode(message)?).slice(frame::PREFIX..))
}

/// Batches under way at most, of all streams: the intake's owner never has to wait for the disk, so each batch is judged
/// when it is taken.
const UNDER_WAY: usize = 3;

impl PublishStream {
    pub(crate) fn into_late(self) -> Option<Late> {
        let late = Late { up: self.up, hub: self.hub };
        (!late.is_over()).then_some(late)
    }
}

impl Late {
    pub(crate) fn is_over(&self) -> bool {
        self.hub.is_over() || (self.up.is_empty() && self.hub.under_way() == 0)
    }

    fn is_read(&self) -> bool {
        !self.up.is_empty() && self.hub.reads()
    }
}

impl Sim {
    /// Opens a publish stream, if there is anything to say.
    pub(crate) fn publish(&mut self, number: usize) -> Result<bool> {
        let (agent, at) = self.publisher(number);
        let agent = &mut self.agents[agent];
        let state = agent.state(at)?;
        let publication = &mut agent.publications[at];
        if !agent.connected || publication.stream.is_some() {
            return Ok(false);
        }
        let open = PublishOpen {
            resource: publication.entry.code.clone(),
            shard: SHARD,
            epoch: if publication.fresh { 0 } else { state.epoch },
            schema_version: publication.entry.schema_version,
        };
        publication.fresh = false;
        publication.stream = Some(PublishStream {
            up: VecDeque::from([content(&open)?]),
            down: VecDeque::new(),
            sending: None,
            new: open.epoch == 0,
            hub: HubEnd::new(agent.index, number),
        });
        Ok(true)
    }

    /// Sends the next batch of the outbox; makes a checkpoint when everything is acknowledged.
    pub(crate) fn send(&mut self, number: usize) -> Result<bool> {
        let (agent, at) = self.publisher(number);
        let agent = &mut self.agents[agent];
        let state = agent.state(at)?;
        let publication = &mut agent.publications[at];
        let Some(PublishStream { sending: Some(sending), up, .. }) = &mut publication.stream else {
            return Ok(false);
        };
        let sent = sending.sent;
        let stream = publication.link.stream;
        if state.last_seq() <= sent && state.checkpoint_due() {
            agent.store.checkpoint_if_due(stream, publication.entry.schema_version)?;
        }
        let pending = agent.store.pending(stream, sent, 1)?;
        let Some(batch) = pending.first() else { return Ok(false) };
        ensure!(batch.header.seq == sent + 1, "the outbox skips a batch");
        let message = Batch { header: batch.header, chain: batch.chain, payload: &batch.payload };
        up.push_back(content(&message)?);
        sending.sent = batch.header.seq;
        sending.order.sent(batch.header.seq);
        self.figures.sent += 1;
        Ok(true)
    }

    /// The hub takes a message of a publish stream.
    pub(crate) fn hub_takes(&mut self, number: usize) -> Result<bool> {
        let (agent, at) = self.publisher(number);
        self.make_room()?;
        let Some(stream) = &mut self.agents[agent].publications[at].stream else {
            return Ok(false);
        };
        if !stream.hub.reads() {
            self.figures.unread += u64::from(!stream.up.is_empty());
            return Ok(false);
        }
        let Some(message) = stream.up.pop_front() else { return Ok(false) };
        let mut served = Served {
            hub: &self.hub,
            truth: &mut self.truth,
            figures: &mut self.figures,
            runtime: &self.runtime,
        };
        stream.down.extend(stream.hub.take(&mut served, &message)?);
        Ok(true)
    }

    /// Lets the disk do its work when enough waits for it.
    fn make_room(&mut self) -> Result<()> {
        let streams = self.agents.iter().flat_map(|agent| &agent.publications);
        let ends = streams.filter_map(|publication| publication.stream.as_ref().map(|s| &s.hub));
        let ends = ends.chain(self.late.iter().map(|late| &late.hub));
        let under_way: usize = ends.map(|end| end.under_way()).sum();
        if under_way >= UNDER_WAY { self.sync() } else { Ok(()) }
    }

    /// The hub takes a message of a stream whose connection is gone: of the one picked, or the next that
    /// it reads.
    pub(crate) fn hub_takes_late(&mut self, pick: usize) -> Result<bool> {
        self.make_room()?;
        let at = pick % self.late.len().max(1);
        let (before, from) = self.late.split_at_mut(at);
        let Some(late) = from.iter_mut().chain(before).find(|late| late.is_read()) else {
            return Ok(false);
        };
        let Some(message) = late.up.pop_front() else { return Ok(false) };
        let mut served = Served {
            hub: &self.hub,
            truth: &mut self.truth,
            figures: &mut self.figures,
            runtime: &self.runtime,
        };
        late.hub.take(&mut served, &message)?;
        self.figures.late += 1;
        self.late.retain(|late| !late.is_over());
        Ok(true)
    }

    /// The hub takes everything of streams whose connections are gone.
    pub(crate) fn hub_takes_all_late(&mut self) -> Result<()> {
        loop {
            while self.hub_takes_late(0)? {}
            if self.late.iter().all(|late| late.up.is_empty()) {
                return Ok(());
            }
            // What is left waits for credit, or behind a refusal.
            self.sync()?;
        }
    }

    /// The hub's disk has done what waits for it; the acknowledgements are on their way.
    pub(crate) fn sync(&mut self) -> Result<()> {
        let mut served = Served {
            hub: &self.hub,
            truth: &mut self.truth,
            figures: &mut self.figures,
            runtime: &self.runtime,
        };
        served.runtime.block_on(served.hub.held.release())?;
        for publication in self.agents.iter_mut().flat_map(|agent| &mut agent.publications) {
            if let Some(stream) = &mut publication.stream {
                stream.down.extend(stream.hub.synced(&mut served)?);
            }
        }
        for late in &mut self.late {
            late.hub.synced(&mut served)?;
        }
        self.late.retain(|late| !late.is_over());
        self.truth.book.read_on(&self.hub.log)
    }

    /// Nothing may have been answered that is not durable.
    pub(crate) fn nothing_answered_too_early(&mut self) -> Result<()> {
        let mut served = Served {
            hub: &self.hub,
            truth: &mut self.truth,
            figures: &mut self.figures,
            runtime: &self.runtime,
        };
        let streams = self.agents.iter_mut().flat_map(|agent| &mut agent.publications);
        let ends =
            streams.filter_map(|publication| publication.stream.as_mut().map(|s| &mut s.hub));
        for end in ends.chain(self.late.iter_mut().map(|late| &mut late.hub)) {
            end.judged(&mut served)?;
        }
        Ok(())
    }

    /// The agent takes a message of a publish stream.
    pub(crate) fn agent_takes(&mut self, number: usize) -> Result<bool> {
        let (agent, at) = self.publisher(number);
        let publication = &mut self.agents[agent].publications[at];
        let Some(stream) = &mut publication.stream else { return Ok(false) };
        let Some(message) = stream.down.pop_front() else { return Ok(false) };
        let (opening, new) = (stream.sending.is_none(), stream.new);
        let failure = match frame::split(&message)?.0 {
            Refused::KIND => Err(PublishFailure::Refused(frame::expect(&message)?)),
            PublishReady::KIND if opening => {
                self.settle(agent, at, &frame::expect(&message)?, new)?
            }
            Ack::KIND if !opening => self.acknowledged(agent, at, &frame::expect(&message)?)?,
            other => bail!("the hub said {other:#04x} on a publish stream"),
        };
        if let Err(failure) = failure {
            self.failed(agent, at, &failure)?;
        }
        Ok(true)
    }

    /// As `link::publish` compares the hub's answer with the outbox.
    fn settle(
        &mut self,
        agent: usize,
        at: usize,
        ready: &PublishReady,
        new: bool,
    ) -> Result<Result<(), PublishFailure>> {
        let of = &mut self.agents[agent];
        let publication = &mut of.publications[at];
        let stream = publication.link.stream;
        let after = match of.store.resume(stream, ready, new)? {
            Resume::Continue { after } => after,
            Resume::BeginEpoch => {
                self.runtime.block_on(of.store.begin_epoch(stream, ready))?;
                self.figures.epochs += 1;
                0
            }
            Resume::Diverged(divergence) => return Ok(Err(PublishFailure::Diverged(divergence))),
        };
        publication.link.free(Hindrance::Hub);
        if let Some(stream) = &mut publication.stream {
            stream.sending = Some(Sending { sent: after, order: Acknowledged::new(after) });
        }
        Ok(Ok(()))
    }

    fn acknowledged(
        &mut self,
        agent: usize,
        at: usize,
        ack: &Ack,
    ) -> Result<Result<(), PublishFailure>> {
        let of = &mut self.agents[agent];
        let before = of.state(at)?;
        let publication = &mut of.publications[at];
        let resource = publication.number as u32 + 1;
        let stream = publication.link.stream;
        let sending = publication.stream.as_mut().and_then(|stream| stream.sending.as_mut());
        // The agent would break the connection; the hub of the model never gives a reason to.
        sending.context("an answered stream")?.order.on(ack).context("an acknowledgement")?;
        let taken = of.store.acknowledge(stream, ack, &publication.entry, &of.quarantine);
        let outcome = match taken {
            Ok(outcome) => outcome,
            Err(AckError::Forked(seq)) => return Ok(Err(PublishFailure::Forked(seq))),
            Err(AckError::Store(error)) => return Ok(Err(PublishFailure::Store(error))),
            Err(AckError::Quarantine(error)) => bail!(error),
        };
        let after = of.state(at)?;
        let (sent, rejected) = self.truth.book.between(
            resource,
            before.epoch,
            before.stored_through,
            after.stored_through,
        );
        ensure!(
            (outcome.accepted + outcome.rejected, outcome.rejected) == (sent, rejected),
            "sent {sent} rows, of which {rejected} were rejected; the agent counts {outcome:?}"
        );
        self.figures.acknowledged += outcome.batches;
        self.figures.rejected += outcome.rejected;
        self.publications_gaps(agent, at, 0);
        Ok(Ok(()))
    }

    fn publications_gaps(&mut self, agent: usize, at: usize, gaps: u32) {
        self.agents[agent].publications[at].gaps = gaps;
    }

    /// As `link::publications` goes on after a failure.
    fn failed(&mut self, agent: usize, at: usize, failure: &PublishFailure) -> Result<()> {
        self.note(format!("    publication {agent}.{at}: {failure}"));
        let gap = matches!(failure, PublishFailure::Refused(refused)
            if refused.reason() == Some(hutong_schema::wire::v1::RefusalCode::Gap));
        let publication = &mut self.agents[agent].publications[at];
        publication.gaps = if gap { publication.gaps + 1 } else { 0 };
        if let Some(stream) = publication.stream.take() {
            self.late.extend(stream.into_late());
        }
        let publication = &mut self.agents[agent].publications[at];
        let link = &publication.link;
        match next(failure, |by| link.may_recover(by), publication.gaps) {
            Next::Reconnect | Next::Again(_) => Ok(()),
            Next::NewEpoch => {
                publication.fresh = true;
                Ok(())
            }
            Next::StandStill(_) => {
                publication.link.hinder(Hindrance::Hub, failure.to_string());
                self.figures.stood_still += 1;
                Ok(())
            }
            Next::MapAgain => self.map_again(agent, at, failure),
            Next::Fatal => bail!("the agent would end: {failure}"),
        }
    }

    /// The schema changed: what is not stored is dropped, the source is mapped again.
    fn map_again(&mut self, agent: usize, at: usize, failure: &PublishFailure) -> Result<()> {
        let of = &mut self.agents[agent];
        let publication = &mut of.publications[at];
        let known = self.hub.registry.entry_coded(&publication.entry.code).context("an entry")?;
        let (before, now) = (publication.entry.schema_version, known.entry.schema_version);
        let waiting = of.store.pending_schema(publication.link.stream)?;
        if !is_news(Some(before), Some(now), waiting) {
            publication.link.hinder(Hindrance::Hub, failure.to_string());
            return Ok(());
        }
        publication.entry = (*known.entry).clone();
        publication.link.set_entry(publication.entry.clone());
        self.runtime.block_on(of.store.drop_pending(publication.link.stream))?;
        self.figures.mapped_again += 1;
        Ok(())
    }
}
