//! Secrets: in a file of their own, or given by the service manager. Never in the configuration, in
//! the environment or on a command line, where backups, process lists and logs would have them.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use secrecy::SecretString;
use secrecy::zeroize::Zeroize;

/// Set by systemd for a service with `LoadCredential=`.
const CREDENTIALS: &str = "CREDENTIALS_DIRECTORY";

/// How a credential is written in the configuration.
pub(super) const CREDENTIAL_PREFIX: &str = "credential:";

/// Longest secret, bytes: tokens and passwords are short, and a wrong file is noticed.
const LONGEST: u64 = 64 * 1024;

/// Rights of everybody who is neither the owner nor of the group.
const WORLD: u32 = 0o007;

/// Where a secret is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SecretSource {
    /// A file that only the agent's user, or its group, can read.
    File(PathBuf),
    /// `credential:<name>`: one that systemd gives to the service (`LoadCredential=<name>:<file>`).
    Credential(String),
}

/// A secret cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum SecretError {
    /// The file.
    #[error("the secret's file {path} cannot be read")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Every user of the machine can read or change it.
    #[error(
        "every user of this machine may read or change the secret's file {path} (mode {mode:o}); correct it: chmod 600 {path}, and change the secret, others may know it"
    )]
    Open {
        /// The file.
        path: PathBuf,
        /// Its rights.
        mode: u32,
    },
    /// It is not what a secret looks like.
    #[error("the secret's file {path} {problem}; it holds the secret alone, as text on one line")]
    Content {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        problem: &'static str,
    },
    /// The service manager gave none.
    #[error(
        "the service manager gave no credentials, so {CREDENTIAL_PREFIX}{name} is not there; put LoadCredential={name}:/etc/hutong/{name} into the unit, or name a file here"
    )]
    NoCredentials {
        /// Its name.
        name: String,
    },
}

/// Reads secrets.
#[derive(Debug)]
pub struct Secret;

impl Secret {
    /// The secret, without a newline at its end. Read anew each time: a changed secret is used at the
    /// next connection.
    ///
    /// # Errors
    /// When its file cannot be read, is open to everybody, or holds no text of one line.
    pub fn read(source: &SecretSource) -> Result<SecretString, SecretError> {
        let folder = std::env::var_os(CREDENTIALS).map(PathBuf::from);
        read_from(source, folder.as_deref())
    }
}

impl std::fmt::Display for SecretSource {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => path.display().fmt(formatter),
            Self::Credential(name) => write!(formatter, "{CREDENTIAL_PREFIX}{name}"),
        }
    }
}

impl SecretSource {
    /// Parses what stands in the configuration; `None` if a credential's name is none.
    pub(super) fn parse(text: &str, folder: &Path) -> Option<Self> {
        match text.strip_prefix(CREDENTIAL_PREFIX) {
            None => Some(Self::File(folder.join(text))),
            Some(name) => {
                let fits = !name.is_empty() && name != "." && name != ".." && !name.contains('/');
                fits.then(|| Self::Credential(name.to_owned()))
            }
        }
    }
}

