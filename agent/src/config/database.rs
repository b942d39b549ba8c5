//! Where a database is and who asks it: shared by sources and sinks.

use std::fmt;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use super::SecretSource;

/// A database: its address, and where the password is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DatabaseConfig {
    /// Its address.
    pub url: DatabaseUrl,
    /// The password; `None` where none is needed.
    pub password: Option<SecretSource>,
    /// The zone in which it tells times that know their zone: a name (`Asia/Shanghai`), or for
    /// MySQL an offset (`+08:00`). `None`: Beijing time for PostgreSQL, its own for MySQL.
    pub time_zone: Option<String>,
}

/// Which database system speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// PostgreSQL, and what speaks its protocol.
    Postgres,
    /// MySQL and MariaDB.
    MySql,
    /// A file of SQLite 3.
    Sqlite,
}

/// Address of a database, without a password.
#[derive(Clone, PartialEq, Eq)]
pub struct DatabaseUrl {
    dialect: Dialect,
    text: String,
}

/// An address cannot be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DatabaseUrlError {
    /// Not one of the systems known.
    #[error("the system is not known")]
    Scheme,
    /// Secrets do not stand in a configuration.
    #[error("it holds a password")]
    Password,
    /// No database is named.
    #[error("no database is named")]
    Database,
}

impl DatabaseUrl {
    /// Which system speaks there.
    pub fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// The address, as the driver reads it.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The file of an SQLite database, relative ones in `folder`.
    pub fn file(&self, folder: &Path) -> Option<PathBuf> {
        (self.dialect == Dialect::Sqlite).then(|| folder.join(&self.text))
    }

    /// The same with the file of an SQLite database in `folder` when it is relative.
    pub(super) fn within(mut self, folder: &Path) -> Self {
        if let Some(file) = self.file(folder) {
            self.text = file.to_string_lossy().into_owned();
        }
        self
    }
}

impl FromStr for DatabaseUrl {
    type Err = DatabaseUrlError;

    fn from_str(text: &str) -> Result<Self, DatabaseUrlError> {
        let (scheme, rest) = text.split_once(':').ok_or(DatabaseUrlError::Scheme)?;
        let dialect = match scheme {
            "postgres" | "postgresql" => Dialect::Postgres,
            "mysql" | "mariadb" => Dialect::MySql,
            "sqlite" => Dialect::Sqlite,
            _ => return Err(DatabaseUrlError::Scheme),
        };
        if dialect == Dialect::Sqlite {
            let file = rest.strip_prefix("//").unwrap_or(rest);
            if file.is_empty() {
                return Err(DatabaseUrlError::Database);
            }
            return Ok(Self { dialect, text: file.to_owned() });
        }
        let rest = rest.strip_prefix("//").ok_or(DatabaseUrlError::Scheme)?;
        let (authority, path) = rest.split_once('/').ok_or(DatabaseUrlError::Database)?;
        if authority.rsplit_once('@').is_some_and(|(user, _)| user.contains(':'))
            || path.contains("password=")
        {
            return Err(DatabaseUrlError::Password);
        }
        if path.split('?').next().is_none_or(str::is_empty) {
            return Err(DatabaseUrlError::Database);
        }
        let scheme = if dialect == Dialect::MySql { "mysql" } else { "postgres" };
        Ok(Self { dialect, text: format!("{scheme}://{rest}") })
    }
}

impl fmt::Display for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text.split('?').next().unwrap_or_default();
        match self.dialect {
            Dialect::Sqlite => write!(f, "sqlite:{text}"),
            Dialect::Postgres | Dialect::MySql => f.write_str(text),
        }
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<DatabaseUrl, DatabaseUrlError> {
        text.parse()
    }

    #[test]
    fn each_system_is_told_by_its_scheme() {
        let url = read("mariadb://reader@127.0.0.1:3306/city?ssl-mode=DISABLED").unwrap();
        assert_eq!(url.dialect(), Dialect::MySql);
        assert_eq!(url.as_str(), "mysql://reader@127.0.0.1:3306/city?ssl-mode=DISABLED");
        assert_eq!(url.to_string(), "mysql://reader@127.0.0.1:3306/city");
        assert_eq!(read("postgresql://db/city").unwrap().as_str(), "postgres://db/city");
        let file = read("sqlite://data/rows.db").unwrap().within(Path::new("/etc/hutong"));
        assert_eq!(file.as_str(), "/etc/hutong/data/rows.db");
        assert_eq!(read("sqlite:///var/rows.db").unwrap().as_str(), "/var/rows.db");
    }

    #[test]
    fn what_is_no_address_or_holds_a_secret_is_refused() {
        assert_eq!(read("oracle://a@b/c"), Err(DatabaseUrlError::Scheme));
        assert_eq!(read("postgres:db"), Err(DatabaseUrlError::Scheme));
        assert_eq!(read("postgres://a:secret@b/c"), Err(DatabaseUrlError::Password));
        assert_eq!(read("postgres://b/c?password=secret"), Err(DatabaseUrlError::Password));
        assert_eq!(read("mysql://a@b"), Err(DatabaseUrlError::Database));
        assert_eq!(read("mysql://a@b/?x=1"), Err(DatabaseUrlError::Database));
        assert_eq!(read("sqlite:"), Err(DatabaseUrlError::Database));
    }
}
