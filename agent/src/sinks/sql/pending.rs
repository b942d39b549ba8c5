//! Changes taken and not yet committed: of each key the last.

use std::{collections::HashMap, mem};

use hutong_schema::block::Block;

use super::{super::SinkError, shape::Shape, statements::Statements};
use crate::{
    config::Dialect,
    sql::{Connection, Param},
};

/// Rows in one statement.
const ROWS: usize = 500;

/// Rows in one delete: SQLite and MySQL look at each alternative.
const DELETES: usize = 200;

/// Parameters in one statement: SQLite takes 32,766.
const PARAMETERS: usize = 30_000;

/// Text in one statement, bytes: servers take 16 MiB and more.
const STATEMENT_BYTES: usize = 1024 * 1024;

/// Changes of the present transaction.
#[derive(Debug, Default)]
pub(super) struct Pending {
    rows: HashMap<Vec<u8>, Option<Written>>,
    bytes: u64,
}

/// A row as it is written: the texts of its columns.
type Written = Vec<Option<String>>;

impl Pending {
    /// Takes the changes of a block.
    ///
    /// # Errors
    /// When they do not fit the shape.
    pub(super) fn take(&mut self, shape: &Shape, block: &Block<'_>) -> Result<(), SinkError> {
        let items = shape.item_columns();
        let known = |field| items.iter().any(|column| column.item.id == field);
        if let Some(field) = (0..block.columns()).map(|at| block.field(at)).find(|f| !known(*f)) {
            return Err(SinkError::Delivery(format!(
                "field {field} is delivered but not in the grant's view"
            )));
        }
        let layout: Vec<Option<usize>> =
            items.iter().map(|column| block.column_of(column.item.id)).collect();
        for index in 0..block.rows() {
            let key = block.key(index);
            let mut written: Written = shape.written_key(key)?.into_iter().map(Some).collect();
            let row = if block.is_delete(index) {
                None
            } else {
                for (column, at) in items.iter().zip(&layout) {
                    let value = at.and_then(|at| block.value(at, index));
                    written.push(value.map(|value| column.written(value)).transpose()?);
                }
                Some(written)
            };
            self.bytes += key.len() as u64 + row.as_ref().map_or(0, size);
            self.rows.insert(key.to_vec(), row);
        }
        Ok(())
    }

    /// About how many bytes were taken.
    pub(super) fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Forgets everything.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Writes everything to a table, in the transaction that is open.
    ///
    /// # Errors
    /// When a statement fails.
    pub(super) async fn write(
        &mut self,
        connection: &mut Connection,
        shape: &Shape,
        table: &str,
    ) -> Result<(), SinkError> {
        let (mut upserts, mut deletes) = (Vec::new(), Vec::new());
        for (key, row) in mem::take(&mut self.rows) {
            match row {
                Some(row) => upserts.push(row),
                None => deletes.push(shape.written_key(&key)?.into_iter().map(Some).collect()),
            }
        }
        self.bytes = 0;
        // In the order of the key, so that two writers never wait for each other in a circle, and an
        // index is written from one end to the other.
        upserts.sort_unstable_by(|one, other| one[..shape.keys].cmp(&other[..shape.keys]));
        deletes.sort_unstable();
        let statements = Statements(shape);
        write_all(connection, shape, deletes, DELETES, |rows| statements.delete(table, rows))
            .await?;
        write_all(connection, shape, upserts, ROWS, |rows| statements.upsert(table, rows)).await
    }
}

async fn write_all(
    connection: &mut Connection,
    shape: &Shape,
    rows: Vec<Written>,
    most: usize,
    statement: impl Fn(usize) -> String,
) -> Result<(), SinkError> {
    let mut rows = rows.into_iter().peekable();
    while let Some(first) = rows.peek() {
        let columns = first.len();
        let most = match shape.dialect {
            // One parameter per column.
            Dialect::Postgres => 4 * most,
            Dialect::MySql | Dialect::Sqlite => most.min(PARAMETERS / columns.max(1)),
        };
        let (mut part, mut bytes) = (Vec::with_capacity(most), 0);
        while part.len() < most
            && let Some(row) =
                rows.next_if(|row| bytes == 0 || bytes + size(row) <= STATEMENT_BYTES as u64)
        {
            bytes += size(&row);
            part.push(row);
        }
        let sql = statement(part.len());
        match shape.dialect {
            Dialect::Postgres => {
                let mut arrays: Vec<Vec<Option<String>>> = Vec::new();
                arrays.resize_with(columns, || Vec::with_capacity(part.len()));
                for row in part {
                    for (array, value) in arrays.iter_mut().zip(row) {
                        array.push(value);
                    }
                }
                let arrays = arrays.into_iter().map(Param::Texts).collect();
                connection.execute(&sql, arrays).await?;
            }
            Dialect::MySql | Dialect::Sqlite => {
                let mut params = Vec::with_capacity(part.len() * columns);
                for row in part {
                    for (column, value) in shape.columns.iter().zip(row) {
                        params.push(column.param(value));
                    }
                }
                connection.execute(&sql, params).await?;
            }
        }
    }
    Ok(())
}

fn size(row: &Written) -> u64 {
    row.iter().map(|value| 8 + value.as_ref().map_or(0, |text| text.len() as u64)).sum()
}
