//! Dates and times as canonical text.

use std::borrow::Cow;

use super::RejectReason;
use crate::calendar::date_exists;

pub(super) fn check_date(value: &[u8]) -> Result<(), RejectReason> {
    let value: &[u8; 8] = value.try_into().map_err(|_| RejectReason::Type)?;
    exists(number(&value[..4])?, number(&value[4..6])?, number(&value[6..])?)
}

pub(super) fn check_date_time(value: &[u8]) -> Result<(), RejectReason> {
    let value: &[u8; 19] = value.try_into().map_err(|_| RejectReason::Type)?;
    let separators = [value[4], value[7], value[10], value[13], value[16]];
    if separators != *b"-- ::" {
        return Err(RejectReason::Type);
    }
    exists(number(&value[..4])?, number(&value[5..7])?, number(&value[8..10])?)?;
    time_exists(number(&value[11..13])?, number(&value[14..16])?, number(&value[17..])?)
}

pub(super) fn date(raw: &str) -> Result<Cow<'_, [u8]>, RejectReason> {
    if check_date(raw.as_bytes()).is_ok() {
        return Ok(Cow::Borrowed(raw.as_bytes()));
    }
    let mut scan = Scan(raw);
    let (year, month, day) = scan.date().ok_or(RejectReason::Type)?;
    // A source that exports dates with a time of midnight means the date.
    if !scan.at_end() && scan.time() != Some((0, 0, 0)) {
        return Err(RejectReason::Type);
    }
    if !scan.at_end() {
        return Err(RejectReason::Type);
    }
    exists(year, month, day)?;
    Ok(Cow::Owned(format!("{year:04}{month:02}{day:02}").into_bytes()))
}

pub(super) fn date_time(raw: &str) -> Result<Cow<'_, [u8]>, RejectReason> {
    if check_date_time(raw.as_bytes()).is_ok() {
        return Ok(Cow::Borrowed(raw.as_bytes()));
    }
    let mut scan = Scan(raw);
    let (year, month, day) = scan.date().ok_or(RejectReason::Type)?;
    let (hour, minute, second) =
        if scan.at_end() { (0, 0, 0) } else { scan.time().ok_or(RejectReason::Type)? };
    if !scan.at_end() {
        return Err(RejectReason::Type);
    }
    exists(year, month, day)?;
    time_exists(hour, minute, second)?;
    let text = format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}");
    Ok(Cow::Owned(text.into_bytes()))
}

fn exists(year: u32, month: u32, day: u32) -> Result<(), RejectReason> {
    if date_exists(year, month, day) { Ok(()) } else { Err(RejectReason::Date) }
}

fn time_exists(hour: u32, minute: u32, second: u32) -> Result<(), RejectReason> {
    if hour < 24 && minute < 60 && second < 60 { Ok(()) } else { Err(RejectReason::Date) }
}

fn number(digits: &[u8]) -> Result<u32, RejectReason> {
    digits.iter().try_fold(0, |n, b| {
        if b.is_ascii_digit() { Ok(n * 10 + u32::from(b - b'0')) } else { Err(RejectReason::Type) }
    })
}

/// Reads the forms that sources write, from left to right.
struct Scan<'a>(&'a str);

impl Scan<'_> {
    fn at_end(&self) -> bool {
        self.0.is_empty()
    }

    /// `YYYYMMDD`; `YYYY`, month and day with `-`, `/` or `.`; `YYYY年M月D日`.
    fn date(&mut self) -> Option<(u32, u32, u32)> {
        let year = self.digits(4, 4)?;
        if self.0.starts_with(|c: char| c.is_ascii_digit()) {
            return Some((year, self.digits(2, 2)?, self.digits(2, 2)?));
        }
        if self.literal("年") {
            let month = self.digits(1, 2)?;
            let day = self.literal("月").then(|| self.digits(1, 2)).flatten()?;
            return self.literal("日").then_some((year, month, day));
        }
        let separator = ["-", "/", "."].into_iter().find(|s| self.literal(s))?;
        let month = self.digits(1, 2)?;
        let day = self.literal(separator).then(|| self.digits(1, 2)).flatten()?;
        Some((year, month, day))
    }

    /// After a blank or `T` (or nothing, before six digits): `HH:MM`, `HH:MM:SS`, `HHMMSS`; a
    /// fraction of zeros is passed over, any other fraction is not a value that T can hold.
    fn time(&mut self) -> Option<(u32, u32, u32)> {
        let separated = self.literal(" ") || self.literal("T");
        while separated && self.literal(" ") {}
        let compact = self.0.len() == 6 && self.0.bytes().all(|b| b.is_ascii_digit());
        if compact {
            return Some((self.digits(2, 2)?, self.digits(2, 2)?, self.digits(2, 2)?));
        }
        if !separated {
            return None;
        }
        let hour = self.digits(1, 2)?;
        let minute = self.literal(":").then(|| self.digits(2, 2)).flatten()?;
        let second = if self.literal(":") { self.digits(2, 2)? } else { 0 };
        if self.literal(".") {
            let zeros = self.0.len() - self.0.trim_start_matches('0').len();
            if zeros == 0 {
                return None;
            }
            self.0 = &self.0[zeros..];
        }
        Some((hour, minute, second))
    }

    fn literal(&mut self, text: &str) -> bool {
        match self.0.strip_prefix(text) {
            Some(rest) => {
                self.0 = rest;
                true
            }
            None => false,
        }
    }

    /// Between `least` and `most` digits, as many as there are.
    fn digits(&mut self, least: usize, most: usize) -> Option<u32> {
        let count = self.0.bytes().take(most).take_while(u8::is_ascii_digit).count();
        if count < least {
            return None;
        }
        let (digits, rest) = self.0.split_at(count);
        self.0 = rest;
        digits.parse().ok()
    }
}
