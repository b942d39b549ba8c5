//! A data file with a durable length: what stands behind it was not confirmed and is cut off at
//! start, so that no row is in the file twice or in part. What stands before it is known by the
//! hashes of its pieces.

use std::{
    fs::{File, OpenOptions},
    io::{self, Seek, SeekFrom, Write},
    path::{Path, PathBuf},
};

use super::pieces::{PIECE_BYTES, PieceHash, Pieces, last_piece};

/// A file operation failed.
#[derive(Debug, thiserror::Error)]
#[error("cannot {doing} {path}")]
pub struct FileFailure {
    /// What was being done.
    pub doing: &'static str,
    /// The file.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

impl FileFailure {
    pub(super) fn of<'p>(
        doing: &'static str,
        path: &'p Path,
    ) -> impl FnOnce(io::Error) -> Self + 'p {
        move |source| Self { doing, path: path.to_owned(), source }
    }
}

/// An append-only file.
#[derive(Debug)]
pub(super) struct DataFile {
    path: PathBuf,
    file: File,
    length: u64,
    pieces: Pieces,
}

impl DataFile {
    /// Makes an empty file, also in the place of another, and its name durable.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(super) fn create(path: &Path) -> Result<Self, FileFailure> {
        let folder = folder_of(path);
        std::fs::create_dir_all(folder).map_err(FileFailure::of("make the folder", folder))?;
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
        let file = file.map_err(FileFailure::of("make", path))?;
        sync_folder(path)?;
        Ok(Self { path: path.to_owned(), file, length: 0, pieces: Pieces::default() })
    }

    /// Opens a file and cuts off what stands behind its durable length. `None` when the file is
    /// gone, shorter, or its last piece is not the one written (if that is known): then somebody
    /// else changed it, and what was delivered is no longer there.
    ///
    /// # Errors
    /// When it cannot be opened, read or cut.
    pub(super) fn reopen(
        path: &Path,
        durable: u64,
        last: Option<PieceHash>,
    ) -> Result<Option<Self>, FileFailure> {
        let Some((mut file, found)) = Self::look(path)? else { return Ok(None) };
        if found < durable {
            return Ok(None);
        }
        let start = last_piece(durable) * PIECE_BYTES;
        file.seek(SeekFrom::Start(start)).map_err(FileFailure::of("read", path))?;
        let resumed = Pieces::resume(&mut file, durable);
        let (pieces, read) = resumed.map_err(FileFailure::of("read", path))?;
        if last.is_some() && read != last {
            return Ok(None);
        }
        if found > durable {
            file.set_len(durable).map_err(FileFailure::of("cut", path))?;
            file.sync_all().map_err(FileFailure::of("synchronise", path))?;
        }
        Self::adopt(path, file, durable, pieces).map(Some)
    }

    /// Opens a file as it is, at its beginning; with its length. `None` when it is gone.
    ///
    /// # Errors
    /// When it cannot be opened.
    pub(super) fn look(path: &Path) -> Result<Option<(File, u64)>, FileFailure> {
        let file = match OpenOptions::new().read(true).write(true).open(path) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(FileFailure::of("open", path)(error)),
        };
        let found = file.metadata().map_err(FileFailure::of("look at", path))?.len();
        Ok(Some((file, found)))
    }

    /// Goes on behind the end of an open file whose pieces are known.
    ///
    /// # Errors
    /// When the system could not.
    pub(super) fn adopt(
        path: &Path,
        mut file: File,
        length: u64,
        pieces: Pieces,
    ) -> Result<Self, FileFailure> {
        file.seek(SeekFrom::Start(length)).map_err(FileFailure::of("open", path))?;
        Ok(Self { path: path.to_owned(), file, length, pieces })
    }

    /// Bytes in it.
    pub(super) fn length(&self) -> u64 {
        self.length
    }

    /// Writes behind the end. Not durable before [`sync`](Self::sync).
    ///
    /// # Errors
    /// When it cannot be written; the file is then to be opened again.
    pub(super) fn append(&mut self, bytes: &[u8]) -> Result<(), FileFailure> {
        self.file.write_all(bytes).map_err(FileFailure::of("write", &self.path))?;
        self.length += bytes.len() as u64;
        self.pieces.take(bytes);
        Ok(())
    }

    /// The hashes of what was written.
    pub(super) fn pieces(&mut self) -> &mut Pieces {
        &mut self.pieces
    }

    /// Makes everything written durable; returns the durable length. After an error the file must
    /// be opened again at its last durable length: a second attempt could falsely succeed.
    ///
    /// # Errors
    /// When the system could not.
    pub(super) fn sync(&mut self) -> Result<u64, FileFailure> {
        self.file.sync_data().map_err(FileFailure::of("synchronise", &self.path))?;
        Ok(self.length)
    }

    /// Gives the file another name, in the place of another file if there is one, durably.
    ///
    /// # Errors
    /// When the system could not.
    pub(super) fn rename(&mut self, to: &Path) -> Result<(), FileFailure> {
        rename(&self.path, to)?;
        self.path = to.to_owned();
        Ok(())
    }
}

