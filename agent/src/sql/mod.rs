//! Databases of the department: connections, quoting, and rows as text.
//!
//! Values are taken and given as text, and the catalogue's rules say what they are: no type of a
//! database stands between a row and its canonical form.

mod connection;
mod dialect;
mod execute;
pub mod pgoutput;
mod rows;

pub use connection::{Access, Connection, connect};
pub use dialect::{identifier, literal, table};
pub use execute::{Cells, Param, StatementError};
pub use rows::{Cell, TextRows, column_text};

use std::time::Duration;

use crate::config::SecretError;

/// A database could not be asked.
#[derive(Debug, thiserror::Error)]
pub enum SqlError {
    /// The password cannot be read.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// Nobody answers, or the login is refused.
    #[error("cannot connect to {place}: {source}")]
    Connect {
        /// The database.
        place: String,
        /// What the driver says.
        #[source]
        source: Box<sqlx::Error>,
    },
    /// A statement failed.
    #[error("{place}: {source}")]
    Statement {
        /// The database.
        place: String,
        /// What the database says.
        #[source]
        source: Box<sqlx::Error>,
    },
    /// Nothing came for too long.
    #[error("{place} did not answer for {} s", .after.as_secs())]
    Silent {
        /// The database.
        place: String,
        /// How long was waited.
        after: Duration,
    },
    /// The database is not as the configuration needs it.
    #[error("{place}: {detail}")]
    Setting {
        /// The database.
        place: String,
        /// What is wrong and what to do.
        detail: String,
    },
    /// The reading ended early.
    #[error("the reading was interrupted")]
    Interrupted,
}

impl SqlError {
    /// A statement failed there.
    pub fn statement(place: &str, source: sqlx::Error) -> Self {
        Self::Statement { place: place.to_owned(), source: Box::new(source) }
    }
}
