//! A table of the configuration under inspection: typed access that collects mistakes instead of
//! stopping at the first one.

use std::cell::RefCell;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use config::{Map, Value, ValueKind};

use super::{
    Mistake, SecretSource,
    place::{Place, Places},
    secret::CREDENTIAL_PREFIX,
};

/// What the environment's variables begin with.
pub(super) const PREFIX: &str = "HUTONG_AGENT";
/// What stands between section and key in the name of a variable.
pub(super) const SEPARATOR: &str = "__";
/// How the `config` crate marks a value that came from the environment.
const ENVIRONMENT: &str = "the environment";
/// What a secret's setting ends with: it names the file.
const SECRET_SUFFIX: &str = "_file";

mod lists;

/// What all sections share.
pub(super) struct Collector {
    pub(super) folder: PathBuf,
    lines: Places,
    mistakes: RefCell<Vec<Mistake>>,
}

impl Collector {
    pub(super) fn new(folder: &Path, lines: Places) -> Self {
        Self { folder: folder.to_owned(), lines, mistakes: RefCell::new(Vec::new()) }
    }

    /// All mistakes, in the order of the file.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by(|a, b| a.place.cmp(&b.place));
        mistakes
    }
}

/// One table.
pub(super) struct Section<'a> {
    path: String,
    table: Option<&'a Map<String, Value>>,
    collector: &'a Collector,
}

impl<'a> Section<'a> {
    pub(super) fn root(table: &'a Map<String, Value>, collector: &'a Collector) -> Self {
        Self { path: String::new(), table: Some(table), collector }
    }

    /// The path of a key for a person.
    pub(super) fn key(&self, name: &str) -> String {
        if self.path.is_empty() { name.to_owned() } else { format!("{}.{name}", self.path) }
    }

    /// Reports what is wrong with a key.
    pub(super) fn report(&self, name: &str, problem: impl Into<String>, hint: impl Into<String>) {
        let key = self.key(name);
        let set = self.table.and_then(|table| table.get(name)).and_then(Value::origin);
        let place = if set == Some(ENVIRONMENT) {
            let path = key.replace('.', SEPARATOR).to_uppercase();
            Place::Environment(format!("{PREFIX}_{path}"))
        } else {
            self.collector.lines.of(&key)
        };
        let mistake = Mistake { place, key, problem: problem.into(), hint: hint.into() };
        self.collector.mistakes.borrow_mut().push(mistake);
    }

    /// Reports every key that is not in the list.
    pub(super) fn only(&self, known: &[&str]) {
        let Some(table) = self.table else { return };
        let mut unknown: Vec<_> =
            table.keys().filter(|key| !known.contains(&key.as_str())).collect();
        unknown.sort();
        for name in unknown {
            let file = format!("{name}{SECRET_SUFFIX}");
            if known.contains(&file.as_str()) {
                // The value is not repeated: the message goes to logs.
                let hint = format!(
                    "a secret does not belong into the configuration: write it into a file that only the agent can read, and here {file} = \"<that file>\" or \"{CREDENTIAL_PREFIX}<name>\""
                );
                self.report(name, "is a secret in the open", hint);
            } else {
                let hint = format!("{}known here: {}", did_you_mean(name, known), known.join(", "));
                self.report(name, "is not a setting", hint);
            }
        }
    }

    /// Where a secret is: `<name>_file` holds a path or `credential:<name>`. List `<name>_file` in
    /// [`only`](Self::only), not `<name>`: the secret itself does not belong here.
    pub(super) fn secret(&self, name: &str) -> Option<SecretSource> {
        let setting = format!("{name}{SECRET_SUFFIX}");
        let text = self.text(&setting)?;
        let source = SecretSource::parse(&text, &self.collector.folder);
        if source.is_none() {
            let hint = format!("{CREDENTIAL_PREFIX} and a name without a slash, or a path");
            self.report(&setting, "does not name a credential", hint);
        }
        source
    }

    /// The folder of the configuration.
    pub(super) fn folder(&self) -> &std::path::Path {
        &self.collector.folder
    }

