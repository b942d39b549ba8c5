//! One generated row: its values in item order in one buffer, reused from row to row.

use std::fmt::{Display, Write as _};

/// The values of a row as text, in the order of its entry's items; "" is an absent value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    text: String,
    ends: Vec<usize>,
}

impl Row {
    /// Forgets all values, keeps the memory.
    pub fn clear(&mut self) {
        self.text.clear();
        self.ends.clear();
    }

    /// Adds a value.
    pub fn put(&mut self, value: impl Display) -> &mut Self {
        // Writing to a String fails only when a Display implementation says so; none here does.
        let _ = write!(self.text, "{value}");
        self.end()
    }

    /// Adds a value given as text, without the cost of formatting.
    pub fn put_str(&mut self, value: &str) -> &mut Self {
        self.text.push_str(value);
        self.end()
    }

    /// Adds an absent value.
    pub fn absent(&mut self) -> &mut Self {
        self.end()
    }

    /// Adds a value, or an absent one.
    pub fn put_if(&mut self, present: bool, value: impl Display) -> &mut Self {
        if present { self.put(value) } else { self.absent() }
    }

    /// Adds a logical value.
    pub fn put_bool(&mut self, value: bool) -> &mut Self {
        self.put_str(if value { "1" } else { "0" })
    }

    /// Appends to the value under construction; [`Row::end`] completes it.
    pub fn text(&mut self) -> &mut String {
        &mut self.text
    }

    /// Completes the value under construction.
    pub fn end(&mut self) -> &mut Self {
        self.ends.push(self.text.len());
        self
    }

    /// How many values the row has.
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether the row has no values.
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The values in item order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        let mut start = 0;
        self.ends.iter().map(move |end| {
            let value = &self.text[start..*end];
            start = *end;
            value
        })
    }
}

/// A decimal in canonical form: `units / 10^places` without trailing zeros or a lone point.
#[derive(Clone, Copy, Debug)]
pub struct Decimal {
    /// The value without its point.
    pub units: i64,
    /// Digits behind the point, at most 18.
    pub places: u32,
}

/// `units / 10^places`.
pub fn decimal(units: u64, places: u32) -> Decimal {
    Decimal { units: units as i64, places }
}

impl Display for Decimal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (mut units, mut places) = (self.units.unsigned_abs(), self.places);
        while places > 0 && units.is_multiple_of(10) {
            units /= 10;
            places -= 1;
        }
        let scale = 10u64.pow(places);
        let sign = if self.units < 0 { "-" } else { "" };
        write!(f, "{sign}{}", units / scale)?;
        if places > 0 {
            write!(f, ".{:0width$}", units % scale, width = places as usize)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decimals_are_canonical() {
        let text = |units, places| Decimal { units, places }.to_string();
        assert_eq!(text(0, 2), "0");
        assert_eq!(text(1_250, 2), "12.5");
        assert_eq!(text(-5, 3), "-0.005");
        assert_eq!(text(1_200, 2), "12");
    }

    #[test]
    fn values_come_back_in_order() {
        let mut row = Row::default();
        row.put(12).absent().put_str("示例");
        assert_eq!(row.iter().collect::<Vec<_>>(), ["12", "", "示例"]);
    }
}
