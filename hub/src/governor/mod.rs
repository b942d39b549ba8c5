//! The governor: one task that owns the meta partition.
//!
//! Commands that wait together are decided one after the other on the governor's own copy of the
//! registry, which runs ahead of the log by exactly those commands; their events go into one append,
//! and once that is durable they are applied to the shared registry and copied into the data
//! partitions concerned (the barriers), in one append again. Only then is anybody answered. If an
//! append fails, nobody is answered, the log is poisoned and the process ends: the copy that ran
//! ahead dies with it.

use std::sync::Arc;

use bytes::Bytes;
use hutong_schema::wire::v1::{Ran, RefusalCode, Refused};
use jiff::civil::Date;
use tokio::sync::{mpsc, oneshot};
use tokio_util::sync::CancellationToken;

use crate::{
    govern::{Command, Denied, Outcome, decide},
    log::{
        EntryKind, Log, LogError, NewEntry, Offset, PartitionId,
        event::{Event, UnknownEvent},
    },
    tasks::Tasks,
    views::registry::{Registry, RegistryHandle},
};

/// Settings of the governor.
#[derive(Clone)]
pub struct GovernorOptions {
    /// Commands that may wait. When full, the sender waits.
    pub queue: usize,
    /// Most commands that share one append: the answer to the first waits for all of them.
    pub group: usize,
    /// The day, in the time zone of the exchange.
    pub today: Arc<dyn Fn() -> Date + Send + Sync>,
}

/// Handle to the governor. Cloning is cheap.
#[derive(Clone, Debug)]
pub struct Governor {
    orders: mpsc::Sender<Order>,
}

struct Order {
    command: Command,
    answer: oneshot::Sender<Result<Outcome, Denied>>,
}

/// Why the governor cannot begin its work.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log cannot be read or written.
    #[error("the log's meta partition")]
    Log(#[from] LogError),
    /// An event cannot be read.
    #[error("the event at meta/{offset}")]
    Event {
        /// Where it is.
        offset: Offset,
        /// Why it cannot be read.
        #[source]
        source: UnknownEvent,
    },
}

impl Governor {
    /// Appends the barriers that a crash kept from being written, and starts the owner. `barriers`
    /// are the data partitions with the meta offset of the last barrier in each.
    ///
    /// # Errors
    /// When the log cannot be read or written.
    pub async fn start<L: Log>(
        log: Arc<L>,
        registry: RegistryHandle,
        barriers: &[(PartitionId, Offset)],
        options: GovernorOptions,
        tasks: &Tasks,
    ) -> Result<Self, StartError> {
        let working = registry.read().clone();
        let missing = missing_barriers(&*log, &working, barriers)?;
        if !missing.is_empty() {
            tracing::info!(count = missing.len(), "barriers were missing and are appended");
            log.append(missing).await?;
        }
        let (orders, waiting) = mpsc::channel(options.queue);
        let owner = Owner { log, registry, working, waiting, options };
        tasks.spawn_vital("governor", owner.run(tasks.closing.clone()));
        Ok(Self { orders })
    }

    /// Carries out a command of a node.
    ///
    /// # Errors
    /// As the node is to be told.
    pub async fn command(&self, command: Command) -> Result<Outcome, Refused> {
        self.order(command).await.map_err(Denied::into_refused)
    }

    /// Carries out a command; every mistake is listed apart.
    ///
    /// # Errors
    /// When it cannot be carried out, or the hub stops before it is known whether it was.
    pub async fn order(&self, command: Command) -> Result<Outcome, Denied> {
        let (answer, outcome) = oneshot::channel();
        let order = Order { command, answer };
        if self.orders.send(order).await.is_err() {
            let detail = "the hub is stopping; nothing was done";
            return Err(Refused::new(RefusalCode::NotReady, detail).into());
        }
        outcome.await.unwrap_or_else(|_| {
            let detail = "the hub stopped before the command was durable; ask again whether it is";
            let refused = Refused::new(RefusalCode::NotReady, detail);
            Err(Refused { ran: Ran::Unknown, ..refused }.into())
        })
    }
}

struct Owner<L> {
    log: Arc<L>,
    registry: RegistryHandle,
    working: Registry,
    waiting: mpsc::Receiver<Order>,
    options: GovernorOptions,
}

/// An event with its bytes and the partitions that need a copy.
struct Decided {
    event: Event,
    payload: NewEntry,
    copies: Vec<PartitionId>,
}

type Answer = (oneshot::Sender<Result<Outcome, Denied>>, Outcome);

impl<L: Log> Owner<L> {
    async fn run(mut self, closing: CancellationToken) {
        let mut group = Vec::new();
        loop {
            tokio::select! {
                biased;
                () = closing.cancelled(), if !self.waiting.is_closed() => self.waiting.close(),
                count = self.waiting.recv_many(&mut group, self.options.group) => {
                    if count == 0 {
                        return;
                    }
                    if let Err(error) = self.carry_out(group.drain(..)).await {
                        tracing::error!(%error, "governance events could not be made durable");
                        return;
                    }
                }
            }
        }
    }

