//! What is broken how often, in how many exchanges.

use std::fmt;
use std::num::NonZero;
use std::thread;

use anyhow::{Context, Result, ensure};

/// Rounds in which the hub is killed, unless `HUTONG_SOAK_ROUNDS` says another number.
const ROUNDS: u64 = 1_000;
/// Of the other breakdowns there are so many times fewer.
const FEWER: u64 = 5;
/// Rounds of one exchange. With many, more is found that grows from round to round; with many
/// exchanges, more chance.
const ROUNDS_OF_ONE: u64 = 125;
/// Exchanges at a time for each core, unless `HUTONG_SOAK_SIDE` says how many in all.
const SIDE_OF_CORE: usize = 2;

/// What breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaks {
    HubKilled,
    HubPower,
    AgentKilled,
    AgentPower,
}

/// How much is done.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size {
    /// Rounds of hubs that are killed.
    pub(crate) rounds: u64,
    /// Exchanges at a time.
    pub(crate) side: usize,
}

/// The rounds of one exchange.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) breaks: Breaks,
    /// Which exchange of this kind, from 1.
    number: u64,
    of: u64,
    pub(crate) rounds: u64,
}

impl Size {
    /// As the environment wants it.
    pub(crate) fn wanted() -> Result<Self> {
        let number = |name: &str| -> Result<Option<u64>> {
            let Ok(text) = std::env::var(name) else { return Ok(None) };
            let number = text.parse().with_context(|| format!("{name} is a number"))?;
            ensure!(number > 0, "{name} is 1 at least");
            Ok(Some(number))
        };
        let cores = thread::available_parallelism().map_or(1, NonZero::get);
        Ok(Self {
            rounds: number("HUTONG_SOAK_ROUNDS")?.unwrap_or(ROUNDS),
            side: match number("HUTONG_SOAK_SIDE")? {
                Some(side) => usize::try_from(side)?,
                None => cores * SIDE_OF_CORE,
            },
        })
    }
}

impl Breaks {
    /// In the order of the report.
    pub(crate) const ALL: [Self; 4] =
        [Self::HubKilled, Self::HubPower, Self::AgentKilled, Self::AgentPower];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::HubKilled => "hub killed (-9)",
            Self::HubPower => "hub's power cut",
            Self::AgentKilled => "agent killed (-9), any",
            Self::AgentPower => "agent's power cut, of a receiver",
        }
    }

    fn seed(self) -> u64 {
        match self {
            Self::HubKilled => 101,
            Self::HubPower => 102,
            Self::AgentKilled => 103,
            Self::AgentPower => 104,
        }
    }

    fn rounds(self, hub_killed: u64) -> u64 {
        match self {
            Self::HubKilled => hub_killed,
            Self::HubPower | Self::AgentKilled | Self::AgentPower => hub_killed.div_ceil(FEWER),
        }
    }

    /// The exchanges of this kind, their rounds as equal as can be.
    fn jobs(self, hub_killed: u64) -> Vec<Job> {
        let rounds = self.rounds(hub_killed);
        let of = rounds.div_ceil(ROUNDS_OF_ONE);
        let one = |at: u64| rounds / of + u64::from(at < rounds % of);
        let job = |at| Job { breaks: self, number: at + 1, of, rounds: one(at) };
        (0..of).map(job).collect()
    }
}

impl Job {
    /// Where its chance begins: another one in every exchange.
    pub(crate) fn seed(&self) -> u64 {
        self.breaks.seed() + 1_000 * self.number
    }
}

impl fmt::Display for Job {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, exchange {} of {}", self.breaks.name(), self.number, self.of)
    }
}

/// All exchanges, one of each kind before the second of any: what is wrong with one kind is found
/// early.
pub(crate) fn jobs(hub_killed: u64) -> Vec<Job> {
    let mut all: Vec<Job> = Breaks::ALL.iter().flat_map(|kind| kind.jobs(hub_killed)).collect();
    all.sort_by_key(|job| job.number);
    all
}

#[test]
fn every_round_is_in_one_exchange() {
    for rounds in [1, 6, 125, 126, 1_000] {
        let jobs = jobs(rounds);
        for kind in Breaks::ALL {
            let of_kind: Vec<_> = jobs.iter().filter(|job| job.breaks == kind).collect();
            let sum: u64 = of_kind.iter().map(|job| job.rounds).sum();
            assert_eq!(sum, kind.rounds(rounds), "{kind:?} of {rounds}");
            assert!(of_kind.iter().all(|job| (1..=ROUNDS_OF_ONE).contains(&job.rounds)));
        }
        let mut seeds: Vec<_> = jobs.iter().map(Job::seed).collect();
        seeds.sort_unstable();
        seeds.dedup();
        assert_eq!(seeds.len(), jobs.len());
    }
}
