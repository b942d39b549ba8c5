//! What is to be compared: which files belong to which resource, which file to which grant.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use hutong_schema::ids::ResourceCode;
use serde::{Deserialize, Serialize};

/// Name of the inventory in a run's folder.
pub const FILE: &str = "inventory.json";

/// Everything that a proof reads.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Inventory {
    /// The hub's data folder.
    pub hub_data: PathBuf,
    /// Files with catalogue entries, one as JSON per line.
    pub catalogues: Vec<PathBuf>,
    /// Mounted resources.
    pub resources: Vec<ResourceRecord>,
    /// Deliveries.
    pub grants: Vec<GrantRecord>,
}

/// One resource and its source file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ResourceRecord {
    /// Its code.
    pub code: ResourceCode,
    /// Resources of one class are counted together.
    pub class: String,
    /// The file.
    pub path: PathBuf,
    /// `csv` or `jsonl`.
    pub format: String,
    /// `utf-8` or `gb18030`.
    pub encoding: String,
    /// Rows that the file holds, about: the largest files are read first.
    pub rows: u64,
}

/// One grant with a delivery.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// Its number at the hub.
    pub id: u64,
    /// Who receives, in words.
    pub grantee: String,
    /// A resource's code or a library's name.
    pub target: String,
    /// Machine names of the fields beside the key; all when empty.
    pub fields: Vec<String>,
    /// The row filter's text; all rows when empty.
    pub filter: String,
    /// The subscriber's file, JSON lines.
    pub path: PathBuf,
}

impl Inventory {
    /// Reads a file.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn load(path: &Path) -> Result<Self> {
        let text = fs::read(path).with_context(|| format!("read {}", path.display()))?;
        serde_json::from_slice(&text).with_context(|| format!("read {}", path.display()))
    }

    /// Writes a file.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_vec_pretty(self)?;
        fs::write(path, text).with_context(|| format!("write {}", path.display()))
    }
}
