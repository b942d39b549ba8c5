//! What a value must be like: one canonical byte form for every type.
//!
//! The canonical bytes of a value are what keys, rows, digests, filters and output files hold, so
//! that equal values have equal bytes everywhere. [`canonicalise`] makes them from a source's text;
//! [`check`] tells whether bytes received from a peer are canonical and valid. An absent value is
//! null; there is no empty value.
//!
//! | type | canonical bytes |
//! | --- | --- |
//! | C, M | UTF-8 text as it is; no control character except tab, line feed, carriage return |
//! | N, Y | decimal: `-12.5`; no `+`, no exponent, no leading or trailing zeros, never `-0` |
//! | I | the same without a point |
//! | B, F | the shortest decimal that reads back as the same 64-bit or 32-bit number |
//! | D | `YYYYMMDD`, years 0001–9999 |
//! | T | `YYYY-MM-DD HH:MM:SS`, local time as the source has it |
//! | L | `0` or `1` |
//! | G | little-endian WKB, see [`crate::geometry`] |
//!
//! Identifiers with check digits are canonical in upper case and without hyphens. Part of a key
//! holds no byte below 0x20.

use std::borrow::Cow;

use crate::catalogue::{DataType, Item, Semantic};
use crate::geometry;
use crate::ids::{
    CitizenId, CreditCode, Ethnicity, IdError, LicenceId, OrganisationCode, citizen_id,
    credit_code, licence_id, organisation_code,
};
use crate::limits::{FIELD_BYTES_MAX, KEY_BYTES_MAX};
use crate::row::{FieldId, key_parts};

mod column;
mod number;
mod reason;
mod time;

pub use column::ColumnCheck;
pub use reason::RejectReason;

/// The canonical bytes of a source's text; `None` if there is no value (an empty text, or one of
/// blanks where blanks are no value). Borrows when the text is canonical already.
///
/// C and M stay as they are, apart from identifiers with check digits (case, hyphen) and one-digit
/// codes of ethnicity. Around everything else blanks are dropped, and these are normalised: numbers
/// (`+5`, `05`, `5.0`, `1e3`); dates (`2020-1-31`, `2020/01/31`, `2020年1月31日`, and for D a time of
/// midnight); times (14 digits, a `T` before the time, missing seconds, and a missing time, which
/// is midnight); logical values (`true`, `是`, `Y` …). A third ordinate of a geometry is dropped.
pub fn canonicalise<'a>(item: &Item, raw: &'a str) -> Result<Option<Cow<'a, [u8]>>, RejectReason> {
    let raw = if is_free_text(item) { raw } else { raw.trim_ascii() };
    // Before any work: the text may be a broken file's rest. Geometry has its own bound.
    if item.data_type != DataType::Geometry && raw.len() > FIELD_BYTES_MAX {
        return Err(RejectReason::FieldTooLong);
    }
    if raw.is_empty() {
        return Ok(None);
    }
    let value = match item.data_type {
        DataType::Text | DataType::Memo => canonical_text(item, raw)?,
        DataType::Number | DataType::Money => number::decimal(raw).ok_or(RejectReason::Type)?,
        DataType::Integer => number::integer(raw).ok_or(RejectReason::Type)?,
        DataType::Double => number::double(raw).ok_or(RejectReason::Type)?,
        DataType::Float => number::float(raw).ok_or(RejectReason::Type)?,
        DataType::Date => time::date(raw)?,
        DataType::DateTime => time::date_time(raw)?,
        DataType::Logical => Cow::Borrowed(logical(raw).ok_or(RejectReason::Type)?),
        DataType::Geometry => {
            Cow::Owned(geometry::from_geojson(raw).map_err(|_| RejectReason::Geometry)?)
        }
    };
    within_bounds(item, &value)?;
    Ok(Some(value))
}

/// Whether bytes are a canonical, valid value of this item. Never panics and never allocates.
///
/// Every value that [`canonicalise`] returns passes; every value that passes (geometry and
/// unpadded codes of ethnicity apart) is returned by it unchanged.
pub fn check(item: &Item, value: &[u8]) -> Result<(), RejectReason> {
    if value.is_empty() {
        return Err(RejectReason::Missing);
    }
    let canonical = match item.data_type {
        DataType::Text | DataType::Memo => {
            return check_text(item, value).and_then(|()| within_bounds(item, value));
        }
        DataType::Number | DataType::Money => number::is_decimal(value),
        DataType::Integer => number::is_integer(value),
        DataType::Double => number::is_double(value),
        DataType::Float => number::is_float(value),
        DataType::Date => time::check_date(value).map(|()| true)?,
        DataType::DateTime => time::check_date_time(value).map(|()| true)?,
        DataType::Logical => matches!(value, b"0" | b"1"),
        DataType::Geometry => {
            geometry::validate(value).map_err(|_| RejectReason::Geometry)?;
            true
        }
    };
    if !canonical {
        return Err(RejectReason::Type);
    }
    within_bounds(item, value)
}

/// [`check`] for a value that may be absent.
pub fn check_optional(item: &Item, value: Option<&[u8]>) -> Result<(), RejectReason> {
    match value {
        Some(value) => check(item, value),
        None if item.required => Err(RejectReason::Missing),
        None => Ok(()),
    }
}

