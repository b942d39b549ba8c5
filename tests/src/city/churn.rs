//! Changing a generated city's files: rows go and come back, never more than a file may lose at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::rng::Rng;
use crate::proof::Inventory;

/// Share of a file's rows that may be missing, in a hundred: from one version to the next fewer go
/// than the ten for which an agent asks a person.
const MISSING_PERCENT: u64 = 8;
/// Smaller files have too few rows to lose some.
const ROWS_MIN: u64 = 40;
/// Files changed at a time.
const FILES: usize = 40;

/// The files as they were generated, and chance.
#[derive(Debug)]
pub struct CityChurn {
    rng: Rng,
    files: Vec<(PathBuf, Vec<u8>)>,
}

impl CityChurn {
    /// Remembers the larger files of an inventory, the largest first.
    ///
    /// # Errors
    /// When one cannot be read.
    pub fn new(inventory: &Inventory, seed: u64) -> Result<Self> {
        let mut chosen: Vec<_> =
            inventory.resources.iter().filter(|each| each.rows >= ROWS_MIN).collect();
        chosen.sort_by_key(|each| std::cmp::Reverse(each.rows));
        let read = |path: &Path| -> Result<(PathBuf, Vec<u8>)> {
            let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
            Ok((path.to_owned(), content))
        };
        let files = chosen.iter().map(|each| read(&each.path)).collect::<Result<_>>()?;
        Ok(Self { rng: Rng::new(seed), files })
    }

    /// Chance, for other decisions of the same run.
    pub fn rng(&mut self) -> &mut Rng {
        &mut self.rng
    }

    /// Writes the largest file and some others anew, each without a random part of its rows.
    ///
    /// # Errors
    /// When one cannot be written.
    pub fn change(&mut self) -> Result<()> {
        let Self { rng, files } = self;
        for turn in 0..FILES.min(files.len()) {
            let at = if turn == 0 { 0 } else { rng.below(files.len() as u64) as usize };
            let (path, whole) = &files[at];
            let records = records(path, whole);
            // A tenth of what an earlier version may have left is more than this.
            let missing = rng.below(records.len() as u64 * MISSING_PERCENT / 100 + 1);
            // The first record may be a header. A row drawn twice is missing once.
            let mut gone: Vec<u64> =
                (0..missing).map(|_| 1 + rng.below(records.len() as u64 - 1)).collect();
            gone.sort_unstable();
            let mut content = Vec::with_capacity(whole.len());
            for (number, record) in (0u64..).zip(records) {
                if gone.binary_search(&number).is_err() {
                    content.extend_from_slice(record);
                }
            }
            let draft = path.with_extension("draft");
            fs::write(&draft, content).with_context(|| format!("write {}", draft.display()))?;
            fs::rename(&draft, path).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}

/// The records of a file with their ends of line. One of a CSV file may have several lines in quotes;
/// the quote is never a part of a character of another encoding here.
fn records<'a>(path: &Path, whole: &'a [u8]) -> Vec<&'a [u8]> {
    let csv = path.extension().is_some_and(|suffix| suffix == "csv");
    let (mut records, mut from, mut quoted) = (Vec::new(), 0, false);
    for (at, byte) in whole.iter().enumerate() {
        match byte {
            b'"' => quoted = csv && !quoted,
            b'\n' if !quoted => {
                records.push(&whole[from..=at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    if from < whole.len() {
        records.push(&whole[from..]);
    }
    records
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_may_have_several_lines_in_quotes() {
        let text = b"a,b\n1,\"two\nlines, one \"\"quote\"\"\"\n2,x";
        let found = records(Path::new("f.csv"), text);
        assert_eq!(found.len(), 3);
        assert_eq!(found.concat(), text);
        assert_eq!(records(Path::new("f.jsonl"), b"{\"a\":\"\\\"\"}\n{}\n").len(), 2);
    }
}
