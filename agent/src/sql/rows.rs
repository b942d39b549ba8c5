//! The rows of a query as text, read ahead by a task of their own.

use std::time::Duration;

use futures_util::StreamExt;
use sqlx::{
    AssertSqlSafe, Column, ColumnIndex, Database, Decode, Executor, Row, TypeInfo, ValueRef,
};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::{Connection, SqlError};

/// Rows are handed over when so many bytes of them are together.
const PIECE_BYTES: usize = 64 * 1024;
/// Pieces read ahead. When they are not taken, the database waits.
const PIECES: usize = 2;

/// A value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// Its text.
    Text(&'a str),
    /// Bytes that are no text, such as those of a BLOB.
    Bytes,
}

/// Rows of one query, one at a time. Blocks: not for threads of the runtime.
#[derive(Debug)]
pub struct TextRows {
    place: String,
    pieces: mpsc::Receiver<Result<Piece, SqlError>>,
    task: JoinHandle<()>,
    piece: Piece,
    /// The next row in the piece.
    next: usize,
    /// The present one.
    row: usize,
}

/// Some rows.
#[derive(Debug, Default)]
struct Piece {
    /// Names of the columns; only in the first piece.
    names: Option<Vec<String>>,
    columns: usize,
    rows: usize,
    text: String,
    /// Of each value its end in the text.
    ends: Vec<End>,
}

#[derive(Clone, Copy, Debug)]
enum End {
    Null(u32),
    Text(u32),
    Bytes(u32),
}

impl End {
    fn at(self) -> usize {
        let (Self::Null(at) | Self::Text(at) | Self::Bytes(at)) = self;
        at as usize
    }
}

impl TextRows {
    /// Begins to read. The query runs on `runtime`; when nothing comes for `patience`, it is given
    /// up. Dropping the rows ends it.
    pub fn start(
        runtime: &tokio::runtime::Handle,
        connection: Connection,
        place: String,
        query: String,
        patience: Duration,
    ) -> Self {
        let (sender, pieces) = mpsc::channel(PIECES);
        let reading = Reading { place: place.clone(), query, patience, pieces: sender };
        let task = runtime.spawn(async move {
            match connection {
                Connection::Postgres(mut connection) => {
                    reading.run(&mut connection, postgres).await;
                }
                Connection::MySql(mut connection) => reading.run(&mut connection, mysql).await,
                Connection::Sqlite(mut connection) => {
                    reading.run(&mut connection, |_| Form::Plain).await
                }
            }
        });
        Self { place, pieces, task, piece: Piece::default(), next: 0, row: 0 }
    }

    /// Moves to the next row; `false` behind the last one.
    ///
    /// # Errors
    /// When the query failed.
    pub fn advance(&mut self) -> Result<bool, SqlError> {
        while self.next == self.piece.rows {
            match self.pieces.blocking_recv() {
                Some(Ok(piece)) => {
                    let names = self.piece.names.take();
                    self.piece = piece;
                    self.piece.names = self.piece.names.take().or(names);
                    self.next = 0;
                }
                Some(Err(error)) => return Err(error),
                None => return Ok(false),
            }
        }
        self.row = self.next;
        self.next += 1;
        Ok(true)
    }

    /// Names of the columns, once the first row was read. A query without rows does not tell them.
    pub fn names(&self) -> &[String] {
        self.piece.names.as_deref().unwrap_or_default()
    }

    /// A value of the present row.
    pub fn cell(&self, column: usize) -> Cell<'_> {
        let index = self.row * self.piece.columns + column;
        let start = if index == 0 { 0 } else { self.piece.ends[index - 1].at() };
        match self.piece.ends[index] {
            End::Null(_) => Cell::Null,
            End::Text(end) => Cell::Text(&self.piece.text[start..end as usize]),
            End::Bytes(_) => Cell::Bytes,
        }
    }

    /// The database.
    pub fn place(&self) -> &str {
        &self.place
    }
}

impl Drop for TextRows {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// How the text of a type is to be changed to be a value's text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Form {
    /// Not at all.
    Plain,
    /// `t` and `f`.
    Logical,
    /// A time: the catalogue's times are local and have whole seconds.
    Time,
    /// Filled up with blanks.
    Padded,
}

fn postgres(type_name: &str) -> Form {
    match type_name {
        "BOOL" => Form::Logical,
        "TIMESTAMP" | "TIMESTAMPTZ" => Form::Time,
        "CHAR" | "BPCHAR" => Form::Padded,
        _ => Form::Plain,
    }
}

