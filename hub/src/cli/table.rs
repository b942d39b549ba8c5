//! Plain aligned tables. Widths are those of a terminal: a Chinese character takes two columns.

use unicode_width::UnicodeWidthStr;

/// A table under construction.
pub(super) struct Table {
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
}

impl Table {
    /// A table with these headings; those that begin with `>` stand over numbers, to the right.
    pub(super) fn new(headings: &[&str]) -> Self {
        let right = headings.iter().map(|heading| heading.starts_with('>')).collect();
        let names = headings.iter().map(|heading| heading.trim_start_matches('>').to_owned());
        Self { rows: vec![names.collect()], right }
    }

    /// Adds a row.
    pub(super) fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        self.rows.push(cells.into_iter().collect());
    }

    /// Whether only the headings are there.
    pub(super) fn is_empty(&self) -> bool {
        self.rows.len() == 1
    }

    /// The lines.
    pub(super) fn lines(&self) -> Vec<String> {
        let width = |column: usize| {
            let cells = self.rows.iter().filter_map(|row| row.get(column));
            cells.map(|cell| cell.width()).max().unwrap_or(0)
        };
        let widths: Vec<usize> = (0..self.right.len()).map(width).collect();
        self.rows.iter().map(|row| self.line(row, &widths)).collect()
    }

    fn line(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for (column, cell) in row.iter().enumerate() {
            let space = widths.get(column).copied().unwrap_or(0).saturating_sub(cell.width());
            if column > 0 {
                line.push_str("  ");
            }
            if self.right.get(column).copied().unwrap_or(false) {
                line.push_str(&" ".repeat(space));
                line.push_str(cell);
            } else {
                line.push_str(cell);
                line.push_str(&" ".repeat(space));
            }
        }
        line.truncate(line.trim_end().len());
        line
    }
}

/// A number with its thousands apart: `3 000 818`.
pub(super) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(' ');
        }
        text.push(digit);
    }
    text
}

/// Bytes for people: `12.3 MiB`.
pub(super) fn bytes(number: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = number as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{number} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned_for_both_scripts() {
        let mut table = Table::new(&["name", ">rows", "state"]);
        table.row(["人口基础库".into(), grouped(2_235_402), "following".into()]);
        table.row(["geo".into(), "94".into(), String::new()]);
        assert_eq!(
            table.lines(),
            [
                "name             rows  state",
                "人口基础库  2 235 402  following",
                "geo                94"
            ]
        );
    }

    #[test]
    fn numbers_are_for_people() {
        assert_eq!([0, 999, 1_000, 3_000_818].map(grouped), ["0", "999", "1 000", "3 000 818"]);
        assert_eq!([512, 1536, 1 << 30].map(bytes), ["512 B", "1.5 KiB", "1.0 GiB"]);
    }
}