fn read_from(
    source: &SecretSource,
    credentials: Option<&Path>,
) -> Result<SecretString, SecretError> {
    let path = match (source, credentials) {
        (SecretSource::File(path), _) => path.clone(),
        (SecretSource::Credential(name), Some(folder)) => folder.join(name),
        (SecretSource::Credential(name), None) => {
            return Err(SecretError::NoCredentials { name: name.clone() });
        }
    };
    let unreadable = |source| SecretError::Read { path: path.clone(), source };
    let wrong = |problem| SecretError::Content { path: path.clone(), problem };
    let file = File::open(&path).map_err(unreadable)?;
    // Of the open file: between two looks by name it could be another one.
    let facts = file.metadata().map_err(unreadable)?;
    if !facts.is_file() {
        return Err(wrong("is no file"));
    }
    if facts.mode() & WORLD != 0 {
        return Err(SecretError::Open { path: path.clone(), mode: facts.mode() & 0o7777 });
    }
    if facts.len() > LONGEST {
        return Err(wrong("is longer than 64 KiB"));
    }
    // Room for all of it at once: a buffer that grows leaves copies behind.
    let mut bytes = Vec::with_capacity(LONGEST as usize + 1);
    file.take(LONGEST).read_to_end(&mut bytes).map_err(unreadable)?;
    let read = match std::str::from_utf8(&bytes).map(|text| text.trim_end_matches(['\r', '\n'])) {
        Err(_) => Err(wrong("is not UTF-8")),
        Ok("") => Err(wrong("is empty")),
        Ok(text) if text.contains(['\r', '\n', '\0']) => Err(wrong("has more than one line")),
        Ok(text) => Ok(SecretString::from(text)),
    };
    bytes.zeroize();
    read
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use secrecy::ExposeSecret;

    use super::*;

    fn file(folder: &Path, mode: u32, content: &[u8]) -> SecretSource {
        let path = folder.join("secret");
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
        SecretSource::File(path)
    }

    #[test]
    fn a_secret_is_read_without_its_last_newline_and_never_printed() {
        let folder = tempfile::tempdir().unwrap();
        let secret =
            Secret::read(&file(folder.path(), 0o600, " pass wörd \r\n".as_bytes())).unwrap();
        assert_eq!(secret.expose_secret(), " pass wörd ");
        assert!(!format!("{secret:?}").contains("pass"));
    }

    #[test]
    fn a_file_that_everybody_may_read_is_refused_with_the_way_out() {
        let folder = tempfile::tempdir().unwrap();
        for mode in [0o604, 0o602, 0o644] {
            let source = file(folder.path(), mode, b"open");
            let error = Secret::read(&source).unwrap_err();
            assert!(error.to_string().contains(&format!("mode {mode:o}")), "{error}");
            assert!(error.to_string().contains("chmod 600"), "{error}");
            assert!(!error.to_string().contains("open\""), "{error}");
        }
        assert!(Secret::read(&file(folder.path(), 0o640, b"of a group")).is_ok());
    }

    #[test]
    fn what_is_no_text_of_one_line_is_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        for content in [&b""[..], b"\n", b"two\nlines", b"\xFF\xFE", &[b'x'; 65_537]] {
            let error = Secret::read(&file(folder.path(), 0o600, content)).unwrap_err();
            assert!(matches!(error, SecretError::Content { .. }), "{error}");
        }
        let error = Secret::read(&SecretSource::File(folder.path().to_owned())).unwrap_err();
        assert!(matches!(error, SecretError::Content { .. }), "{error}");
        let error = Secret::read(&SecretSource::File(folder.path().join("none"))).unwrap_err();
        assert!(matches!(error, SecretError::Read { .. }), "{error}");
    }

    #[test]
    fn a_credential_is_in_the_folder_of_the_service_manager() {
        let folder = tempfile::tempdir().unwrap();
        file(folder.path(), 0o400, b"from systemd\n");
        let source = SecretSource::parse("credential:secret", Path::new("/etc")).unwrap();
        let read = read_from(&source, Some(folder.path())).unwrap();
        assert_eq!(read.expose_secret(), "from systemd");
        let error = read_from(&source, None).unwrap_err();
        assert!(error.to_string().contains("LoadCredential=secret:"), "{error}");
    }

    #[test]
    fn a_relative_path_is_relative_to_the_configuration_and_a_credential_is_a_name() {
        let parsed = |text| SecretSource::parse(text, Path::new("/etc/hutong"));
        assert_eq!(parsed("db"), Some(SecretSource::File("/etc/hutong/db".into())));
        assert_eq!(parsed("/run/db"), Some(SecretSource::File("/run/db".into())));
        for no_name in ["credential:", "credential:..", "credential:../shadow"] {
            assert_eq!(parsed(no_name), None, "{no_name}");
        }
    }
}