/// The text of a PostgreSQL value of a type (OID) as a value's text.
pub fn column_text(oid: u32, text: &str) -> &str {
    let form = match oid {
        16 => Form::Logical,
        1114 | 1184 => Form::Time,
        1042 => Form::Padded,
        _ => Form::Plain,
    };
    form.of(text)
}

fn mysql(type_name: &str) -> Form {
    match type_name {
        "DATETIME" | "TIMESTAMP" => Form::Time,
        _ => Form::Plain,
    }
}

impl Form {
    fn of(self, text: &str) -> &str {
        match self {
            Self::Plain => text,
            Self::Logical => match text {
                "t" => "1",
                "f" => "0",
                other => other,
            },
            // `2026-01-31 08:00:00.25+08`; what is no such time is left to the catalogue's rules.
            Self::Time => match text.get(..19) {
                Some(seconds) if text.as_bytes()[10] == b' ' => seconds,
                _ => text,
            },
            Self::Padded => text.trim_end_matches(' '),
        }
    }
}

struct Reading {
    place: String,
    query: String,
    patience: Duration,
    pieces: mpsc::Sender<Result<Piece, SqlError>>,
}

impl Reading {
    async fn run<C, D>(self, connection: &mut C, form: fn(&str) -> Form)
    where
        D: Database,
        for<'c> &'c mut C: Executor<'c, Database = D>,
        for<'r> &'r str: Decode<'r, D>,
        usize: ColumnIndex<D::Row>,
    {
        if let Err(Some(error)) = self.read(connection, form).await {
            // Nobody may be listening any more.
            let _ = self.pieces.send(Err(error)).await;
        }
    }

    /// `None` as an error: nobody listens.
    async fn read<C, D>(
        &self,
        connection: &mut C,
        form: fn(&str) -> Form,
    ) -> Result<(), Option<SqlError>>
    where
        D: Database,
        for<'c> &'c mut C: Executor<'c, Database = D>,
        for<'r> &'r str: Decode<'r, D>,
        usize: ColumnIndex<D::Row>,
    {
        let mut rows = sqlx::raw_sql(AssertSqlSafe(self.query.clone())).fetch(connection);
        let mut forms: Vec<Form> = Vec::new();
        let mut piece = Piece::default();
        loop {
            let next = tokio::time::timeout(self.patience, rows.next()).await;
            let next = next.map_err(|_| SqlError::Silent {
                place: self.place.clone(),
                after: self.patience,
            })?;
            let Some(row) = next else { break };
            let row = row.map_err(|error| SqlError::statement(&self.place, error))?;
            if forms.is_empty() {
                let columns = row.columns();
                forms = columns.iter().map(|column| form(column.type_info().name())).collect();
                piece.names = Some(columns.iter().map(|column| column.name().to_owned()).collect());
            }
            piece.columns = forms.len();
            piece.take(&row, &forms).map_err(|error| SqlError::statement(&self.place, error))?;
            if piece.text.len() >= PIECE_BYTES {
                let full = std::mem::take(&mut piece);
                self.pieces.send(Ok(full)).await.map_err(|_| None)?;
            }
        }
        self.pieces.send(Ok(piece)).await.map_err(|_| None)
    }
}

impl Piece {
    fn take<R>(&mut self, row: &R, forms: &[Form]) -> Result<(), sqlx::Error>
    where
        R: Row,
        for<'r> &'r str: Decode<'r, R::Database>,
        usize: ColumnIndex<R>,
    {
        for (column, form) in forms.iter().enumerate() {
            let value = row.try_get_raw(column)?;
            let end = |text: &String| u32::try_from(text.len()).unwrap_or(u32::MAX);
            if value.is_null() {
                self.ends.push(End::Null(end(&self.text)));
                continue;
            }
            match <&str as Decode<'_, R::Database>>::decode(value) {
                Ok(text) => {
                    self.text.push_str(form.of(text));
                    self.ends.push(End::Text(end(&self.text)));
                }
                Err(_) => self.ends.push(End::Bytes(end(&self.text))),
            }
        }
        self.rows += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_lose_their_fraction_and_zone_and_nothing_else_does() {
        assert_eq!(Form::Time.of("2026-01-31 08:00:00.25+08"), "2026-01-31 08:00:00");
        assert_eq!(Form::Time.of("2026-01-31 08:00:00"), "2026-01-31 08:00:00");
        assert_eq!(Form::Time.of("infinity"), "infinity");
        assert_eq!(Form::Time.of("10000-01-01 00:00:00"), "10000-01-01 00:00:00");
        assert_eq!(Form::Logical.of("t"), "1");
        assert_eq!(Form::Padded.of("ab  "), "ab");
        assert_eq!(Form::Plain.of(" ab "), " ab ");
    }
}
