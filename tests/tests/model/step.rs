//! What can happen, and how often.

use proptest::prelude::*;

/// How a hub ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum HubEnd {
    /// In good order.
    Stopped,
    /// Killed: what no sync covered is gone.
    Killed,
    /// Killed, and its views' folder is gone.
    ViewsLost,
    /// Killed, and the disk lied: so many bytes of the log's end are gone although they were synced. Its
    /// marks are older than that: only the peers can know.
    Cut(u16),
    /// As before, but the marks know what is missing.
    CutBelowMarks(u16),
}

/// How an agent ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum AgentEnd {
    /// Killed between two steps.
    Killed,
    /// Killed; what stood in received files without having been synced is gone.
    PowerCut,
    /// Killed in the middle of making a subscription durable: so many of its writes were done.
    InCommit(u8),
    /// Its store is gone.
    StoreLost,
    /// Its folder is brought back as it was at the last backup.
    Restored,
}

/// One step of a history. Numbers pick one of what there is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// The source's rows change: key, and the seed of its row or nothing.
    Edit { publication: u8, rows: Vec<(u8, Option<u8>)> },
    /// The source is read.
    Scan { publication: u8 },
    /// A person says that what the source shows, or this machine, is right.
    Confirm { publication: u8 },
    /// What was sent is acknowledged; then the source changes and is read: the outbox holds something.
    Fill { publication: u8, rows: Vec<(u8, Option<u8>)> },
    /// Batches get into the outbox past the scan, also with rows that the hub rejects, as if its rules were
    /// stricter than the agent's.
    Append { publication: u8, batches: u8, bad: bool },
    /// An agent's connection comes up.
    Connect { agent: u8 },
    /// It breaks, perhaps in the middle of sending: what is under way is lost for the agent; the hub may still
    /// take some of it.
    Disconnect { agent: u8, sending: bool },
    /// A publish stream is opened.
    Publish { publication: u8 },
    /// So many batches are sent.
    Send { publication: u8, batches: u8 },
    /// The hub takes so many messages of a publish stream.
    HubTakes { publication: u8, messages: u8 },
    /// The agent takes so many messages of a publish stream.
    AgentTakes { publication: u8, messages: u8 },
    /// Everything in the outbox is sent, and taken by the hub or not yet; nothing is acknowledged.
    Upload { publication: u8, taken: bool },
    /// The hub takes a message of a stream whose connection is gone.
    Late { stream: u8 },
    /// The hub's disk has done what waits for it.
    Sync,
    /// The views apply what is in the log.
    Apply,
    /// What the views hold goes into files.
    Flush,
    /// A subscribe stream is opened.
    Subscribe { subscription: u8 },
    /// The hub tells so many messages of a subscription.
    Tell { subscription: u8, messages: u8 },
    /// The agent takes so many messages of a subscription.
    Receive { subscription: u8, messages: u8 },
    /// So many messages come to a subscriber, which does not make them durable yet.
    Pour { subscription: u8, messages: u8 },
    /// The agent makes durable what it received.
    Commit { subscription: u8 },
    /// Everything of a publication goes to the hub and back.
    Exchange { publication: u8 },
    /// Everything that there is comes to a subscriber.
    Follow { subscription: u8 },
    /// Everybody does once what is due.
    All,
    /// Two machines with one state: one sends and is gone, the other one is a copy of it from before, with
    /// another source. What the first one sent comes before or behind what the second one sends.
    Twins { publication: u8, rows: Vec<(u8, Option<u8>)>, first_wins: bool },
    /// A snapshot begins, breaks off behind its first part while the sources change, and goes on.
    Interrupt { subscription: u8 },
    /// The hub ends, perhaps while batches wait for its disk, and is started again.
    Hub { end: HubEnd, busy: bool },
    /// An agent ends and is started again.
    Agent { agent: u8, end: AgentEnd },
    /// An agent's folder is copied.
    Backup { agent: u8 },
    /// The next day begins.
    NextDay,
    /// A grant is made.
    Grant { grant: u8 },
    /// A grant ends.
    Withdraw { subscription: u8 },
    /// A resource gets another schema.
    Schema { publication: u8 },
}

fn hub_end() -> impl Strategy<Value = HubEnd> {
    prop_oneof![
        2 => Just(HubEnd::Stopped),
        4 => Just(HubEnd::Killed),
        1 => Just(HubEnd::ViewsLost),
        1 => (1u16..4_000).prop_map(HubEnd::Cut),
        1 => (1u16..4_000).prop_map(HubEnd::CutBelowMarks),
    ]
}

