//! The planted bugs in `faults/` still fit the sources; that tests catch them is shown by
//! `faults/run.sh`, which builds each and takes minutes.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// What the head of a patch says.
fn said<'a>(patch: &'a str, name: &str) -> Result<&'a str> {
    let line = patch.lines().find_map(|line| line.strip_prefix(name));
    line.map(str::trim).with_context(|| format!("a line {name:?} at its head"))
}

#[test]
fn every_planted_bug_applies_and_names_the_test_that_catches_it() -> Result<()> {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR"));
    let told = fs::read_to_string(tests.join("FAULTS.md"))?;
    let git = Command::new("git").args(["rev-parse", "--git-dir"]).current_dir(tests).output();
    let in_git = git.is_ok_and(|output| output.status.success());
    let mut patches = 0;
    for entry in fs::read_dir(tests.join("faults"))? {
        let path = entry?.path();
        if path.extension().is_none_or(|suffix| suffix != "patch") {
            continue;
        }
        patches += 1;
        let name = path.file_stem().and_then(|stem| stem.to_str()).context("a name")?;
        check(tests, &path, in_git).with_context(|| name.to_owned())?;
        ensure!(told.contains(&format!("`{name}`")), "FAULTS.md does not tell of {name}");
    }
    ensure!(patches > 0, "no planted bugs were found");
    Ok(())
}

fn check(tests: &Path, path: &Path, in_git: bool) -> Result<()> {
    let patch = fs::read_to_string(path)?;
    ensure!(!said(&patch, "Expect:")?.is_empty(), "an empty expectation fits anything");
    let test = said(&patch, "Test:")?;
    let (file, function) = test.split_once(' ').context("a test's file and name")?;
    let folder = tests.join("tests");
    let source = fs::read_to_string(folder.join(format!("{file}.rs")))
        .or_else(|_| fs::read_to_string(folder.join(file).join("main.rs")))
        .with_context(|| format!("the test file {file}"))?;
    ensure!(source.contains(&format!("fn {function}(")), "there is no test {test}");
    if !in_git {
        return Ok(());
    }
    let root = tests.parent().context("the workspace's folder")?;
    let output =
        Command::new("git").args(["apply", "--check"]).arg(path).current_dir(root).output()?;
    let words = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "it no longer applies; make it anew: {words}");
    Ok(())
}
