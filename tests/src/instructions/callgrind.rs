//! Runs this program under callgrind and reads what it noted.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The functions that are counted: the path of `cases`' inner module as callgrind prints it.
const COUNTED: &str = "::measured::";

/// What was counted.
pub(super) struct Counted {
    /// Units that each function worked on, as the program said.
    units: BTreeMap<String, u64>,
    /// Instructions in each function, with all that it called.
    instructions: BTreeMap<String, u64>,
    /// What ran, and on what.
    pub(super) machine: String,
}

impl Counted {
    /// Units and instructions of a function.
    pub(super) fn of(&self, name: &str) -> Result<(u64, u64)> {
        let units = self.units.get(name).with_context(|| format!("{name} was not run"))?;
        let instructions = self.instructions.get(name).with_context(|| {
            format!("callgrind saw no function measured::{name}: was it inlined?")
        })?;
        Ok((*units, *instructions))
    }
}

/// Counts; callgrind's notes are kept in `notes`.
///
/// # Errors
/// When there is no valgrind, or the program fails under it.
pub(super) fn count(notes: &Path) -> Result<Counted> {
    let version = said(Command::new("valgrind").arg("--version"))
        .context("there is no valgrind: `deploy/setup.sh --instructions` installs it")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect=*{COUNTED}*"))
        .arg(format!("--callgrind-out-file={}", notes.display()))
        .arg(std::env::current_exe()?)
        .arg("run");
    let ran = said(&mut valgrind)?;
    let mut units = BTreeMap::new();
    let mut features = String::new();
    for line in ran.lines() {
        match line.split(' ').collect::<Vec<_>>()[..] {
            ["units", name, number] => _ = units.insert(name.to_owned(), number.parse()?),
            ["features", ref seen @ ..] => features = seen.join(" "),
            _ => bail!("the program under callgrind said {line:?}"),
        }
    }
    let rustc = said(Command::new("rustc").arg("--version")).unwrap_or_default();
    let machine = format!("{features} under {}; {}", version.trim(), rustc.trim());
    let noted = fs::read_to_string(notes).with_context(|| format!("read {}", notes.display()))?;
    Ok(Counted { units, instructions: inclusive(&noted)?, machine })
}

/// Runs a program; what it printed.
fn said(command: &mut Command) -> Result<String> {
    let ended = command.output().with_context(|| format!("run {command:?}"))?;
    if !ended.status.success() {
        bail!("{command:?}: {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    Ok(String::from_utf8(ended.stdout)?)
}

/// What each counted function took, with all that it called. The format is in callgrind's manual: a block for each
/// function, begun by `fn=(number) name` (the name only the first time); in it a line for each source line with its
/// cost; behind `calls=` a line with the cost of the function called.
fn inclusive(notes: &str) -> Result<BTreeMap<String, u64>> {
    let mut names: BTreeMap<&str, &str> = BTreeMap::new();
    let mut totals = BTreeMap::new();
    let mut current: Option<&str> = None;
    for line in notes.lines() {
        if let Some((kind @ ("fn" | "cfn"), function)) = line.split_once('=') {
            let (number, name) = function.split_once(' ').unwrap_or((function, ""));
            if !name.is_empty() {
                names.insert(number, name);
            }
            if kind == "fn" {
                let name = names.get(number).with_context(|| format!("the name behind {line}"))?;
                current = name.split_once(COUNTED).map(|(_, name)| name);
            }
            continue;
        }
        let (Some(name), Some((at, cost))) = (current, line.split_once(' ')) else { continue };
        if at.starts_with(['+', '-', '*']) || at.starts_with(|first: char| first.is_ascii_digit()) {
            let cost: u64 = cost.trim().parse().with_context(|| format!("the cost in {line:?}"))?;
            // A mangled name may end in a hash.
            let name = name.split("::").next().unwrap_or(name);
            *totals.entry(name.to_owned()).or_default() += cost;
        }
    }
    Ok(totals)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOTES: &str = "\
# callgrind format
events: Ir

fl=(1) src/a.rs
fn=(7) a::cases::measured::csv
5 3
fi=(218) alloc.rs
+88 1
cfi=(140) ???
cfn=(9) malloc
calls=2 -93
* 160
468 2

fn=(9)
12 150
cfn=(11) brk
calls=1 0
12 10

fn=(11)
1 10

fn=(12) a::cases::measured::leaf::h0123456789abcdef
7 20
-2 22
totals: 218
";

    #[test]
    fn a_function_takes_what_its_lines_and_the_functions_called_take() {
        let taken = inclusive(NOTES).unwrap();
        assert_eq!(taken, [("csv".to_owned(), 166), ("leaf".to_owned(), 42)].into());
    }
}
