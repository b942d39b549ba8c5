//! What a database's catalogue says of a column's type, as a [`Kind`].

use hutong_schema::limits::FIELD_BYTES_MAX;

use super::kind::Kind;
use crate::config::Dialect;

/// A type as the catalogue names it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Told {
    /// Name of the type.
    pub(super) name: String,
    /// Most characters of a text.
    pub(super) chars: Option<u64>,
    /// Digits of a number in all.
    pub(super) precision: Option<u64>,
    /// Digits behind the point.
    pub(super) scale: Option<u64>,
}

impl Told {
    /// What a column of this type holds.
    pub(super) fn kind(&self, dialect: Dialect) -> Kind {
        let name = self.name.to_ascii_lowercase();
        match dialect {
            Dialect::Postgres => self.postgres(&name),
            Dialect::MySql => self.mysql(&name),
            Dialect::Sqlite => sqlite(&name),
        }
    }

    fn postgres(&self, name: &str) -> Kind {
        match name {
            "text" => Kind::Text(None),
            "character varying" => self.text(),
            "smallint" => Kind::Integer(4),
            "integer" => Kind::Integer(9),
            "bigint" => Kind::Integer(18),
            "numeric" => self.decimal(),
            "double precision" => Kind::Double,
            "real" => Kind::Float,
            "date" => Kind::Date,
            "timestamp without time zone" => Kind::DateTime,
            "boolean" => Kind::Logical,
            // `character` pads with blanks; a time with its zone has hours that do not exist.
            _ => self.other(),
        }
    }

    fn mysql(&self, name: &str) -> Kind {
        match name {
            "varchar" | "text" | "mediumtext" | "longtext" | "tinytext" => self.text(),
            "tinyint" => Kind::Integer(2),
            "smallint" => Kind::Integer(4),
            "mediumint" => Kind::Integer(6),
            "int" => Kind::Integer(9),
            "bigint" => Kind::Integer(18),
            "decimal" => self.decimal(),
            "double" => Kind::Double,
            "date" => Kind::Date,
            "datetime" => Kind::DateTime,
            // `char` drops blanks; `timestamp` ends in 2038; `float` tells six digits.
            _ => self.other(),
        }
    }

    fn text(&self) -> Kind {
        Kind::Text(self.chars.filter(|chars| *chars < FIELD_BYTES_MAX as u64 * 8))
    }

    fn decimal(&self) -> Kind {
        Kind::Decimal(self.precision.map(|precision| {
            let scale = self.scale.unwrap_or(0);
            (precision.saturating_sub(scale), scale)
        }))
    }

    fn other(&self) -> Kind {
        Kind::Other(self.name.clone())
    }
}

/// SQLite takes what it is given; the declared type only says what it makes of it.
fn sqlite(name: &str) -> Kind {
    let base = name.split('(').next().unwrap_or_default().trim();
    match base {
        "date" => Kind::Date,
        "datetime" | "timestamp" => Kind::DateTime,
        "boolean" => Kind::Logical,
        _ if name.contains("int") => Kind::Integer(18),
        _ if ["char", "clob", "text"].iter().any(|part| name.contains(part)) => Kind::Text(None),
        "" | "blob" => Kind::Text(None),
        _ if ["real", "floa", "doub"].iter().any(|part| name.contains(part)) => Kind::Double,
        "numeric" | "decimal" => Kind::Decimal(Some((15, 15))),
        _ => Kind::Other(name.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use hutong_schema::catalogue::{DataType, Item};

    use super::super::kind::{chosen, holds, misfit};
    use super::*;
    use crate::sinks::testing::item;

    fn told(name: &str, chars: Option<u64>, digits: Option<(u64, u64)>) -> Told {
        Told {
            name: name.to_owned(),
            chars,
            precision: digits.map(|(precision, _)| precision),
            scale: digits.map(|(_, scale)| scale),
        }
    }

    fn of(data_type: DataType, length: u32) -> Item {
        Item { length, ..item(1, "x", data_type, false) }
    }

    #[test]
    fn the_column_chosen_for_an_item_holds_it() {
        for dialect in [Dialect::Postgres, Dialect::MySql, Dialect::Sqlite] {
            for data_type in DataType::ALL {
                for length in [0, 1, 18, 19, 30, 31, 200, 5_000] {
                    for key in [false, true] {
                        let item = Item { key, ..of(data_type, length) };
                        let (name, kind) = chosen(dialect, &item);
                        assert!(holds(&item, &kind), "{dialect:?} {name} for {item:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_would_be_cut_or_rounded_is_named() {
        let cases = [
            (told("character varying", Some(20), None), of(DataType::Text, 50), false),
            (told("character varying", Some(50), None), of(DataType::Text, 50), true),
            (told("character varying", Some(500), None), of(DataType::Text, 0), false),
            (told("character", Some(50), None), of(DataType::Text, 50), false),
            (told("numeric", None, Some((18, 2))), of(DataType::Money, 18), false),
            (told("numeric", None, None), of(DataType::Money, 18), true),
            (told("double precision", None, None), of(DataType::Money, 18), false),
            (told("integer", None, None), of(DataType::Integer, 10), false),
            (told("integer", None, None), of(DataType::Integer, 9), true),
            (told("timestamp with time zone", None, None), of(DataType::DateTime, 0), false),
            (told("timestamp without time zone", None, None), of(DataType::Date, 0), true),
            (told("date", None, None), of(DataType::DateTime, 0), false),
            (told("jsonb", None, None), of(DataType::Geometry, 0), false),
        ];
        for (told, item, fits) in cases {
            let kind = told.kind(Dialect::Postgres);
            let problem = misfit(Dialect::Postgres, &item, &kind);
            assert_eq!(problem.is_none(), fits, "{told:?} {item:?} {problem:?}");
        }
    }
}
