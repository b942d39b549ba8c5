//! From the slot's messages to the outbox.

use std::collections::HashSet;

use data_encoding::HEXLOWER;
use hutong_schema::digest::{KeyHash, key_hash};

use super::super::publication::{Scan, ScanOutcome, Stop};
use super::super::query::{self, Changes};
use super::slot::Slot;
use super::wrong;
use crate::config::{Dialect, SqlSource};
use crate::sources::{Next, Row, Rows, TupleRow, readable};
use crate::sql::pgoutput::{self, Lsn, Message, Relation, Tuple, Value};
use crate::sql::{Cell, column_text, identifier, literal};

/// Changes read from the slot at once; the transaction that reaches this is read to its end.
const AT_ONCE: u32 = 20_000;

/// Keys sent in one scan that are remembered; beyond that everything is sent.
const SENT_MAX: usize = 200_000;

/// Sends what the slot has.
pub(super) fn changes(
    scan: Scan<'_>,
    source: &SqlSource,
    slot: &Slot<'_>,
) -> Result<ScanOutcome, Stop> {
    let known = scan.record.database.as_ref().map(|known| known.at.clone()).unwrap_or_default();
    let mut pass = Pass {
        changes: Changes::new(&scan),
        scan,
        source,
        slot,
        done: known.parse().unwrap_or_default(),
        table: None,
        row: Row::default(),
        sent: HashSet::new(),
    };
    while pass.some()? {}
    let unknown = pass.table.as_ref().map(|table| table.rows.unknown_columns().to_vec());
    Ok(pass.changes.report(&unknown.unwrap_or_default()))
}

struct Pass<'s> {
    changes: Changes<'s>,
    scan: Scan<'s>,
    source: &'s SqlSource,
    slot: &'s Slot<'s>,
    /// Transactions up to here are in the outbox.
    done: Lsn,
    table: Option<Table>,
    row: Row,
    /// Keys sent in this scan: what the hub is known to have says nothing of them any more.
    sent: HashSet<KeyHash>,
}

/// The table, as the slot described it last.
struct Table {
    id: u32,
    types: Vec<u32>,
    rows: TupleRow,
}

