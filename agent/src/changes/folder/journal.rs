//! The folder of done files and its journal: what was taken, in which order.
//!
//! The journal is written before a file is moved, so that it names every file that was moved. It stands
//! with the files and not in the agent's store: it is needed when that is lost.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::quarantine::sync_folder;
use crate::sources::{FileMark, Identity};

const NAME: &str = ".taken.jsonl";

/// A file that was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Taken {
    /// From 1, without gaps.
    pub(super) number: u64,
    /// As it was called when it was dropped.
    pub(super) name: String,
    /// As it is called among the done files.
    pub(super) file: String,
    size: u64,
    ends: [u8; 16],
    /// It was not read: a newer whole state lay beside it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub(super) superseded: bool,
}

/// The done files.
#[derive(Debug)]
pub(super) struct Journal {
    folder: PathBuf,
    taken: Vec<Taken>,
    /// Bytes of whole lines; what follows is a line that a crash cut off.
    whole: u64,
    /// Whether lines in the midst cannot be read.
    damaged: bool,
}

impl Journal {
    /// Reads the journal; there is none before the first file.
    pub(super) fn open(folder: &Path) -> io::Result<Self> {
        let text = match fs::read(folder.join(NAME)) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(error),
        };
        let whole = text.iter().rposition(|byte| *byte == b'\n').map_or(0, |last| last + 1);
        let (mut taken, mut damaged) = (Vec::<Taken>::new(), false);
        for line in text[..whole].split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
            match serde_json::from_slice::<Taken>(line) {
                Ok(line) if line.number == taken.len() as u64 + 1 => taken.push(line),
                Ok(_) | Err(_) => damaged = true,
            }
        }
        Ok(Self { folder: folder.to_owned(), taken, whole: whole as u64, damaged })
    }

    /// The files that were taken, in their order.
    pub(super) fn taken(&self) -> &[Taken] {
        &self.taken
    }

    /// The path of a file that was taken.
    pub(super) fn path(&self, taken: &Taken) -> PathBuf {
        self.folder.join(&taken.file)
    }

    /// Whether the file is still there as it was.
    pub(super) fn holds(&self, taken: &Taken) -> bool {
        let mark = FileMark::whole(&self.path(taken));
        mark.is_ok_and(|mark| mark.identity.size == taken.size && mark.ends == taken.ends)
    }

    /// How many files are no longer there, of how many; `None` if all that was ever taken is there.
    pub(super) fn gone(&self) -> Option<(u64, u64)> {
        let gone =
            self.taken.iter().filter(|taken| !taken.superseded && !self.holds(taken)).count();
        let all = self.taken.len() as u64;
        (gone > 0 || self.damaged || self.taken.is_empty()).then_some((gone as u64, all))
    }

    /// Moves a file here and notes it. Repeated after a crash, it ends what was begun.
    pub(super) fn take(
        &mut self,
        from: &Path,
        name: &str,
        mark: &FileMark,
        superseded: bool,
    ) -> io::Result<()> {
        fs::create_dir_all(&self.folder)?;
        let begun = self.taken.last().filter(|last| {
            last.name == name
                && (last.size, last.ends) == (mark.identity.size, mark.ends)
                && !self.path(last).exists()
        });
        let file = match begun {
            Some(begun) => begun.file.clone(),
            None => {
                let taken = Taken {
                    number: self.taken.len() as u64 + 1,
                    name: name.to_owned(),
                    file: free_name(&self.folder, name),
                    size: mark.identity.size,
                    ends: mark.ends,
                    superseded,
                };
                self.note(&taken)?;
                let file = taken.file.clone();
                self.taken.push(taken);
                file
            }
        };
        let to = self.folder.join(file);
        hand_over(from, &to)?;
        if Identity::from_facts(&fs::metadata(&to)?) == mark.identity {
            return Ok(());
        }
        // Another file of the name was dropped since the last row was read: it goes back and is read.
        tracing::warn!(file = name, "another file of the name took its place while it was read");
        let back = from.parent().unwrap_or(&self.folder);
        hand_over(&to, &back.join(free_name(back, name)))
    }

    fn note(&mut self, taken: &Taken) -> io::Result<()> {
        let path = self.folder.join(NAME);
        let mut line = serde_json::to_vec(taken)?;
        line.push(b'\n');
        let mut file = OpenOptions::new().create(true).append(true).open(&path)?;
        if file.metadata()?.len() > self.whole {
            file.set_len(self.whole)?;
        }
        file.write_all(&line)?;
        file.sync_all()?;
        if self.whole == 0 {
            sync_folder(&self.folder)?;
        }
        self.whole += line.len() as u64;
        Ok(())
    }
}

