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

/// The first line behind the first `settled` ones that says what the lines before it said already: a
/// change that was delivered twice. Only for a grant of all fields, where every change shows; and not
/// for lines that repeat what the snapshot held, which is why some may be passed over.
///
/// # Errors
/// As [`lines`].
pub fn said_twice(path: &Path, settled: usize) -> Result<Option<String>> {
    let mut held: BTreeMap<String, Value> = BTreeMap::new();
    for (number, Delivered { op, key, row }) in lines(path)?.into_iter().enumerate() {
        let same = held.get(&key) == row.as_ref();
        if same && number >= settled {
            let line = number + 1;
            return Ok(Some(format!("{}, line {line}: {op} of {key} again", path.display())));
        }
        match row {
            Some(row) => held.insert(key, row),
            None => held.remove(&key),
        };
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "a test may end where it is surprised")]

    use super::*;

    #[test]
    fn a_line_without_effect_was_delivered_twice() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.jsonl");
        let up = |key: &str, je: &str| {
            format!("{{\"op\":\"upsert\",\"key\":\"{key}\",\"row\":{{\"je\":\"{je}\"}}}}\n")
        };
        let gone = "{\"op\":\"delete\",\"key\":\"a\"}\n";
        let once = [up("a", "1"), up("b", "1"), up("a", "2"), gone.to_owned(), up("a", "2")];
        fs::write(&path, once.concat()).unwrap();
        assert_eq!(said_twice(&path, 0).unwrap(), None);
        for again in [up("a", "2"), up("b", "1"), gone.to_owned() + gone] {
            fs::write(&path, once.concat() + &again).unwrap();
            assert!(said_twice(&path, 0).unwrap().unwrap().contains("again"));
            assert_eq!(said_twice(&path, 7).unwrap(), None);
        }
    }
}
