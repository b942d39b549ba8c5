//! What a column of a database can hold, and the column that loses nothing of an item.
//!
//! A canonical value is written to the column and read back; what comes back must be the same value
//! by the catalogue's rules. Where a type of the database cannot promise that for every value that the
//! item may have, the column is text.

use hutong_schema::{
    catalogue::{DataType, Item},
    limits::{FIELD_BYTES_MAX, KEY_BYTES_MAX},
};

use crate::config::Dialect;

/// Longest canonical text of a floating-point number without exponent: sign, `0.`, 323 zeros, 17
/// digits.
const FLOAT_CHARS: u64 = 352;

/// Digits that a 64-bit integer holds in any case.
const INTEGER_DIGITS: u64 = 18;

/// Digits that a 64-bit floating-point number holds in any case, and SQLite's numbers with it.
const DOUBLE_DIGITS: u64 = 15;

/// Most digits of PostgreSQL's `numeric` that are relied on; it takes more.
const NUMERIC_DIGITS: u64 = 1_000;

/// Most digits behind the point of MySQL's `DECIMAL`; half of what it has in all, so that as many
/// fit before it.
const DECIMAL_HALF: u64 = 30;

/// Longest text for which MySQL gets a `VARCHAR`; a row must not be wider than 65,535 bytes.
const VARCHAR_CHARS: u64 = 255;

/// What a column can hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Text, of at most so many characters; `None` for more than a value may have.
    Text(Option<u64>),
    /// Whole numbers of at least so many digits.
    Integer(u64),
    /// Exact decimals, of so many digits before and behind the point; `None` for more than are
    /// relied on.
    Decimal(Option<(u64, u64)>),
    /// 64-bit floating point.
    Double,
    /// 32-bit floating point.
    Float,
    /// Days.
    Date,
    /// Seconds of local time.
    DateTime,
    /// Yes or no.
    Logical,
    /// A type that is not written to; its name.
    Other(String),
}

/// Why an item's values do not fit into a column, and what would.
pub(super) fn misfit(dialect: Dialect, item: &Item, kind: &Kind) -> Option<String> {
    if holds(item, kind) {
        return None;
    }
    let wanted = chosen(dialect, item).0;
    let has = match kind {
        Kind::Text(Some(chars)) => format!("holds only {chars} characters"),
        Kind::Text(None) => "is text".to_owned(),
        Kind::Integer(digits) => format!("holds only whole numbers of {digits} digits"),
        Kind::Decimal(Some((whole, fraction))) => {
            format!("holds only {whole} digits before and {fraction} behind the point")
        }
        Kind::Decimal(None) => "holds decimal numbers".to_owned(),
        Kind::Double | Kind::Float => "rounds to floating point".to_owned(),
        Kind::Date => "holds days".to_owned(),
        Kind::DateTime => "holds times".to_owned(),
        Kind::Logical => "holds yes or no".to_owned(),
        Kind::Other(name) => format!("is of the type {name}, which changes what is written"),
    };
    Some(format!("{has}; {wanted} would lose nothing"))
}

/// Whether every value of the item survives in the column.
pub(super) fn holds(item: &Item, kind: &Kind) -> bool {
    let text = |chars: u64| match kind {
        Kind::Text(limit) => limit.is_none_or(|limit| limit >= chars),
        Kind::Integer(_)
        | Kind::Decimal(_)
        | Kind::Double
        | Kind::Float
        | Kind::Date
        | Kind::DateTime
        | Kind::Logical
        | Kind::Other(_) => false,
    };
    let digits = u64::from(item.length);
    match item.data_type {
        DataType::Text | DataType::Memo => text(longest_text(item)),
        DataType::Number | DataType::Money => {
            let exact = match kind {
                Kind::Decimal(None) => digits <= NUMERIC_DIGITS,
                Kind::Decimal(Some((whole, fraction))) => *whole >= digits && *fraction >= digits,
                Kind::Text(_)
                | Kind::Integer(_)
                | Kind::Double
                | Kind::Float
                | Kind::Date
                | Kind::DateTime
                | Kind::Logical
                | Kind::Other(_) => false,
            };
            digits > 0 && exact || text(longest_text(item))
        }
        DataType::Integer => {
            let exact = match kind {
                Kind::Integer(held) => *held >= digits,
                Kind::Decimal(None) => digits <= NUMERIC_DIGITS,
                Kind::Decimal(Some((whole, _))) => *whole >= digits,
                Kind::Text(_)
                | Kind::Double
                | Kind::Float
                | Kind::Date
                | Kind::DateTime
                | Kind::Logical
                | Kind::Other(_) => false,
            };
            digits > 0 && exact || text(longest_text(item))
        }
        DataType::Double => *kind == Kind::Double || text(longest_text(item)),
        DataType::Float => matches!(kind, Kind::Double | Kind::Float) || text(longest_text(item)),
        DataType::Date => matches!(kind, Kind::Date | Kind::DateTime) || text(8),
        DataType::DateTime => *kind == Kind::DateTime || text(19),
        DataType::Logical => matches!(kind, Kind::Logical | Kind::Integer(_)) || text(1),
        DataType::Geometry => *kind == Kind::Text(None),
    }
}