/// Moves a file; the move is durable when this returns.
pub(super) fn hand_over(from: &Path, to: &Path) -> io::Result<()> {
    fs::rename(from, to)?;
    for folder in [to.parent(), from.parent()].into_iter().flatten() {
        sync_folder(folder)?;
    }
    Ok(())
}

/// The name, with a number before its suffix if it is in use already.
pub(super) fn free_name(folder: &Path, name: &str) -> String {
    let (stem, suffix) = match name.rfind('.').filter(|at| *at > 0) {
        Some(at) => name.split_at(at),
        None => (name, ""),
    };
    let numbered = (2u64..).map(|number| format!("{stem}-{number}{suffix}"));
    let mut names = std::iter::once(name.to_owned()).chain(numbered);
    names.find(|name| !folder.join(name).exists()).unwrap_or_else(|| name.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drop_file(folder: &Path, name: &str, text: &str) -> (PathBuf, FileMark) {
        let path = folder.join(name);
        fs::write(&path, text).unwrap();
        let mark = FileMark::whole(&path).unwrap();
        (path, mark)
    }

    #[test]
    fn files_of_one_name_are_both_kept_in_their_order() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        for text in ["first", "second", "third"] {
            let (path, mark) = drop_file(dir.path(), "people.csv", text);
            Journal::open(&done).unwrap().take(&path, "people.csv", &mark, false).unwrap();
        }
        let journal = Journal::open(&done).unwrap();
        let read = |taken: &Taken| fs::read_to_string(journal.path(taken)).unwrap();
        let kept: Vec<_> =
            journal.taken().iter().map(|taken| (taken.file.as_str(), read(taken))).collect();
        let expected =
            [("people.csv", "first"), ("people-2.csv", "second"), ("people-3.csv", "third")];
        assert_eq!(kept, expected.map(|(file, text)| (file, text.to_owned())));
        assert_eq!(journal.gone(), None);
        fs::remove_file(done.join("people-2.csv")).unwrap();
        assert_eq!(journal.gone(), Some((1, 3)));
        fs::write(done.join("people-2.csv"), "other!").unwrap();
        assert_eq!(journal.gone(), Some((1, 3)), "another file of the name is not the one");
    }

    #[test]
    fn a_file_that_took_the_place_of_the_one_that_was_read_goes_back() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let (_, mark) = drop_file(dir.path(), "a.csv", "rows");
        let (path, _) = drop_file(dir.path(), "a.csv", "other rows");
        let mut journal = Journal::open(&done).unwrap();
        journal.take(&path, "a.csv", &mark, false).unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), "other rows");
        assert_eq!(journal.gone(), Some((1, 1)), "the one that was read is kept nowhere");
    }

    #[test]
    fn a_crash_between_the_note_and_the_move_ends_in_one_of_each() {
        let dir = tempfile::tempdir().unwrap();
        let done = dir.path().join("done");
        let (path, mark) = drop_file(dir.path(), "a.csv", "rows");
        fs::create_dir(&done).unwrap();
        let mut journal = Journal::open(&done).unwrap();
        let taken = Taken {
            number: 1,
            name: "a.csv".to_owned(),
            file: "a.csv".to_owned(),
            size: mark.identity.size,
            ends: mark.ends,
            superseded: false,
        };
        journal.note(&taken).unwrap();
        // The power went: and half of another line is there, too.
        let mut file = OpenOptions::new().append(true).open(done.join(NAME)).unwrap();
        file.write_all(b"{\"number\":2,").unwrap();
        let mut journal = Journal::open(&done).unwrap();
        journal.take(&path, "a.csv", &mark, false).unwrap();
        assert_eq!(journal.taken().len(), 1);
        let (path, mark) = drop_file(dir.path(), "b.csv", "more");
        journal.take(&path, "b.csv", &mark, false).unwrap();
        let journal = Journal::open(&done).unwrap();
        assert_eq!((journal.taken().len(), journal.gone()), (2, None));
    }
}
