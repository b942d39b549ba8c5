//! The statements of each dialect. Names are quoted; values are never part of a statement.

use super::{
    kind::Kind,
    shape::{Column, Shape},
};
use crate::config::Dialect;

/// Writes statements for tables of one shape. Tables are given by their quoted names.
#[derive(Clone, Copy, Debug)]
pub(super) struct Statements<'s>(pub(super) &'s Shape);

impl Statements<'_> {
    /// Inserts rows, or changes those that are there. For PostgreSQL each column is one parameter, an
    /// array of texts; for the others each value is one, row by row.
    pub(super) fn upsert(self, table: &str, rows: usize) -> String {
        let (dialect, columns) = (self.0.dialect, &self.0.columns[..]);
        let names = list(columns, |column| column.quoted.clone());
        let keys = list(self.0.key_columns(), |column| column.quoted.clone());
        let items = self.0.item_columns();
        let excluded = || list(items, |column| format!("{0} = excluded.{0}", column.quoted));
        let on_conflict = || match items {
            [] => format!("ON CONFLICT ({keys}) DO NOTHING"),
            _ => format!("ON CONFLICT ({keys}) DO UPDATE SET {}", excluded()),
        };
        match dialect {
            Dialect::Postgres => format!(
                "INSERT INTO {table} ({names}) SELECT {} FROM {} {}",
                unnested_values(columns),
                unnested(columns.len()),
                on_conflict()
            ),
            Dialect::Sqlite => {
                let values = rows_of(rows, columns.len());
                format!("INSERT INTO {table} ({names}) VALUES {values} {}", on_conflict())
            }
            Dialect::MySql => {
                let changed = if items.is_empty() { self.0.key_columns() } else { items };
                let changed = list(changed, |column| format!("{0} = VALUES({0})", column.quoted));
                let values = rows_of(rows, columns.len());
                format!(
                    "INSERT INTO {table} ({names}) VALUES {values} ON DUPLICATE KEY UPDATE {changed}"
                )
            }
        }
    }

    /// Deletes rows by their keys; parameters as for [`upsert`](Self::upsert).
    pub(super) fn delete(self, table: &str, rows: usize) -> String {
        let keys = self.0.key_columns();
        if self.0.dialect == Dialect::Postgres {
            let equal = joined(" AND ", keys.iter().enumerate(), |(at, column)| {
                format!("t.{} = u.c{at}::{}", column.quoted, cast(&column.kind))
            });
            return format!(
                "DELETE FROM {table} AS t USING {} WHERE {equal}",
                unnested(keys.len())
            );
        }
        if let [key] = keys {
            let values = vec!["?"; rows].join(", ");
            return format!("DELETE FROM {table} WHERE {} IN ({values})", key.quoted);
        }
        let one = joined(" AND ", keys.iter(), |column| format!("{} = ?", column.quoted));
        let any = vec![format!("({one})"); rows].join(" OR ");
        format!("DELETE FROM {table} WHERE {any}")
    }

    /// What makes the live rows the staged ones, touching only those that differ.
    pub(super) fn swap(self, live: &str, staged: &str) -> Vec<String> {
        let (dialect, columns) = (self.0.dialect, &self.0.columns[..]);
        let keys = self.0.key_columns();
        let items = self.0.item_columns();
        let equal = joined(" AND ", keys.iter(), |column| format!("s.{0} = l.{0}", column.quoted));
        let names = list(columns, |column| column.quoted.clone());
        let values = list(columns, |column| format!("s.{}", column.quoted));
        let first = &keys.first().map(|key| key.quoted.clone()).unwrap_or_default();
        let mut all = vec![match dialect {
            Dialect::Postgres | Dialect::Sqlite => format!(
                "DELETE FROM {live} AS l WHERE NOT EXISTS (SELECT 1 FROM {staged} AS s WHERE {equal})"
            ),
            Dialect::MySql => format!(
                "DELETE l FROM {live} AS l LEFT JOIN {staged} AS s ON {equal} WHERE s.{first} IS NULL"
            ),
        }];
        if !items.is_empty() {
            let differ = joined(" OR ", items.iter(), |column| differs(dialect, column));
            all.push(match dialect {
                Dialect::Postgres | Dialect::Sqlite => {
                    let set = list(items, |column| format!("{0} = s.{0}", column.quoted));
                    format!("UPDATE {live} AS l SET {set} FROM {staged} AS s WHERE {equal} AND ({differ})")
                }
                Dialect::MySql => {
                    let set = list(items, |column| format!("l.{0} = s.{0}", column.quoted));
                    format!("UPDATE {live} AS l JOIN {staged} AS s ON {equal} SET {set} WHERE {differ}")
                }
            });
        }
        all.push(format!(
            "INSERT INTO {live} ({names}) SELECT {values} FROM {staged} AS s \
             LEFT JOIN {live} AS l ON {equal} WHERE l.{first} IS NULL"
        ));
        all
    }

    /// Empties a column that is no longer granted.
    pub(super) fn empty_column(live: &str, quoted: &str) -> String {
        format!("UPDATE {live} SET {quoted} = NULL WHERE {quoted} IS NOT NULL")
    }

    /// Reads all rows, cells in the order of the columns.
    pub(super) fn read(self, table: &str) -> String {
        let names = list(&self.0.columns, |column| column.quoted.clone());
        format!("SELECT {names} FROM {table}")
    }
}

/// Whether a staged value is another than the live one.
fn differs(dialect: Dialect, column: &Column) -> String {
    let name = &column.quoted;
    match (dialect, &column.kind) {
        (Dialect::Postgres, _) => format!("l.{name} IS DISTINCT FROM s.{name}"),
        (Dialect::Sqlite, _) => format!("l.{name} IS NOT s.{name}"),
        // A collation may call texts equal that are not.
        (Dialect::MySql, Kind::Text(_)) => {
            format!("NOT (CAST(l.{name} AS BINARY) <=> CAST(s.{name} AS BINARY))")
        }
        (Dialect::MySql, _) => format!("NOT (l.{name} <=> s.{name})"),
    }
}

/// `(?, ?), (?, ?)`
fn rows_of(rows: usize, columns: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(", "));
    vec![row; rows].join(", ")
}

/// `UNNEST($1::text[], $2::text[]) AS u(c0, c1)`
fn unnested(columns: usize) -> String {
    let arrays = joined(", ", 1..=columns, |at| format!("${at}::text[]"));
    let names = joined(", ", 0..columns, |at| format!("c{at}"));
    format!("UNNEST({arrays}) AS u({names})")
}

fn unnested_values(columns: &[Column]) -> String {
    joined(", ", columns.iter().enumerate(), |(at, column)| {
        format!("u.c{at}::{}", cast(&column.kind))
    })
}

/// The type that PostgreSQL reads a text as, before it is put into a column of this kind.
fn cast(kind: &Kind) -> &'static str {
    match kind {
        Kind::Text(_) | Kind::Other(_) => "text",
        Kind::Integer(_) => "bigint",
        Kind::Decimal(_) => "numeric",
        Kind::Double => "double precision",
        Kind::Float => "real",
        Kind::Date => "date",
        Kind::DateTime => "timestamp",
        Kind::Logical => "boolean",
    }
}

fn list(columns: &[Column], each: impl Fn(&Column) -> String) -> String {
    joined(", ", columns.iter(), each)
}

fn joined<T>(separator: &str, all: impl Iterator<Item = T>, each: impl Fn(T) -> String) -> String {
    all.map(each).collect::<Vec<_>>().join(separator)
}