    async fn carry_out(&mut self, orders: impl Iterator<Item = Order>) -> Result<(), LogError> {
        let today = (self.options.today)();
        let mut decided = Vec::new();
        let mut answers: Vec<Answer> = Vec::new();
        for Order { command, answer } in orders {
            match decide(&self.working, &command, today) {
                Ok(decision) => {
                    for event in decision.events {
                        self.working.fold(&event);
                        decided.push(self.prepare(event)?);
                    }
                    answers.push((answer, decision.outcome));
                }
                // Whoever asked may be gone; nothing depends on it.
                Err(denied) => drop(answer.send(Err(denied))),
            }
        }
        if !decided.is_empty() {
            self.make_durable(decided).await?;
        }
        for (answer, outcome) in answers {
            drop(answer.send(Ok(outcome)));
        }
        Ok(())
    }

    fn prepare(&self, event: Event) -> Result<Decided, LogError> {
        let bytes = event.encode().map_err(|error| LogError::Poisoned {
            reason: format!("an event has no JSON form: {error}").into(),
        })?;
        let seen = self.registry.read().applied();
        let payload = NewEntry::new(EntryKind::Event, seen, Bytes::from(bytes));
        let scope = self.working.scope_of(&event);
        let copies = scope.partitions(self.working.data_partitions()).collect();
        Ok(Decided { event, payload, copies })
    }

    async fn make_durable(&mut self, decided: Vec<Decided>) -> Result<(), LogError> {
        let entries = decided.iter().map(|d| (PartitionId::META, d.payload.clone())).collect();
        let positions = self.log.append(entries).await?;
        let offsets = positions.iter().map(|position| position.offset);
        let changing = self.registry.changing().await;
        self.registry.apply(offsets.clone().zip(decided.iter().map(|d| &d.event)));
        let barriers: Vec<_> = offsets
            .zip(&decided)
            .flat_map(|(offset, d)| {
                d.copies.iter().map(move |partition| (*partition, barrier(offset, &d.payload)))
            })
            .collect();
        if !barriers.is_empty() {
            let submitted = self.log.submit(barriers).await?;
            drop(changing);
            submitted.durable().await?;
        }
        for Decided { event, .. } in &decided {
            metrics::counter!("hutong_governance_events_total", "event" => event.name())
                .increment(1);
            announce(event);
        }
        Ok(())
    }
}

/// The copy of the event at `offset` of the meta partition.
fn barrier(offset: Offset, event: &NewEntry) -> NewEntry {
    let kind = EntryKind::Barrier { meta_offset: offset };
    NewEntry::verified(kind, offset, event.payload.clone(), event.payload_hash)
}

fn announce(event: &Event) {
    match event {
        Event::ExchangeFounded { exchange, .. } => tracing::info!(%exchange, "exchange founded"),
        Event::DepartmentRegistered { department, name } => {
            tracing::info!(%department, name, "department registered");
        }
        Event::NodeEnrolled { department, name, .. } => {
            tracing::info!(%department, %name, "node enrolled");
        }
        Event::NodeRetired { node, reason } => {
            tracing::info!(node = node.0, reason, "node retired")
        }
        Event::NodeRenewed { node, certificate_serial, expires, .. } => {
            tracing::info!(node = node.0, certificate_serial, %expires, "certificate renewed");
        }
        Event::NodeRevoked { node, reason } => {
            tracing::warn!(node = node.0, reason, "the node's certificates are revoked");
        }
        Event::DepartmentRevoked { department, reason } => {
            tracing::warn!(%department, reason, "the certificates of all its nodes are revoked");
        }
        Event::GrantMade { grant } => {
            tracing::info!(grant = grant.id.0, target = %grant.target, grantee = %grant.grantee,
                generation = grant.generation, "grant made");
        }
        Event::GrantWithdrawn { grant, reason } => {
            tracing::info!(grant = grant.0, reason, "grant withdrawn");
        }
        Event::ClockDate { as_of } => tracing::info!(date = as_of.number(), "clock date"),
        // Thousands in the first seconds of an exchange.
        Event::EntryPublished { entry, .. } => {
            tracing::debug!(code = %entry.code, "entry published")
        }
        Event::EpochOpened { resource, epoch, .. } => {
            tracing::debug!(resource = resource.0, epoch, "epoch opened");
        }
    }
}

/// Entries read at a time: events are small.
const READ_ENTRIES: usize = 1_024;
const READ_BYTES: usize = 8 * 1024 * 1024;

/// The copies that are not yet where they belong, in the order of the meta partition.
fn missing_barriers<L: Log>(
    log: &L,
    registry: &Registry,
    barriers: &[(PartitionId, Offset)],
) -> Result<Vec<(PartitionId, NewEntry)>, StartError> {
    let mut missing = Vec::new();
    let Some(oldest) = barriers.iter().map(|(_, last)| *last).min() else { return Ok(missing) };
    let mut next = oldest.next();
    loop {
        let entries = log.read(PartitionId::META, next, READ_ENTRIES, READ_BYTES)?;
        let Some(last) = entries.last() else { return Ok(missing) };
        next = last.position.offset.next();
        for stored in entries {
            let offset = stored.position.offset;
            if stored.envelope.kind != EntryKind::Event {
                continue;
            }
            let event = Event::decode(&stored.payload)
                .map_err(|source| StartError::Event { offset, source })?;
            let scope = registry.scope_of(&event);
            for partition in scope.partitions(registry.data_partitions()) {
                if barriers.iter().any(|(at, last)| *at == partition && *last < offset) {
                    let kind = EntryKind::Barrier { meta_offset: offset };
                    missing.push((partition, NewEntry::new(kind, offset, stored.payload.clone())));
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
