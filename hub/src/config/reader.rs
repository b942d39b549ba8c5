//! Reads a configuration key by key, so that all mistakes are told at once, each with its key.

use std::{collections::BTreeMap, fmt, ops::RangeInclusive, str::FromStr};

use serde::de::DeserializeOwned;
use serde_json::Value;

/// One thing to correct in the configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    /// The key, such as `log.partitions`.
    pub key: String,
    /// What is wrong, and what is expected.
    pub what: String,
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.what)
    }
}

/// Keys that were not asked for yet, and the mistakes found so far.
pub(super) struct Reader {
    values: BTreeMap<String, Value>,
    mistakes: Vec<Mistake>,
}

impl Reader {
    pub(super) fn new(root: Value) -> Self {
        let mut values = BTreeMap::new();
        flatten(String::new(), root, &mut values);
        Self { values, mistakes: Vec::new() }
    }

    pub(super) fn wrong(&mut self, key: &str, what: impl Into<String>) {
        self.mistakes.push(Mistake { key: key.to_owned(), what: what.into() });
    }

    /// The value of a key, or the default when it is absent or wrong.
    pub(super) fn value<T: DeserializeOwned>(&mut self, key: &str, default: T) -> T {
        let Some(found) = self.values.remove(key) else { return default };
        match serde_json::from_value(found) {
            Ok(value) => value,
            Err(error) => {
                self.wrong(key, error.to_string());
                default
            }
        }
    }

    /// The names of the tables in a table.
    pub(super) fn names_in(&self, table: &str) -> Vec<String> {
        let prefix = format!("{table}.");
        let keys = self.values.keys().filter_map(|key| key.strip_prefix(&prefix));
        let mut names: Vec<String> =
            keys.filter_map(|key| Some(key.split_once('.')?.0.to_owned())).collect();
        names.dedup();
        names
    }

    /// A number within bounds.
    pub(super) fn number<T>(&mut self, key: &str, default: T, range: RangeInclusive<T>) -> T
    where
        T: DeserializeOwned + PartialOrd + Copy + fmt::Display,
    {
        let value = self.value(key, default);
        if range.contains(&value) {
            return value;
        }
        self.wrong(key, format!("{value} is not within {} to {}", range.start(), range.end()));
        default
    }

    /// A text with a form; `None` when it is absent or wrong.
    pub(super) fn parsed<T>(&mut self, key: &str, expected: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        // An environment variable may have been taken for a number.
        let value = self.values.remove(key)?;
        let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.wrong(key, format!("\"{text}\" is not {expected}: {error}"));
                None
            }
        }
    }

    /// As [`Reader::parsed`], for a key that has no default.
    pub(super) fn required<T>(&mut self, key: &str, expected: &str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        if !self.values.contains_key(key) {
            self.wrong(key, format!("missing: {expected}"));
        }
        self.parsed(key, expected)
    }

    /// Names the keys that nobody asked for, and gives all mistakes.
    pub(super) fn finish(mut self) -> Vec<Mistake> {
        for key in std::mem::take(&mut self.values).into_keys() {
            self.wrong(&key, "there is no such key; look for a spelling mistake");
        }
        self.mistakes
    }
}

fn flatten(key: String, value: Value, into: &mut BTreeMap<String, Value>) {
    if let Value::Object(table) = value {
        for (name, value) in table {
            let key = if key.is_empty() { name } else { format!("{key}.{name}") };
            flatten(key, value, into);
        }
    } else {
        into.insert(key, value);
    }
}
