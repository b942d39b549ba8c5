//! The table of a subscription: made from the grant's view, or found and checked.

use std::collections::BTreeSet;

use hutong_schema::{
    catalogue::{DataType, Item},
    grant::GrantView,
};

use super::{
    catalogue::{ColumnFacts, TableFacts},
    kind::{Kind, chosen, misfit},
    name::TableName,
};
use crate::{
    config::Dialect,
    sql::{identifier, literal},
};

/// Longest comment written, characters: MySQL takes 1,024.
const COMMENT_CHARS: usize = 200;

/// Bytes of `VARCHAR` columns in one of MySQL's tables; it takes 65,535 with everything else.
const VARCHAR_BYTES: u64 = 32 * 1024;

/// The statements that make the table. `collation` is MySQL's.
pub(super) fn create(name: &TableName, view: &GrantView, collation: &str) -> Vec<String> {
    let dialect = name.dialect();
    let mut room = VARCHAR_BYTES;
    let mut definitions: Vec<String> = Vec::new();
    for item in &view.keys {
        room = room.saturating_sub(4 * u64::from(item.length));
        definitions.push(format!(
            "{} NOT NULL{}",
            definition(dialect, item, collation, None),
            comment(dialect, item)
        ));
    }
    for item in &view.items {
        definitions
            .push(definition(dialect, item, collation, Some(&mut room)) + &comment(dialect, item));
    }
    let keys: Vec<_> = view.keys.iter().map(|item| identifier(dialect, &item.name)).collect();
    definitions.push(format!("PRIMARY KEY ({})", keys.join(", ")));
    let mut all = vec![format!("CREATE TABLE {} ({})", name.live(), definitions.join(", "))];
    if dialect == Dialect::Postgres {
        all.push(format!("COMMENT ON TABLE {} IS {}", name.live(), shortened(dialect, &view.name)));
        for item in view.keys.iter().chain(&view.items) {
            all.push(column_comment(name, item));
        }
    }
    all
}

/// The statements that add columns which the table lacks.
pub(super) fn add(
    name: &TableName,
    view: &GrantView,
    facts: &TableFacts,
    collation: &str,
) -> Vec<String> {
    let dialect = name.dialect();
    let mut all = Vec::new();
    for item in view.items.iter().filter(|item| found(dialect, facts, item).is_none()) {
        // What is beside it is not known: a wide text never makes the row too wide.
        let definition = definition(dialect, item, collation, Some(&mut 0));
        let comment = comment(dialect, item);
        all.push(format!("ALTER TABLE {} ADD COLUMN {definition}{comment}", name.live()));
        if dialect == Dialect::Postgres {
            all.push(column_comment(name, item));
        }
    }
    all
}

/// The statements that make the staging table, with columns like the live one's.
pub(super) fn create_staged(name: &TableName, view: &GrantView) -> Vec<String> {
    let dialect = name.dialect();
    let list = |items: &[Item]| {
        let names = items.iter().map(|item| identifier(dialect, &item.name));
        names.collect::<Vec<_>>()
    };
    let keys = list(&view.keys).join(", ");
    let columns = [list(&view.keys), list(&view.items)].concat().join(", ");
    let (live, staged) = (name.live(), name.staged());
    match dialect {
        // With a log that tells transactions apart, MySQL makes no table from a query.
        Dialect::MySql => vec![format!("CREATE TABLE {staged} LIKE {live}")],
        Dialect::Postgres | Dialect::Sqlite => vec![
            format!("CREATE TABLE {staged} AS SELECT {columns} FROM {live} WHERE 1 = 0"),
            format!(
                "CREATE UNIQUE INDEX {} ON {} ({keys})",
                name.staged_index(),
                name.indexed_staged()
            ),
        ],
    }
}

