//! Names and literals as each system writes them.

use crate::config::Dialect;

/// A name in quotes: nothing in it is read as SQL.
pub fn identifier(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Postgres | Dialect::Sqlite => format!("\"{}\"", name.replace('"', "\"\"")),
        Dialect::MySql => format!("`{}`", name.replace('`', "``")),
    }
}

/// A table, with its schema before a point if it has one.
pub fn table(dialect: Dialect, name: &str) -> String {
    let parts: Vec<String> = name.split('.').map(|part| identifier(dialect, part)).collect();
    parts.join(".")
}

/// A text literal. For values the agent itself remembered, where a statement takes no parameters.
pub fn literal(dialect: Dialect, text: &str) -> String {
    let doubled = text.replace('\'', "''").replace('\0', "");
    match dialect {
        // Without the E, a backslash is a character like any other (standard_conforming_strings).
        Dialect::Postgres | Dialect::Sqlite => format!("'{doubled}'"),
        Dialect::MySql => format!("'{}'", doubled.replace('\\', "\\\\")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_name_or_a_text_is_read_as_sql() {
        assert_eq!(identifier(Dialect::Postgres, "a\"; drop"), "\"a\"\"; drop\"");
        assert_eq!(identifier(Dialect::MySql, "a`b"), "`a``b`");
        assert_eq!(table(Dialect::Postgres, "public.people"), "\"public\".\"people\"");
        assert_eq!(literal(Dialect::Postgres, "a'b\\"), "'a''b\\'");
        assert_eq!(literal(Dialect::MySql, "a'b\\"), "'a''b\\\\'");
    }
}
