//! The hub's end of publish streams. What may come when, what is acknowledged and how a stream ends is
//! decided by the real [`Publish`], and what becomes of a batch by the real intake; played is only when the
//! loop between them (`gate::publish`) gets its turn.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hutong_hub::intake::{Admitted, Lane};
use hutong_schema::wire::frame;
use hutong_schema::wire::order::Publish;
use hutong_schema::wire::order::publish::{Heard, Stored};
use hutong_schema::wire::v1::Refused;
use hutong_schema::wire::v1::publish::{Batch, PublishOpen};
use tokio::sync::oneshot;

use super::book::Number;
use super::hub::{Hub, SOON};
use super::polls::now;
use super::publishing::content;
use super::truth::Truth;
use super::world;

/// Payload bytes under way on a stream. So few that the hub at times reads no further: the model's agents
/// send without asking for credit.
const CREDIT: u64 = 192;

/// The hub's end of a publish stream.
pub(crate) struct HubEnd {
    agent: usize,
    publication: usize,
    open: Option<Open>,
    over: bool,
}

/// A stream that was opened.
struct Open {
    lane: Lane,
    epoch: u32,
    order: Publish,
    /// As many as the order has under way, in the same sequence.
    outcomes: VecDeque<UnderWay>,
}

/// A batch that waits for the hub's disk.
struct UnderWay {
    number: Number,
    waiting: Option<oneshot::Receiver<Result<Admitted, Refused>>>,
    answer: Option<Result<Admitted, Refused>>,
}

impl HubEnd {
    pub(crate) fn new(agent: usize, publication: usize) -> Self {
        Self { agent, publication, open: None, over: false }
    }

    /// Batches that wait for the hub's disk.
    pub(crate) fn under_way(&self) -> usize {
        self.open.as_ref().map_or(0, |open| open.outcomes.len())
    }

    /// Whether the hub finished the stream.
    pub(crate) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the hub reads the next message.
    pub(crate) fn reads(&self) -> bool {
        !self.over && self.open.as_ref().is_none_or(|open| open.order.limit().is_some())
    }

    /// Takes a message; what is answered at once.
    pub(crate) fn take(&mut self, sim: &mut Served<'_>, message: &Bytes) -> Result<Vec<Bytes>> {
        ensure!(self.reads(), "a message is taken that the hub does not read");
        let Some(open) = &mut self.open else {
            return self.open(sim, &frame::expect(message)?).map(|answer| vec![answer]);
        };
        // An agent of the model says nothing that has no place.
        if let Heard::Batch(batch) = open.order.on(message).context("on a publish stream")? {
            let number = (self.publication as u32 + 1, open.epoch, batch.header.seq);
            let known = sim.knows(number);
            match open.submit(sim, message, batch)? {
                Ok(waiting) => {
                    sim.figures.repeats += u64::from(known);
                    open.outcomes.push_back(UnderWay {
                        number,
                        waiting: Some(waiting),
                        answer: None,
                    });
                    open.order.taken();
                    self.judged(sim)?;
                }
                Err(refused) => open.order.not_taken(refused),
            }
        }
        Ok(self.ending(sim)?.into_iter().collect())
    }

    fn open(&mut self, sim: &mut Served<'_>, open: &PublishOpen) -> Result<Bytes> {
        // It is answered behind everything that was admitted before.
        sim.runtime.block_on(sim.hub.held.release())?;
        let opening = sim.hub.intake.open(world::node(self.agent), open);
        let opened = sim.runtime.block_on(async { tokio::time::timeout(SOON, opening).await });
        let (lane, mut ready) = match opened.context("a publication is opened")? {
            Ok(opened) => opened,
            Err(refused) => {
                sim.figures.refused(&refused);
                self.over = true;
                return content(&refused);
            }
        };
        if ready.last_seq > 0 {
            let number = (self.publication as u32 + 1, ready.epoch, ready.last_seq);
            sim.truth.acknowledges(&sim.hub.log, number, ready.chain)?;
        }
        ready.credit_bytes = CREDIT;
        self.open = Some(Open {
            lane,
            epoch: ready.epoch,
            order: Publish::new(CREDIT),
            outcomes: VecDeque::new(),
        });
        content(&ready)
    }

