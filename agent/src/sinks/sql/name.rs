//! The names of a subscription's tables.

use hutong_schema::grant::GrantId;

use super::catalogue::Named;
use crate::{
    config::Dialect,
    sql::{identifier, table},
};

/// Where each subscription's position is, beside the tables.
const CURSORS: &str = "hutong_cursor";

/// Longest name, bytes: PostgreSQL cuts longer ones off.
const NAME_BYTES: usize = 63;

/// A table, in a schema or the one in use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct TableName {
    dialect: Dialect,
    schema: Option<String>,
    base: String,
    live: String,
    staged: String,
    staged_base: String,
}

impl TableName {
    /// From the configured name, with the grant in place of `{grant}`.
    pub(super) fn new(dialect: Dialect, configured: &str, grant: GrantId) -> Self {
        let name = configured.replace("{grant}", &grant.to_string());
        let (schema, base) = match name.rsplit_once('.') {
            Some((schema, base)) => (Some(schema.to_owned()), base.to_owned()),
            None => (None, name),
        };
        let staged_base = suffixed(&base, "__staged");
        let full = |base: &str| in_schema(dialect, schema.as_deref(), base);
        let (live, staged) = (full(&base), full(&staged_base));
        Self { dialect, schema, base, live, staged, staged_base }
    }

    pub(super) fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The live table, in quotes.
    pub(super) fn live(&self) -> &str {
        &self.live
    }

    /// The staging table, in quotes.
    pub(super) fn staged(&self) -> &str {
        &self.staged
    }

    /// For people and for the cursor's row.
    pub(super) fn plain(&self) -> String {
        match &self.schema {
            Some(schema) => format!("{schema}.{}", self.base),
            None => self.base.clone(),
        }
    }

    /// The table of positions, in quotes.
    pub(super) fn cursors(&self) -> String {
        in_schema(self.dialect, self.schema.as_deref(), CURSORS)
    }

    /// The name of the staging table's index, in quotes; SQLite has it in the table's schema.
    pub(super) fn staged_index(&self) -> String {
        let name = suffixed(&self.staged_base, "_key");
        match self.dialect {
            Dialect::Sqlite => in_schema(self.dialect, self.schema.as_deref(), &name),
            Dialect::Postgres | Dialect::MySql => identifier(self.dialect, &name),
        }
    }

    /// The staging table as an index is made on it: SQLite wants no schema there.
    pub(super) fn indexed_staged(&self) -> String {
        match self.dialect {
            Dialect::Sqlite => identifier(self.dialect, &self.staged_base),
            Dialect::Postgres | Dialect::MySql => self.staged.clone(),
        }
    }

    /// The statement that keeps the live table aside, and the name it has then.
    pub(super) fn put_aside(&self, now: jiff::Timestamp) -> (String, String) {
        let suffix = format!("__withdrawn_{}", now.strftime("%Y%m%dT%H%M%SZ"));
        let aside = suffixed(&self.base, &suffix);
        let to = match self.dialect {
            Dialect::MySql => in_schema(self.dialect, self.schema.as_deref(), &aside),
            Dialect::Postgres | Dialect::Sqlite => identifier(self.dialect, &aside),
        };
        (format!("ALTER TABLE {} RENAME TO {to}", self.live), aside)
    }

    /// The live table for the catalogue.
    pub(super) fn named_live(&self) -> Named<'_> {
        self.named(&self.base, &self.live)
    }

    /// The staging table for the catalogue.
    pub(super) fn named_staged(&self) -> Named<'_> {
        self.named(&self.staged_base, &self.staged)
    }

    fn named<'n>(&'n self, table: &'n str, quoted: &'n str) -> Named<'n> {
        Named { dialect: self.dialect, schema: self.schema.as_deref(), table, quoted }
    }
}

fn in_schema(dialect: Dialect, schema: Option<&str>, base: &str) -> String {
    match schema {
        Some(schema) => format!("{}.{}", table(dialect, schema), identifier(dialect, base)),
        None => identifier(dialect, base),
    }
}

/// A longer name that is still a name: what is too long is cut off before the suffix.
fn suffixed(base: &str, suffix: &str) -> String {
    let mut end = base.len().min(NAME_BYTES.saturating_sub(suffix.len()));
    while !base.is_char_boundary(end) {
        end -= 1;
    }
    format!("{}{suffix}", &base[..end])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_made_of_the_configured_one() {
        let name = TableName::new(Dialect::Postgres, "share.g{grant}", GrantId(7));
        assert_eq!(name.live(), "\"share\".\"g7\"");
        assert_eq!(name.staged(), "\"share\".\"g7__staged\"");
        assert_eq!(name.cursors(), "\"share\".\"hutong_cursor\"");
        assert_eq!(name.plain(), "share.g7");
        let now = jiff::Timestamp::from_second(1_795_262_400).unwrap();
        let (sql, aside) = name.put_aside(now);
        assert_eq!(aside, "g7__withdrawn_20261121T120000Z");
        assert_eq!(sql, format!("ALTER TABLE \"share\".\"g7\" RENAME TO \"{aside}\""));
        let long = TableName::new(Dialect::MySql, &"人".repeat(21), GrantId(7));
        assert!(long.put_aside(now).1.len() <= 63);
    }
}
