//! Connections.

use std::time::Duration;

use secrecy::ExposeSecret;
use sqlx::mysql::{MySqlConnectOptions, MySqlConnection};
use sqlx::postgres::{PgConnectOptions, PgConnection};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{AssertSqlSafe, ConnectOptions, Connection as _};

use super::SqlError;
use crate::config::{DatabaseConfig, Dialect, Secret};

/// A database that does not answer the login for so long is not there.
const CONNECT_WITHIN: Duration = Duration::from_secs(15);

/// Where PostgreSQL would tell times in UTC.
const BEIJING: &str = "Asia/Shanghai";

/// What a connection may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Read: the database itself refuses everything else.
    Read,
    /// Read and write.
    Write,
}

/// A connection to one of the systems.
#[derive(Debug)]
pub enum Connection {
    /// PostgreSQL.
    Postgres(PgConnection),
    /// MySQL or MariaDB.
    MySql(MySqlConnection),
    /// SQLite.
    Sqlite(SqliteConnection),
}

/// Connects.
///
/// # Errors
/// When the password cannot be read, nobody answers within 15 s, or the login is refused.
pub async fn connect(config: &DatabaseConfig, access: Access) -> Result<Connection, SqlError> {
    let place = config.url.to_string();
    let opening = tokio::time::timeout(CONNECT_WITHIN, open(config, access)).await;
    let opened = opening.map_err(|_| SqlError::Silent { place, after: CONNECT_WITHIN })??;
    Ok(opened)
}

async fn open(config: &DatabaseConfig, access: Access) -> Result<Connection, SqlError> {
    let place = config.url.to_string();
    let failed = |source| SqlError::Connect { place: place.clone(), source: Box::new(source) };
    let password = config.password.as_ref().map(Secret::read).transpose()?;
    let password = password.as_ref().map(ExposeSecret::expose_secret);
    let read_only = access == Access::Read;
    match config.url.dialect() {
        Dialect::Postgres => {
            let options: PgConnectOptions = config.url.as_str().parse().map_err(failed)?;
            let options = options
                .application_name("hutong-agent")
                .options([("default_transaction_read_only", if read_only { "on" } else { "off" })])
                .disable_statement_logging();
            let options = match password {
                Some(password) => options.password(password),
                None => options,
            };
            let mut connection = PgConnection::connect_with(&options).await.map_err(failed)?;
            let zone = config.time_zone.as_deref().unwrap_or(BEIJING);
            let zone = super::literal(Dialect::Postgres, zone);
            let set = sqlx::raw_sql(AssertSqlSafe(format!("SET TIME ZONE {zone}")));
            set.execute(&mut connection).await.map_err(failed)?;
            Ok(Connection::Postgres(connection))
        }
        Dialect::MySql => {
            let options: MySqlConnectOptions = config.url.as_str().parse().map_err(failed)?;
            // A query means what it means in the department's own tools.
            let options = options.timezone(config.time_zone.clone()).pipes_as_concat(false);
            let options = options.no_engine_substitution(false).disable_statement_logging();
            let options = match password {
                Some(password) => options.password(password),
                None => options,
            };
            let mut connection = MySqlConnection::connect_with(&options).await.map_err(failed)?;
            if read_only {
                let set = sqlx::raw_sql("SET SESSION TRANSACTION READ ONLY");
                set.execute(&mut connection).await.map_err(failed)?;
            }
            Ok(Connection::MySql(connection))
        }
        Dialect::Sqlite => {
            let options = SqliteConnectOptions::new()
                .filename(config.url.as_str())
                .read_only(read_only)
                .busy_timeout(CONNECT_WITHIN)
                .disable_statement_logging();
            let connection = SqliteConnection::connect_with(&options).await.map_err(failed)?;
            Ok(Connection::Sqlite(connection))
        }
    }
}

impl Connection {
    /// Says goodbye. Errors do not matter: nothing is expected of the connection any more.
    pub async fn close(self) {
        let closed = match self {
            Self::Postgres(connection) => connection.close().await,
            Self::MySql(connection) => connection.close().await,
            Self::Sqlite(connection) => connection.close().await,
        };
        if let Err(error) = closed {
            tracing::debug!(%error, "a database connection was not closed in good order");
        }
    }
}