impl Pass<'_> {
    /// Sends some transactions; `false` when there was nothing.
    fn some(&mut self) -> Result<bool, Stop> {
        let mut messages = self.slot.peek(AT_ONCE)?;
        let mut any = false;
        while messages.advance()? {
            any = true;
            let Cell::Text(hex) = messages.cell(0) else { continue };
            let unreadable = || wrong(self.source, pgoutput::Unreadable.to_string());
            let hex = hex.strip_prefix("\\x").ok_or_else(unreadable)?;
            let bytes = HEXLOWER.decode(hex.as_bytes()).map_err(|_| unreadable())?;
            let message = pgoutput::read(&bytes).map_err(|_| unreadable())?;
            if self.take(&message)? {
                // The table was emptied: every row is compared, and a person may be asked.
                self.scan.record.database = None;
            }
        }
        if !any {
            return Ok(false);
        }
        let at = self.done.to_string();
        self.changes.commit(&mut self.scan, &at)?;
        self.changes.settle()?;
        self.slot.advance(&at)?;
        Ok(true)
    }

    /// Whether the table was emptied.
    fn take(&mut self, message: &Message<'_>) -> Result<bool, Stop> {
        match message {
            Message::Relation(relation) => self.describe(relation)?,
            Message::Commit(end) => self.done = *end,
            Message::Insert { relation, new } if self.is_ours(*relation) => {
                self.upsert(new, None)?
            }
            Message::Update { relation, old, new } if self.is_ours(*relation) => {
                self.upsert(new, old.as_ref())?;
            }
            Message::Delete { relation, old } if self.is_ours(*relation) => {
                let key = self.key(old)?;
                self.delete(&key)?;
            }
            Message::Truncate(relations) => {
                return Ok(relations.iter().any(|each| self.is_ours(*each)));
            }
            Message::Insert { .. }
            | Message::Update { .. }
            | Message::Delete { .. }
            | Message::Other => {}
        }
        Ok(false)
    }

    fn is_ours(&self, relation: u32) -> bool {
        self.table.as_ref().is_some_and(|table| table.id == relation)
    }

    fn describe(&mut self, relation: &Relation<'_>) -> Result<(), Stop> {
        if (relation.schema, relation.name) != self.slot.table() {
            return Ok(());
        }
        let names = relation.columns.iter().map(|(name, _)| (*name).to_owned()).collect();
        let rows =
            TupleRow::new(names, self.scan.entry).map_err(|detail| wrong(self.source, detail))?;
        let types = relation.columns.iter().map(|(_, oid)| *oid).collect();
        self.table = Some(Table { id: relation.id, types, rows });
        Ok(())
    }

    fn upsert(&mut self, new: &Tuple<'_>, old: Option<&Tuple<'_>>) -> Result<(), Stop> {
        let mut values = self.texts(new);
        let unchanged = |index: usize| matches!(new.get(index), Some(Value::Unchanged));
        let gone = match old {
            None => None,
            Some(old) => {
                let before = self.texts(old);
                for index in (0..values.len()).filter(|index| unchanged(*index)) {
                    values[index] = before.get(index).cloned().flatten();
                }
                Some(self.key(old)?)
            }
        };
        // With the whole row before, what is not told is known.
        let missing = (0..values.len()).any(|index| unchanged(index) && values[index].is_none());
        if missing {
            return self.read_again(&values, gone);
        }
        let Some(table) = &mut self.table else { return Ok(()) };
        let next = table.rows.take(&values, &mut self.row);
        self.send(next, &values, gone)
    }

    fn send(
        &mut self,
        next: Next,
        values: &[Option<String>],
        gone: Option<Vec<u8>>,
    ) -> Result<(), Stop> {
        if let Some(gone) = gone.filter(|gone| !self.row.key_known() || *gone != self.row.key()) {
            self.delete(&gone)?;
        }
        let at = self.at();
        if self.changes.is_full(self.row.size()) {
            self.changes.commit(&mut self.scan, &at)?;
        }
        if next == Next::Row && !self.fresh() {
            self.changes.send(&self.row);
            return Ok(());
        }
        self.changes.take(&self.scan, next, &self.row, || readable(values))
    }

    /// Whether the key was not sent in this scan yet; it is now.
    fn fresh(&mut self) -> bool {
        self.sent.len() < SENT_MAX && self.sent.insert(key_hash(self.row.key()))
    }

    fn delete(&mut self, key: &[u8]) -> Result<(), Stop> {
        let at = self.at();
        if self.changes.is_full(key.len()) {
            self.changes.commit(&mut self.scan, &at)?;
        }
        if self.sent.len() < SENT_MAX {
            self.sent.insert(key_hash(key));
        }
        self.changes.delete(key);
        Ok(())
    }

    /// The position of what is whole in the outbox: a transaction under way does not count.
    fn at(&self) -> String {
        self.done.to_string()
    }

    /// The key of a row that was.
    fn key(&mut self, old: &Tuple<'_>) -> Result<Vec<u8>, Stop> {
        let values = self.texts(old);
        let Some(table) = &mut self.table else { return Ok(Vec::new()) };
        table.rows.take(&values, &mut self.row);
        if self.row.key_known() {
            return Ok(self.row.key().to_vec());
        }
        let (schema, name) = self.slot.table();
        Err(wrong(self.source, format!(
            "a change of {schema}.{name} does not tell the key of the catalogue entry; a person with the right runs: ALTER TABLE {schema}.{name} REPLICA IDENTITY FULL"
        )).into())
    }

    /// A large value did not change and is not told: the row is read as it stands now.
    fn read_again(&mut self, values: &[Option<String>], gone: Option<Vec<u8>>) -> Result<(), Stop> {
        let Some(table) = &self.table else { return Ok(()) };
        let mut conditions = Vec::new();
        for column in table.rows.key_columns() {
            let (Some(name), Some(value)) = (
                column.and_then(|column| table.rows.names().get(column)),
                column.and_then(|column| values.get(column)?.as_deref()),
            ) else {
                continue;
            };
            let name = identifier(Dialect::Postgres, name);
            conditions.push(format!("{name} = {}", literal(Dialect::Postgres, value)));
        }
        let statement = format!(
            "SELECT * FROM {} WHERE {}",
            query::from(self.source),
            conditions.join(" AND ")
        );
        let mut rows = query::rows(&self.scan, self.source, statement, None)?;
        let next = rows.next(&mut self.row)?;
        if next == Next::End {
            // It is gone by now: the delete follows.
            return gone.map_or(Ok(()), |gone| self.delete(&gone));
        }
        self.send(next, values, gone)
    }

    fn texts(&self, tuple: &Tuple<'_>) -> Vec<Option<String>> {
        let types = self.table.as_ref().map(|table| &table.types[..]).unwrap_or_default();
        let text = |(index, value): (usize, &Value<'_>)| match value {
            Value::Text(text) => {
                let oid = types.get(index).copied().unwrap_or(0);
                Some(column_text(oid, text).to_owned())
            }
            Value::Null | Value::Unchanged => None,
        };
        tuple.iter().enumerate().map(text).collect()
    }
}