fn agent_end() -> impl Strategy<Value = AgentEnd> {
    prop_oneof![
        3 => Just(AgentEnd::Killed),
        2 => Just(AgentEnd::PowerCut),
        4 => (1u8..4).prop_map(AgentEnd::InCommit),
        1 => Just(AgentEnd::StoreLost),
        2 => Just(AgentEnd::Restored),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let p = || 0u8..3;
    let edit = (0u8..6, prop::option::weighted(0.8, 0u8..36));
    prop_oneof![
        8 => (p(), prop::collection::vec(edit.clone(), 1..5))
            .prop_map(|(publication, rows)| Step::Edit { publication, rows }),
        6 => p().prop_map(|publication| Step::Scan { publication }),
        2 => p().prop_map(|publication| Step::Confirm { publication }),
        8 => (p(), prop::collection::vec(edit.clone(), 1..5))
            .prop_map(|(publication, rows)| Step::Fill { publication, rows }),
        3 => (p(), 1u8..4, any::<bool>())
            .prop_map(|(publication, batches, bad)| Step::Append { publication, batches, bad }),
        3 => p().prop_map(|agent| Step::Connect { agent }),
        4 => (p(), any::<bool>())
            .prop_map(|(agent, sending)| Step::Disconnect { agent, sending }),
        5 => p().prop_map(|publication| Step::Publish { publication }),
        6 => (p(), 1u8..3).prop_map(|(publication, batches)| Step::Send { publication, batches }),
        8 => (p(), 1u8..4)
            .prop_map(|(publication, messages)| Step::HubTakes { publication, messages }),
        6 => (p(), 1u8..4)
            .prop_map(|(publication, messages)| Step::AgentTakes { publication, messages }),
        8 => (p(), any::<bool>())
            .prop_map(|(publication, taken)| Step::Upload { publication, taken }),
        4 => any::<u8>().prop_map(|stream| Step::Late { stream }),
        5 => Just(Step::Sync),
        8 => Just(Step::Apply),
        1 => Just(Step::Flush),
        6 => any::<u8>().prop_map(|subscription| Step::Subscribe { subscription }),
        8 => (any::<u8>(), 1u8..4)
            .prop_map(|(subscription, messages)| Step::Tell { subscription, messages }),
        8 => (any::<u8>(), 1u8..4)
            .prop_map(|(subscription, messages)| Step::Receive { subscription, messages }),
        8 => (any::<u8>(), 2u8..5)
            .prop_map(|(subscription, messages)| Step::Pour { subscription, messages }),
        5 => any::<u8>().prop_map(|subscription| Step::Commit { subscription }),
        8 => p().prop_map(|publication| Step::Exchange { publication }),
        6 => any::<u8>().prop_map(|subscription| Step::Follow { subscription }),
        2 => (p(), prop::collection::vec(edit, 1..3), any::<bool>()).prop_map(
            |(publication, rows, first_wins)| Step::Twins { publication, rows, first_wins }
        ),
        2 => any::<u8>().prop_map(|subscription| Step::Interrupt { subscription }),
        2 => Just(Step::All),
        3 => (hub_end(), any::<bool>()).prop_map(|(end, busy)| Step::Hub { end, busy }),
        4 => (p(), agent_end()).prop_map(|(agent, end)| Step::Agent { agent, end }),
        2 => p().prop_map(|agent| Step::Backup { agent }),
        1 => Just(Step::NextDay),
        1 => (0u8..4).prop_map(|grant| Step::Grant { grant }),
        1 => any::<u8>().prop_map(|subscription| Step::Withdraw { subscription }),
        1 => p().prop_map(|publication| Step::Schema { publication }),
    ]
}

/// A whole history. Most begin with an exchange that holds something already.
pub(crate) fn history() -> impl Strategy<Value = Vec<Step>> {
    let rows = prop::collection::vec((0u8..6, (0u8..36).prop_map(Some)), 3..8);
    let filled = prop::option::weighted(0.8, prop::collection::vec(rows, 3));
    (filled, prop::collection::vec(step(), 40..120)).prop_map(|(filled, steps)| {
        let mut history = Vec::new();
        if let Some(filled) = filled {
            for (publication, rows) in (0u8..).zip(filled) {
                history.push(Step::Edit { publication, rows });
            }
            history.push(Step::All);
        }
        history.extend(steps);
        history
    })
}
