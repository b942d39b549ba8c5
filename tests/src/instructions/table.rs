//! The committed table of figures, in Markdown.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};

/// What one function takes.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Figure {
    pub(super) name: String,
    pub(super) what: String,
    pub(super) unit: String,
    /// Instructions for each unit.
    pub(super) each: f64,
}

/// All figures of one run.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Table {
    /// What ran, and on what.
    pub(super) machine: String,
    pub(super) figures: Vec<Figure>,
}

const COUNTED_BY: &str = "Counted on ";

impl Table {
    pub(super) fn figure(&self, name: &str) -> Option<&Figure> {
        self.figures.iter().find(|figure| figure.name == name)
    }

    pub(super) fn write(&self, path: &Path) -> Result<()> {
        fs::write(path, self.render()?).with_context(|| format!("write {}", path.display()))
    }

    pub(super) fn read(path: &Path) -> Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("{} is not as it was written", path.display()))
    }

    fn render(&self) -> Result<String> {
        let mut text = String::from(
            "# Instructions\n\nWritten by `HUTONG_BLESS=1 make instructions`; `make instructions` compares with it. One batch of 4,096 rows of\nthe reference city's population.\n\n",
        );
        writeln!(text, "{COUNTED_BY}{}.\n", self.machine)?;
        text.push_str(
            "| function | what it does | each | instructions |\n| --- | --- | --- | ---: |\n",
        );
        for Figure { name, what, unit, each } in &self.figures {
            writeln!(text, "| {name} | {what} | {unit} | {each:.2} |")?;
        }
        Ok(text)
    }

    fn parse(text: &str) -> Result<Self> {
        let machine = text.lines().find_map(|line| line.strip_prefix(COUNTED_BY));
        let machine =
            machine.and_then(|line| line.strip_suffix('.')).context("where it was counted")?;
        let mut figures = Vec::new();
        for line in text.lines().filter(|line| line.starts_with("| ")).skip(2) {
            let cells: Vec<&str> = line.split('|').map(str::trim).collect();
            let ["", name, what, unit, each, ""] = cells[..] else { bail!("the line {line:?}") };
            let each = each.parse().with_context(|| format!("the number in {line:?}"))?;
            let (name, what, unit) = (name.to_owned(), what.to_owned(), unit.to_owned());
            figures.push(Figure { name, what, unit, each });
        }
        Ok(Self { machine: machine.to_owned(), figures })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_table_is_read_as_it_was_written() {
        let figure = |name: &str, each| Figure {
            name: name.to_owned(),
            what: "a row's hash".to_owned(),
            unit: "row".to_owned(),
            each,
        };
        let machine = "x86_64 avx2 under valgrind-3.19.0; rustc 1.95.0 (x 2026)".to_owned();
        let table = Table { machine, figures: vec![figure("leaf", 1234.5), figure("judge", 0.25)] };
        assert_eq!(Table::parse(&table.render().unwrap()).unwrap(), table);
    }
}
