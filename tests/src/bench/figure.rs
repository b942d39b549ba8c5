//! One measured figure.

use std::io::{self, Write};

/// A figure, what it should be, and what the machine could do at most.
#[derive(Clone, Debug)]
pub(super) struct Figure {
    /// What was measured.
    pub(super) what: String,
    /// The value.
    pub(super) value: f64,
    /// Its unit.
    pub(super) unit: &'static str,
    /// What it is to reach now, and later; `None` for figures that only explain others.
    pub(super) wanted: Option<Wanted>,
    /// What bounds it on this machine, measured in the same run.
    pub(super) limits: Vec<Limit>,
    /// What else was seen: processor time, bytes, memory.
    pub(super) seen: Vec<String>,
}

/// Bounds that a figure is to reach.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wanted {
    /// Now.
    pub(super) now: f64,
    /// Goal.
    pub(super) goal: f64,
    /// Whether more is better.
    pub(super) more: bool,
}

/// A bound of the machine.
#[derive(Clone, Debug)]
pub(super) struct Limit {
    /// Which.
    pub(super) name: &'static str,
    /// In the figure's unit.
    pub(super) value: f64,
}

impl Wanted {
    pub(super) const fn at_least(now: f64, goal: f64) -> Option<Self> {
        Some(Self { now, goal, more: true })
    }

    pub(super) const fn at_most(now: f64, goal: f64) -> Option<Self> {
        Some(Self { now, goal, more: false })
    }
}

impl Figure {
    pub(super) fn new(
        what: impl Into<String>,
        value: f64,
        unit: &'static str,
        wanted: Option<Wanted>,
    ) -> Self {
        Self { what: what.into(), value, unit, wanted, limits: Vec::new(), seen: Vec::new() }
    }

    pub(super) fn limit(mut self, name: &'static str, value: f64) -> Self {
        self.limits.push(Limit { name, value });
        self
    }

    pub(super) fn seen(mut self, line: impl Into<String>) -> Self {
        self.seen.push(line.into());
        self
    }

    /// `goal`, `reached` (the present bound) or `missed`; empty where nothing is wanted.
    pub(super) fn verdict(&self) -> &'static str {
        let Some(Wanted { now, goal, more }) = self.wanted else { return "" };
        let reaches = |bound: f64| if more { self.value >= bound } else { self.value <= bound };
        match (reaches(goal), reaches(now)) {
            (true, _) => "goal",
            (false, true) => "reached",
            (false, false) => "missed",
        }
    }

    pub(super) fn print(&self, out: &mut impl Write) -> io::Result<()> {
        writeln!(out, "{}: {} {}", self.what, number(self.value), self.unit)?;
        for Limit { name, value } in &self.limits {
            let share = 100.0 * self.value / value;
            writeln!(out, "    {share:.0} % of {name}: {}", number(*value))?;
        }
        self.seen.iter().try_for_each(|line| writeln!(out, "    {line}"))
    }
}

/// A number as people read it: thousands apart, decimals only where they tell something.
pub(super) fn number(value: f64) -> String {
    if value.abs() < 100.0 {
        return format!("{value:.2}");
    }
    let digits = format!("{:.0}", value.abs());
    let mut text = String::from(if value < 0.0 { "-" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_readable() {
        assert_eq!(number(1_234_567.4), "1,234,567");
        assert_eq!(number(999.6), "1,000");
        assert_eq!(number(123.0), "123");
        assert_eq!(number(4.256), "4.26");
    }

    #[test]
    fn a_bound_is_judged_in_its_direction() {
        let verdict = |value, wanted| Figure::new("", value, "", wanted).verdict();
        assert_eq!(verdict(2.0, Wanted::at_least(1.0, 2.0)), "goal");
        assert_eq!(verdict(1.5, Wanted::at_least(1.0, 2.0)), "reached");
        assert_eq!(verdict(0.5, Wanted::at_least(1.0, 2.0)), "missed");
        assert_eq!(verdict(2.0, Wanted::at_most(3.0, 2.0)), "goal");
        assert_eq!(verdict(4.0, Wanted::at_most(3.0, 2.0)), "missed");
        assert_eq!(verdict(4.0, None), "");
    }
}