/// What is wrong with a table that is there: everything at once.
pub(super) fn problems(dialect: Dialect, view: &GrantView, facts: &TableFacts) -> Vec<String> {
    let mut problems = Vec::new();
    for item in view.keys.iter().chain(&view.items) {
        let Some(column) = found(dialect, facts, item) else {
            let wanted = chosen(dialect, item).0;
            problems.push(format!("the column {} is missing ({wanted})", item.name));
            continue;
        };
        if column.computed {
            problems.push(format!("the column {} is computed by the database", item.name));
        }
        if let Some(misfit) = misfit(dialect, item, &column.kind) {
            problems.push(format!("the column {} {misfit}", item.name));
        }
        if let Some(collation) = column.inexact.as_ref().filter(|_| item.key) {
            problems.push(format!(
                "the key column {} compares by {collation}, which calls different keys equal; a collation that ends in _bin does not",
                item.name
            ));
        }
    }
    let same = |one: &str, other: &str| same_name(dialect, one, other);
    for column in facts.columns.iter().filter(|column| column.required && !column.computed) {
        let mut granted = view.keys.iter().chain(&view.items);
        let item = granted.find(|item| same(&item.name, &column.name));
        match item {
            Some(item) if item.key || item.required => {}
            Some(_) => problems.push(format!(
                "the column {} must not be empty, but may be delivered empty",
                column.name
            )),
            None => problems.push(format!(
                "the column {} must not be empty, has no default and is not delivered",
                column.name
            )),
        }
    }
    let keys: BTreeSet<String> = view.keys.iter().map(|item| folded(dialect, &item.name)).collect();
    let unique: Vec<BTreeSet<String>> = facts
        .unique
        .iter()
        .map(|index| index.iter().map(|name| folded(dialect, name)).collect())
        .collect();
    let words = |names: &BTreeSet<String>| names.iter().cloned().collect::<Vec<_>>().join(", ");
    if !unique.contains(&keys) {
        problems.push(format!(
            "it needs a primary key or unique index on exactly these columns: {}",
            words(&keys)
        ));
    }
    if dialect == Dialect::MySql {
        for other in unique.iter().filter(|index| **index != keys) {
            problems
                .push(format!("its unique index on {} would make two rows into one", words(other)));
        }
    }
    problems
}

/// What the columns of a table hold, for the items of a view.
pub(super) fn kind_of(dialect: Dialect, facts: &TableFacts, item: &Item) -> Kind {
    found(dialect, facts, item).map_or(Kind::Text(None), |column| column.kind.clone())
}

/// Whether the table has a column for each item.
pub(super) fn has_all(dialect: Dialect, facts: &TableFacts, view: &GrantView) -> bool {
    view.keys.iter().chain(&view.items).all(|item| found(dialect, facts, item).is_some())
}

/// Whether the table has a column of the item's name.
pub(super) fn has_column(dialect: Dialect, facts: &TableFacts, item: &Item) -> bool {
    found(dialect, facts, item).is_some()
}

fn found<'f>(dialect: Dialect, facts: &'f TableFacts, item: &Item) -> Option<&'f ColumnFacts> {
    facts.columns.iter().find(|column| same_name(dialect, &column.name, &item.name))
}

fn same_name(dialect: Dialect, one: &str, other: &str) -> bool {
    folded(dialect, one) == folded(dialect, other)
}

/// PostgreSQL tells capital letters from small ones, the others do not.
fn folded(dialect: Dialect, name: &str) -> String {
    match dialect {
        Dialect::Postgres => name.to_owned(),
        Dialect::MySql | Dialect::Sqlite => name.to_ascii_lowercase(),
    }
}

/// Name and type; `room` is what is left for short texts outside of the key.
fn definition(dialect: Dialect, item: &Item, collation: &str, room: Option<&mut u64>) -> String {
    let (mut data_type, kind) = chosen(dialect, item);
    if let (Dialect::MySql, Kind::Text(chars)) = (dialect, kind) {
        if let (Some(room), Some(chars)) = (room, chars) {
            match room.checked_sub(4 * chars) {
                Some(rest) => *room = rest,
                None => data_type = "mediumtext".to_owned(),
            }
        }
        data_type = format!("{data_type} CHARACTER SET utf8mb4 COLLATE {collation}");
    }
    format!("{} {data_type}", identifier(dialect, &item.name))
}

fn comment(dialect: Dialect, item: &Item) -> String {
    match dialect {
        Dialect::MySql => format!(" COMMENT {}", shortened(dialect, &label(item))),
        Dialect::Postgres | Dialect::Sqlite => String::new(),
    }
}

fn column_comment(name: &TableName, item: &Item) -> String {
    let (dialect, label) = (name.dialect(), label(item));
    let column = identifier(dialect, &item.name);
    format!("COMMENT ON COLUMN {}.{column} IS {}", name.live(), shortened(dialect, &label))
}

fn label(item: &Item) -> String {
    let form = if item.data_type == DataType::Geometry { " (GeoJSON)" } else { "" };
    format!("{}{form}", item.label)
}

fn shortened(dialect: Dialect, text: &str) -> String {
    literal(dialect, &text.chars().take(COMMENT_CHARS).collect::<String>())
}
