//! Days as numbers: a table from day index to calendar date, so that two million birth dates cost a
//! look-up each.

use std::fmt::{self, Display, Formatter};
use std::sync::LazyLock;

use jiff::civil::Date;

/// The first day that can be named, 1925-01-01.
pub const FIRST_YEAR: u16 = 1925;
/// The last year that can be named.
pub const LAST_YEAR: u16 = 2026;
/// Days of the last year that are used: nothing in the city happens after June 2026.
const DAYS_OF_LAST_YEAR: u32 = 181;

/// A calendar day, printed as `YYYYMMDD`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Day(u32);

impl Day {
    /// The day with this index of this year, wrapping at the year's end.
    pub fn of_year(year: u16, index: u64) -> Self {
        let days = u64::from(days_of(year));
        let start = TABLE.starts[usize::from(year - FIRST_YEAR)];
        Day(TABLE.days[start as usize + (index % days) as usize])
    }

    /// Some day between two years, both included.
    pub fn between(rng: &mut super::rng::Rng, from: u16, to: u16) -> Self {
        let year = rng.between(from.into(), to.into()) as u16;
        Self::of_year(year, rng.draw())
    }

    /// The day as a calendar type.
    ///
    /// # Errors
    /// When the day does not exist, which would be a mistake in the table.
    pub fn date(self) -> Result<Date, jiff::Error> {
        let (month, day) = (self.0 / 100 % 100, self.0 % 100);
        Date::new(self.year() as i16, month as i8, day as i8)
    }

    /// The calendar year.
    pub fn year(self) -> u16 {
        (self.0 / 10_000) as u16
    }

    /// The day's second number `second`, printed as `YYYY-MM-DD HH:MM:SS`.
    pub fn at(self, second: u64) -> Moment {
        Moment { day: self, second: (second % 86_400) as u32 }
    }
}

impl Display for Day {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{:08}", self.0)
    }
}

/// A second of a day.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    day: Day,
    second: u32,
}

impl Display for Moment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let (day, second) = (self.day.0, self.second);
        write!(f, "{:04}-{:02}-{:02} ", day / 10_000, day / 100 % 100, day % 100)?;
        write!(f, "{:02}:{:02}:{:02}", second / 3_600, second / 60 % 60, second % 60)
    }
}

/// How many days of a year can be named.
pub fn days_of(year: u16) -> u32 {
    match year {
        LAST_YEAR => DAYS_OF_LAST_YEAR,
        _ if year.is_multiple_of(4) => 366,
        _ => 365,
    }
}

struct Table {
    days: Vec<u32>,
    starts: Vec<u32>,
}

static TABLE: LazyLock<Table> = LazyLock::new(|| {
    let mut table = Table { days: Vec::new(), starts: Vec::new() };
    for year in FIRST_YEAR..=LAST_YEAR {
        table.starts.push(table.days.len() as u32);
        // 2000 is the only century in the range and a leap year: every fourth year is one.
        let february = if year.is_multiple_of(4) { 29 } else { 28 };
        let months = [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        let dates = months.into_iter().zip(1u32..).flat_map(|(days, month)| {
            (1..=days).map(move |day| u32::from(year) * 10_000 + month * 100 + day)
        });
        table.days.extend(dates.take(days_of(year) as usize));
    }
    table
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_of_the_table_exists() {
        let mut day = jiff::civil::date(FIRST_YEAR as i16, 1, 1);
        for number in &TABLE.days {
            let expected = day.strftime("%Y%m%d").to_string();
            assert_eq!(number.to_string(), expected);
            day = day.tomorrow().unwrap();
        }
        assert_eq!(day, jiff::civil::date(2026, 7, 1));
    }

    #[test]
    fn a_moment_has_nineteen_characters() {
        assert_eq!(Day::of_year(2026, 58).at(3_661).to_string(), "2026-02-28 01:01:01");
    }
}
