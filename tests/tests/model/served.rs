//! The hub's end of publish streams: what `gate::publish` does between two decisions of the real intake.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hutong_hub::intake::{Admitted, Lane};
use hutong_schema::wire::frame;
use hutong_schema::wire::v1::Refused;
use hutong_schema::wire::v1::publish::{Ack, Batch, PublishOpen};
use tokio::sync::oneshot;

use super::book::Number;
use super::hub::{Hub, SOON};
use super::publishing::content;
use super::truth::Truth;
use super::world;

/// The hub's end of a publish stream.
pub(crate) struct HubEnd {
    agent: usize,
    publication: usize,
    lane: Option<(Lane, u32)>,
    under_way: VecDeque<UnderWay>,
    refused: bool,
}

/// A batch that waits for the hub's disk.
struct UnderWay {
    number: Number,
    waiting: Option<oneshot::Receiver<Result<Admitted, Refused>>>,
    answer: Option<Result<Admitted, Refused>>,
}

impl HubEnd {
    pub(crate) fn new(agent: usize, publication: usize) -> Self {
        Self { agent, publication, lane: None, under_way: VecDeque::new(), refused: false }
    }

    /// Batches that wait for the hub's disk.
    pub(crate) fn under_way(&self) -> usize {
        self.under_way.len()
    }

    /// Whether the hub finished the stream with a refusal.
    pub(crate) fn is_refused(&self) -> bool {
        self.refused
    }

    /// Takes a message; what is answered at once.
    pub(crate) fn take(&mut self, sim: &mut Served<'_>, message: &Bytes) -> Result<Vec<Bytes>> {
        if self.refused {
            return Ok(Vec::new());
        }
        let answer = match &self.lane {
            None => self.open(sim, &frame::expect(message)?)?,
            Some((lane, epoch)) => {
                let (lane, epoch) = (lane.clone(), *epoch);
                self.batch(sim, &lane, epoch, message)?
            }
        };
        Ok(match answer {
            Ok(answer) => answer.into_iter().collect(),
            Err(refused) => {
                sim.figures.refused(&refused);
                // Harsher than the real loop, which acknowledges what is under way first: as if the
                // connection broke with the refusal.
                self.refused = true;
                self.under_way.clear();
                vec![content(&refused)?]
            }
        })
    }

    fn open(
        &mut self,
        sim: &mut Served<'_>,
        open: &PublishOpen,
    ) -> Result<Result<Option<Bytes>, Refused>> {
        // It is answered behind everything that was admitted before.
        sim.runtime.block_on(sim.hub.held.release())?;
        let opening = sim.hub.intake.open(world::node(self.agent), open);
        let opened = sim.runtime.block_on(async { tokio::time::timeout(SOON, opening).await });
        let (lane, mut ready) = match opened.context("a publication is opened")? {
            Ok(opened) => opened,
            Err(refused) => return Ok(Err(refused)),
        };
        if ready.last_seq > 0 {
            let number = (self.publication as u32 + 1, ready.epoch, ready.last_seq);
            sim.truth.acknowledges(&sim.hub.log, number, ready.chain)?;
        }
        ready.credit_bytes = 1 << 20;
        self.lane = Some((lane, ready.epoch));
        Ok(Ok(Some(content(&ready)?)))
    }

    fn batch(
        &mut self,
        sim: &mut Served<'_>,
        lane: &Lane,
        epoch: u32,
        message: &Bytes,
    ) -> Result<Result<Option<Bytes>, Refused>> {
        let batch: Batch<'_> = frame::expect(message)?;
        let payload = message.slice_ref(batch.payload);
        let number = (self.publication as u32 + 1, epoch, batch.header.seq);
        let submitting = sim.hub.intake.submit(lane, batch.header, batch.chain, payload);
        let submitted =
            sim.runtime.block_on(async { tokio::time::timeout(SOON, submitting).await });
        let waiting = match submitted.context("a batch is taken")? {
            Ok(waiting) => waiting,
            Err(refused) => return Ok(Err(refused)),
        };
        if sim.truth.book.batch(number).is_some()
            || sim.hub.held.holds(number.0, number.1, number.2)
        {
            sim.figures.repeats += 1;
        }
        self.under_way.push_back(UnderWay { number, waiting: Some(waiting), answer: None });
        self.judged(sim)?;
        Ok(Ok(None))
    }

    /// Waits until everything under way is judged: answered, or waiting for the disk. Nothing may be
    /// answered as stored that is not.
    pub(crate) fn judged(&mut self, sim: &mut Served<'_>) -> Result<()> {
        let deadline = Instant::now() + SOON;
        for batch in &mut self.under_way {
            loop {
                batch.look(sim)?;
                let (resource, epoch, seq) = batch.number;
                let stored = || sim.truth.book.batch(batch.number).is_some();
                if batch.answer.is_some() || sim.hub.held.holds(resource, epoch, seq) || stored() {
                    break;
                }
                ensure!(Instant::now() < deadline, "batch {:?} is not judged", batch.number);
                std::thread::sleep(Duration::from_micros(50));
            }
        }
        // A second look: an answer that comes too early comes a moment later.
        std::thread::yield_now();
        self.under_way.iter_mut().try_for_each(|batch| batch.look(sim))
    }

    /// The disk has done its work: what is to be told.
    pub(crate) fn synced(&mut self, sim: &mut Served<'_>) -> Result<Vec<Bytes>> {
        let deadline = Instant::now() + SOON;
        let mut out = Vec::new();
        let mut ack: Option<Ack> = None;
        while let Some(mut batch) = self.under_way.pop_front() {
            while batch.answer.is_none() {
                sim.runtime.block_on(sim.hub.held.release())?;
                batch.look(sim)?;
                ensure!(Instant::now() < deadline, "batch {:?} is not answered", batch.number);
                std::thread::yield_now();
            }
            match batch.answer.take().context("just looked")? {
                Ok(admitted) => {
                    let rejected = ack.take().map_or(Vec::new(), |before| before.rejected);
                    ack = Some(Ack {
                        stored_through: admitted.seq,
                        chain: admitted.chain,
                        settled_through: admitted.seq,
                        rejected: rejected.into_iter().chain(admitted.rejected).collect(),
                    });
                }
                Err(refused) => {
                    sim.figures.refused(&refused);
                    self.refused = true;
                    self.under_way.clear();
                    out.extend(ack.take().map(|ack| content(&ack)).transpose()?);
                    out.push(content(&refused)?);
                    return Ok(out);
                }
            }
        }
        out.extend(ack.map(|ack| content(&ack)).transpose()?);
        Ok(out)
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
