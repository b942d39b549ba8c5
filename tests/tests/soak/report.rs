//! SOAK.md.

use std::fmt::Write as _;
use std::time::Duration;

use anyhow::Result;
use hutong_tests::city::Scale;
use hutong_tests::harness::host;
use hutong_tests::powercut::Discarded;

use super::breakdown::SYNC_TAKES;
use super::exchange::LATEST_MS;
use super::plan::{Breaks, Size};

/// The sums of one kind of breakdown.
#[derive(Clone, Debug, Default)]
pub(crate) struct Sums {
    /// Exchanges that are in these sums.
    exchanges: u64,
    pub(crate) rounds: u64,
    /// Changes that the hub stored and acknowledged, each counted once.
    pub(crate) acknowledged: u64,
    pub(crate) discarded: Discarded,
    /// The hub's times from its start to ready, where it was the hub that broke.
    pub(crate) starts: Vec<Duration>,
    /// From the breakdown to equal digests.
    pub(crate) agreements: Vec<Duration>,
    pub(crate) took: Duration,
    /// What the last comparison said.
    pub(crate) verdict: String,
}

/// The sums of all kinds, in the order of [`Breaks::ALL`].
#[derive(Debug, Default)]
pub(crate) struct Totals([Sums; Breaks::ALL.len()]);

impl Totals {
    /// Adds what one exchange passed.
    pub(crate) fn add(&mut self, breaks: Breaks, one: Sums) {
        let kinds = Breaks::ALL.into_iter().zip(&mut self.0);
        for (_, sums) in kinds.filter(|(kind, _)| *kind == breaks) {
            sums.exchanges += 1;
            sums.rounds += one.rounds;
            sums.acknowledged += one.acknowledged;
            sums.discarded.files += one.discarded.files;
            sums.discarded.bytes += one.discarded.bytes;
            sums.discarded.names += one.discarded.names;
            sums.starts.extend(&one.starts);
            sums.agreements.extend(&one.agreements);
            sums.took += one.took;
            sums.verdict.clone_from(&one.verdict);
        }
    }
}

/// The whole page.
pub(crate) fn note(totals: &Totals, size: Size, took: Duration) -> Result<String> {
    let city = Scale::Small.totals();
    let mut note = String::from("# Soak\n\nWritten by `make soak`.\n\n");
    writeln!(note, "Machine: {}.\n", host::describe(&std::env::temp_dir()))?;
    writeln!(
        note,
        "The reference city at a hundredth of its rows: {} units, {} nodes, {} entries, {} rows, \
         five subscriptions. {} such\nexchanges, each with its own hub, agents and chance, {} of \
         them at a time, all on this machine: {:.0} minutes. In each round\nup to 40 files change; \
         then something breaks: in every other round at a random moment within {LATEST_MS} ms, \
         else at once when\nthe hub's log grows. At a power cut every write that no sync had \
         covered is taken back, and every sync takes {} ms longer\nthan the disk needs. A round is \
         passed when\n\n\
         - the hub still has every batch and log entry that it had shown, in the same incarnation \
         of its log;\n\
         - source files, hub and the subscribers' files hold the same, proved from bytes on disk by \
         another process;\n\
         - no publication had to begin a new epoch, which would heal, and hide, a loss.\n\n\
         After an exchange's last round the log's chain is verified; no batch stands in it twice; \
         no change stands twice in a\nsubscriber's file (looked at where all fields are granted); no \
         agent had to be delivered anew what it had confirmed. The\nsoak fails at the first round \
         that loses or doubles a row, so these columns can only say 0. The changes include the\n\
         first load of each exchange.\n\nAgents learn that a hub was killed when they next send \
         something: at the latest after 4 s, at their next sign of life. Their\nnext dial is within \
         0.2 s if the connection had lasted a second, else within 0.4 s, 0.8 s and so on.\n",
        city.units,
        city.nodes,
        city.entries,
        city.rows,
        totals.0.iter().map(|sums| sums.exchanges).sum::<u64>(),
        size.side,
        took.as_secs_f32() / 60.0,
        SYNC_TAKES.as_millis(),
    )?;
    note.push_str("| what breaks | rounds | exchanges | changes acknowledged | lost | doubled | unsynced: bytes, names taken back | hub ready after: median, slowest | equal after: median, slowest | one exchange took |\n");
    note.push_str("| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |\n");
    let mut verdicts = String::new();
    for (kind, sums) in Breaks::ALL.into_iter().zip(&totals.0) {
        writeln!(
            note,
            "| {} | {} | {} | {} | 0 | 0 | {}, {} | {} | {} | {:.0} s |",
            kind.name(),
            sums.rounds,
            sums.exchanges,
            sums.acknowledged,
            sums.discarded.bytes,
            sums.discarded.names,
            spread(&sums.starts),
            spread(&sums.agreements),
            sums.took.as_secs_f64() / sums.exchanges.max(1) as f64
        )?;
        let verdict = sums.verdict.lines().last().unwrap_or_default();
        writeln!(verdicts, "- {}: {verdict}", kind.name())?;
    }
    writeln!(note, "\nThe last comparison of each:\n\n{}", verdicts.trim_end())?;
    Ok(note)
}

/// Median and slowest.
fn spread(times: &[Duration]) -> String {
    let mut times = times.to_vec();
    times.sort_unstable();
    match (times.get(times.len() / 2), times.last()) {
        (Some(median), Some(slowest)) => {
            format!("{:.1} s, {:.1} s", median.as_secs_f32(), slowest.as_secs_f32())
        }
        _ => "–".to_owned(),
    }
}
