//! The rows that say what the tables of a database hold: one per subscription, moved in the
//! transaction that writes the rows. They are what counts; the agent's own store follows them.

use data_encoding::BASE64;

use super::{
    super::{Record, SinkError, SubscriptionKey},
    name::TableName,
};
use crate::{
    config::Dialect,
    sql::{Connection, Param, literal},
};

/// Form of the stored records.
const VERSION: i64 = 1;

/// What the database says of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// Grows with every transaction: whoever finds another number than it left is not alone.
    pub(super) writes: i64,
    pub(super) record: Record,
}

/// Makes the table of positions if it is not there.
pub(super) async fn ensure(connection: &mut Connection, name: &TableName) -> Result<(), SinkError> {
    if connection.run(&format!("SELECT 1 FROM {} WHERE 1 = 0", name.cursors())).await.is_ok() {
        return Ok(());
    }
    let text = match name.dialect() {
        Dialect::MySql => "longtext",
        Dialect::Postgres | Dialect::Sqlite => "text",
    };
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} (node varchar(64) NOT NULL, grant_id bigint NOT NULL, \
         version integer NOT NULL, writes bigint NOT NULL, table_name varchar(200), seq bigint, \
         record {text} NOT NULL, PRIMARY KEY (node, grant_id))",
        name.cursors()
    );
    if name.dialect() == Dialect::Postgres {
        // Two who make it at once would meet in the catalogue.
        let alone = "SELECT pg_advisory_xact_lock(7443001)";
        connection.run(&format!("BEGIN; {alone}; {create}; COMMIT")).await?;
    } else {
        connection.run(&create).await?;
    }
    Ok(())
}

/// What is stored of a subscription.
pub(super) async fn read(
    connection: &mut Connection,
    name: &TableName,
    key: &SubscriptionKey,
) -> Result<Option<Stored>, SinkError> {
    let sql = format!(
        "SELECT version, writes, record FROM {} WHERE node = {} AND grant_id = {}",
        name.cursors(),
        literal(name.dialect(), key.node.as_str()),
        key.grant.0
    );
    let rows = connection.all_rows(&sql).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let [Some(version), Some(writes), Some(record)] = &row[..] else {
        return Err(SinkError::Record);
    };
    if version.parse() != Ok(VERSION) {
        return Err(SinkError::Table {
            place: name.cursors(),
            problems: vec![format!(
                "its row for grant {} has the form {version}, this agent knows {VERSION}; \
                 use the agent that wrote it, or a newer one",
                key.grant
            )],
        });
    }
    let writes = writes.parse().map_err(|_| SinkError::Record)?;
    let record = BASE64.decode(record.as_bytes()).map_err(|_| SinkError::Record)?;
    Ok(Some(Stored { writes, record: Record::decode(&record)? }))
}

/// Which other subscription a table belongs to.
pub(super) async fn other_owner(
    connection: &mut Connection,
    name: &TableName,
    key: &SubscriptionKey,
) -> Result<Option<String>, SinkError> {
    let (node, table) =
        (literal(name.dialect(), key.node.as_str()), literal(name.dialect(), &name.plain()));
    let sql = format!(
        "SELECT node, grant_id FROM {} WHERE table_name = {table} \
         AND (node <> {node} OR grant_id <> {})",
        name.cursors(),
        key.grant.0
    );
    let rows = connection.all_rows(&sql).await?;
    let owner = |row: &Vec<Option<String>>| {
        let text = |at: usize| row.get(at).and_then(Clone::clone).unwrap_or_default();
        format!("grant {} of node {}", text(1), text(0))
    };
    Ok(rows.first().map(owner))
}

/// Moves a subscription's row, in the transaction that is open; `held` is what this agent left
/// there. Returns what it leaves there now.
pub(super) async fn write(
    connection: &mut Connection,
    name: &TableName,
    key: &SubscriptionKey,
    held: Option<i64>,
    record: &Record,
) -> Result<i64, SinkError> {
    let text = |text: String| Param::Text(Some(text));
    let writes = held.unwrap_or(0) + 1;
    let seq = record.cursor.map_or(-1, |cursor| i64::try_from(cursor.seq).unwrap_or(i64::MAX));
    let table = record.ended.is_none().then(|| name.plain());
    let mut params = vec![
        Param::Integer(VERSION),
        Param::Integer(writes),
        Param::Text(table),
        Param::Integer(seq),
        text(BASE64.encode(&record.encode()?)),
        text(key.node.to_string()),
        Param::Integer(i64::try_from(key.grant.0).unwrap_or(i64::MAX)),
    ];
    let mark = |at: usize| match name.dialect() {
        Dialect::Postgres => format!("${at}"),
        Dialect::MySql | Dialect::Sqlite => "?".to_owned(),
    };
    let marks: Vec<String> = (1..=8).map(mark).collect();
    let cursors = name.cursors();
    let sql = match held {
        None => format!(
            "INSERT INTO {cursors} (version, writes, table_name, seq, record, node, grant_id) VALUES ({})",
            marks[..7].join(", ")
        ),
        Some(held) => {
            params.push(Param::Integer(held));
            format!(
                "UPDATE {cursors} SET version = {}, writes = {}, table_name = {}, seq = {}, record = {} \
                 WHERE node = {} AND grant_id = {} AND writes = {}",
                marks[0], marks[1], marks[2], marks[3], marks[4], marks[5], marks[6], marks[7]
            )
        }
    };
    match connection.execute(&sql, params).await? {
        1 => Ok(writes),
        _ => Err(SinkError::Table {
            place: name.plain(),
            problems: vec![format!(
                "its row in {cursors} was moved by somebody else; if another agent runs with this node's identity, stop it"
            )],
        }),
    }
}
