//! Judging a damaged data folder: everything that can be read of it is compared with the undamaged one.

use std::collections::BTreeMap;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow, bail, ensure};
use hutong_hub::config::Config;
use hutong_hub::log::rocks::Opening;
use hutong_hub::log::{IncarnationRecord, PartitionId, RocksLog};
use tokio::runtime::Runtime;

use super::read::{Answers, Folder, LogRead, NowMs};
use super::stage::helps;
use super::{Damage, Stage, State, folder};

/// What was found out about a damaged folder. There is no judgement for a wrong answer: that is an
/// error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Judgement {
    /// The hub would not start, and says what to do.
    Refused,
    /// The log begins a new incarnation, and names every entry that is missing.
    Named,
    /// The log lacks its end behind the marks, as after a power cut: agents find that out when they
    /// say what they have been told.
    Torn,
    /// An entry, an answer or a key cannot be had, and whoever asks is told which.
    Found,
    /// The views do not serve, and `rebuild` makes them as they were.
    Rebuilt,
    /// Everything is as it was.
    Harmless,
}

impl Judgement {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Refused, Self::Named, Self::Torn, Self::Found, Self::Rebuilt, Self::Harmless];
}

impl fmt::Display for Judgement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "refused with words that help",
            Self::Named => "loss named, new incarnation",
            Self::Torn => "end torn behind the marks",
            Self::Found => "damaged place named when read",
            Self::Rebuilt => "views made anew",
            Self::Harmless => "harmless",
        })
    }
}

/// Judges copies of one kept state.
pub struct Judge {
    runtime: Runtime,
    config: Config,
    kept: PathBuf,
    scratch: tempfile::TempDir,
    now: NowMs,
    log: LogRead,
    keys: Answers,
    /// Answers by the heads of the log that they follow from: made anew from the log, when first needed.
    answers: BTreeMap<Vec<u64>, Answers>,
    /// What became of cuts, by what they left of the log and what was said of that; and how many there were.
    cuts: BTreeMap<(Vec<u64>, Judgement), (Judgement, u32)>,
}

/// Of the cuts that leave the same entries of the log, the views are asked at the first and at one of so many:
/// they know the log only through what opening it left, and that was compared entry by entry.
const ASKED_AGAIN: u32 = 16;

