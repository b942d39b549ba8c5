//! A whole session of a node at the hub, and a hub's at a node: any sequence of frames, and of what happens meanwhile,
//! through the machines of [`hutong_schema::wire::order`].
//!
//! The input is a sequence of steps: a byte that says what happens, and what that needs. A frame is two bytes of
//! length and its content (kind and body), so that the golden frames are seeds as they are.

use std::collections::{BTreeMap, VecDeque};

use hutong_schema::batch::ChainHash;
use hutong_schema::limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX, REJECTIONS_MAX};
use hutong_schema::row::FieldId;
use hutong_schema::wire::order::node::{self, Acknowledged, Attending, Said};
use hutong_schema::wire::order::publish::{self, Stored, UNDER_WAY_MAX};
use hutong_schema::wire::order::{Control, Disorder, Opening, Publish, Subscribe, control};
use hutong_schema::wire::v1::publish::{Ack, RejectedRow};
use hutong_schema::wire::v1::{RefusalCode, Refused, health};

/// Payload bytes that a publish stream may have under way here: a few batches.
const CREDIT: u64 = 40;

/// Rows of a batch that are rejected when many are: two such do not fit into one acknowledgement.
const MANY: usize = REJECTIONS_MAX / 2 + 1;

/// The steps, as seeds are written with them.
pub(crate) mod step {
    pub(crate) const GREET: u8 = 0;
    pub(crate) const CONTROL: u8 = 1;
    pub(crate) const OPEN: u8 = 2;
    pub(crate) const PUBLISH: u8 = 3;
    pub(crate) const SUBSCRIBE: u8 = 4;
    pub(crate) const NODE: u8 = 5;
    pub(crate) const LET_IN: u8 = 6;
    pub(crate) const ASK: u8 = 7;
    pub(crate) const TAKEN: u8 = 8;
    pub(crate) const NOT_TAKEN: u8 = 9;
    pub(crate) const STORED: u8 = 10;
    pub(crate) const REFUSED: u8 = 11;
    pub(crate) const ACKNOWLEDGE: u8 = 12;
    pub(crate) const END: u8 = 13;
    pub(crate) const PARCEL: u8 = 14;
    pub(crate) const ANSWERED: u8 = 15;
    pub(crate) const STEPS: u8 = 16;
}

/// Plays the steps. Panics when one of these does not hold:
///
/// - no stream is served before the node was let in, and greeted is once;
/// - what is refused names a code, and everything after it is refused;
/// - nothing is acknowledged that is not stored, nothing twice as new, and never less than before;
/// - every rejected row of a stored batch is told once, in order;
/// - what is under way, asked and being answered stays within its limits;
/// - no message of a delivery is begun beyond the credit.
pub(crate) fn session(bytes: &[u8]) {
    let mut session = Session::default();
    let mut rest = Rest(bytes);
    while let Some(what) = rest.byte() {
        session.step(what % step::STEPS, &mut rest);
        session.holds();
    }
}

struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    /// A frame's content; the last one may be cut.
    fn content(&mut self) -> &'a [u8] {
        let length = usize::from(u16::from_le_bytes([
            self.byte().unwrap_or_default(),
            self.byte().unwrap_or_default(),
        ]));
        let (content, rest) = self.0.split_at(length.min(self.0.len()));
        self.0 = rest;
        content
    }
}

#[derive(Default)]
struct Session {
    control: Gate<Control<u64>>,
    greeted: bool,
    let_in: bool,
    asked: u64,
    publishing: Option<Publishing>,
    delivering: Option<Delivering>,
    attending: Gate<Attending>,
    questions: usize,
}

/// A machine, and whether it has refused.
#[derive(Default)]
struct Gate<M> {
    machine: M,
    refused: bool,
}

impl<M> Gate<M> {
    /// Once refused, always refused; a refusal names a code that fits.
    fn judge<T>(&mut self, heard: impl FnOnce(&mut M) -> Result<T, Disorder>) -> Option<T> {
        let heard = heard(&mut self.machine);
        assert!(!self.refused || heard.is_err(), "something was taken after a refusal");
        match heard {
            Ok(heard) => Some(heard),
            Err(disorder) => {
                let code = disorder.code();
                assert!(matches!(code, RefusalCode::Protocol | RefusalCode::Version));
                assert!(!disorder.to_string().is_empty());
                self.refused = true;
                None
            }
        }
    }
}

struct Publishing {
    order: Gate<Publish>,
    /// Payload bytes of the batch that is being judged.
    judging: Option<u64>,
    submitted: u64,
    /// Batches without an outcome, oldest first: their numbers and payload bytes.
    under_way: VecDeque<(u64, u64)>,
    /// Whether a batch was refused behind which nothing has to be told.
    cut: bool,
    /// What the log holds.
    stored: BTreeMap<u64, ChainHash>,
    /// Rejected rows that are to be told: batch and index.
    to_tell: VecDeque<(u64, u32)>,
    acknowledged: u64,
    told: Option<Result<(), Refused>>,
    /// What the sending side makes of it.
    sender: Acknowledged,
}

