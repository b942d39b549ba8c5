//! A watched folder: `folder` of `[[node.publish]]`.

use std::path::PathBuf;
use std::time::Duration;

use super::{FileSource, SourceForm, SourceMode, TextEncoding};

/// A folder that files are dropped into.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FolderSource {
    /// `folder`: where files are dropped.
    pub folder: PathBuf,
    /// `pattern`: which of its files are meant.
    pub pattern: NamePattern,
    /// `done`: where files go that were taken; on the same file system.
    pub done: PathBuf,
    /// `failed`: where files go that cannot be read.
    pub failed: PathBuf,
    /// `mode`: what a file means.
    pub mode: FolderMode,
    /// `settle_seconds`: a file whose size and time did not change for so long is complete.
    pub settle: Duration,
    /// How rows stand in the files.
    pub form: SourceForm,
    /// Their character encoding.
    pub encoding: TextEncoding,
}

/// What a file in a watched folder means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FolderMode {
    /// Its rows are inserts, updates and removals.
    Changes,
    /// It is the whole state; what it lacks was deleted.
    Snapshot,
}

impl FolderSource {
    /// One of its files as a source of its own.
    pub fn file(&self, path: PathBuf) -> FileSource {
        let (form, encoding) = (self.form.clone(), self.encoding);
        FileSource { path, form, encoding, mode: SourceMode::Snapshot }
    }
}

/// A pattern of file names: `*` stands for any characters, `?` for one; case does not matter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamePattern(String);

impl NamePattern {
    /// A pattern; `None` for one that names another folder or nothing.
    pub fn new(pattern: &str) -> Option<Self> {
        let meant = !pattern.is_empty() && !pattern.contains(['/', '\\']);
        meant.then(|| Self(pattern.to_lowercase()))
    }

    /// Whether a file is meant. Hidden files and those that programs keep beside a file they write are not.
    pub fn takes(&self, name: &str) -> bool {
        let name = name.to_lowercase();
        let aside = name.starts_with(['.', '~'])
            || [".tmp", ".part", ".filepart", ".crdownload", ".swp"]
                .iter()
                .any(|end| name.ends_with(end));
        let (pattern, name): (Vec<_>, Vec<_>) = (self.0.chars().collect(), name.chars().collect());
        !aside && fits(&pattern, &name)
    }

    /// As it was written, in lower case.
    pub fn text(&self) -> &str {
        &self.0
    }
}

/// Whether the name is one of the pattern's, without going back further than to the last `*`.
fn fits(pattern: &[char], name: &[char]) -> bool {
    let (mut at, mut taken) = (0, 0);
    let mut last: Option<(usize, usize)> = None;
    while taken < name.len() {
        match pattern.get(at) {
            Some('*') => {
                last = Some((at, taken));
                at += 1;
            }
            Some(sign) if *sign == '?' || *sign == name[taken] => {
                at += 1;
                taken += 1;
            }
            Some(_) | None => {
                let Some((star, from)) = last else { return false };
                last = Some((star, from + 1));
                (at, taken) = (star + 1, from + 1);
            }
        }
    }
    pattern[at..].iter().all(|sign| *sign == '*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_take_whole_names_in_any_case() {
        for (pattern, name, taken) in [
            ("*.csv", "People.CSV", true),
            ("*.csv", "people.csv.bak", false),
            ("rk_????.csv", "rk_2026.csv", true),
            ("rk_????.csv", "rk_202.csv", false),
            ("*示例*", "a示例b.xlsx", true),
            ("*a*b", "aabab", true),
            ("*a*b", "aaba", false),
            ("*", ".hidden", false),
            ("*", "~$people.xlsx", false),
            ("*", "people.csv.part", false),
            ("*", "people.csv.TMP", false),
            ("*", "", true),
        ] {
            assert_eq!(NamePattern::new(pattern).unwrap().takes(name), taken, "{pattern} {name}");
        }
        assert_eq!(NamePattern::new("../*.csv"), None);
    }
}
