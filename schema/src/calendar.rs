//! The working-day calendar: legal deadlines count working days, and which days those are is
//! announced year by year (holidays, and weekend days that are worked in exchange, 调休).
//!
//! A calendar is imported from a list with one date per line:
//!
//! ```text
//! # date, kind (holiday or work), remark
//! 2026-01-01,holiday,元旦
//! 2026-01-04,work,元旦调休
//! ```
//!
//! A year is covered if the list names at least one date in it. In other years only Saturday and
//! Sunday are free, and every answer that depends on such a year says so.

use std::collections::{BTreeMap, BTreeSet};

use jiff::civil::{Date, Weekday};
use serde::{Deserialize, Serialize};

/// Most days that can be added; longer terms are not counted in working days.
pub const WORKING_DAYS_MAX: u16 = 1_000;

/// Largest list, in lines: a century of calendars.
const LINES_MAX: usize = 10_000;

/// Holidays and made-up working days.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Calendar {
    days: BTreeMap<Date, DayKind>,
    years: BTreeSet<i16>,
}

/// What the list says about a date.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DayKind {
    /// Free, whatever the day of the week.
    Holiday,
    /// Worked, whatever the day of the week.
    Work,
}

/// The end of a term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Due {
    /// The last day of the term.
    pub date: Date,
    /// Whether a year outside of the calendar was counted, so that the date may still move.
    pub beyond_calendar: bool,
}

/// Why a list or a term cannot be taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CalendarError {
    /// A line of the list is not as it should be.
    #[error("line {line}: expected {expected}")]
    Line {
        /// Number of the line, from 1.
        line: usize,
        /// What should stand there.
        expected: &'static str,
    },
    /// The list is longer than any calendar.
    #[error("more than {LINES_MAX} lines")]
    TooLong,
    /// More working days than a term can have.
    #[error("{0} working days are more than the {WORKING_DAYS_MAX} that a term can have")]
    TooManyDays(u16),
    /// The term ends after the last date that can be written.
    #[error("the term ends after the year 9999")]
    OutOfRange,
}

impl Calendar {
    /// Reads a list. Blank lines and lines that begin with `#` are passed over; a byte order mark
    /// is too.
    pub fn parse(list: &str) -> Result<Self, CalendarError> {
        let mut calendar = Self::default();
        for (index, line) in list.trim_start_matches('\u{feff}').lines().enumerate() {
            if index >= LINES_MAX {
                return Err(CalendarError::TooLong);
            }
            let text = line.trim();
            if text.is_empty() || text.starts_with('#') {
                continue;
            }
            let wrong = |expected| CalendarError::Line { line: index + 1, expected };
            let mut parts = text.split(',').map(str::trim);
            let date: Date = parts
                .next()
                .and_then(|part| part.parse().ok())
                .ok_or_else(|| wrong("a date such as 2026-01-01"))?;
            let kind = match parts.next() {
                Some("holiday") => DayKind::Holiday,
                Some("work") => DayKind::Work,
                Some(_) | None => return Err(wrong("holiday or work after the date")),
            };
            if calendar.set(date, kind).is_some_and(|before| before != kind) {
                return Err(wrong("a date that is not listed as the other kind before"));
            }
        }
        Ok(calendar)
    }

    /// Enters one date; its year counts as covered from then on. Returns what stood there.
    pub fn set(&mut self, date: Date, kind: DayKind) -> Option<DayKind> {
        self.years.insert(date.year());
        self.days.insert(date, kind)
    }

    /// Takes all dates of another list over; where both name a date, the other one wins.
    pub fn merge(&mut self, other: &Self) {
        for (date, kind) in &other.days {
            self.set(*date, *kind);
        }
    }

    /// Whether the calendar of this date's year has been imported.
    #[must_use]
    pub fn covers(&self, date: Date) -> bool {
        self.years.contains(&date.year())
    }

    /// Whether the date is a working day.
    #[must_use]
    pub fn is_working_day(&self, date: Date) -> bool {
        match self.days.get(&date) {
            Some(DayKind::Work) => true,
            Some(DayKind::Holiday) => false,
            None => !matches!(date.weekday(), Weekday::Saturday | Weekday::Sunday),
        }
    }

    /// The last day of a term of `days` working days. The day that starts the term is not counted;
    /// a term of 0 days ends on it.
    pub fn add_working_days(&self, from: Date, days: u16) -> Result<Due, CalendarError> {
        if days > WORKING_DAYS_MAX {
            return Err(CalendarError::TooManyDays(days));
        }
        let mut due = Due { date: from, beyond_calendar: !self.covers(from) };
        let mut left = days;
        while left > 0 {
            due.date = due.date.tomorrow().map_err(|_| CalendarError::OutOfRange)?;
            due.beyond_calendar |= !self.covers(due.date);
            if self.is_working_day(due.date) {
                left -= 1;
            }
        }
        Ok(due)
    }

