//! The exchange that is damaged: small, but with everything in it that a data folder can hold.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use hutong_schema::library::LibraryId;

use super::{Damage, folder};
use crate::harness::exchange::{SOON, Wish, issue_sheet};
use crate::harness::hub::NOTICES_SOON;
use crate::harness::rows::{csv, people};
use crate::harness::run::Ran;
use crate::harness::wait::until_true;
use crate::harness::{Exchange, entries, until};

/// Rows of each of the two files.
const ROWS: usize = 200;
/// Changes of the files after the last start; together they make the live log longer than what is
/// cut of it.
const ROUNDS: usize = 6;
/// The file of marks beside the log.
const MARKS: &str = "log.marks";
/// Longer than the hub takes to write changed marks.
const MARKS_EVERY: Duration = Duration::from_millis(1_200);
/// How long a hub may take to refuse, or to be ready.
const ANSWERS_WITHIN: Duration = Duration::from_secs(60);

/// How the hub had ended when the folder was copied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Asked to.
    Stopped,
    /// As `kill -9` does it, its marks a little behind.
    Killed,
}

/// An exchange with copies of all its folders.
#[derive(Debug)]
pub struct Stage {
    exchange: Exchange,
    /// Files of the log that the last changes went to, relative to the data folder.
    live: Vec<PathBuf>,
}

/// What became of a hub and its agents on a damaged folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Played {
    /// The hub did not start, and said this.
    Refused(String),
    /// It did not start or broke off and said so; after `hutong-hub rebuild` all places were equal.
    Rebuilt(String),
    /// All places were equal, and `verify-log` named the damaged entry in these words.
    Found(String),
    /// All places were equal in the end, and the hub had said this about its log, if anything.
    Equal(String),
}

impl Stage {
    /// Makes the exchange: two resources, one of them in a library, a subscriber of both, questions,
    /// unused tokens; a restart, so that the log and the views have files of all kinds; then changes.
    ///
    /// # Errors
    /// When something of it does not succeed.
    pub fn build() -> Result<Self> {
        let mut exchange = Exchange::new()?;
        exchange.hub.set(NOTICES_SOON)?;
        exchange.hub.start()?;
        let publisher = entries::department_code(0)?;
        let bound = entries::bound("101001/000001", publisher, LibraryId::POPULATION, 10)?;
        let own = entries::people("301001/000001", publisher)?;
        let machine = exchange.department("publisher")?;
        machine.publish("n1", &bound, "bound.csv")?;
        machine.publish("n2", &own, "own.csv")?;
        exchange.department("subscriber")?.subscribe("s1", "all");
        write(&exchange, 0)?;
        exchange.run(0)?;
        exchange.run(1)?;
        exchange.rows(&own.code, ROWS as u64, SOON)?;
        let adults = Wish { target: "population", fields: &["xm"], filter: "age(csrq) >= 18" };
        exchange.grant(1, &adults)?;
        exchange.grant(1, &Wish { target: "301001/000001", ..Wish::default() })?;
        exchange.equal(SOON)?;
        for row in people(3)? {
            exchange.hub.lookup("population", &row.sfzh)?;
        }
        let unused = exchange.path("unused.csv");
        fs::write(&unused, format!("department,department_name,node\n{publisher},示例局,n9\n"))?;
        issue_sheet(&exchange.hub, &unused, &exchange.path("unused-tokens.csv"))?;
        exchange.hub.stop()?;
        exchange.hub.start()?;
        let mut stage = Self { exchange, live: Vec::new() };
        stage.keep()?;
        Ok(stage)
    }