struct Delivering {
    order: Gate<Subscribe>,
    given: u128,
    sent: u128,
}

impl Session {
    fn step(&mut self, what: u8, rest: &mut Rest<'_>) {
        match what {
            step::GREET => {
                let content = rest.content();
                let hello = self.control.judge(|control| control.hello(content));
                assert!(hello.is_none() || !self.greeted, "a second greeting was taken");
                self.greeted |= hello.is_some();
            }
            step::CONTROL => self.control(rest.content()),
            step::LET_IN => {
                self.control.machine.let_in();
                self.let_in = self.greeted && !self.control.refused;
            }
            step::ASK => {
                self.asked += 1;
                let (asked, waits) = (self.asked, rest.byte().unwrap_or_default() < 128);
                let number = self.control.machine.ask(asked, |earlier| waits || *earlier % 2 == 0);
                assert!(number.is_none() || self.let_in, "a node was asked that was not let in");
            }
            step::OPEN => self.open(rest.content()),
            step::SUBSCRIBE => self.credit(rest.content()),
            step::PARCEL => self.parcel(u64::from(rest.byte().unwrap_or_default()) << 12),
            step::NODE => self.node(rest.content()),
            step::ANSWERED => {
                self.questions = self.questions.saturating_sub(1);
                self.attending.machine.answered();
            }
            _ => {
                if let Some(publishing) = &mut self.publishing {
                    publishing.step(what, rest);
                }
            }
        }
    }

    fn control(&mut self, content: &[u8]) {
        let heard = self.control.judge(|control| control.on(content));
        assert!(heard.is_none() || self.let_in, "a node was heard that was not let in");
        match heard {
            Some(control::Heard::Heartbeat(heartbeat)) => {
                assert!(heartbeat.resources.len() <= control::RESOURCES_MAX);
                let troubles = heartbeat.resources.iter().flat_map(|report| &report.trouble);
                troubles.for_each(|why| assert!(why.len() <= control::TROUBLE_BYTES_MAX));
            }
            Some(control::Heard::Health(health)) => {
                assert!(health.troubles.len() <= health::TROUBLES_MAX);
                let kept = |trouble: &health::Trouble| trouble.text.len() <= health::TEXT_BYTES_MAX;
                assert!(health.troubles.iter().all(kept));
            }
            Some(control::Heard::Answer(asker, _)) => assert!(asker <= self.asked),
            Some(control::Heard::Goodbye(_)) => self.control.refused = true,
            Some(control::Heard::Unasked | control::Heard::Roots(_)) | None => {}
        }
    }

    /// The gate takes streams from nodes that were let in.
    fn open(&mut self, content: &[u8]) {
        if !self.let_in {
            return;
        }
        match Opening::read(content) {
            Ok(Opening::Publish(_)) => self.publishing = Some(Publishing::new()),
            Ok(Opening::Subscribe(open)) => {
                if let Ok(machine) = Subscribe::new(&open) {
                    let order = Gate { machine, refused: false };
                    let given = u128::from(open.credit_bytes);
                    self.delivering = Some(Delivering { order, given, sent: 0 });
                }
            }
            Ok(
                Opening::Lookup(_)
                | Opening::Verify(_)
                | Opening::CatalogueApply(_)
                | Opening::CatalogueList(_)
                | Opening::GrantList(_),
            ) => {}
            Err(disorder) => assert_eq!(disorder.code(), RefusalCode::Protocol),
        }
    }

    fn credit(&mut self, content: &[u8]) {
        let Some(delivering) = &mut self.delivering else { return };
        if let Some(hutong_schema::wire::order::subscribe::Heard::Credit(_)) =
            delivering.order.judge(|order| order.on(content))
        {
            let credit: hutong_schema::wire::v1::subscribe::Credit =
                hutong_schema::wire::frame::expect(content).unwrap();
            delivering.given += u128::from(credit.bytes);
        }
    }

    fn parcel(&mut self, payload: u64) {
        let Some(delivering) = &mut self.delivering else { return };
        if delivering.order.machine.may_send() {
            assert!(delivering.sent < delivering.given, "a message is begun beyond the credit");
            assert!(!delivering.order.refused);
            delivering.order.machine.sent(payload);
            delivering.sent += u128::from(payload);
        }
    }

    fn node(&mut self, content: &[u8]) {
        match self.attending.judge(|attending| attending.on(content)) {
            Some(Said::Ask(_)) => self.questions += 1,
            Some(Said::Goodbye(_) | Said::Refused(_)) => self.attending.refused = true,
            Some(Said::Reply(_) | Said::GrantsChanged | Said::Roots(_) | Said::Republish(_))
            | None => {}
        }
    }

    /// What holds after every step.
    fn holds(&self) {
        let control = &self.control.machine;
        assert!(control.questions() <= control::QUESTIONS_MAX);
        assert!(control.limit().is_none_or(|bytes| bytes <= CONTROL_FRAME_BYTES_MAX));
        assert!(!self.control.refused || control.limit().is_none());
        assert!(self.questions <= node::QUESTIONS_MAX);
        let asking = self.attending.machine.limit().is_some();
        assert!(!asking || self.questions < node::QUESTIONS_MAX);
        if let Some(publishing) = &self.publishing {
            publishing.holds();
        }
        if let Some(delivering) = &self.delivering {
            let order = &delivering.order;
            assert!(
                !order.refused || (order.machine.limit().is_none() && !order.machine.may_send())
            );
        }
    }
}