    /// Working days after `from` up to and including `until`; 0 if `until` is not later. Stops
    /// counting at [`WORKING_DAYS_MAX`].
    #[must_use]
    pub fn working_days_between(&self, from: Date, until: Date) -> u16 {
        let mut count = 0;
        let mut day = from;
        while day < until && count < WORKING_DAYS_MAX {
            let Ok(next) = day.tomorrow() else { break };
            day = next;
            count += u16::from(self.is_working_day(day));
        }
        count
    }
}

/// Whether a date exists in the Gregorian calendar, years 1 to 9999. Runs for every row.
pub(crate) const fn date_exists(year: u32, month: u32, day: u32) -> bool {
    let last = match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => 31,
        4 | 6 | 9 | 11 => 30,
        2 if is_leap(year) => 29,
        2 => 28,
        _ => return false,
    };
    year >= 1 && year <= 9999 && day >= 1 && day <= last
}

const fn is_leap(year: u32) -> bool {
    year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400))
}

#[cfg(test)]
mod tests {
    use jiff::civil::date;
    use proptest::prelude::*;

    use super::*;

    /// Invented days in the pattern of a real year: a week of holidays, two Saturdays worked for it.
    const LIST: &str = "\u{feff}# test year
2026-10-01,holiday,国庆节
2026-10-02,holiday
2026-10-05, holiday
2026-10-06,holiday

2026-10-10,work,调休
";

    fn calendar() -> Calendar {
        Calendar::parse(LIST).expect("a good list")
    }

    #[test]
    fn holidays_are_skipped_and_made_up_days_are_counted() {
        let due = calendar().add_working_days(date(2026, 9, 30), 4).expect("in range");
        // 7, 8, 9 October and Saturday the 10th.
        assert_eq!(due, Due { date: date(2026, 10, 10), beyond_calendar: false });
    }

    #[test]
    fn the_first_day_is_not_counted() {
        let calendar = calendar();
        let friday = date(2026, 3, 6);
        let add = |days| calendar.add_working_days(friday, days).expect("in range").date;
        assert_eq!(add(0), friday);
        assert_eq!(add(1), date(2026, 3, 9));
        assert_eq!(add(10), date(2026, 3, 20));
        assert_eq!(calendar.working_days_between(friday, date(2026, 3, 20)), 10);
        assert_eq!(calendar.working_days_between(friday, friday), 0);
    }

    #[test]
    fn a_date_beyond_the_calendar_is_flagged() {
        let due = calendar().add_working_days(date(2026, 12, 30), 5).expect("in range");
        assert!(due.beyond_calendar);
        assert!(
            Calendar::default()
                .add_working_days(date(2026, 1, 5), 1)
                .expect("in range")
                .beyond_calendar
        );
    }

    #[test]
    fn a_bad_list_is_refused_with_its_line() {
        for (list, line) in [
            ("2026-02-30,holiday", 1),
            ("# x\n2026-01-01", 2),
            ("2026-01-01,free", 1),
            ("2026-01-01,holiday\n2026-01-01,work", 2),
        ] {
            match Calendar::parse(list) {
                Err(CalendarError::Line { line: found, .. }) => assert_eq!(found, line),
                other => panic!("{list}: {other:?}"),
            }
        }
        assert_eq!(Calendar::parse(&"\n".repeat(LINES_MAX + 1)), Err(CalendarError::TooLong));
    }

    #[test]
    fn terms_that_cannot_be_counted_are_refused() {
        let calendar = calendar();
        assert_eq!(
            calendar.add_working_days(date(2026, 1, 1), WORKING_DAYS_MAX + 1),
            Err(CalendarError::TooManyDays(WORKING_DAYS_MAX + 1))
        );
        assert_eq!(calendar.add_working_days(Date::MAX, 1), Err(CalendarError::OutOfRange));
    }

    #[test]
    fn a_later_list_wins() {
        let mut merged = calendar();
        merged.merge(&Calendar::parse("2026-10-10,holiday\n2027-01-01,holiday").expect("good"));
        assert!(!merged.is_working_day(date(2026, 10, 10)));
        assert!(merged.covers(date(2027, 6, 1)));
        let json = serde_json::to_string(&merged).expect("serialisable");
        assert_eq!(serde_json::from_str::<Calendar>(&json).expect("readable"), merged);
    }

    proptest! {
        #[test]
        fn adding_and_counting_agree(offset in 0i64..700, days in 0u16..200) {
            let calendar = calendar();
            let from = date(2025, 6, 1) + jiff::Span::new().days(offset);
            let due = calendar.add_working_days(from, days).expect("in range");
            prop_assert_eq!(calendar.working_days_between(from, due.date), days);
            prop_assert!(days == 0 || calendar.is_working_day(due.date));
        }

        #[test]
        fn existing_dates_are_those_of_the_civil_calendar(year in 0u32..10_100, month in 0u32..14, day in 0u32..33) {
            let civil = Date::new(year as i16, month as i8, day as i8).is_ok();
            prop_assert_eq!(date_exists(year, month, day), civil && (1..=9999).contains(&year));
        }

        #[test]
        fn arbitrary_lists_never_panic(list in ".{0,200}") {
            let _ = Calendar::parse(&list);
        }
    }
}
