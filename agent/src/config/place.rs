//! Where a setting stands: the line of the file, or the variable of the environment.

use std::{collections::HashMap, fmt, path::Path, sync::Arc};

use toml::de::{DeTable, DeValue};

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Place {
    /// In the file as a whole: a section is missing.
    File(Option<Arc<Path>>),
    /// In a line of the file, counted from 1.
    Line(Option<Arc<Path>>, usize),
    /// In an environment variable.
    Environment(String),
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(None) => formatter.write_str("the configuration"),
            Self::File(Some(file)) => file.display().fmt(formatter),
            Self::Line(None, line) => write!(formatter, "line {line}"),
            Self::Line(Some(file), line) => write!(formatter, "{}:{line}", file.display()),
            Self::Environment(name) => formatter.write_str(name),
        }
    }
}

/// The lines of all keys of a file.
#[derive(Debug, Default)]
pub(super) struct Lines {
    file: Option<Arc<Path>>,
    by_path: HashMap<String, usize>,
}

impl Lines {
    /// Reads where each key stands.
    ///
    /// # Errors
    /// With all faults, if the text is not TOML.
    pub(super) fn read(text: &str, file: Option<&Path>) -> Result<Self, Vec<(Place, String)>> {
        let file: Option<Arc<Path>> = file.map(Arc::from);
        let starts = starts(text);
        let line = |at: usize| starts.partition_point(|start| *start <= at);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let fault = |error: &toml::de::Error| {
                let place = match error.span() {
                    Some(span) => Place::Line(file.clone(), line(span.start)),
                    None => Place::File(file.clone()),
                };
                (place, error.message().to_owned())
            };
            return Err(errors.iter().map(fault).collect());
        }
        let mut by_path = HashMap::new();
        walk(table.get_ref(), "", &mut |path, at| {
            by_path.entry(path).or_insert_with(|| line(at));
        });
        Ok(Self { file, by_path })
    }

    /// Where a key stands; if it is missing, where the section stands that lacks it.
    pub(super) fn of(&self, path: &str) -> Place {
        let mut path = path;
        loop {
            if let Some(line) = self.by_path.get(path) {
                return Place::Line(self.file.clone(), *line);
            }
            match path.rfind(['.', '[']) {
                Some(end) => path = &path[..end],
                None => return Place::File(self.file.clone()),
            }
        }
    }
}

/// Where each line begins, bytes.
fn starts(text: &str) -> Vec<usize> {
    std::iter::once(0).chain(text.match_indices('\n').map(|(at, _)| at + 1)).collect()
}

fn walk(table: &DeTable<'_>, path: &str, note: &mut impl FnMut(String, usize)) {
    for (key, value) in table {
        let name = key.get_ref();
        let path = if path.is_empty() { name.to_string() } else { format!("{path}.{name}") };
        // A list of tables has one key for all of them; a table its own heading.
        note(path.clone(), key.span().start);
        walk_value(value.get_ref(), &path, note);
    }
}

fn walk_value(value: &DeValue<'_>, path: &str, note: &mut impl FnMut(String, usize)) {
    if let Some(table) = value.as_table() {
        walk(table, path, note);
    }
    for (index, each) in value.as_array().into_iter().flat_map(|array| array.iter()).enumerate() {
        let path = format!("{path}[{index}]");
        note(path.clone(), each.span().start);
        walk_value(each.get_ref(), &path, note);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "[hub]\naddress = \"a:1\"\n\n[[node]]\nname = \"n1\"\n[[node.publish]]\npath = 'a'\n[[node]]\npublish = [\n  { path = 'b' },\n  { path = 'c' },\n]\n";

    #[test]
    fn a_key_is_found_at_its_line_and_a_missing_one_at_its_section() {
        let lines = Lines::read(TEXT, Some(Path::new("agent.toml"))).unwrap();
        let at = |path| lines.of(path).to_string();
        assert_eq!(at("hub.address"), "agent.toml:2");
        assert_eq!(at("hub.exchange"), "agent.toml:1");
        assert_eq!(at("node[0].name"), "agent.toml:5");
        assert_eq!(at("node[0].publish[0].resource"), "agent.toml:6");
        assert_eq!(at("node[0].publish[0].path"), "agent.toml:7");
        assert_eq!(at("node[1].name"), "agent.toml:8");
        assert_eq!(at("node[1].publish[1].path"), "agent.toml:11");
        assert_eq!(at("state.dir"), "agent.toml");
    }

    #[test]
    fn all_faults_of_the_syntax_have_a_line() {
        let faults = Lines::read("[hub]\naddress = \na = 1\na = 2\n", None).unwrap_err();
        let lines: Vec<_> = faults.iter().map(|(place, _)| place.to_string()).collect();
        assert_eq!(lines, ["line 2", "line 4"], "{faults:?}");
    }
}