    /// Waits until everything under way is judged: answered, or waiting for the disk. Nothing may be
    /// answered as stored that is not.
    pub(crate) fn judged(&mut self, sim: &mut Served<'_>) -> Result<()> {
        let Some(open) = &mut self.open else { return Ok(()) };
        let deadline = Instant::now() + SOON;
        for batch in &mut open.outcomes {
            loop {
                batch.look(sim)?;
                if batch.answer.is_some() || sim.knows(batch.number) {
                    break;
                }
                ensure!(Instant::now() < deadline, "batch {:?} is not judged", batch.number);
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        // A second look: an answer that comes too early comes a moment later.
        std::thread::yield_now();
        open.outcomes.iter_mut().try_for_each(|batch| batch.look(sim))
    }

    /// The disk has done its work: what is to be told.
    pub(crate) fn synced(&mut self, sim: &mut Served<'_>) -> Result<Vec<Bytes>> {
        let Some(Open { lane, order, outcomes, .. }) = &mut self.open else {
            return Ok(Vec::new());
        };
        if let Some(refused) = sim.runtime.block_on(async { now(lane.taken_over()) }) {
            order.stop(refused);
        }
        let deadline = Instant::now() + SOON;
        for batch in outcomes.iter_mut() {
            while batch.answer.is_none() {
                sim.runtime.block_on(sim.hub.held.release())?;
                batch.look(sim)?;
                ensure!(Instant::now() < deadline, "batch {:?} is not answered", batch.number);
                std::thread::yield_now();
            }
        }
        let mut out = Vec::new();
        loop {
            while order.has_room()
                && let Some(batch) = outcomes.pop_front()
            {
                let answer = batch.answer.context("just waited for")?;
                order.outcome(answer.map(|Admitted { seq, chain, rejected }| Stored {
                    seq,
                    chain,
                    rejected,
                }));
            }
            match order.ack() {
                Some(ack) => out.push(content(&ack)?),
                None => break,
            }
        }
        out.extend(self.ending(sim)?);
        Ok(out)
    }

    /// What is told at the stream's end, if this is it.
    fn ending(&mut self, sim: &mut Served<'_>) -> Result<Option<Bytes>> {
        let Some(open) = &mut self.open else { return Ok(None) };
        let Some(ended) = open.order.ended().filter(|_| !self.over) else { return Ok(None) };
        self.over = true;
        // Nobody waits any more for what came behind a refusal.
        open.outcomes.clear();
        let Err(refused) = ended else { return Ok(None) };
        sim.figures.refused(&refused);
        content(&refused).map(Some)
    }
}

impl Open {
    fn submit(
        &self,
        sim: &Served<'_>,
        message: &Bytes,
        batch: Batch<'_>,
    ) -> Result<Result<oneshot::Receiver<Result<Admitted, Refused>>, Refused>> {
        let payload = message.slice_ref(batch.payload);
        let submitting = sim.hub.intake.submit(&self.lane, batch.header, batch.chain, payload);
        let submitted =
            sim.runtime.block_on(async { tokio::time::timeout(SOON, submitting).await });
        submitted.context("a batch is taken")
    }
}

impl UnderWay {
    fn look(&mut self, sim: &mut Served<'_>) -> Result<()> {
        let Some(waiting) = &mut self.waiting else { return Ok(()) };
        match waiting.try_recv() {
            Ok(answer) => {
                if let Ok(admitted) = &answer {
                    sim.truth.acknowledges(&sim.hub.log, self.number, admitted.chain)?;
                }
                (self.waiting, self.answer) = (None, Some(answer));
            }
            Err(oneshot::error::TryRecvError::Empty) => {}
            Err(oneshot::error::TryRecvError::Closed) => {
                bail!("the hub forgot batch {:?}", self.number)
            }
        }
        Ok(())
    }
}

/// What the hub's end of a stream needs of the model.
pub(crate) struct Served<'a> {
    pub(crate) hub: &'a Hub,
    pub(crate) truth: &'a mut Truth,
    pub(crate) figures: &'a mut super::figures::Figures,
    pub(crate) runtime: &'a tokio::runtime::Runtime,
}

impl Served<'_> {
    /// Whether the hub has a batch already, on its disk or on the way to it.
    fn knows(&self, number: Number) -> bool {
        let (resource, epoch, seq) = number;
        self.truth.book.batch(number).is_some() || self.hub.held.holds(resource, epoch, seq)
    }
}