impl Judge {
    /// Reads the undamaged folder.
    ///
    /// # Errors
    /// When it cannot be read, or is not whole.
    pub fn new(stage: &Stage, state: State) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut config = Config::load(&stage.config())?;
        // What a hub sets aside for millions of rows takes longer to set aside than a case takes.
        config.log.write_buffer_bytes = 1 << 20;
        config.views.write_buffer_bytes = 1 << 20;
        config.views.block_cache_bytes = 1 << 20;
        let kept = stage.data(state);
        let scratch = scratch()?;
        let now = jiff::Timestamp::now().as_millisecond();
        let data = scratch.path().join("data");
        folder::copy(&kept, &data)?;
        let whole = Folder::new(&runtime, &config, &data);
        let (opened, log) = whole.log()?;
        ensure!(log.broken.is_empty() && log.report.began.is_none(), "not whole: {log:?}");
        let answered = whole.answers(&opened)?;
        drop(opened);
        let keys = whole.keys(now);
        if let Some(answer) = answered.iter().chain(&keys).find(|(_, answer)| answer.is_err()) {
            bail!("the undamaged folder does not answer: {answer:?}");
        }
        let (answers, cuts) = (BTreeMap::new(), BTreeMap::new());
        let mut judge = Self { runtime, config, kept, scratch, now, log, keys, answers, cuts };
        judge.answers.insert(judge.log.heads(), answered);
        Ok(judge)
    }

    /// Damages a copy and judges it.
    ///
    /// # Errors
    /// With what is wrong, when the damage has an effect that nobody is told of.
    pub fn judge(&mut self, damage: &Damage) -> Result<Judgement> {
        let data = self.scratch.path().join("data");
        folder::replace(&self.kept, &data)?;
        folder::damage(&data, damage)?;
        // A panic is a verdict like others, and the next case has nothing of it.
        catch_unwind(AssertUnwindSafe(|| self.look(&data, matches!(damage, Damage::Cut { .. }))))
            .unwrap_or_else(|panic| {
                let words = panic.downcast_ref::<String>().cloned();
                let words = words.or_else(|| panic.downcast_ref::<&str>().map(|&word| word.into()));
                Err(anyhow!("a panic: {}", words.unwrap_or_default()))
            })
            .with_context(|| damage.to_string())
    }

    fn look(&mut self, data: &Path, cut: bool) -> Result<Judgement> {
        let keys = Folder::new(&self.runtime, &self.config, data).keys(self.now);
        let of_keys = same_or_told(&self.keys, &keys)?;
        for words in keys.values().filter_map(|answer| answer.as_ref().err()) {
            let names_file = words.contains(&data.display().to_string());
            ensure!(names_file, "it is not said which file cannot be used: {words}");
        }
        let of_log = self.look_at_log(data, cut)?;
        // The one that says most: harmless only if both are.
        Ok(of_log.min(if of_keys { Judgement::Harmless } else { Judgement::Found }))
    }

    fn look_at_log(&mut self, data: &Path, cut: bool) -> Result<Judgement> {
        let folder = Folder::new(&self.runtime, &self.config, data);
        let (log, read) = match folder.log() {
            Ok(opened) => opened,
            Err(error) => return refused(&error),
        };
        let of_log = compare(&self.log, &read)?;
        if !cut {
            return self.look_at_views(data, &log, &read, of_log);
        }
        let left = (read.heads(), of_log);
        if let Some((judgement, count)) = self.cuts.get_mut(&left) {
            *count += 1;
            if !count.is_multiple_of(ASKED_AGAIN) {
                return Ok(*judgement);
            }
        }
        let judgement = self.look_at_views(data, &log, &read, of_log)?;
        let (before, _) = *self.cuts.entry(left).or_insert((judgement, 0));
        ensure!(
            before == judgement,
            "{judgement}, and {before} where the same was left of the log"
        );
        Ok(judgement)
    }

    /// What the views make of a log, with what opening it found.
    fn look_at_views(
        &mut self,
        data: &Path,
        log: &Arc<RocksLog>,
        read: &LogRead,
        of_log: Judgement,
    ) -> Result<Judgement> {
        let folder = Folder::new(&self.runtime, &self.config, data);
        let answers = folder.answers(log);
        if read.has_holes() {
            // What the log lost cannot be made anew: what is answered must be right all the same. If it
            // lost its end as well, which is named, there is nothing to compare the answers with.
            return match (answers, self.answers.get(&read.heads())) {
                (Ok(answers), Some(expected)) => same_or_told(expected, &answers).map(|_| of_log),
                (Ok(_), None) => Ok(of_log),
                (Err(error), _) => refused(&error).map(|_| of_log),
            };
        }
        if !self.answers.contains_key(&read.heads()) {
            let anew = self.scratch.path().join("anew");
            let made = folder.with_views(&anew).answers(log);
            std::fs::remove_dir_all(&anew)?;
            self.answers.insert(read.heads(), made.context("make the answers anew")?);
        }
        let told = match answers {
            Ok(answers) => same_or_told(self.expected(&read.heads())?, &answers)?,
            Err(error) => {
                let words = format!("{error:#}");
                ensure!(
                    words.contains("hutong-hub rebuild"),
                    "it does not say to rebuild: {words}"
                );
                false
            }
        };
        if told {
            return Ok(of_log);
        }
        self.anew(&folder, log, read)?;
        Ok(of_log.min(Judgement::Rebuilt))
    }

    /// Whether `hutong-hub rebuild` makes the views as they were.
    fn anew(&self, folder: &Folder<'_>, log: &Arc<RocksLog>, read: &LogRead) -> Result<()> {
        folder.rebuild(log).context("rebuild the views")?;
        let answers = folder.answers(log).context("after a rebuild")?;
        ensure!(
            same_or_told(self.expected(&read.heads())?, &answers)?,
            "after a rebuild: {answers:?}"
        );
        Ok(())
    }

    fn expected(&self, heads: &[u64]) -> Result<&Answers> {
        self.answers.get(heads).with_context(|| format!("answers of the log up to {heads:?}"))
    }
}

