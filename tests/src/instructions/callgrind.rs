//! Runs this program under callgrind and reads what it noted.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

/// The functions that are counted: the path of `cases`' inner module as callgrind prints it.
const COUNTED: &str = "*::measured::*";

/// What was counted.
pub(super) struct Counted {
    /// Units that each function worked on, as the program said.
    units: BTreeMap<String, u64>,
    /// Instructions in each function.
    instructions: BTreeMap<String, u64>,
    /// What ran, and on what.
    pub(super) machine: String,
}

impl Counted {
    /// Units and instructions of a function.
    pub(super) fn of(&self, name: &str) -> Result<(u64, u64)> {
        let units = self.units.get(name).with_context(|| format!("{name} was not run"))?;
        let instructions = self.instructions.get(name).with_context(|| {
            format!("callgrind found no function measured::{name}: was it inlined?")
        })?;
        Ok((*units, *instructions))
    }
}

/// Counts. The folder is emptied; afterwards it holds callgrind's file of each function under its name.
///
/// # Errors
/// When there is no valgrind, or the program fails under it.
pub(super) fn count(folder: &Path) -> Result<Counted> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| format!("empty {}", folder.display()))?;
    }
    fs::create_dir_all(folder).with_context(|| format!("make {}", folder.display()))?;
    let version = said(Command::new("valgrind").arg("--version"))
        .context("there is no valgrind: `deploy/setup.sh --instructions` installs it")?;
    let mut valgrind = Command::new("valgrind");
    valgrind
        .args(["--tool=callgrind", "--collect-atstart=no"])
        .arg(format!("--toggle-collect={COUNTED}"))
        .arg(format!("--dump-after={COUNTED}"))
        .arg(format!("--callgrind-out-file={}", folder.join("out").display()))
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
    let machine = format!("{} under {}; {}", features, version.trim(), rustc.trim());
    Ok(Counted { units, instructions: dumps(folder)?, machine })
}

/// Runs a program; what it printed.
fn said(command: &mut Command) -> Result<String> {
    let ended = command.output().with_context(|| format!("run {command:?}"))?;
    if !ended.status.success() {
        bail!("{command:?}: {}\n{}", ended.status, String::from_utf8_lossy(&ended.stderr));
    }
    Ok(String::from_utf8(ended.stdout)?)
}

/// Reads each dump, and gives it its function's name.
fn dumps(folder: &Path) -> Result<BTreeMap<String, u64>> {
    let mut instructions = BTreeMap::new();
    let files: Vec<PathBuf> =
        fs::read_dir(folder)?.map(|file| Ok(file?.path())).collect::<Result<_>>()?;
    for file in files {
        let text = fs::read_to_string(&file)?;
        if let Some((name, count)) = dump(&text) {
            let before = instructions.insert(name.to_owned(), count);
            anyhow::ensure!(before.is_none(), "{name} was counted twice");
            fs::rename(&file, folder.join(name))?;
        } else {
            // What was counted behind the last function: nothing.
            fs::remove_file(&file)?;
        }
    }
    Ok(instructions)
}

/// The function after which a dump was made, and its instructions.
fn dump(text: &str) -> Option<(&str, u64)> {
    let after = |prefix| text.lines().find_map(|line| line.strip_prefix(prefix));
    let trigger = after("desc: Trigger: ")?.strip_prefix("--dump-after=")?;
    let (_, name) = trigger.split_once("::measured::")?;
    // A mangled name may end in a hash.
    let name = name.split("::").next()?;
    let total = after("totals: ").or_else(|| after("summary: "))?;
    Some((name, total.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dump_names_its_function_and_its_instructions() {
        let text = |trigger: &str| {
            format!(
                "# callgrind format\ndesc: Trigger: {trigger}\nevents: Ir\nfn=(1) x\n1 2\ntotals: 4711\n"
            )
        };
        let plain = text("--dump-after=hutong_tests::instructions::cases::measured::leaf");
        assert_eq!(dump(&plain), Some(("leaf", 4711)));
        let hashed = text("--dump-after=a::measured::judge::h0123456789abcdef");
        assert_eq!(dump(&hashed), Some(("judge", 4711)));
        assert_eq!(dump(&text("Program termination")), None);
    }
}
