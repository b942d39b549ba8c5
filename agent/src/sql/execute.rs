//! Statements with parameters, and the rows of small questions, in the connection's transaction.

use futures_util::StreamExt;
use sqlx::{
    AssertSqlSafe, ColumnIndex, Database, Decode, Encode, Executor, MySql, Postgres, Row, Sqlite,
    Type, TypeInfo, ValueRef, error::BoxDynError, query::Query,
};

use super::Connection;

/// What a database says when it cannot do what it was asked for.
pub type StatementError = sqlx::Error;

/// A parameter of a statement.
#[derive(Clone, Debug, PartialEq)]
pub enum Param {
    /// A text, or NULL.
    Text(Option<String>),
    /// A whole number.
    Integer(i64),
    /// A floating-point number.
    Real(f64),
    /// An array of texts; for PostgreSQL alone.
    Texts(Vec<Option<String>>),
}

/// The cells of a row as text.
pub type Cells = [Option<String>];

impl Connection {
    /// Runs a statement without parameters; returns how many rows it changed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn run(&mut self, sql: &str) -> Result<u64, sqlx::Error> {
        let raw = || sqlx::raw_sql(AssertSqlSafe(sql));
        Ok(match self {
            Self::Postgres(connection) => raw().execute(connection).await?.rows_affected(),
            Self::MySql(connection) => raw().execute(connection).await?.rows_affected(),
            Self::Sqlite(connection) => raw().execute(connection).await?.rows_affected(),
        })
    }

    /// Runs a statement; returns how many rows it changed.
    ///
    /// # Errors
    /// What the database says.
    pub async fn execute(&mut self, sql: &str, params: Vec<Param>) -> Result<u64, sqlx::Error> {
        let safe = AssertSqlSafe(sql);
        Ok(match self {
            Self::Postgres(connection) => {
                let mut query = sqlx::query::<Postgres>(safe);
                for param in params {
                    query = match param {
                        Param::Texts(texts) => query.bind(texts),
                        Param::Text(_) | Param::Integer(_) | Param::Real(_) => bound(query, param)?,
                    };
                }
                query.execute(connection).await?.rows_affected()
            }
            Self::MySql(connection) => {
                let query = all_bound(sqlx::query::<MySql>(safe), params)?;
                query.execute(connection).await?.rows_affected()
            }
            Self::Sqlite(connection) => {
                let query = all_bound(sqlx::query::<Sqlite>(safe), params)?;
                query.execute(connection).await?.rows_affected()
            }
        })
    }

    /// Shows each row of a query without parameters.
    ///
    /// # Errors
    /// What the database says, or the visitor.
    pub async fn each_row<E: From<sqlx::Error> + Send>(
        &mut self,
        sql: &str,
        visit: impl FnMut(&Cells) -> Result<(), E> + Send,
    ) -> Result<(), E> {
        match self {
            Self::Postgres(connection) => each(connection, sql, visit, text::<Postgres>).await,
            Self::MySql(connection) => each(connection, sql, visit, text::<MySql>).await,
            Self::Sqlite(connection) => each(connection, sql, visit, sqlite_text).await,
        }
    }

    /// The rows of a small question.
    ///
    /// # Errors
    /// What the database says.
    pub async fn all_rows(&mut self, sql: &str) -> Result<Vec<Vec<Option<String>>>, sqlx::Error> {
        let mut rows = Vec::new();
        self.each_row(sql, |cells| {
            rows.push(cells.to_vec());
            Ok::<_, sqlx::Error>(())
        })
        .await?;
        Ok(rows)
    }
}

type Bound<'q, D> = Query<'q, D, <D as Database>::Arguments>;

fn all_bound<'q, D: Database>(
    mut query: Bound<'q, D>,
    params: Vec<Param>,
) -> Result<Bound<'q, D>, sqlx::Error>
where
    for<'t> Option<String>: Encode<'t, D> + Type<D>,
    for<'t> i64: Encode<'t, D> + Type<D>,
    for<'t> f64: Encode<'t, D> + Type<D>,
{
    for param in params {
        query = bound(query, param)?;
    }
    Ok(query)
}

fn bound<'q, D: Database>(query: Bound<'q, D>, param: Param) -> Result<Bound<'q, D>, sqlx::Error>
where
    for<'t> Option<String>: Encode<'t, D> + Type<D>,
    for<'t> i64: Encode<'t, D> + Type<D>,
    for<'t> f64: Encode<'t, D> + Type<D>,
{
    Ok(match param {
        Param::Text(text) => query.bind(text),
        Param::Integer(number) => query.bind(number),
        Param::Real(number) => query.bind(number),
        Param::Texts(_) => return Err(sqlx::Error::Encode("no array in this database".into())),
    })
}

async fn each<C, D, E>(
    connection: &mut C,
    sql: &str,
    mut visit: impl FnMut(&Cells) -> Result<(), E> + Send,
    text: impl Fn(D::ValueRef<'_>) -> Result<String, BoxDynError> + Send,
) -> Result<(), E>
where
    D: Database,
    for<'c> &'c mut C: Executor<'c, Database = D>,
    usize: ColumnIndex<D::Row>,
    E: From<sqlx::Error> + Send,
{
    let mut rows = sqlx::raw_sql(AssertSqlSafe(sql)).fetch(connection);
    let mut cells = Vec::new();
    while let Some(row) = rows.next().await {
        let row = row?;
        cells.clear();
        for column in 0..row.len() {
            let value = row.try_get_raw(column)?;
            cells.push(if value.is_null() {
                None
            } else {
                Some(text(value).map_err(sqlx::Error::Decode)?)
            });
        }
        visit(&cells)?;
    }
    Ok(())
}

/// Without parameters these two tell every value as text.
fn text<D: Database>(value: D::ValueRef<'_>) -> Result<String, BoxDynError>
where
    for<'r> &'r str: Decode<'r, D>,
{
    <&str as Decode<'_, D>>::decode(value).map(str::to_owned)
}

/// SQLite would tell a floating-point number with 15 digits.
fn sqlite_text(value: <Sqlite as Database>::ValueRef<'_>) -> Result<String, BoxDynError> {
    if value.type_info().name() == "REAL" {
        return <f64 as Decode<'_, Sqlite>>::decode(value).map(|number| number.to_string());
    }
    <&str as Decode<'_, Sqlite>>::decode(value).map(str::to_owned)
}
