//! Damage to a hub's data folder: every place of it cut or flipped, and what the hub makes of it.
//!
//! ```text
//! Stage ── a small exchange, kept as it stood when the hub was stopped, and when it was killed
//!   │ copy, damage one place
//!   ├─► judge::Judge ── opens the copy with the hub's own functions and compares all that can be read
//!   └─► Stage::play ─── starts hub and agents on it and waits until all places are equal again
//! ```
//!
//! Nothing here knows the log's engine: damage is done to files, whatever they are, and the hub is
//! asked through its log's, views' and keys' doors.

pub mod folder;
pub mod judge;
pub mod read;
pub mod stage;

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

pub use judge::{Judge, Judgement};
pub use stage::{Stage, State};

/// One place that is damaged. Paths are relative to the hub's data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Damage {
    /// The file ends here.
    Cut {
        /// The file.
        file: PathBuf,
        /// Bytes that are left.
        keep: u64,
    },
    /// One bit is another.
    Flip {
        /// The file.
        file: PathBuf,
        /// The byte, counted from 0.
        byte: u64,
        /// The bit, 0 to 7.
        bit: u8,
    },
    /// The file is gone.
    Gone {
        /// The file.
        file: PathBuf,
    },
}

impl Damage {
    /// The damaged file.
    pub fn file(&self) -> &Path {
        match self {
            Self::Cut { file, .. } | Self::Flip { file, .. } | Self::Gone { file } => file,
        }
    }

    /// Kind of the damaged file: its topmost folder or name, and its suffix. Numbers in names do not
    /// count.
    pub fn kind(&self) -> String {
        kind_of(self.file())
    }
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cut { file, keep } => write!(f, "{} cut to {keep} bytes", file.display()),
            Self::Flip { file, byte, bit } => {
                write!(f, "{}: bit {bit} of byte {byte} flipped", file.display())
            }
            Self::Gone { file } => write!(f, "{} removed", file.display()),
        }
    }
}

fn kind_of(file: &Path) -> String {
    let mut parts = file.components().map(|part| part.as_os_str().to_string_lossy().into_owned());
    let (Some(first), last) = (parts.next(), parts.next_back()) else { return String::new() };
    match last {
        None => first,
        Some(name) => {
            match name.trim_end_matches(|c: char| c == '.' || c.is_ascii_digit()).rsplit_once('.') {
                Some((_, suffix)) => format!("{first}/*.{suffix}"),
                None => format!(
                    "{first}/{}",
                    name.trim_end_matches(|c: char| c == '-' || c.is_ascii_digit())
                ),
            }
        }
    }
}

/// How often each kind of file met each judgement.
#[derive(Clone, Debug, Default)]
pub struct Tally(BTreeMap<String, BTreeMap<Judgement, u64>>);

impl Tally {
    /// Counts one case.
    pub fn count(&mut self, kind: String, judgement: Judgement) {
        *self.0.entry(kind).or_default().entry(judgement).or_default() += 1;
    }

    /// Cases of all kinds.
    pub fn cases(&self) -> u64 {
        self.0.values().flat_map(BTreeMap::values).sum()
    }

    /// Cases with one judgement.
    pub fn of(&self, judgement: Judgement) -> u64 {
        self.0.values().filter_map(|kinds| kinds.get(&judgement)).sum()
    }

    /// Adds the cases of another tally.
    pub fn add(&mut self, other: Self) {
        for (kind, counts) in other.0 {
            for (judgement, count) in counts {
                *self.0.entry(kind.clone()).or_default().entry(judgement).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Tally {
    /// A table in Markdown: a line for each kind of file, a column for each judgement.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "| file | cases |")?;
        Judgement::ALL.iter().try_for_each(|judgement| write!(f, " {judgement} |"))?;
        writeln!(f, "\n| --- | --- |{}", " --- |".repeat(Judgement::ALL.len()))?;
        for (kind, counts) in &self.0 {
            write!(f, "| `{kind}` | {} |", counts.values().sum::<u64>())?;
            for judgement in Judgement::ALL {
                write!(f, " {} |", counts.get(&judgement).unwrap_or(&0))?;
            }
            writeln!(f)?;
        }
        write!(f, "| all | {} |", self.cases())?;
        Judgement::ALL.iter().try_for_each(|judgement| write!(f, " {} |", self.of(*judgement)))?;
        writeln!(f)
    }
}
