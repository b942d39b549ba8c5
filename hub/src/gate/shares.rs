//! What each node may make the hub hold, and how often it may ask: its share of what all have.

use std::{
    collections::HashMap,
    sync::{Arc, Weak},
    time::Instant,
};

use hutong_certs::{
    room::{Held, Room},
    stream::Guard,
};
use hutong_schema::{
    ids::CreditCode,
    wire::v1::{RefusalCode, Refused},
};
use parking_lot::Mutex;

use super::{
    GateLimits,
    bucket::Bucket,
    limits::{BASE_WINDOW, PART_OF_DEPARTMENT, PART_OF_NODE},
};
use crate::numbers::NodeNo;

/// The shares of all nodes; a cheap handle.
#[derive(Clone, Debug)]
pub(super) struct Shares(Arc<All>);

#[derive(Debug)]
struct All {
    limits: Arc<GateLimits>,
    rooms: Rooms,
    departments: Mutex<HashMap<CreditCode, Weak<Rooms>>>,
    /// One for each node that came since the hub started: there are as many as certificates.
    rates: Mutex<HashMap<NodeNo, Arc<Rates>>>,
}

/// Memory for frames under way, deliveries, and windows above the base.
#[derive(Clone, Debug)]
struct Rooms {
    frames: Room,
    deliveries: Room,
    windows: Room,
}

/// The share of one node's connection.
#[derive(Debug)]
pub(super) struct Share {
    limits: Arc<GateLimits>,
    rooms: Rooms,
    /// Kept so that it stays the department's one.
    _department: Arc<Rooms>,
    rates: Arc<Rates>,
    connection: quinn::Connection,
    publishing: Mutex<Wide>,
    subscribing: Mutex<Wide>,
}

/// How often one node may ask. It outlives connections, so that coming again changes nothing.
#[derive(Debug)]
struct Rates {
    questions: Mutex<Bucket>,
    commands: Mutex<Bucket>,
}

/// A window that is wide as long as somebody needs it.
#[derive(Debug, Default)]
struct Wide {
    users: usize,
    held: Option<Held>,
}

/// The connection's window is wide, if there was room, as long as this lives.
pub(super) struct Widened<'s> {
    share: &'s Share,
    way: Way,
}

#[derive(Clone, Copy)]
enum Way {
    In,
    Out,
}

impl Shares {
    pub(super) fn new(limits: Arc<GateLimits>) -> Self {
        let all = limits.peers_memory;
        let rooms = Rooms {
            frames: Room::new(all / 4),
            deliveries: Room::new(all / 4),
            windows: Room::new(all / 2),
        };
        Self(Arc::new(All {
            limits,
            rooms,
            departments: Mutex::default(),
            rates: Mutex::default(),
        }))
    }

    /// The share of a node that was let in.
    pub(super) fn of(
        &self,
        node: NodeNo,
        department: CreditCode,
        connection: quinn::Connection,
        now: Instant,
    ) -> Share {
        let all = &*self.0;
        let limits = &all.limits;
        let department = {
            let mut departments = all.departments.lock();
            let known = departments.get(&department).and_then(Weak::upgrade);
            known.unwrap_or_else(|| {
                departments.retain(|_, rooms| rooms.strong_count() > 0);
                let rooms = Arc::new(all.rooms.share(limits.peers_memory, PART_OF_DEPARTMENT));
                departments.insert(department, Arc::downgrade(&rooms));
                rooms
            })
        };
        let mut rates = all.rates.lock();
        let rates = rates.entry(node).or_insert_with(|| {
            Arc::new(Rates {
                questions: Mutex::new(Bucket::new(limits.questions(), now)),
                commands: Mutex::new(Bucket::new(limits.commands(), now)),
            })
        });
        Share {
            limits: Arc::clone(limits),
            rooms: department.share(limits.peers_memory, PART_OF_NODE),
            _department: department,
            rates: Arc::clone(rates),
            connection,
            publishing: Mutex::default(),
            subscribing: Mutex::default(),
        }
    }