    /// A table in this one; without any key if it is absent.
    pub(super) fn section(&self, name: &str) -> Section<'a> {
        let table = match self.value(name) {
            None => None,
            Some(ValueKind::Table(table)) => Some(table),
            Some(_) => {
                self.report(name, "is not a section", format!("write [{}]", self.key(name)));
                None
            }
        };
        Section { path: self.key(name), table, collector: self.collector }
    }

    /// The tables of `[[name]]`.
    pub(super) fn sections(&self, name: &str) -> Vec<Section<'a>> {
        let double =
            |problem: &str| self.report(name, problem, format!("write [[{}]]", self.key(name)));
        match self.value(name) {
            None => Vec::new(),
            Some(ValueKind::Array(values)) => {
                let mut sections = Vec::with_capacity(values.len());
                for (index, value) in values.iter().enumerate() {
                    let ValueKind::Table(table) = &value.kind else {
                        double("holds something that is no table");
                        continue;
                    };
                    sections.push(Section {
                        path: format!("{}[{index}]", self.key(name)),
                        table: Some(table),
                        collector: self.collector,
                    });
                }
                sections
            }
            Some(_) => {
                double("is not a list of tables");
                Vec::new()
            }
        }
    }

    /// A text; numbers are taken as they are written.
    pub(super) fn text(&self, name: &str) -> Option<String> {
        let value = self.value(name)?;
        if let ValueKind::String(text) = value {
            return Some(text.clone());
        }
        if let ValueKind::I64(number) = value {
            return Some(number.to_string());
        }
        self.report(name, "is not a text", "write it in double quotes");
        None
    }

    /// A text that must be there.
    pub(super) fn required(&self, name: &str, hint: &str) -> Option<String> {
        if self.value(name).is_none() {
            self.report(name, "is missing", hint);
        }
        self.text(name)
    }

    /// A text that must be there and be of a form.
    pub(super) fn parsed<T: FromStr>(&self, name: &str, hint: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        self.required(name, hint).and_then(|text| self.parse(name, &text, hint))
    }

    /// A text that must be of a form if it is there.
    pub(super) fn optional<T: FromStr>(&self, name: &str, hint: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        self.text(name).and_then(|text| self.parse(name, &text, hint))
    }

    /// One of some words, or the default.
    pub(super) fn choice<T: Copy>(&self, name: &str, words: &[(&str, T)], default: T) -> T {
        let Some(text) = self.text(name) else { return default };
        let found = words.iter().find(|(word, _)| word.eq_ignore_ascii_case(&text));
        found.map_or_else(
            || {
                let known: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                let hint = format!("{}one of: {}", did_you_mean(&text, &known), known.join(", "));
                self.report(name, format!("is {text:?}"), hint);
                default
            },
            |(_, value)| *value,
        )
    }

    /// A whole number within bounds, or the default.
    pub(super) fn number(
        &self,
        name: &str,
        bounds: std::ops::RangeInclusive<u64>,
        default: u64,
    ) -> u64 {
        let number = match self.value(name) {
            None => return default,
            Some(ValueKind::I64(number)) => u64::try_from(*number).ok(),
            Some(ValueKind::U64(number)) => Some(*number),
            Some(ValueKind::String(text)) => text.trim().parse().ok(),
            Some(_) => None,
        };
        match number {
            Some(number) if bounds.contains(&number) => number,
            Some(_) | None => {
                let hint = format!("a whole number from {} to {}", bounds.start(), bounds.end());
                self.report(name, "is not a number that fits", hint);
                default
            }
        }
    }

    /// A path; relative ones are relative to the folder of the configuration.
    pub(super) fn path(&self, name: &str) -> Option<PathBuf> {
        self.text(name).map(|text| self.collector.folder.join(text))
    }

    /// A path that must be there.
    pub(super) fn required_path(&self, name: &str, hint: &str) -> Option<PathBuf> {
        self.required(name, hint).map(|text| self.collector.folder.join(text))
    }

    fn parse<T: FromStr>(&self, name: &str, text: &str, hint: &str) -> Option<T>
    where
        T::Err: std::fmt::Display,
    {
        match text.parse() {
            Ok(value) => Some(value),
            Err(error) => {
                self.report(name, format!("is {text:?}: {error}"), hint);
                None
            }
        }
    }

    fn value(&self, name: &str) -> Option<&'a ValueKind> {
        let kind = &self.table?.get(name)?.kind;
        if matches!(kind, ValueKind::Nil) { None } else { Some(kind) }
    }
}

/// `did you mean "…"? ` if a known word is near to what was written.
fn did_you_mean(written: &str, known: &[&str]) -> String {
    let written = written.to_lowercase();
    let far = |word: &str| strsim::damerau_levenshtein(&written, word);
    let near = known.iter().min_by_key(|word| far(word));
    // A third of the letters wrong is another word.
    let near = near.filter(|word| far(word) * 3 <= word.len());
    near.map_or_else(String::new, |word| format!("did you mean {word:?}? "))
}
