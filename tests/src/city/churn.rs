//! Changing a generated city's files: rows go and come back, never more than a file may lose at once.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::rng::Rng;
use crate::proof::Inventory;

/// Share of a file's rows that may be missing, in a hundred; below the agent's limit of ten.
const MISSING_PERCENT: u64 = 8;
/// Smaller files lose a tenth with their first row.
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
            let percent = rng.below(MISSING_PERCENT + 1);
            let mut content = Vec::with_capacity(whole.len());
            for (number, line) in whole.split_inclusive(|byte| *byte == b'\n').enumerate() {
                // The first line may be a header.
                if number == 0 || !rng.chance(percent) {
                    content.extend_from_slice(line);
                }
            }
            let draft = path.with_extension("draft");
            fs::write(&draft, content).with_context(|| format!("write {}", draft.display()))?;
            fs::rename(&draft, path).with_context(|| format!("write {}", path.display()))?;
        }
        Ok(())
    }
}