    /// Bytes that peers make the hub hold now: frames, deliveries, windows.
    pub(super) fn taken(&self) -> [(&'static str, usize); 3] {
        let rooms = &self.0.rooms;
        [
            ("frames", rooms.frames.taken()),
            ("deliveries", rooms.deliveries.taken()),
            ("windows", rooms.windows.taken()),
        ]
    }
}

impl Rooms {
    fn share(&self, all: usize, part: usize) -> Self {
        Self {
            frames: self.frames.share(all / 4 / part),
            deliveries: self.deliveries.share(all / 4 / part),
            windows: self.windows.share(all / 2 / part),
        }
    }
}

impl Share {
    /// What bounds the frames that the node sends.
    pub(super) fn guard(&self) -> Guard {
        Guard { pace: self.limits.pace(), room: self.rooms.frames.clone() }
    }

    /// Room to make and send the next part of a delivery; waits for it in turn.
    pub(super) fn deliveries(&self) -> &Room {
        &self.rooms.deliveries
    }

    /// The node publishes: it may have more under way as long as it does.
    pub(super) fn publishes(&self) -> Widened<'_> {
        self.widen(Way::In)
    }

    /// The hub sends the node what it subscribed to: more may be under way as long as it does.
    pub(super) fn subscribes(&self) -> Widened<'_> {
        self.widen(Way::Out)
    }

    /// The node asks a question.
    ///
    /// # Errors
    /// When it asks too often.
    pub(super) fn question(&self, now: Instant) -> Result<(), Refused> {
        self.rates.questions.lock().take(now).map_err(|wait| {
            let limit = self.limits.questions_per_second;
            let detail = format!("a node may ask {limit} questions a second in the long run");
            refuse(RefusalCode::TooMany, detail, wait)
        })
    }

    /// The node gives a command, opens an epoch, sets a checkpoint or begins a delivery.
    ///
    /// # Errors
    /// When it does so too often.
    pub(super) fn command(&self, now: Instant) -> Result<(), Refused> {
        self.rates.commands.lock().take(now).map_err(|wait| {
            let limit = self.limits.commands_per_second;
            let detail = format!(
                "a node may give {limit} commands a second in the long run; new epochs, checkpoints and starts of deliveries count as such"
            );
            refuse(RefusalCode::Hasty, detail, wait)
        })
    }

    fn widen(&self, way: Way) -> Widened<'_> {
        let mut wide = self.wide(way).lock();
        wide.users += 1;
        if wide.held.is_none() {
            let more = self.window(way).saturating_sub(u64::from(BASE_WINDOW));
            let more = usize::try_from(more).unwrap_or(usize::MAX);
            // Without room the connection stays at the base window, which is slower and no more.
            wide.held = self.rooms.windows.try_take(more);
            if wide.held.is_some() {
                self.set_window(way, self.window(way));
            }
        }
        Widened { share: self, way }
    }

    fn wide(&self, way: Way) -> &Mutex<Wide> {
        match way {
            Way::In => &self.publishing,
            Way::Out => &self.subscribing,
        }
    }

    fn window(&self, way: Way) -> u64 {
        match way {
            Way::In => self.limits.connection_window.into(),
            Way::Out => self.limits.send_window,
        }
    }

    fn set_window(&self, way: Way, bytes: u64) {
        match way {
            Way::In => {
                let window = quinn::VarInt::from_u64(bytes).unwrap_or(quinn::VarInt::MAX);
                self.connection.set_receive_window(window);
            }
            Way::Out => self.connection.set_send_window(bytes),
        }
    }
}

impl Drop for Widened<'_> {
    fn drop(&mut self) {
        let mut wide = self.share.wide(self.way).lock();
        wide.users -= 1;
        if wide.users == 0 && wide.held.take().is_some() {
            self.share.set_window(self.way, BASE_WINDOW.into());
        }
    }
}

fn refuse(code: RefusalCode, detail: String, wait: std::time::Duration) -> Refused {
    let wait = u32::try_from(wait.as_millis()).unwrap_or(u32::MAX);
    Refused::new(code, detail).retry_after(wait.max(1))
}
