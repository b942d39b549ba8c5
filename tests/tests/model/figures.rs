//! What happened in the histories that were played.

use std::collections::BTreeMap;

use hutong_agent::sinks::Begin;
use hutong_schema::wire::v1::Refused;

/// Counts over histories.
#[derive(Clone, Debug, Default)]
pub(crate) struct Figures {
    pub(crate) histories: u64,
    pub(crate) steps: u64,
    /// Ends of the hub and of agents, by kind.
    pub(crate) ends: BTreeMap<&'static str, u64>,
    /// Commits of received rows that were cut off in the middle.
    pub(crate) cut_commits: u64,
    /// Connections that broke with messages under way.
    pub(crate) broken: u64,
    /// Batches that waited for the hub's disk when it ended, and so were lost.
    pub(crate) lost_batches: u64,
    /// Starts of the hub after a lie of its disk that lacked something, known to the marks or not.
    pub(crate) lies: BTreeMap<&'static str, u64>,
    pub(crate) sent: u64,
    /// Batches that the hub had already.
    pub(crate) repeats: u64,
    /// Messages that the hub took after their connection was gone.
    pub(crate) late: u64,
    /// Times that the hub did not read a message: no credit was left, or a refusal waited to be told.
    pub(crate) unread: u64,
    /// Times that the hub had something for a subscriber and no credit.
    pub(crate) credit_used_up: u64,
    pub(crate) acknowledged: u64,
    pub(crate) rejected: u64,
    pub(crate) epochs: u64,
    pub(crate) stood_still: u64,
    pub(crate) mapped_again: u64,
    /// Refusals of the hub, by code.
    pub(crate) refusals: BTreeMap<u16, u64>,
    pub(crate) told: u64,
    pub(crate) taken: u64,
    pub(crate) marks: u64,
    pub(crate) withdrawn: u64,
    /// Deliveries that began: with the tail, with an unfinished snapshot, anew.
    pub(crate) begun: BTreeMap<&'static str, u64>,
    /// Comparisons of what a subscriber holds on its disk.
    pub(crate) checks: u64,
}

impl Figures {
    pub(crate) fn refused(&mut self, refused: &Refused) {
        *self.refusals.entry(refused.code).or_default() += 1;
    }

    pub(crate) fn began(&mut self, begun: Begin) {
        let how = match begun {
            Begin::Live => "tail",
            Begin::Staged => "resumed snapshot",
            Begin::Fresh => "snapshot",
        };
        *self.begun.entry(how).or_default() += 1;
    }

    pub(crate) fn ended(&mut self, how: &'static str) {
        *self.ends.entry(how).or_default() += 1;
    }

    pub(crate) fn add(&mut self, other: &Self) {
        let sum = |into: &mut BTreeMap<_, u64>, from: &BTreeMap<&'static str, u64>| {
            from.iter().for_each(|(name, count)| *into.entry(*name).or_default() += count);
        };
        sum(&mut self.ends, &other.ends);
        sum(&mut self.lies, &other.lies);
        sum(&mut self.begun, &other.begun);
        for (code, count) in &other.refusals {
            *self.refusals.entry(*code).or_default() += count;
        }
        for (into, from) in [
            (&mut self.histories, other.histories),
            (&mut self.steps, other.steps),
            (&mut self.cut_commits, other.cut_commits),
            (&mut self.broken, other.broken),
            (&mut self.lost_batches, other.lost_batches),
            (&mut self.sent, other.sent),
            (&mut self.repeats, other.repeats),
            (&mut self.late, other.late),
            (&mut self.unread, other.unread),
            (&mut self.credit_used_up, other.credit_used_up),
            (&mut self.acknowledged, other.acknowledged),
            (&mut self.rejected, other.rejected),
            (&mut self.epochs, other.epochs),
            (&mut self.stood_still, other.stood_still),
            (&mut self.mapped_again, other.mapped_again),
            (&mut self.told, other.told),
            (&mut self.taken, other.taken),
            (&mut self.marks, other.marks),
            (&mut self.withdrawn, other.withdrawn),
            (&mut self.checks, other.checks),
        ] {
            *into += from;
        }
    }

    /// As lines of a table.
    pub(crate) fn table(&self) -> String {
        let by = |map: &BTreeMap<&'static str, u64>| {
            let parts: Vec<_> = map.iter().map(|(name, count)| format!("{name} {count}")).collect();
            parts.join(", ")
        };
        let refusals: Vec<_> =
            self.refusals.iter().map(|(code, count)| format!("HT-{code} {count}")).collect();
        let rows = [
            ("histories", self.histories.to_string()),
            ("steps", self.steps.to_string()),
            ("ends of hub and agents", by(&self.ends)),
            ("commits of a subscriber cut in the middle", self.cut_commits.to_string()),
            ("connections that broke", self.broken.to_string()),
            ("batches lost before they were durable", self.lost_batches.to_string()),
            ("durable ends of the log lost", by(&self.lies)),
            ("batches sent", self.sent.to_string()),
            ("of them repeats", self.repeats.to_string()),
            ("messages taken after their connection was gone", self.late.to_string()),
            ("messages left unread for a while", self.unread.to_string()),
            ("batches acknowledged to their agents", self.acknowledged.to_string()),
            ("rows rejected by the hub", self.rejected.to_string()),
            ("epochs begun", self.epochs.to_string()),
            ("publications that stood still", self.stood_still.to_string()),
            ("sources mapped again", self.mapped_again.to_string()),
            ("refusals", refusals.join(", ")),
            ("messages told to subscribers", self.told.to_string()),
            ("times that a delivery waited for credit", self.credit_used_up.to_string()),
            ("deliveries begun", by(&self.begun)),
            ("checkpoints compared", self.marks.to_string()),
            ("grants that ended while held", self.withdrawn.to_string()),
            ("files of subscribers compared", self.checks.to_string()),
        ];
        rows.map(|(name, value)| format!("| {name} | {value} |\n")).concat()
    }
}
