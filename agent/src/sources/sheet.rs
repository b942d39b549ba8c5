//! A cell of a sheet as a person sees it.

use std::borrow::Cow;

use calamine::{DataRef, ExcelDateTime};

/// Numbers from here on have more digits than Excel keeps.
const DIGITS_LOST: f64 = 1e15;

/// Why a cell has no text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Problem {
    /// A number of more than 15 digits: the last ones are lost.
    DigitsLost,
    /// A formula that failed, shown as `#N/A` or the like.
    Failed,
    /// A number that is none, or a time that Excel cannot show.
    NoNumber,
}

impl Problem {
    /// What to do, in both languages.
    pub(super) fn in_words(self) -> &'static str {
        match self {
            Self::DigitsLost => {
                "数字超过15位，Excel 已丢失末位数字：请将该列设为文本格式后重新录入 (the number has more than \
                 15 digits and Excel has lost the last ones: format the column as text and enter it again)"
            }
            Self::Failed => {
                "单元格公式出错，如 #N/A：请改正公式 (the formula of the cell failed, such as #N/A: correct it)"
            }
            Self::NoNumber => "单元格不是有效的数值 (the cell holds no valid number)",
        }
    }
}

/// The text of a cell.
pub(super) fn text<'a>(value: &'a DataRef<'_>) -> Result<Cow<'a, str>, Problem> {
    Ok(match value {
        DataRef::Empty => Cow::Borrowed(""),
        DataRef::String(text) => Cow::Borrowed(text),
        DataRef::SharedString(text) => Cow::Borrowed(text),
        DataRef::Bool(yes) => Cow::Borrowed(if *yes { "TRUE" } else { "FALSE" }),
        DataRef::Int(number) => Cow::Owned(number.to_string()),
        DataRef::Float(number) => Cow::Owned(number_text(*number)?),
        DataRef::DateTime(time) => Cow::Owned(time_text(*time)?),
        DataRef::DateTimeIso(text) => Cow::Owned(text.replacen('T', " ", 1)),
        DataRef::DurationIso(text) => Cow::Borrowed(text),
        DataRef::Error(_) => return Err(Problem::Failed),
    })
}

/// A number with the 15 digits that Excel counts with: `0.1 + 0.2` is `0.3`.
fn number_text(number: f64) -> Result<String, Problem> {
    if !number.is_finite() {
        return Err(Problem::NoNumber);
    }
    if number.abs() >= DIGITS_LOST {
        return Err(Problem::DigitsLost);
    }
    let rounded: f64 = format!("{number:.14e}").parse().map_err(|_| Problem::NoNumber)?;
    // Not "-0".
    Ok(if rounded == 0.0 { "0".to_owned() } else { rounded.to_string() })
}

fn time_text(time: ExcelDateTime) -> Result<String, Problem> {
    let days = time.as_f64();
    if !days.is_finite() || days < 0.0 {
        return Err(Problem::NoNumber);
    }
    let (year, month, day, hour, minute, second, milli) = time.to_ymd_hms_milli();
    let fraction = if milli == 0 { String::new() } else { format!(".{milli:03}") };
    let clock = format!("{minute:02}:{second:02}{fraction}");
    if time.is_duration() {
        return Ok(format!("{}:{clock}", days.floor() as u64 * 24 + u64::from(hour)));
    }
    if days < 1.0 {
        return Ok(format!("{hour:02}:{clock}"));
    }
    let date = format!("{year:04}-{month:02}-{day:02}");
    let midnight = (hour, minute, second, milli) == (0, 0, 0, 0);
    Ok(if midnight { date } else { format!("{date} {hour:02}:{clock}") })
}

#[cfg(test)]
mod tests {
    use calamine::ExcelDateTimeType;

    use super::*;

    fn shown(value: DataRef<'_>) -> Result<String, Problem> {
        text(&value).map(Cow::into_owned)
    }

    #[test]
    fn numbers_are_shown_without_what_the_machine_added() {
        for (number, seen) in [
            (1.0, "1"),
            (-0.0, "0"),
            (0.1 + 0.2, "0.3"),
            (211_202.0, "211202"),
            (12.50, "12.5"),
            (999_999_999_999_999.0, "999999999999999"),
            (-7.25e-5, "-0.0000725"),
        ] {
            assert_eq!(shown(DataRef::Float(number)).as_deref(), Ok(seen));
        }
    }

    #[test]
    fn numbers_that_lost_digits_are_refused() {
        for number in [110_105_194_912_310_021u64 as f64, 1e15, -1.2e16] {
            assert_eq!(shown(DataRef::Float(number)), Err(Problem::DigitsLost));
        }
        assert!(Problem::DigitsLost.in_words().contains("format the column as text"));
        assert_eq!(shown(DataRef::Float(f64::NAN)), Err(Problem::NoNumber));
    }

    #[test]
    fn dates_and_times_are_shown_as_iso() {
        let of = |days: f64, kind| DataRef::DateTime(ExcelDateTime::new(days, kind, false));
        let moment = |days| of(days, ExcelDateTimeType::DateTime);
        for (value, seen) in [
            (moment(45_943.0), "2025-10-13"),
            (moment(45_943.5), "2025-10-13 12:00:00"),
            (moment(0.75), "18:00:00"),
            (moment(1.0), "1900-01-01"),
            (of(1.5, ExcelDateTimeType::TimeDelta), "36:00:00"),
        ] {
            assert_eq!(shown(value).as_deref(), Ok(seen));
        }
    }
}
