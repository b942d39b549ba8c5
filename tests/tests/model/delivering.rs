//! Delivering in the model. Real: where a delivery starts, its parcels (snapshot, tail, filter,
//! projection), the order of messages and the credit, every message's encoding, the sink with its file,
//! record and images. Played: when the two loops that hand messages over (`gate::deliver`,
//! `link::deliver`) get their turns.

use std::collections::VecDeque;
use std::fs;

use anyhow::{Context as _, Result, bail, ensure};
use bytes::Bytes;
use hutong_agent::sinks::{
    Disposal, LineFormat, Resumption, Sink, SinkOptions, SubscriptionKey, Taken,
};
use hutong_certs::room::Room;
use hutong_hub::routes::{Delivery, Parcel};
use hutong_schema::grant::GrantId;
use hutong_schema::wire::frame::{self, Message};
use hutong_schema::wire::order::Subscribe;
use hutong_schema::wire::order::subscribe::Heard;
use hutong_schema::wire::v1::subscribe::{
    CheckpointReport, Credit, SubscribeOpen, SubscribeReady, Withdrawn,
};
use hutong_schema::wire::v1::{RefusalCode, Refused};

use super::polls::{drive, now};
use super::publishing::content;
use super::received::{nothing_else_is_named, read_file};
use super::sim::Sim;
use super::truth::{digest, granted};
use super::world;

/// Messages that may be on their way.
const WINDOW: usize = 8;

/// Payload bytes that the hub may send ahead of durable writes. So few that it waits for credit at times.
const WINDOW_BYTES: u64 = 256;

/// Bytes that a parcel may be made in: never short here.
const ROOM: usize = 64 << 20;

/// One subscription of an agent.
pub(crate) struct Subscription {
    pub(crate) agent: usize,
    pub(crate) grant: GrantId,
    pub(crate) stream: Option<SubscribeStream>,
    /// The grant ended and the data were disposed of.
    pub(crate) ended: bool,
}

/// A subscribe stream as both ends see it, and what is between them.
pub(crate) struct SubscribeStream {
    up: VecDeque<Bytes>,
    down: VecDeque<Bytes>,
    /// `None` once the hub has finished the stream.
    hub: Option<HubEnd>,
    sink: Sink,
    begun: bool,
    /// Payload bytes that the agent took since it gave credit last.
    consumed: u64,
}

/// The hub's end of a subscribe stream.
struct HubEnd {
    order: Subscribe,
    delivery: Delivery,
}

impl HubEnd {
    /// Takes what the agent said.
    fn take(&mut self, message: &Bytes) -> Result<()> {
        match self.order.on(message).context("on a subscribe stream")? {
            Heard::Credit(Some(cursor)) => self.delivery.durable(cursor),
            Heard::Credit(None) => {}
            Heard::Report(report) => self.delivery.report(report),
        }
        Ok(())
    }
}

impl SubscribeStream {
    pub(crate) fn sink(&self) -> &Sink {
        &self.sink
    }

    /// So much payload came: whatever the hub began, it began within the window.
    fn takes(&mut self, payload: u64) -> Result<()> {
        ensure!(
            self.consumed < WINDOW_BYTES,
            "a message was begun although {} bytes wait for credit of a window of {WINDOW_BYTES}",
            self.consumed
        );
        self.consumed += payload;
        Ok(())
    }

    /// The agent lets more come.
    fn give_credit(&mut self) -> Result<()> {
        let record = self.sink.record();
        let cursor = if record.staged.is_none() { record.cursor } else { None };
        let credit = Credit { bytes: std::mem::take(&mut self.consumed), cursor };
        self.up.push_back(content(&credit)?);
        Ok(())
    }
}

impl Sim {
    /// The subscriptions that agents know of: the hub's list, and what they received before.
    pub(crate) fn learn_grants(&mut self) {
        for agent in 0..self.agents.len() {
            if !self.agents[agent].connected {
                continue;
            }
            for view in self.hub.router.grants_of(&world::department(agent)) {
                let grant = view.grant.id;
                let known = |s: &&mut Subscription| s.agent == agent && s.grant == grant;
                match self.subscriptions.iter_mut().find(known) {
                    Some(known) => known.ended = false,
                    None => self.subscriptions.push(Subscription {
                        agent,
                        grant,
                        stream: None,
                        ended: false,
                    }),
                }
            }
        }
    }

    fn key(&self, at: usize) -> Result<SubscriptionKey> {
        let subscription = &self.subscriptions[at];
        let node = self.agents[subscription.agent].name()?;
        Ok(SubscriptionKey { node, grant: subscription.grant })
    }

