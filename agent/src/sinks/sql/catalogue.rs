//! What a database says of a table: its columns and what is unique in it.

use std::collections::{BTreeMap, BTreeSet};

use super::{kind::Kind, told::Told};
use crate::{
    config::Dialect,
    sql::{Connection, literal},
};

/// A table as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct TableFacts {
    pub(super) columns: Vec<ColumnFacts>,
    /// The columns of each unique index.
    pub(super) unique: Vec<BTreeSet<String>>,
}

/// A column as it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ColumnFacts {
    pub(super) name: String,
    pub(super) kind: Kind,
    /// A row cannot be inserted without a value for it.
    pub(super) required: bool,
    /// The database computes it.
    pub(super) computed: bool,
    /// It may call texts equal that are not: the collation's name.
    pub(super) inexact: Option<String>,
}

/// A table's name: in parts, as it is configured.
#[derive(Clone, Copy, Debug)]
pub(super) struct Named<'n> {
    pub(super) dialect: Dialect,
    /// The schema, if it is named.
    pub(super) schema: Option<&'n str>,
    pub(super) table: &'n str,
    /// Both in quotes.
    pub(super) quoted: &'n str,
}

/// Looks a table up; `None` if there is none.
pub(super) async fn look(
    connection: &mut Connection,
    named: Named<'_>,
) -> Result<Option<TableFacts>, sqlx::Error> {
    let columns = connection.all_rows(&columns_query(named)).await?;
    if columns.is_empty() {
        return Ok(None);
    }
    let mut unique: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in connection.all_rows(&unique_query(named)).await? {
        if let [Some(index), Some(column)] = &row[..] {
            unique.entry(index.clone()).or_default().insert(column.clone());
        }
    }
    let column = |row: Vec<Option<String>>| column(named.dialect, &row);
    Ok(Some(TableFacts {
        columns: columns.into_iter().filter_map(column).collect(),
        unique: unique.into_values().collect(),
    }))
}

/// From name, type, characters, precision, scale, required, computed, collation, unsigned.
fn column(dialect: Dialect, row: &[Option<String>]) -> Option<ColumnFacts> {
    let text = |at: usize| row.get(at).and_then(Clone::clone);
    let number = |at: usize| text(at).and_then(|text| text.parse().ok());
    let yes = |at: usize| matches!(text(at).as_deref(), Some("1" | "t" | "true" | "YES"));
    let told = Told {
        name: text(1).unwrap_or_default(),
        chars: number(2),
        precision: number(3),
        scale: number(4),
    };
    let collation = text(7).filter(|_| dialect == Dialect::MySql);
    let kind = match (&collation, told.kind(dialect)) {
        (Some(collation), Kind::Text(_)) if !collation.starts_with("utf8mb4") => {
            Kind::Other(format!("{} in {collation}", told.name))
        }
        (_, _) if yes(8) => Kind::Other(format!("{} unsigned", told.name)),
        (_, kind) => kind,
    };
    let exact = |collation: &str| collation.ends_with("_bin");
    Some(ColumnFacts {
        name: text(0)?,
        kind,
        required: yes(5),
        computed: yes(6),
        inexact: collation.filter(|collation| !exact(collation)),
    })
}

fn columns_query(named: Named<'_>) -> String {
    let text = |text: &str| literal(named.dialect, text);
    match named.dialect {
        Dialect::Postgres => format!(
            "SELECT a.attname, format_type(a.atttypid, NULL), \
             CASE WHEN a.atttypid = 'varchar'::regtype AND a.atttypmod > 4 THEN a.atttypmod - 4 END, \
             CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod > 4 \
             THEN ((a.atttypmod - 4) >> 16) & 65535 END, \
             CASE WHEN a.atttypid = 'numeric'::regtype AND a.atttypmod > 4 \
             THEN (a.atttypmod - 4) & 2047 END, \
             a.attnotnull AND NOT a.atthasdef AND a.attidentity = '', a.attgenerated <> '', NULL, NULL \
             FROM pg_attribute a WHERE a.attrelid = to_regclass({}) AND a.attnum > 0 \
             AND NOT a.attisdropped ORDER BY a.attnum",
            text(named.quoted)
        ),
        Dialect::MySql => format!(
            "SELECT column_name, data_type, \
             CASE WHEN data_type LIKE '%text' THEN character_octet_length DIV 4 \
             ELSE character_maximum_length END, \
             numeric_precision, numeric_scale, \
             is_nullable = 'NO' AND column_default IS NULL AND extra NOT LIKE '%auto_increment%' \
             AND extra NOT LIKE '%generated%', \
             extra LIKE '%GENERATED%' AND extra NOT LIKE '%DEFAULT_GENERATED%', \
             collation_name, column_type LIKE '%unsigned%' \
             FROM information_schema.columns WHERE table_schema = {} AND table_name = {} \
             ORDER BY ordinal_position",
            schema(named),
            text(named.table)
        ),
        Dialect::Sqlite => format!(
            "SELECT name, type, NULL, NULL, NULL, \"notnull\" AND dflt_value IS NULL AND NOT pk, \
             hidden IN (2, 3), NULL, NULL FROM pragma_table_xinfo({}, {}) WHERE hidden <> 1",
            text(named.table),
            schema(named)
        ),
    }
}

fn unique_query(named: Named<'_>) -> String {
    let text = |text: &str| literal(named.dialect, text);
    match named.dialect {
        Dialect::Postgres => format!(
            "SELECT i.indexrelid, a.attname FROM pg_index i \
             CROSS JOIN LATERAL unnest(i.indkey::int2[]) WITH ORDINALITY AS k(number, place) \
             JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number \
             WHERE i.indrelid = to_regclass({}) AND i.indisunique AND i.indimmediate \
             AND i.indpred IS NULL AND i.indexprs IS NULL AND k.place <= i.indnkeyatts",
            text(named.quoted)
        ),
        Dialect::MySql => format!(
            "SELECT index_name, column_name FROM information_schema.statistics \
             WHERE table_schema = {} AND table_name = {} AND non_unique = 0 AND sub_part IS NULL",
            schema(named),
            text(named.table)
        ),
        Dialect::Sqlite => format!(
            "SELECT 'primary key', name FROM pragma_table_xinfo({0}, {1}) WHERE pk > 0 UNION ALL \
             SELECT l.name, i.name FROM pragma_index_list({0}, {1}) AS l, \
             pragma_index_info(l.name, {1}) AS i WHERE l.\"unique\" AND NOT l.partial",
            text(named.table),
            schema(named)
        ),
    }
}

/// The schema as a value: the one in use when none is named.
fn schema(named: Named<'_>) -> String {
    match (named.schema, named.dialect) {
        (Some(schema), dialect) => literal(dialect, schema),
        (None, Dialect::MySql) => "DATABASE()".to_owned(),
        (None, Dialect::Sqlite) => "'main'".to_owned(),
        (None, Dialect::Postgres) => "current_schema()".to_owned(),
    }
}