/// Whether bytes are a valid key of an entry with these key items (in ascending id). Names the item
/// that is wrong.
pub fn check_key(keys: &[&Item], key: &[u8]) -> Result<(), (FieldId, RejectReason)> {
    let first = keys.first().map_or(FieldId(0), |item| item.id);
    if key.len() > KEY_BYTES_MAX {
        return Err((first, RejectReason::KeyTooLong));
    }
    let mut parts = key_parts(key);
    for item in keys {
        let part = parts.next().ok_or((item.id, RejectReason::Missing))?;
        check(item, part).map_err(|reason| (item.id, reason))?;
    }
    match parts.next() {
        // A separator more than the key has parts: some value held it.
        Some(_) => Err((first, RejectReason::ControlCharacter)),
        None => Ok(()),
    }
}

/// Text in which blanks may mean something. An identifier with a check digit holds none.
fn is_free_text(item: &Item) -> bool {
    matches!(item.data_type, DataType::Text | DataType::Memo)
        && !matches!(
            item.semantic,
            Some(
                Semantic::CitizenId
                    | Semantic::CreditCode
                    | Semantic::OrganisationCode
                    | Semantic::LicenceId
            )
        )
}

fn canonical_text<'a>(item: &Item, raw: &'a str) -> Result<Cow<'a, [u8]>, RejectReason> {
    let bytes = raw.as_bytes();
    // The parser is asked only where the bytes are not canonical as they are.
    let or_parsed =
        |valid: Result<(), IdError>, parse: fn(&str) -> Result<Vec<u8>, IdError>| match valid {
            Ok(()) => Ok(Cow::Borrowed(bytes)),
            Err(_) => Ok(Cow::Owned(parse(raw)?)),
        };
    match item.semantic {
        Some(Semantic::CitizenId) => or_parsed(citizen_id::is_valid(bytes), |raw| {
            Ok(raw.parse::<CitizenId>()?.as_bytes().to_vec())
        }),
        Some(Semantic::CreditCode) => or_parsed(credit_code::is_valid(bytes), |raw| {
            Ok(raw.parse::<CreditCode>()?.as_bytes().to_vec())
        }),
        Some(Semantic::OrganisationCode) => or_parsed(organisation_code::is_valid(bytes), |raw| {
            Ok(raw.parse::<OrganisationCode>()?.as_bytes().to_vec())
        }),
        Some(Semantic::LicenceId) => or_parsed(licence_id::is_valid(bytes), |raw| {
            Ok(raw.parse::<LicenceId>()?.as_str().as_bytes().to_vec())
        }),
        Some(Semantic::Ethnicity) if bytes.len() == 1 => match Ethnicity::from_code(bytes) {
            Some(ethnicity) => Ok(Cow::Owned(ethnicity.code().to_vec())),
            None => plain_text(item, raw).map(|()| Cow::Borrowed(bytes)),
        },
        _ => {
            plain_text(item, raw)?;
            Ok(Cow::Borrowed(bytes))
        }
    }
}

fn check_text(item: &Item, value: &[u8]) -> Result<(), RejectReason> {
    match item.semantic {
        Some(Semantic::CitizenId) => Ok(citizen_id::is_valid(value)?),
        Some(Semantic::CreditCode) => Ok(credit_code::is_valid(value)?),
        Some(Semantic::OrganisationCode) => Ok(organisation_code::is_valid(value)?),
        Some(Semantic::LicenceId) => Ok(licence_id::is_valid(value)?),
        _ => {
            let text = std::str::from_utf8(value).map_err(|_| RejectReason::Encoding)?;
            plain_text(item, text)
        }
    }
}

/// Control characters and length of a text. A NUL or escape sequence in a name breaks the files
/// and tables of whoever receives it; tabs and line ends are part of prose.
fn plain_text(item: &Item, text: &str) -> Result<(), RejectReason> {
    let bytes = text.as_bytes();
    if bytes.iter().fold(u8::MAX, |lowest, b| lowest.min(*b)) < 0x20 {
        let allowed = |b: &u8| *b >= 0x20 || matches!(b, b'\t' | b'\n' | b'\r');
        if item.key || !bytes.iter().all(allowed) {
            return Err(RejectReason::ControlCharacter);
        }
    }
    let limit = item.length as usize;
    if limit != 0 && bytes.len() > limit && text.chars().count() > limit {
        return Err(RejectReason::Length);
    }
    Ok(())
}

/// The bounds that all types share, and the number of digits.
fn within_bounds(item: &Item, value: &[u8]) -> Result<(), RejectReason> {
    let counted = matches!(item.data_type, DataType::Number | DataType::Money | DataType::Integer);
    if counted && item.length != 0 && number::digits(value) > item.length as usize {
        return Err(RejectReason::Length);
    }
    if item.key && value.len() > KEY_BYTES_MAX {
        return Err(RejectReason::KeyTooLong);
    }
    if value.len() > FIELD_BYTES_MAX {
        return Err(RejectReason::FieldTooLong);
    }
    Ok(())
}

fn logical(raw: &str) -> Option<&'static [u8]> {
    const YES: [&str; 5] = ["1", "true", "t", "yes", "y"];
    const NO: [&str; 5] = ["0", "false", "f", "no", "n"];
    if raw == "是" || YES.iter().any(|word| raw.eq_ignore_ascii_case(word)) {
        Some(b"1")
    } else if raw == "否" || NO.iter().any(|word| raw.eq_ignore_ascii_case(word)) {
        Some(b"0")
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