fn refused(error: &anyhow::Error) -> Result<Judgement> {
    let words = format!("{error:#}");
    ensure!(helps(&words), "the hub refuses without saying what to do: {words}");
    Ok(Judgement::Refused)
}

/// Whether all answers are the same; an error if one is another. One that failed was told.
fn same_or_told(expected: &Answers, found: &Answers) -> Result<bool> {
    let mut same = true;
    for (question, before) in expected {
        match found.get(question) {
            Some(Ok(now)) => {
                ensure!(Ok(now) == before.as_ref(), "{question}: {now}, before {before:?}");
            }
            Some(Err(words)) => {
                ensure!(!words.is_empty(), "{question} fails without a word");
                same = false;
            }
            None => bail!("{question} is not answered any more"),
        }
    }
    Ok(same)
}

/// Compares a log with the undamaged one: what is there must be the same, what is not must be told.
fn compare(whole: &LogRead, read: &LogRead) -> Result<Judgement> {
    ensure!(whole.entries.len() == read.entries.len(), "the log has other partitions");
    let mut judgement = Judgement::Harmless;
    let began = read.report.began.as_ref();
    for (id, (before, now)) in (0..).map(PartitionId).zip(whole.entries.iter().zip(&read.entries)) {
        ensure!(now.len() <= before.len(), "{id} has more entries than were written");
        for (offset, entry) in (1..).zip(before) {
            let place = format!("{id}/{offset}");
            match now.get(offset - 1) {
                Some(Ok(found)) => {
                    let told = broken_at_or_before(read, id, offset as u64);
                    ensure!(told || Ok(found) == entry.as_ref(), "{place} is another entry");
                }
                Some(Err(words)) => {
                    ensure!(words.contains(&place), "{place} is not named: {words}");
                    ensure!(broken_at_or_before(read, id, offset as u64), "{place} verifies");
                    judgement = judgement.min(Judgement::Found);
                }
                None if began.is_some_and(|began| names(began, id, offset as u64)) => {
                    judgement = judgement.min(Judgement::Named);
                }
                None => {
                    judgement = judgement.min(torn(read, &place)?);
                }
            }
        }
    }
    if !read.broken.is_empty() {
        judgement = judgement.min(Judgement::Found);
    }
    Ok(judgement)
}

fn broken_at_or_before(read: &LogRead, partition: PartitionId, offset: u64) -> bool {
    read.broken
        .iter()
        .any(|broken| broken.position.partition == partition && broken.position.offset.0 <= offset)
}

/// Whether the birth of an incarnation tells that an entry is gone: it says where it begins itself,
/// and names what was seen behind that. What stood at the very end may have gone unseen.
fn names(began: &IncarnationRecord, partition: PartitionId, offset: u64) -> bool {
    let first = began.start_of(partition).is_some_and(|start| start.0 <= offset);
    first && !began.missing.is_empty()
}

/// An entry that is missing and not named is the end of a log behind its marks.
fn torn(read: &LogRead, place: &str) -> Result<Judgement> {
    let fits = matches!(read.report.marks, hutong_hub::log::rocks::MarksVerdict::Fit);
    let whole = matches!(read.report.opening, Opening::Strict | Opening::Recovered { .. });
    ensure!(fits && whole, "{place} is lost without a word: {:?}", read.report);
    Ok(Judgement::Torn)
}

/// A folder in memory where there is one: thousands of copies are made.
fn scratch() -> Result<tempfile::TempDir> {
    let memory = Path::new("/dev/shm");
    let place = if memory.is_dir() { memory.to_owned() } else { std::env::temp_dir() };
    Ok(tempfile::Builder::new().prefix("hutong-damage-").tempdir_in(place)?)
}