    /// Opens a subscribe stream.
    pub(crate) fn subscribe(&mut self, at: usize) -> Result<bool> {
        let Some(subscription) = self.subscriptions.get(at) else { return Ok(false) };
        let agent = &self.agents[subscription.agent];
        if !agent.connected || subscription.ended || subscription.stream.is_some() {
            return Ok(false);
        }
        let folder = agent.received();
        fs::create_dir_all(&folder)?;
        let options = SinkOptions::Files { folder, format: LineFormat::Jsonl };
        let opening = Sink::open(agent.store.clone(), self.key(at)?, &options);
        let sink = self.runtime.block_on(opening)?;
        let Resumption { cursor, consistent_at, resume } = sink.record().resumption();
        let open = SubscribeOpen {
            grant: subscription.grant,
            cursor,
            consistent_at,
            resume,
            credit_bytes: WINDOW_BYTES,
        };
        let order = Subscribe::new(&open).context("a subscribe stream is opened")?;
        let (node, department) = (world::node(agent.index), world::department(agent.index));
        let attached = self.runtime.block_on(self.hub.router.attach(node, &department, &open));
        let (first, hub) = match attached {
            Ok((ready, delivery)) => (content(&ready)?, Some(HubEnd { order, delivery })),
            Err(refused) => {
                self.figures.refused(&refused);
                (content(&refused)?, None)
            }
        };
        self.subscriptions[at].stream = Some(SubscribeStream {
            up: VecDeque::new(),
            down: VecDeque::from([first]),
            hub,
            sink,
            begun: false,
            consumed: 0,
        });
        Ok(true)
    }

    /// The hub tells the next message, if there is anything to tell.
    pub(crate) fn tell(&mut self, at: usize) -> Result<bool> {
        let Some(subscription) = self.subscriptions.get_mut(at) else { return Ok(false) };
        let grant = subscription.grant;
        let Some(stream) = &mut subscription.stream else { return Ok(false) };
        let Some(hub) = &mut stream.hub else { return Ok(false) };
        if stream.down.len() >= WINDOW {
            return Ok(false);
        }
        stream.up.drain(..).try_for_each(|message| hub.take(&message))?;
        if !hub.order.may_send() {
            hub.delivery.rest();
            self.figures.credit_used_up += 1;
            return Ok(false);
        }
        let told = self.runtime.block_on(async { now(hub.delivery.next(&Room::new(ROOM))) });
        let message = match told {
            None => return Ok(false),
            Some(Ok((parcel, _held))) => {
                hub.order.sent(parcel.payload_bytes());
                let message = match &parcel {
                    Parcel::Chunk(chunk) => content(&chunk.message())?,
                    Parcel::End(end) => content(end)?,
                    Parcel::Tail(tail) => content(&tail.message())?,
                    Parcel::Mark(mark) => content(mark)?,
                    Parcel::Repair(repair) => content(&repair.message())?,
                    Parcel::Withdrawn(reason) => content(&Withdrawn { reason: reason.clone() })?,
                };
                if matches!(parcel, Parcel::Withdrawn(_)) {
                    stream.hub = None;
                }
                message
            }
            Some(Err(error)) => {
                stream.hub = None;
                content(&Refused::from(error))?
            }
        };
        let record = self.hub.registry.grant(grant);
        if let Some(record) = record {
            nothing_else_is_named(&self.truth, &record.grant, &message)?;
        }
        stream.down.push_back(message);
        self.figures.told += 1;
        Ok(true)
    }

    /// Whether the hub tells nothing more before the agent makes durable what it took.
    pub(crate) fn waits_for_credit(&self, at: usize) -> bool {
        let stream = self.subscriptions.get(at).and_then(|of| of.stream.as_ref());
        stream.and_then(|stream| stream.hub.as_ref()).is_some_and(|hub| !hub.order.may_send())
    }

    /// The agent takes a message of a subscribe stream.
    pub(crate) fn receive(&mut self, at: usize) -> Result<bool> {
        let Some(subscription) = self.subscriptions.get_mut(at) else { return Ok(false) };
        let Some(stream) = &mut subscription.stream else { return Ok(false) };
        let Some(message) = stream.down.pop_front() else { return Ok(false) };
        let kind = frame::split(&message)?.0;
        if !stream.begun && kind == SubscribeReady::KIND {
            let ready: SubscribeReady = frame::expect(&message)?;
            let begun =
                self.runtime.block_on(stream.sink.begin(&ready)).context("a delivery begins")?;
            self.figures.began(begun);
            stream.begun = true;
            return Ok(true);
        }
        ensure!(
            stream.begun || kind == Refused::KIND,
            "{kind:#04x} before the stream was answered"
        );
        let taken = self.runtime.block_on(stream.sink.take(&message));
        match taken
            .with_context(|| format!("grant {} cannot take a message", subscription.grant))?
        {
            Taken::Chunk { payload } => stream.takes(payload)?,
            Taken::Changes { payload, .. } => {
                stream.takes(payload)?;
                self.figures.taken += 1;
            }
            Taken::Complete => {
                stream.give_credit()?;
                self.check_subscription(at)?;
            }
            Taken::Mark(cursor) => {
                if stream.sink.record().consistent() {
                    self.runtime.block_on(stream.sink.commit())?;
                    stream.give_credit()?;
                    let digest = self.runtime.block_on(stream.sink.digest())?;
                    stream.up.push_back(content(&CheckpointReport { cursor, digest })?);
                    self.figures.marks += 1;
                    self.check_subscription(at)?;
                }
            }
            Taken::Withdrawn(reason) => self.dispose(at, &reason)?,
            Taken::Refused(refused) => {
                let held = stream.sink.holds_anything();
                self.note(format!("    grant {}: {refused}", self.subscriptions[at].grant));
                if refused.reason() == Some(RefusalCode::NotGranted) && held {
                    self.dispose(at, &refused.detail)?;
                } else {
                    // Without anything held it stands still until it is granted again.
                    let subscription = &mut self.subscriptions[at];
                    subscription.stream = None;
                    subscription.ended = refused.reason() == Some(RefusalCode::NotGranted);
                }
            }
        }
        Ok(true)
    }

