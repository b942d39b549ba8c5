//! Files that hold keys, certificates and tokens: written whole or not at all, private where they
//! must be.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// A file could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {}", path.display())]
pub struct FileError {
    /// What was being done, such as "write".
    pub doing: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// Why it failed.
    #[source]
    pub source: io::Error,
}

impl FileError {
    pub(crate) fn new(doing: &'static str, path: &Path, source: io::Error) -> Self {
        Self { doing, path: path.to_owned(), source }
    }
}

/// Who may read a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Its owner only (mode 0600): keys, tokens.
    Private,
    /// Whoever the folder lets in (mode 0644): certificates.
    Public,
}

/// Largest key or certificate file that is read, bytes. A bundle of roots is a few KiB; a wrong
/// path should not fill the memory.
const READ_MAX: u64 = 1024 * 1024;

/// Writes a file so that a crash leaves either the old content or the new one: a temporary file
/// beside it is written and synced, renamed over it, and the folder synced. The permissions are set
/// when the temporary file is created, so a private file is never readable by others, not even for
/// a moment.
///
/// # Errors
/// When any step fails; the temporary file is removed then.
pub fn write_atomic(path: &Path, content: &[u8], access: Access) -> Result<(), FileError> {
    write_before(path, content, access)?;
    sync_folder_of(path)
}

/// [`write_atomic`] for a file that is followed by another in the same folder: that one's sync of
/// the folder makes this one's name durable too.
pub(crate) fn write_before(path: &Path, content: &[u8], access: Access) -> Result<(), FileError> {
    replace(path, access, |file| file.write_all(content).and_then(|()| file.sync_all()))
}

/// [`write_atomic`] for what can be made again: after a power cut the file may be empty or old.
pub(crate) fn write_unsynced(path: &Path, content: &[u8], access: Access) -> Result<(), FileError> {
    replace(path, access, |file| file.write_all(content))
}

fn replace(
    path: &Path,
    access: Access,
    fill: impl FnOnce(&mut File) -> io::Result<()>,
) -> Result<(), FileError> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let unique = COUNTER.fetch_add(1, Ordering::Relaxed);
    let temporary = path.with_file_name(format!(".{name}.{}.{unique}.tmp", std::process::id()));

    create_new(&temporary, access)
        .and_then(|mut file| fill(&mut file))
        .and_then(|()| fs::rename(&temporary, path))
        .map_err(|source| {
            // Best effort: the error that matters is the one above.
            let _ = fs::remove_file(&temporary);
            FileError::new("write", path, source)
        })
}

/// Reads a small file of text.
///
/// # Errors
/// When it cannot be read, is not UTF-8 or is larger than any file of this kind.
pub fn read_text(path: &Path) -> Result<String, FileError> {
    let size = fs::metadata(path).map_err(|e| FileError::new("read", path, e))?.len();
    if size > READ_MAX {
        let error = io::Error::new(io::ErrorKind::FileTooLarge, "larger than a key or certificate");
        return Err(FileError::new("read", path, error));
    }
    fs::read_to_string(path).map_err(|e| FileError::new("read", path, e))
}

/// Creates a folder that only its owner may enter (mode 0700), with its parents, durably. A folder
/// that is there already keeps its permissions.
///
/// # Errors
/// When it cannot be created.
pub fn create_private_folder(path: &Path) -> Result<(), FileError> {
    if path.is_dir() {
        return Ok(());
    }
    let mut builder = fs::DirBuilder::new();
    builder.recursive(true);
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    // Each new folder is an entry of its parent, which has to be synced for it to last.
    let made: Vec<&Path> = path.ancestors().take_while(|folder| !folder.exists()).collect();
    builder.create(path).map_err(|e| FileError::new("create", path, e))?;
    made.into_iter().filter(|folder| *folder != Path::new("")).try_for_each(sync_folder_of)
}

/// Makes what happened to the entries of the file's folder (a rename, say) durable.
pub(crate) fn sync_folder_of(path: &Path) -> Result<(), FileError> {
    #[cfg(unix)]
    {
        let folder = match path.parent() {
            Some(parent) if !parent.as_os_str().is_empty() => parent,
            _ => Path::new("."),
        };
        File::open(folder)
            .and_then(|folder| folder.sync_all())
            .map_err(|e| FileError::new("sync", folder, e))?;
    }
    // Elsewhere a folder cannot be opened; the rename is as durable as the file system makes it.
    #[cfg(not(unix))]
    let _ = path;
    Ok(())
}

/// Moves a file within its folder, durably.
pub(crate) fn rename(from: &Path, to: &Path) -> Result<(), FileError> {
    fs::rename(from, to).map_err(|e| FileError::new("move", from, e))?;
    sync_folder_of(to)
}

/// Removes a file.
pub(crate) fn remove(path: &Path) -> Result<(), FileError> {
    fs::remove_file(path).map_err(|e| FileError::new("remove", path, e))
}

fn create_new(path: &Path, access: Access) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(
        &mut options,
        match access {
            Access::Private => 0o600,
            Access::Public => 0o644,
        },
    );
    #[cfg(not(unix))]
    let _ = access;
    options.open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_private_file_is_private_and_replaced_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("node.key");
        write_atomic(&path, b"one", Access::Private).unwrap();
        write_atomic(&path, b"two", Access::Private).unwrap();
        assert_eq!(read_text(&path).unwrap(), "two");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "no temporary file is left");
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        }
    }

    #[test]
    fn a_failed_write_names_the_file_and_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("taken");
        fs::create_dir_all(target.join("inside")).unwrap();
        let error = write_atomic(&target, b"x", Access::Public).unwrap_err();
        assert!(error.to_string().contains("taken"), "{error}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn an_absurdly_large_file_is_not_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roots.pem");
        File::create(&path).unwrap().set_len(READ_MAX + 1).unwrap();
        assert!(read_text(&path).is_err());
    }
}
