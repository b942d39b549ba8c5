//! A running delivery: which parcel comes next.

use std::{collections::BTreeSet, sync::Arc};

use hutong_certs::room::{Held, Room};
use hutong_schema::wire::v1::subscribe::{CheckpointReport, Cursor};
use tokio::sync::{Notify, watch};

use super::{
    Parcel, Plan, RouteError, Router,
    parcel::{Packer, Repaired},
    shared::Follower,
    short,
    subscriptions::Registration,
    tail::Pending,
    turns::Class,
};
use crate::log::Offset;

/// What it takes to make and send one parcel, bytes: feed entries read ahead, the open block, the
/// packed one and its frame, each about a batch of the usual size.
const PARCEL_BYTES: usize = 4 * 1024 * 1024;

/// A running delivery; lives as long as its stream.
pub struct Delivery {
    pub(super) router: Router,
    pub(super) plan: Arc<Plan>,
    pub(super) position: Position,
    pub(super) packer: Packer,
    /// Feed entries read and not yet told.
    pub(super) pending: Pending,
    /// The entry up to which the packer holds what is to be told.
    pub(super) reached: Option<(u64, [u8; 16])>,
    /// Whether that entry is a checkpoint.
    pub(super) at_mark: bool,
    /// Whether what lies behind the position is told in several blocks.
    pub(super) in_pieces: bool,
    pub(super) shared: Follower,
    registration: Registration,
    class: Class,
    bell: Arc<Notify>,
    governance: watch::Receiver<Offset>,
    repair: Option<BTreeSet<Vec<u8>>>,
}

/// Where a delivery stands.
#[derive(Clone, Debug)]
pub(super) enum Position {
    /// In the snapshot.
    Snapshot {
        /// Position of its first chunk.
        start: Cursor,
        /// Position of its last chunk so far.
        last: Cursor,
        /// Last key told.
        after: Option<Vec<u8>>,
    },
    /// Behind a feed entry.
    Tail {
        /// Its number.
        seq: u64,
        /// The feed's hash there.
        hash: [u8; 16],
    },
}

impl Delivery {
    pub(super) fn new(
        router: Router,
        plan: Arc<Plan>,
        position: Position,
        registration: Registration,
        class: Class,
    ) -> Self {
        let shared = router.shared.follow(&plan);
        let packer = Packer::new(&plan.columns);
        let bell = router.wakes.bell(plan.feed);
        let governance = router.registry.watch();
        Self {
            router,
            plan,
            position,
            packer,
            pending: Pending::default(),
            reached: None,
            at_mark: false,
            in_pieces: false,
            shared,
            registration,
            class,
            bell,
            governance,
            repair: None,
        }
    }

    /// The next parcel; waits while there is nothing to tell, or no room to make it in: what it takes
    /// of that is held until the parcel is sent. Safe to drop while it waits: the delivery moves on
    /// only in the step that hands out a parcel.
    ///
    /// # Errors
    /// When the delivery cannot go on.
    pub async fn next(&mut self, room: &Room) -> Result<(Parcel, Option<Held>), RouteError> {
        loop {
            if self.registration.replaced() {
                return Err(RouteError::Replaced);
            }
            if let Some(reason) = self.ended() {
                return Ok((Parcel::Withdrawn(reason), None));
            }
            // Listening begins before looking, so that no ring is missed in between.
            let bell = Arc::clone(&self.bell);
            let rung = bell.notified();
            tokio::pin!(rung);
            rung.as_mut().enable();

            let held = room.take(PARCEL_BYTES).await;
            let mut turn = self.router.turns.take(self.class.clone()).await;
            let step = tokio::task::block_in_place(|| self.step())?;
            match step {
                Step::Parcel(parcel) => {
                    turn.spend(usize::try_from(parcel.payload_bytes()).unwrap_or(usize::MAX));
                    self.note(&parcel);
                    return Ok((parcel, held));
                }
                Step::Work(bytes) => {
                    turn.spend(bytes);
                    continue;
                }
                Step::Idle => drop((turn, held)),
            }
            tokio::select! {
                () = rung => {}
                keys = self.registration.repair() => self.repair = Some(keys),
                // The sender lives as long as the registry.
                _ = self.governance.changed() => {}
            }
        }
    }

