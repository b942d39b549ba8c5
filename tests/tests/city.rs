//! The demonstration at the size of a test, and its proof against single changed bytes.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use hutong_tests::city::{Scale, cache};
use hutong_tests::harness::programs::programs;
use hutong_tests::harness::run::{Ran, run};
use hutong_tests::proof::Inventory;
use indicatif::ProgressBar;

/// Runs the city in `dir`, from files of its own that may be changed.
fn demonstrate(dir: &Path) -> Result<Ran> {
    let cities = dir.join("cities");
    cache::ensure(&cities, Scale::Ci, &ProgressBar::hidden())?;
    let run_dir = dir.join("run");
    let args: [&std::ffi::OsStr; 8] = [
        "demo".as_ref(),
        "--scale".as_ref(),
        "ci".as_ref(),
        "--exit".as_ref(),
        "--root".as_ref(),
        cities.as_os_str(),
        "--dir".as_ref(),
        run_dir.as_os_str(),
    ];
    run(&programs()?.city, args)
}

fn verify(inventory: &Path) -> Result<Ran> {
    run(&programs()?.city, ["verify".as_ref(), inventory.as_os_str()])
}

/// Changes one byte, lets `verify` find it, and changes it back.
fn one_byte(inventory: &Path, file: &Path, at: usize, key: &str) -> Result<()> {
    let whole = fs::read(file)?;
    let mut changed = whole.clone();
    // Digits stay digits, so that rows stay rows.
    changed[at] = if changed[at] == b'1' { b'2' } else { b'1' };
    fs::write(file, &changed)?;
    let verdict = verify(inventory)?.refused();
    fs::write(file, &whole)?;
    let verdict = verdict.with_context(|| format!("byte {at} of {}", file.display()))?;
    ensure!(verdict.contains(key), "{key} is not named:\n{verdict}");
    Ok(())
}

/// Position of the last digit of the `field`th value in the line of a key.
fn digit(text: &str, key: &str, before: &str) -> Result<usize> {
    let line = text.find(key).context("the key is in the file")?;
    let value = text[line..].find(before).context("the field is in the line")?;
    Ok(line + value + before.len())
}

#[test]
fn the_city_arrives_and_one_changed_byte_anywhere_is_found() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let ran = demonstrate(folder.path())?;
    let out = ran.ok()?;
    ensure!(out.contains("all digests are equal"), "{out}");
    let path = folder.path().join("run/inventory.json");
    let inventory = Inventory::load(&path)?;
    verify(&path)?.ok().context("the proof holds after the run has ended")?;

    // A source file: the first person's birth date.
    let people = inventory.resources.iter().find(|each| each.class.starts_with("population"));
    let people = people.context("the population")?;
    let text = fs::read_to_string(&people.path)?;
    let key = text.lines().nth(1).and_then(|line| line.split(',').next()).context("a person")?;
    let birth = format!(",{},", &key[6..14]);
    one_byte(&path, &people.path, digit(&text, key, &birth)? - 2, key)?;
    // The key itself: the old one is missing, the new one is no identifier.
    one_byte(&path, &people.path, digit(&text, key, "")? + 16, key)?;

    // A subscriber's file: the last digit of a birth date.
    let grant = inventory.grants.first().context("a grant")?;
    let delivered = fs::read_to_string(&grant.path)?;
    let line = delivered.lines().next().context("a delivered row")?;
    let key = line.split('"').nth(7).context("the key of a line")?;
    one_byte(&path, &grant.path, digit(&delivered, key, "\"csrq\":\"")? + 7, key)?;
    one_byte(&path, &grant.path, digit(&delivered, key, "")? + 3, key)?;
    Ok(())
}

#[test]
fn a_changed_byte_in_the_hubs_views_is_found_and_the_rows_are_named() -> Result<()> {
    let folder = tempfile::tempdir()?;
    demonstrate(folder.path())?.ok()?;
    let path = folder.path().join("run/inventory.json");
    let inventory = Inventory::load(&path)?;
    let mut tables = Vec::new();
    for entry in fs::read_dir(inventory.hub_data.join("views"))? {
        let path = entry?.path();
        if path.extension().is_some_and(|suffix| suffix == "sst") {
            tables.push((fs::metadata(&path)?.len(), path));
        }
    }
    tables.sort();
    // The largest table holds the people; its first half holds nothing but rows and feeds.
    let (bytes, table): (u64, PathBuf) = tables.pop().context("the views have a table")?;
    let whole = fs::read(&table)?;
    let mut named = 0;
    for part in 1..8 {
        let at = (bytes * part / 12) as usize;
        let mut changed = whole.clone();
        changed[at] ^= 1;
        fs::write(&table, &changed)?;
        let verdict = verify(&path)?;
        fs::write(&table, &whole)?;
        if !verdict.success && verdict.out.contains("cannot be read at the hub") {
            named += 1;
        }
    }
    ensure!(named > 0, "no changed byte of {} was found", table.display());
    Ok(())
}