    /// Changes, and copies in both states.
    fn keep(&mut self) -> Result<()> {
        let exchange = &mut self.exchange;
        let (data, before) = (exchange.hub.data(), exchange.path("before"));
        for round in 1..ROUNDS {
            write(exchange, round)?;
            exchange.equal(SOON)?;
            if round == ROUNDS - 2 {
                marks_rest(&data.join(MARKS))?;
                folder::copy(&data, &before)?;
            }
        }
        exchange.machines.iter_mut().try_for_each(|machine| machine.stop())?;
        exchange.hub.kill()?;
        let killed = folder_of(exchange, State::Killed);
        copy_all(exchange, &killed)?;
        // What a process that dies within a second of its last write leaves: marks of before it.
        fs::copy(before.join(MARKS), killed.join("hub").join(MARKS)).context("copy older marks")?;
        exchange.hub.start()?;
        exchange.machines.iter_mut().try_for_each(|machine| machine.start())?;
        exchange.equal(SOON)?;
        write(exchange, ROUNDS)?;
        exchange.equal(SOON)?;
        exchange.machines.iter_mut().try_for_each(|machine| machine.stop())?;
        exchange.hub.stop()?;
        let stopped = folder_of(exchange, State::Stopped);
        copy_all(exchange, &stopped)?;
        self.live = folder::changed(&before, &killed.join("hub"))?;
        // Words for people are no part of the log.
        self.live.retain(|file| file.starts_with("log") && !file.ends_with("LOG"));
        ensure!(!self.live.is_empty(), "the last change of the killed hub is in no file");
        Ok(())
    }

    /// The hub's data folder as it was kept.
    pub fn data(&self, state: State) -> PathBuf {
        folder_of(&self.exchange, state).join("hub")
    }

    /// The hub's configuration.
    pub fn config(&self) -> PathBuf {
        self.exchange.hub.config()
    }

    /// The live files of the killed log.
    pub fn live(&self) -> &[PathBuf] {
        &self.live
    }

    /// Keeps the exchange's folder only if `test` fails.
    ///
    /// # Errors
    /// The test's.
    pub fn done(self) -> Result<()> {
        self.exchange.play(|_| Ok(()))
    }

    /// Puts everything back as it was kept, damages one place, and starts hub and agents.
    ///
    /// # Errors
    /// When the hub neither refuses with words that help nor brings all places together, when it says
    /// nothing of a log that lost something, or its log is not sound in the end.
    pub fn play(&mut self, state: State, damage: Option<&Damage>) -> Result<Played> {
        let kept = folder_of(&self.exchange, state);
        folder::replace(&kept.join("hub"), &self.exchange.hub.data())?;
        for machine in &self.exchange.machines {
            folder::replace(&kept.join(&machine.name), &machine.path(""))?;
        }
        if let Some(damage) = damage {
            folder::damage(&self.exchange.hub.data(), damage)?;
        }
        let played = self.run();
        let ended = self.end();
        let played = played?;
        ended?;
        Ok(played)
    }

    fn run(&mut self) -> Result<Played> {
        let said_from = self.said(0).map_or(0, |said| said.len());
        self.exchange.hub.launch()?;
        if let Err(error) = self.exchange.hub.ready() {
            let said = self.refusal(said_from, &error)?;
            if !said.contains("hutong-hub rebuild") {
                ensure!(helps(&said), "the hub does not say what to do: {said}");
                return Ok(Played::Refused(said));
            }
            return self.after_rebuild(said);
        }
        self.exchange.machines.iter_mut().try_for_each(|machine| machine.start())?;
        match self.equal() {
            Ok(()) => {
                self.exchange.hub.stop()?;
                let verified = self.exchange.hub.command(["verify-log"])?;
                if !verified.success {
                    // An old entry that nobody needed to read.
                    ensure!(verified.out.contains("broken: "), "verify the log: {}", verified.err);
                    return Ok(Played::Found(verified.out));
                }
                Ok(Played::Equal(self.said(said_from)?))
            }
            Err(error) => {
                // Rows that newer ones replaced are met by whoever walks over all of them, not by
                // questions: then the proof is told, which reads with the hub's functions.
                self.ask_for_all();
                let said = self.refusal(said_from, &error)?;
                let told = format!("{said}{error:#}").contains("hutong-hub rebuild");
                ensure!(told, "not all places are equal, and nobody is told why: {error:#}");
                self.after_rebuild(said)
            }
        }
    }

    /// Asks for every row until one is not answered.
    fn ask_for_all(&self) {
        let keys = people(ROWS + ROUNDS + 1).unwrap_or_default().into_iter().map(|row| row.sfzh);
        let mut questions = keys.flat_map(|key| {
            [("301001/000001", key.clone()), ("101001/000001", key.clone()), ("population", key)]
        });
        let _ = questions.find(|(target, key)| self.exchange.hub.lookup(target, key).is_err());
    }

