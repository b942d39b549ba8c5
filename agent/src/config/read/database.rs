//! A database, in a section of its own: for sources and for sinks.

use super::super::section::Section;
use super::super::{DatabaseConfig, DatabaseUrl, DatabaseUrlError, Dialect};

/// Settings of every section that names a database.
pub(super) const DATABASE: &[&str] = &["url", "password_file", "time_zone"];

/// `None` only if a mistake was reported.
pub(super) fn database(section: &Section<'_>) -> Option<DatabaseConfig> {
    let password = section.secret("password");
    let time_zone = section.text("time_zone");
    let text = section.required("url", URL)?;
    match text.parse::<DatabaseUrl>() {
        Ok(url) => {
            if url.dialect() == Dialect::Sqlite && password.is_some() {
                section.report("password_file", "has no meaning", "SQLite knows no passwords");
            }
            Some(DatabaseConfig { url: url.within(section.folder()), password, time_zone })
        }
        // What it holds is not repeated: the message goes to logs.
        Err(error @ DatabaseUrlError::Password) => {
            section.report(
                "url",
                error.to_string(),
                "write the password into a file and name it: password_file",
            );
            None
        }
        Err(error @ (DatabaseUrlError::Scheme | DatabaseUrlError::Database)) => {
            section.report("url", format!("is {text:?}: {error}"), URL);
            None
        }
    }
}

const URL: &str =
    "postgres://user@host:5432/database, mysql://user@host:3306/database or sqlite:file";