impl Publishing {
    fn new() -> Self {
        Self {
            order: Gate { machine: Publish::new(CREDIT), refused: false },
            judging: None,
            submitted: 0,
            cut: false,
            under_way: VecDeque::new(),
            stored: BTreeMap::new(),
            to_tell: VecDeque::new(),
            acknowledged: 0,
            told: None,
            sender: Acknowledged::new(0),
        }
    }

    fn step(&mut self, what: u8, rest: &mut Rest<'_>) {
        let order = &mut self.order.machine;
        match what {
            step::PUBLISH => self.frame(rest.content()),
            step::TAKEN => {
                order.taken();
                if let Some(bytes) = self.judging.take() {
                    self.submitted += 1;
                    self.sender.sent(self.submitted);
                    self.under_way.push_back((self.submitted, bytes));
                }
            }
            step::NOT_TAKEN => {
                self.judging = None;
                order.not_taken(Refused::new(RefusalCode::Busy, "full"));
            }
            step::STORED => self.outcome(true, rest.byte().unwrap_or_default()),
            step::REFUSED => self.outcome(false, 0),
            step::ACKNOWLEDGE => {
                while let Some(ack) = self.order.machine.ack() {
                    self.acknowledge(&ack);
                }
            }
            step::END => {
                self.judging = None;
                order.end();
            }
            _ => {}
        }
        if self.told.is_none() {
            self.told = self.order.machine.ended();
        }
    }

    /// A frame comes; the loop reads none while there is no room, a sender may send it all the same.
    fn frame(&mut self, content: &[u8]) {
        if !self.order.refused {
            if self.order.machine.limit().is_none() {
                return;
            }
            let bytes: u64 = self.under_way.iter().map(|(_, bytes)| bytes).sum();
            assert!(self.judging.is_none(), "a batch is read while another is judged");
            assert!(bytes < CREDIT && self.under_way.len() < UNDER_WAY_MAX, "no room is left");
        }
        match self.order.judge(|order| order.on(content)) {
            Some(publish::Heard::Batch(batch)) => {
                assert!(batch.payload.len() <= content.len());
                self.judging = Some(batch.payload.len() as u64);
            }
            Some(publish::Heard::Close) => {}
            // Nothing more is taken; what is under way is told first.
            None => self.judging = None,
        }
    }

    /// What became of the oldest batch. It may be the repeat of an older one.
    fn outcome(&mut self, stored: bool, pick: u8) {
        if !self.order.machine.has_room() {
            return;
        }
        let Some((seq, _)) = self.under_way.pop_front() else {
            panic!("an outcome of nothing is awaited")
        };
        let seq = if pick & 1 == 1 { seq.div_ceil(2) } else { seq };
        if !stored {
            self.cut = true;
            return self.order.machine.outcome(Err(Refused::new(RefusalCode::Gap, "a gap")));
        }
        let rejected = match pick >> 6 {
            0 => 0,
            1 | 2 => usize::from(pick >> 1),
            _ => MANY,
        };
        let row = |index| RejectedRow { seq, index, field: FieldId(1), reason: 1 };
        let chain = [seq as u8; 32];
        self.stored.insert(seq, chain);
        self.to_tell.extend((0..rejected as u32).map(|index| (seq, index)));
        let rejected = (0..rejected as u32).map(row).collect();
        self.order.machine.outcome(Ok(Stored { seq, chain, rejected }));
    }

    fn acknowledge(&mut self, ack: &Ack) {
        assert!(self.told.is_none(), "acknowledged behind the end");
        assert_eq!(self.stored.get(&ack.stored_through), Some(&ack.chain), "not stored");
        assert!(ack.stored_through >= self.acknowledged, "an acknowledgement goes back");
        assert!(ack.rejected.len() <= REJECTIONS_MAX);
        for row in &ack.rejected {
            assert_eq!(self.to_tell.pop_front(), Some((row.seq, row.index)));
        }
        self.acknowledged = ack.stored_through;
        self.sender.on(ack).unwrap();
    }

    fn holds(&self) {
        let order = &self.order.machine;
        let (batches, bytes) = order.under_way();
        assert!(batches <= self.under_way.len());
        assert!(batches <= UNDER_WAY_MAX);
        assert!(bytes < CREDIT + FRAME_BYTES_MAX as u64);
        if let Some(ended) = order.ended() {
            assert!(order.limit().is_none() && !order.takes() && !order.has_room());
            let told = self.under_way.is_empty() || self.cut;
            assert!(told, "what became of a batch was not told");
            assert!(self.told.as_ref().is_none_or(|told| *told == ended));
            if !self.cut {
                assert!(self.to_tell.is_empty(), "rejected rows were not told");
                let last = self.stored.keys().next_back();
                assert_eq!(self.acknowledged, last.copied().unwrap_or(0));
            }
        }
    }
}