    fn dispose(&mut self, at: usize, reason: &str) -> Result<()> {
        let Some(stream) = self.subscriptions[at].stream.take() else { return Ok(()) };
        let disposing = stream.sink.dispose(reason, Disposal::Delete, hutong_certs::clock::now());
        self.runtime.block_on(disposing)?;
        self.subscriptions[at].ended = true;
        self.figures.withdrawn += 1;
        let key = self.key(at)?;
        let live = self.agents[self.subscriptions[at].agent].received();
        ensure!(!live.join(format!("{}.jsonl", key.grant)).exists(), "the data of an ended grant");
        Ok(())
    }

    /// The agent makes durable what it received, and tells the hub.
    pub(crate) fn commit(&mut self, at: usize) -> Result<bool> {
        let Some(subscription) = self.subscriptions.get_mut(at) else { return Ok(false) };
        let Some(stream) = &mut subscription.stream else { return Ok(false) };
        if !stream.begun || stream.sink.dirty().is_none() {
            return Ok(false);
        }
        self.runtime.block_on(stream.sink.commit())?;
        stream.give_credit()?;
        self.check_subscription(at)?;
        Ok(true)
    }

    /// Begins to make durable what was received, and gets so far; what is on the disk is left as it is.
    pub(crate) fn commit_in_part(&mut self, agent: usize, waits: u8) {
        let streams = self.subscriptions.iter_mut().filter(|s| s.agent == agent);
        for stream in streams.filter_map(|subscription| subscription.stream.as_mut()) {
            if stream.begun && stream.sink.dirty().is_some() {
                let _runtime = self.runtime.enter();
                if !drive(stream.sink.commit(), waits) {
                    self.figures.cut_commits += 1;
                }
            }
        }
    }

    /// What a subscription holds durably is what its cursor says: from the store and the file as they are
    /// on the disk.
    pub(crate) fn check_subscription(&mut self, at: usize) -> Result<()> {
        let subscription = &self.subscriptions[at];
        let agent = &self.agents[subscription.agent];
        let key = self.key(at)?;
        let Some(record) = key.record(&agent.store)? else { return Ok(()) };
        let Some(cursor) = record.cursor else { return Ok(()) };
        if !record.consistent() || record.rename_due {
            return Ok(());
        }
        let Some(view) = record.grant_view() else { bail!("a cursor without a view") };
        let Some(place) = self.hub.views.place(&view.grant.target) else { return Ok(()) };
        let Some(moment) = self.truth.moment(place, cursor.seq, cursor.feed_hash) else {
            // The hub's disk lied, or has not applied it again: it will be told.
            ensure!(
                self.truth.lied || cursor.seq > self.truth.head(place),
                "grant {} holds a position that never was: {cursor:?}",
                subscription.grant
            );
            return Ok(());
        };
        let expected = granted(&view.grant, place, moment)?;
        let path = agent.received().join(format!("{}.jsonl", subscription.grant));
        let held = read_file(&path, &record)
            .with_context(|| format!("{} to {}", path.display(), record.length))?;
        ensure!(
            held == expected,
            "grant {} at {cursor:?} holds {held:?}, and should hold {expected:?}",
            subscription.grant
        );
        let answer = hutong_agent::sinks::answer(
            &agent.store,
            &key,
            &hutong_schema::wire::v1::control::Depth::Root,
        )?;
        let hutong_schema::wire::v1::control::DigestFound::Root { digest: told, .. } = answer
        else {
            bail!("no digest of what is held: {answer:?}");
        };
        ensure!(told == digest(&expected), "the digest is not that of what is held");
        self.figures.checks += 1;
        Ok(())
    }
}