/// Gives a file another name, in the place of another file if there is one, durably.
///
/// # Errors
/// When the system could not.
pub(super) fn rename(from: &Path, to: &Path) -> Result<(), FileFailure> {
    std::fs::rename(from, to).map_err(FileFailure::of("rename", from))?;
    sync_folder(to)
}

/// Removes a file, if it is there, durably.
///
/// # Errors
/// When the system could not.
pub(super) fn remove(path: &Path) -> Result<(), FileFailure> {
    match std::fs::remove_file(path) {
        Ok(()) => sync_folder(path),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(FileFailure::of("remove", path)(error)),
    }
}

fn sync_folder(path: &Path) -> Result<(), FileFailure> {
    let folder = folder_of(path);
    let synced = File::open(folder).and_then(|folder| folder.sync_all());
    synced.map_err(FileFailure::of("synchronise the folder", folder))
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        Some(_) | None => Path::new("."),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_cut_of_the_file_reopens_at_its_durable_length_or_not_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let whole = b"line one\nline two\nline three\n";
        let durable = 18u64;
        for cut in 0..=whole.len() {
            std::fs::write(&path, &whole[..cut]).unwrap();
            match DataFile::reopen(&path, durable, None).unwrap() {
                Some(mut file) => {
                    assert!(cut as u64 >= durable);
                    file.append(b"next\n").unwrap();
                    assert_eq!(file.sync().unwrap(), durable + 5);
                    assert_eq!(std::fs::read(&path).unwrap(), b"line one\nline two\nnext\n");
                }
                None => assert!((cut as u64) < durable),
            }
        }
    }

    #[test]
    fn a_file_whose_last_piece_is_another_is_not_cut() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("out.jsonl");
        let last = Some(*blake3::hash(b"one\n").as_bytes());
        for (text, opens) in [("one\n", true), ("one\ntwo", true), ("eno\ntwo", false)] {
            std::fs::write(&path, text).unwrap();
            assert_eq!(DataFile::reopen(&path, 4, last).unwrap().is_some(), opens);
            assert_eq!(std::fs::read(&path).unwrap().len(), if opens { 4 } else { text.len() });
        }
    }

    #[test]
    fn a_missing_file_is_told_apart_from_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(DataFile::reopen(&folder.path().join("none"), 0, None).unwrap().is_none());
        assert!(DataFile::reopen(folder.path(), 0, None).is_err());
    }

    #[test]
    fn a_rename_replaces() {
        let folder = tempfile::tempdir().unwrap();
        let (new, live) = (folder.path().join("sub/a.new"), folder.path().join("sub/a"));
        let mut file = DataFile::create(&new).unwrap();
        std::fs::write(&live, b"old").unwrap();
        file.append(b"new").unwrap();
        file.sync().unwrap();
        file.rename(&live).unwrap();
        file.append(b"er").unwrap();
        assert_eq!(std::fs::read(&live).unwrap(), b"newer");
        assert!(!new.exists());
        remove(&live).unwrap();
        remove(&live).unwrap();
    }
}