    fn after_rebuild(&mut self, said: String) -> Result<Played> {
        self.exchange.machines.iter_mut().try_for_each(|machine| machine.kill())?;
        self.exchange.hub.kill()?;
        self.exchange.hub.command(["rebuild"])?.ok().context("rebuild")?;
        self.exchange.hub.start()?;
        self.exchange.machines.iter_mut().try_for_each(|machine| machine.start())?;
        self.equal()?;
        Ok(Played::Rebuilt(said))
    }

    /// Waits until all places are equal, the hub has ended, or rows of its views cannot be read.
    fn equal(&mut self) -> Result<()> {
        let mut last = String::new();
        let within = ANSWERS_WITHIN;
        let waited = until(within, "all digests are equal, or the hub has ended", || {
            let ended =
                self.exchange.hub.process().is_none_or(|hub| !matches!(hub.ended(), Ok(None)));
            if ended {
                return Ok(Some(false));
            }
            if self.exchange.hub.flush().is_err() {
                return Ok(None);
            }
            let Ran { success, out, err } = self.exchange.prove()?;
            last = format!("{out}{err}");
            let unreadable = last.contains("the hub's rows of");
            Ok(if unreadable { Some(false) } else { success.then_some(true) })
        });
        ensure!(
            waited.with_context(|| last.clone())?,
            "the hub ended, or cannot read its rows: {last}"
        );
        Ok(())
    }

    fn refusal(&self, from: usize, error: &anyhow::Error) -> Result<String> {
        let said = self.said(from)?;
        ensure!(
            !said.contains("panicked") && !said.contains("a panic"),
            "the hub panicked: {said}"
        );
        let ended = format!("{error:#}").contains("ended with");
        ensure!(ended || !said.is_empty(), "the hub hangs: {error:#}");
        Ok(said)
    }

    /// What the hub logged from this byte on.
    fn said(&self, from: usize) -> Result<String> {
        let log = fs::read(self.exchange.path("logs").join("hub.log"))?;
        Ok(String::from_utf8_lossy(log.get(from..).unwrap_or_default()).into_owned())
    }

    fn end(&mut self) -> Result<()> {
        self.exchange.machines.iter_mut().try_for_each(|machine| machine.kill())?;
        self.exchange.hub.kill()
    }
}

/// Waits until the marks have not changed for longer than it takes to write them anew.
fn marks_rest(marks: &Path) -> Result<()> {
    until_true(SOON, "the log's marks rest", || {
        let age = fs::metadata(marks)?.modified()?.elapsed().unwrap_or_default();
        Ok(age > MARKS_EVERY)
    })
}

/// Whether words tell a person what to do: a file or folder, or a command.
pub fn helps(words: &str) -> bool {
    ["backup", "rebuild", "restore", "bring", "remove", "init"]
        .iter()
        .any(|word| words.contains(word))
}

fn folder_of(exchange: &Exchange, state: State) -> PathBuf {
    exchange.path(match state {
        State::Stopped => "kept-stopped",
        State::Killed => "kept-killed",
    })
}

fn copy_all(exchange: &Exchange, to: &Path) -> Result<()> {
    folder::copy(&exchange.hub.data(), &to.join("hub"))?;
    for machine in &exchange.machines {
        folder::copy(&machine.path(""), &to.join(&machine.name))?;
    }
    Ok(())
}

/// Writes both files anew; `round` changes rows, takes some away and adds some.
fn write(exchange: &Exchange, round: usize) -> Result<()> {
    let all = people(ROWS + ROUNDS + 1)?;
    for (number, file) in ["bound.csv", "own.csv"].into_iter().enumerate() {
        let mut rows = all[round..round + ROWS].to_vec();
        for (at, row) in rows.iter_mut().enumerate() {
            // Words that no compression shortens much: the log is to grow.
            let noise = blake3::hash(format!("{round} {number} {at}").as_bytes()).to_hex();
            row.xm = format!("示例{}", &noise[..24]);
            row.je = (round * 1_000 + number).to_string();
        }
        let text = csv(&rows);
        // The library has no amount; its telephone number stands in.
        let text = if number == 0 { text.replace(",je\n", ",lxdh\n") } else { text };
        exchange.machines[0].write(file, text)?;
    }
    Ok(())
}