    /// Lets go of what was read ahead, while the receiver takes no more: it is read again.
    pub fn rest(&mut self) {
        self.pending = Pending::default();
    }

    /// The receiver holds everything up to here.
    pub fn durable(&self, cursor: Cursor) {
        self.registration.update(|standing| standing.durable = Some(cursor));
    }

    /// The receiver's digest at a checkpoint.
    pub fn report(&self, report: CheckpointReport) {
        self.registration.update(|standing| standing.report = Some((report.cursor, report.digest)));
    }

    fn step(&mut self) -> Result<Step, RouteError> {
        // A block in the making belongs to the tail: a repair waits until it is told.
        if self.reached.is_none()
            && let Some(keys) = self.repair.take()
        {
            return self.repaired(keys);
        }
        match self.position.clone() {
            Position::Snapshot { start, last, after } => self.snapshot_step(start, last, after),
            Position::Tail { seq, hash } => self.tail_step(seq, hash),
        }
    }

    /// The rows of these keys as the receiver should hold them now, as many as fit; the others come next.
    fn repaired(&mut self, mut keys: BTreeSet<Vec<u8>>) -> Result<Step, RouteError> {
        let snapshot = self.router.views.snapshot();
        let as_of = snapshot.as_of(self.plan.place)?;
        let feed = snapshot.feed_state(self.plan.place)?;
        let at = self.router.cursor(&self.plan, feed.seq, short(&feed.hash));
        while let Some(key) = keys.first()
            && !self.packer.is_full()
        {
            let row = snapshot.row(self.plan.place, key)?;
            let row = row.filter(|row| self.plan.filter.matches(key, row.as_ref(), as_of));
            let row = row.as_ref().map(|row| row.as_ref());
            if row.is_some_and(|row| !self.packer.fits(key, row)) {
                break;
            }
            self.packer.push(key, row, &self.plan.columns)?;
            keys.pop_first();
        }
        self.repair = Some(keys).filter(|left| !left.is_empty());
        let block = self.packer.pack()?;
        Ok(Step::Parcel(Parcel::Repair(Repaired { at, block })))
    }

    fn ended(&self) -> Option<String> {
        let registry = self.router.registry.read();
        let grant = &self.plan.view.grant;
        let Some(record) = registry.grant(grant.id) else {
            return Some("the grant is no longer known".to_owned());
        };
        if let Some(reason) = &record.withdrawn {
            return Some(reason.clone());
        }
        let today = registry.as_of().map(|as_of| as_of.date());
        match today {
            Some(today) if !record.grant.in_force(today) => {
                Some(format!("the grant ended before {today}"))
            }
            Some(_) | None => None,
        }
    }

    fn note(&self, parcel: &Parcel) {
        let (sent, changes) = match parcel {
            Parcel::Chunk(chunk) => (None, chunk.block.rows()),
            Parcel::Tail(tail) => (Some(tail.cursor.seq), tail.block.rows()),
            Parcel::End(end) => (Some(end.start.seq), 0),
            Parcel::Mark(_) | Parcel::Repair(_) | Parcel::Withdrawn(_) => return,
        };
        metrics::counter!("hutong_delivered_changes_total").increment(u64::from(changes));
        self.registration.update(|standing| {
            standing.changes += u64::from(changes);
            if let Some(sent) = sent {
                standing.sent = sent;
                standing.snapshot = false;
            }
        });
    }
}

/// What one step came to.
pub(super) enum Step {
    /// Something to tell.
    Parcel(Parcel),
    /// So many bytes were looked at, nothing to tell yet.
    Work(usize),
    /// Nothing to do.
    Idle,
}
