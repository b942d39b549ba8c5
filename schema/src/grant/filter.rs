//! Row filters: which rows a grant covers.
//!
//! A filter reads stored fields and one fixed date, never a clock: the same row on the same date
//! always gets the same verdict, wherever it is asked.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::row::{FieldId, RowRef, key_parts};

/// A row filter. An absent field satisfies no comparison, so `not (a = "x")` holds for a row
/// without `a`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum RowFilter {
    /// Every part holds.
    All(Vec<RowFilter>),
    /// At least one part holds.
    Any(Vec<RowFilter>),
    /// The part does not hold.
    Not(Box<RowFilter>),
    /// The field is present.
    Present(FieldId),
    /// The field equals one of these values.
    In(FieldId, Vec<Scalar>),
    /// The field's text starts with this.
    Starts(FieldId, String),
    /// The field is at least this.
    AtLeast(FieldId, Scalar),
    /// The field is at most this.
    AtMost(FieldId, Scalar),
    /// The date in the field lies at least this many whole years before the filter's date.
    AgeAtLeast(FieldId, u16),
}

/// A literal in a filter, compared by the type of its field.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scalar {
    /// Compared byte by byte: text, dates, codes.
    Text(String),
    /// Compared as a number; kept as canonical decimal text.
    Number(String),
}

/// The date that a filter's ages are counted to, as `YYYYMMDD` in one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct AsOf(u32);

impl AsOf {
    /// The date as a filter sees it.
    pub fn new(date: Date) -> Self {
        Self(date.year() as u32 * 10_000 + date.month() as u32 * 100 + date.day() as u32)
    }

    /// The date as `YYYYMMDD`.
    pub fn number(self) -> u32 {
        self.0
    }

    /// The date.
    pub fn date(self) -> Date {
        let (year, month, day) = (self.0 / 10_000, self.0 / 100 % 100, self.0 % 100);
        // Made from a date, so it is one.
        Date::new(year as i16, month as i8, day as i8).unwrap_or(Date::ZERO)
    }

    /// From `YYYYMMDD`; `None` when that is no date.
    pub fn from_number(number: u32) -> Option<Self> {
        let (year, month, day) = (number / 10_000, number / 100 % 100, number % 100);
        Date::new(year.try_into().ok()?, month.try_into().ok()?, day.try_into().ok()?).ok()?;
        Some(Self(number))
    }

    /// Whoever was born on or before this day has the given age: 29 February is reached on 1 March
    /// of a common year.
    fn born_until(self, years: u16) -> u32 {
        self.0.saturating_sub(u32::from(years) * 10_000)
    }
}

impl RowFilter {
    /// Whether verdicts can change with the date alone.
    pub fn depends_on_date(&self) -> bool {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().any(Self::depends_on_date),
            Self::Not(part) => part.depends_on_date(),
            Self::AgeAtLeast(..) => true,
            Self::Present(_)
            | Self::In(..)
            | Self::Starts(..)
            | Self::AtLeast(..)
            | Self::AtMost(..) => false,
        }
    }

    /// The fields it reads.
    pub fn fields(&self) -> Vec<FieldId> {
        let mut fields = Vec::new();
        self.collect(&mut fields);
        fields.sort_unstable();
        fields.dedup();
        fields
    }

    fn collect(&self, out: &mut Vec<FieldId>) {
        match self {
            Self::All(parts) | Self::Any(parts) => parts.iter().for_each(|part| part.collect(out)),
            Self::Not(part) => part.collect(out),
            Self::Present(field)
            | Self::In(field, _)
            | Self::Starts(field, _)
            | Self::AtLeast(field, _)
            | Self::AtMost(field, _)
            | Self::AgeAtLeast(field, _) => out.push(*field),
        }
    }
}

/// A filter made ready for many rows of one schema: it knows which fields are parts of the key.
#[derive(Clone, Debug)]
pub struct CompiledFilter {
    filter: Option<RowFilter>,
    keys: Vec<FieldId>,
}

impl CompiledFilter {
    /// Prepares a filter; `keys` are the key fields in the order of the key's parts. Without a
    /// filter every row matches.
    pub fn new(filter: Option<&RowFilter>, keys: &[FieldId]) -> Self {
        Self { filter: filter.cloned(), keys: keys.to_vec() }
    }

    /// Whether verdicts can change with the date alone.
    pub fn depends_on_date(&self) -> bool {
        self.filter.as_ref().is_some_and(RowFilter::depends_on_date)
    }

