//! Reading what was delivered, line by line.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::Value;

/// One line of a subscriber's file.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivered {
    /// `upsert` or `delete`.
    pub op: String,
    /// The key.
    pub key: String,
    /// The row of an upsert.
    pub row: Option<Value>,
}

/// All complete lines in order; none while there is no file.
///
/// # Errors
/// When a line is not of the form.
pub fn lines(path: &Path) -> Result<Vec<Delivered>> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error).with_context(|| format!("read {}", path.display())),
    };
    // The last line may be being written.
    let complete = text.rsplit_once('\n').map_or("", |(lines, _)| lines);
    let line = |line: &str| {
        let value: Value = serde_json::from_str(line).with_context(|| line.to_owned())?;
        let word = |name: &str| -> Result<String> {
            Ok(value[name].as_str().with_context(|| line.to_owned())?.to_owned())
        };
        Ok(Delivered { op: word("op")?, key: word("key")?, row: value.get("row").cloned() })
    };
    complete.lines().map(line).collect()
}

/// What the file says in the end: the last line of each key wins.
///
/// # Errors
/// As [`lines`].
pub fn held(path: &Path) -> Result<BTreeMap<String, Value>> {
    let mut held = BTreeMap::new();
    for Delivered { key, row, .. } in lines(path)? {
        match row {
            Some(row) => held.insert(key, row),
            None => held.remove(&key),
        };
    }
    Ok(held)
}