/// Characters of the item's longest value as text.
fn longest_text(item: &Item) -> u64 {
    let (field, key) = (FIELD_BYTES_MAX as u64, KEY_BYTES_MAX as u64);
    let most = if item.key { key } else { field };
    let stated = u64::from(item.length);
    match item.data_type {
        DataType::Text | DataType::Memo if stated > 0 => stated.min(most),
        // Sign, a zero before the point, the point.
        DataType::Number | DataType::Money | DataType::Integer if stated > 0 => {
            (stated + 3).min(most)
        }
        DataType::Double | DataType::Float => FLOAT_CHARS,
        DataType::Date => 8,
        DataType::DateTime => 19,
        DataType::Logical => 1,
        DataType::Text
        | DataType::Memo
        | DataType::Number
        | DataType::Money
        | DataType::Integer
        | DataType::Geometry => most,
    }
}

/// The column for an item: its type in the dialect's words, and what that holds.
pub(super) fn chosen(dialect: Dialect, item: &Item) -> (String, Kind) {
    let digits = u64::from(item.length);
    let named = |name: &str, kind| (name.to_owned(), kind);
    match (dialect, item.data_type) {
        (_, DataType::Integer) if (1..=INTEGER_DIGITS).contains(&digits) => match dialect {
            Dialect::Sqlite => named("INTEGER", Kind::Integer(INTEGER_DIGITS)),
            Dialect::Postgres | Dialect::MySql => named("bigint", Kind::Integer(INTEGER_DIGITS)),
        },
        (Dialect::Postgres, DataType::Number | DataType::Money | DataType::Integer)
            if (1..=NUMERIC_DIGITS).contains(&digits) =>
        {
            named("numeric", Kind::Decimal(None))
        }
        (Dialect::MySql, DataType::Number | DataType::Money)
            if (1..=DECIMAL_HALF).contains(&digits) =>
        {
            (format!("decimal({},{digits})", 2 * digits), Kind::Decimal(Some((digits, digits))))
        }
        (Dialect::MySql, DataType::Integer) if (1..=2 * DECIMAL_HALF).contains(&digits) => {
            (format!("decimal({digits},0)"), Kind::Decimal(Some((digits, 0))))
        }
        (Dialect::Sqlite, DataType::Number | DataType::Money)
            if (1..=DOUBLE_DIGITS).contains(&digits) =>
        {
            named("NUMERIC", Kind::Decimal(Some((DOUBLE_DIGITS, DOUBLE_DIGITS))))
        }
        // The shortest text of a 32-bit number reads back from a 64-bit one.
        (Dialect::Postgres, DataType::Double | DataType::Float) => {
            named("double precision", Kind::Double)
        }
        (Dialect::MySql, DataType::Double | DataType::Float) => named("double", Kind::Double),
        (Dialect::Sqlite, DataType::Double | DataType::Float) => named("REAL", Kind::Double),
        (Dialect::Postgres | Dialect::MySql, DataType::Date) => named("date", Kind::Date),
        (Dialect::Sqlite, DataType::Date) => named("DATE", Kind::Date),
        (Dialect::Postgres, DataType::DateTime) => named("timestamp", Kind::DateTime),
        (Dialect::MySql, DataType::DateTime) => named("datetime", Kind::DateTime),
        (Dialect::Sqlite, DataType::DateTime) => named("DATETIME", Kind::DateTime),
        (Dialect::Postgres, DataType::Logical) => named("boolean", Kind::Logical),
        (Dialect::MySql, DataType::Logical) => named("tinyint(1)", Kind::Logical),
        (Dialect::Sqlite, DataType::Logical) => named("BOOLEAN", Kind::Logical),
        (Dialect::Postgres, _) => named("text", Kind::Text(None)),
        (Dialect::Sqlite, _) => named("TEXT", Kind::Text(None)),
        (Dialect::MySql, data_type) => {
            let chars = longest_text(item);
            let short = item.key || data_type != DataType::Memo && chars <= VARCHAR_CHARS;
            if short && data_type != DataType::Geometry {
                (format!("varchar({chars})"), Kind::Text(Some(chars)))
            } else {
                named("mediumtext", Kind::Text(None))
            }
        }
    }
}