    /// The verdict on a row.
    pub fn matches(&self, key: &[u8], row: RowRef<'_>, as_of: AsOf) -> bool {
        self.matches_with(as_of, |field| match self.keys.iter().position(|key| *key == field) {
            Some(part) => key_parts(key).nth(part),
            None => row.get(field),
        })
    }

    /// The verdict on a row whose fields are read through `value`, keys included.
    pub fn matches_with<'v>(
        &self,
        as_of: AsOf,
        value: impl Fn(FieldId) -> Option<&'v [u8]>,
    ) -> bool {
        self.filter.as_ref().is_none_or(|filter| verdict(filter, as_of, &value))
    }
}

fn verdict<'v>(
    filter: &RowFilter,
    as_of: AsOf,
    value: &impl Fn(FieldId) -> Option<&'v [u8]>,
) -> bool {
    match filter {
        RowFilter::All(parts) => parts.iter().all(|part| verdict(part, as_of, value)),
        RowFilter::Any(parts) => parts.iter().any(|part| verdict(part, as_of, value)),
        RowFilter::Not(part) => !verdict(part, as_of, value),
        RowFilter::Present(field) => value(*field).is_some(),
        RowFilter::In(field, values) => {
            value(*field).is_some_and(|found| values.iter().any(|other| other.equals(found)))
        }
        RowFilter::Starts(field, prefix) => {
            value(*field).is_some_and(|found| found.starts_with(prefix.as_bytes()))
        }
        RowFilter::AtLeast(field, bound) => {
            value(*field).and_then(|found| bound.order(found)).is_some_and(|order| order.is_ge())
        }
        RowFilter::AtMost(field, bound) => {
            value(*field).and_then(|found| bound.order(found)).is_some_and(|order| order.is_le())
        }
        RowFilter::AgeAtLeast(field, years) => {
            value(*field).and_then(day_number).is_some_and(|born| born <= as_of.born_until(*years))
        }
    }
}

impl Scalar {
    fn equals(&self, found: &[u8]) -> bool {
        match self {
            Self::Text(text) => text.as_bytes() == found,
            Self::Number(_) => self.order(found).is_some_and(|order| order.is_eq()),
        }
    }

    /// How a stored value compares to this literal; `None` when it is no number and should be.
    fn order(&self, found: &[u8]) -> Option<std::cmp::Ordering> {
        match self {
            Self::Text(text) => Some(found.cmp(text.as_bytes())),
            Self::Number(number) => {
                let parse = |text: &str| text.parse::<f64>().ok();
                parse(std::str::from_utf8(found).ok()?)?.partial_cmp(&parse(number)?)
            }
        }
    }
}

fn day_number(value: &[u8]) -> Option<u32> {
    let digits = value.get(..8)?;
    digits.iter().try_fold(0u32, |sum, byte| {
        byte.is_ascii_digit().then(|| sum * 10 + u32::from(byte - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::RowBuf;

    fn row(birth: &str) -> RowBuf {
        let mut row = RowBuf::new();
        row.push(FieldId(5), birth.as_bytes());
        row.push(FieldId(6), b"211221");
        row.push(FieldId(7), b"12.50");
        row
    }

    fn holds(filter: RowFilter, birth: &str, day: u32) -> bool {
        CompiledFilter::new(Some(&filter), &[FieldId(1)]).matches(
            b"k1",
            row(birth).as_ref(),
            AsOf::from_number(day).unwrap(),
        )
    }

    #[test]
    fn an_age_is_reached_on_the_birthday() {
        let adult = || RowFilter::AgeAtLeast(FieldId(5), 18);
        assert!(!holds(adult(), "20081122", 20261121));
        assert!(holds(adult(), "20081122", 20261122));
        assert!(!holds(adult(), "20000229", 20180228));
        assert!(holds(adult(), "20000229", 20180301));
        assert!(!holds(adult(), "unknown", 20261122));
    }

    #[test]
    fn keys_and_fields_are_both_read() {
        let text = |text: &str| Scalar::Text(text.into());
        assert!(holds(RowFilter::In(FieldId(1), vec![text("k1")]), "20000101", 20260101));
        assert!(holds(RowFilter::Starts(FieldId(6), "2112".into()), "20000101", 20260101));
        assert!(!holds(RowFilter::Present(FieldId(9)), "20000101", 20260101));
        assert!(holds(
            RowFilter::AtLeast(FieldId(7), Scalar::Number("9".into())),
            "20000101",
            20260101
        ));
        assert!(holds(
            RowFilter::Not(Box::new(RowFilter::In(FieldId(9), vec![text("x")]))),
            "20000101",
            20260101
        ));
    }
}
