//! Numbers as canonical decimal text.

use std::borrow::Cow;
use std::fmt::{self, Write};

/// Largest exponent taken, either sign: that of a 64-bit floating-point number, so that whatever
/// a program prints can be read, while a short text cannot become a huge one.
const EXPONENT_MAX: i64 = 330;

/// Longest decimal of a 64-bit floating-point number without exponent: sign, `0.`, 323 zeros and
/// 17 digits.
const FLOAT_TEXT_MAX: usize = 352;

/// `-`? then `0` or digits without leading zero, then optionally a point and digits without
/// trailing zero; never `-0`.
pub(super) fn is_decimal(value: &[u8]) -> bool {
    let digits = value.strip_prefix(b"-").unwrap_or(value);
    let whole = digits.iter().take_while(|b| b.is_ascii_digit()).count();
    let (whole, rest) = digits.split_at(whole);
    let whole_ok = matches!(whole, [b'0'] | [b'1'..=b'9', ..]);
    let rest_ok = match rest {
        [] => value != b"-0",
        [b'.', fraction @ .., last] => {
            matches!(last, b'1'..=b'9') && fraction.iter().all(u8::is_ascii_digit)
        }
        _ => false,
    };
    whole_ok && rest_ok
}

/// A decimal without a point.
pub(super) fn is_integer(value: &[u8]) -> bool {
    is_decimal(value) && !value.contains(&b'.')
}

/// A decimal that is the shortest text of its 64-bit number.
pub(super) fn is_double(value: &[u8]) -> bool {
    is_decimal(value)
        && std::str::from_utf8(value)
            .ok()
            .and_then(parse_double)
            .is_some_and(|text| text.as_bytes() == value)
}

/// A decimal that is the shortest text of its 32-bit number.
pub(super) fn is_float(value: &[u8]) -> bool {
    is_decimal(value)
        && std::str::from_utf8(value)
            .ok()
            .and_then(parse_float)
            .is_some_and(|text| text.as_bytes() == value)
}

/// Digits of a canonical decimal; the zero before a point is not counted.
pub(super) fn digits(value: &[u8]) -> usize {
    let unsigned = value.strip_prefix(b"-").unwrap_or(value);
    let counted = if unsigned.starts_with(b"0.") { &unsigned[2..] } else { unsigned };
    counted.iter().filter(|b| b.is_ascii_digit()).count()
}

pub(super) fn decimal(raw: &str) -> Option<Cow<'_, [u8]>> {
    if is_decimal(raw.as_bytes()) {
        return Some(Cow::Borrowed(raw.as_bytes()));
    }
    normalise(raw.as_bytes()).map(Cow::Owned)
}

pub(super) fn integer(raw: &str) -> Option<Cow<'_, [u8]>> {
    decimal(raw).filter(|value| !value.contains(&b'.'))
}

pub(super) fn double(raw: &str) -> Option<Cow<'_, [u8]>> {
    floating(raw, parse_double)
}

pub(super) fn float(raw: &str) -> Option<Cow<'_, [u8]>> {
    floating(raw, parse_float)
}

fn floating(raw: &str, parse: fn(&str) -> Option<FloatText>) -> Option<Cow<'_, [u8]>> {
    let text = parse(raw)?;
    Some(if text.as_bytes() == raw.as_bytes() {
        Cow::Borrowed(raw.as_bytes())
    } else {
        Cow::Owned(text.as_bytes().to_vec())
    })
}

fn parse_double(raw: &str) -> Option<FloatText> {
    let value: f64 = raw.parse().ok()?;
    // Adding zero turns -0 into 0.
    value.is_finite().then(|| FloatText::of(value + 0.0)).flatten()
}

fn parse_float(raw: &str) -> Option<FloatText> {
    let value: f32 = raw.parse().ok()?;
    value.is_finite().then(|| FloatText::of(value + 0.0)).flatten()
}

/// Sign, digits, point, digits, exponent → canonical decimal.
fn normalise(raw: &[u8]) -> Option<Vec<u8>> {
    let (negative, unsigned) = match raw {
        [b'-', rest @ ..] => (true, rest),
        [b'+', rest @ ..] => (false, rest),
        rest => (false, rest),
    };
    let (mantissa, exponent) = match unsigned.iter().position(|b| matches!(b, b'e' | b'E')) {
        Some(at) => (&unsigned[..at], exponent(&unsigned[at + 1..])?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = match mantissa.iter().position(|b| *b == b'.') {
        Some(at) => (&mantissa[..at], &mantissa[at + 1..]),
        None => (mantissa, &mantissa[..0]),
    };
    let digits = [whole, fraction].concat();
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    // Where the point stands, counted from the first digit; it may lie outside of the digits.
    let point = i64::try_from(whole.len()).ok()? + exponent;
    let digit_at =
        |i: i64| usize::try_from(i).ok().and_then(|i| digits.get(i)).copied().unwrap_or(b'0');
    let end = i64::try_from(digits.len()).ok()?;

    let mut out = Vec::with_capacity(digits.len() + 3);
    let mut whole: Vec<u8> = (0..point).map(digit_at).skip_while(|b| *b == b'0').collect();
    if whole.is_empty() {
        whole.push(b'0');
    }
    let mut fraction: Vec<u8> = (point..end.max(point)).map(digit_at).collect();
    while fraction.last() == Some(&b'0') {
        fraction.pop();
    }
    if negative && (whole != b"0" || !fraction.is_empty()) {
        out.push(b'-');
    }
    out.append(&mut whole);
    if !fraction.is_empty() {
        out.push(b'.');
        out.append(&mut fraction);
    }
    Some(out)
}

fn exponent(text: &[u8]) -> Option<i64> {
    let value: i64 = std::str::from_utf8(text).ok()?.parse().ok()?;
    (value.abs() <= EXPONENT_MAX).then_some(value)
}

/// The text of a floating-point number, on the stack: checks run for every row.
struct FloatText {
    bytes: [u8; FLOAT_TEXT_MAX],
    len: usize,
}

impl FloatText {
    /// Rust prints the shortest digits that read back as the same number, without exponent.
    fn of(value: impl fmt::Display) -> Option<Self> {
        let mut text = Self { bytes: [0; FLOAT_TEXT_MAX], len: 0 };
        write!(text, "{value}").ok()?;
        Some(text)
    }

    fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Write for FloatText {
    fn write_str(&mut self, part: &str) -> fmt::Result {
        let end = self.len + part.len();
        let target = self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?;
        target.copy_from_slice(part.as_bytes());
        self.len = end;
        Ok(())
    }
}
