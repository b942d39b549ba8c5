//! Catalogue entries: read from a department's file with all mistakes named, applied at the hub in
//! pages, and fetched from it.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
};

use hutong_schema::{
    catalogue::CatalogueEntry,
    ids::ResourceCode,
    wire::v1::{
        Json,
        command::{CatalogueApplied, CatalogueApply, CatalogueList, CataloguePage},
    },
};

use super::{LinkError, Session};
use crate::spool::{Area, Store, StoreError};

/// Entries in one command; the hub takes 500.
const PAGE_ENTRIES: usize = 200;

/// JSON bytes of one command: the first frame of a stream is limited to 1 MiB.
const PAGE_BYTES: usize = 700 * 1024;

/// One mistake in a catalogue file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatalogueMistake {
    /// Line of the file, from 1; of a TOML entry, its first one.
    pub line: usize,
    /// Code of the entry, if it can be read.
    pub code: Option<String>,
    /// What is wrong: field, what is expected, what stands there.
    pub problem: String,
}

/// A catalogue file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueFileError {
    /// It cannot be read.
    #[error("cannot read {path}")]
    Read {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: std::io::Error,
    },
    /// Some entries have mistakes.
    #[error("{path} has {} mistake(s):{}", mistakes.len(), list(mistakes))]
    Mistakes {
        /// The file.
        path: PathBuf,
        /// All of them.
        mistakes: Vec<CatalogueMistake>,
    },
}

impl CatalogueFileError {
    /// Whether there is no such file.
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Read { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }
}

/// The entry of a resource as it was known when the agent ran last.
///
/// # Errors
/// When the store fails.
pub fn recalled(
    store: &Store,
    resource: &ResourceCode,
) -> Result<Option<CatalogueEntry>, StoreError> {
    let stored = store.get(Area::Nodes, entry_key(resource).as_bytes())?;
    // One of another version is fetched again.
    Ok(stored.and_then(|stored| serde_json::from_slice(&stored).ok()))
}

/// Where the store keeps it.
pub(super) fn entry_key(resource: &ResourceCode) -> String {
    format!("entry/{resource}")
}

fn list(mistakes: &[CatalogueMistake]) -> String {
    let line = |each: &CatalogueMistake| {
        let code = each.code.as_deref().map(|code| format!(" ({code})")).unwrap_or_default();
        format!("\n  line {}{code}: {}", each.line, each.problem)
    };
    mistakes.iter().map(line).collect()
}

/// Entries of a file, and the hash of its content.
#[derive(Clone, Debug)]
pub struct CatalogueFile {
    /// The entries.
    pub entries: Vec<CatalogueEntry>,
    /// BLAKE3 of the file.
    pub hash: [u8; 32],
}

/// Reads a catalogue file: TOML with `[[entry]]` when its name ends with `.toml`, else one JSON
/// object per line. Every entry is validated.
///
/// # Errors
/// When it cannot be read, or has mistakes; then all of them are named.
pub fn read(path: &Path) -> Result<CatalogueFile, CatalogueFileError> {
    let bytes = std::fs::read(path)
        .map_err(|source| CatalogueFileError::Read { path: path.to_owned(), source })?;
    let hash = *blake3::hash(&bytes).as_bytes();
    let (entries, mistakes) =
        match std::str::from_utf8(bytes.strip_prefix(b"\xEF\xBB\xBF").unwrap_or(&bytes)) {
            Ok(text) if path.extension().is_some_and(|suffix| suffix == "toml") => from_toml(text),
            Ok(text) => from_json_lines(text),
            Err(error) => {
                let line =
                    1 + bytes[..error.valid_up_to()].iter().filter(|byte| **byte == b'\n').count();
                let problem = "the file is not UTF-8".to_owned();
                (Vec::new(), vec![CatalogueMistake { line, code: None, problem }])
            }
        };
    if mistakes.is_empty() {
        return Ok(CatalogueFile { entries, hash });
    }
    Err(CatalogueFileError::Mistakes { path: path.to_owned(), mistakes })
}

type Found = (Vec<CatalogueEntry>, Vec<CatalogueMistake>);

fn from_json_lines(text: &str) -> Found {
    let lines = (1..).zip(text.lines()).filter(|(_, line)| !line.trim().is_empty());
    validated(lines.map(|(line, text)| {
        let entry = serde_json::from_str(text).map_err(|error| (code_in(text), error.to_string()));
        (line, entry)
    }))
}

fn from_toml(text: &str) -> Found {
    #[derive(serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct File {
        #[serde(default)]
        entry: Vec<toml::Spanned<toml::Value>>,
    }
    let line_at = |at: usize| {
        1 + text.as_bytes()[..at.min(text.len())].iter().filter(|b| **b == b'\n').count()
    };
    match toml::from_str::<File>(text) {
        Ok(file) => validated(file.entry.into_iter().map(|entry| {
            let line = line_at(entry.span().start);
            let value = entry.into_inner();
            let code = value.get("code").and_then(toml::Value::as_str).map(str::to_owned);
            (
                line,
                value
                    .try_into()
                    .map_err(|error: toml::de::Error| (code, error.message().to_owned())),
            )
        })),
        Err(error) => {
            let line = line_at(error.span().map_or(0, |span| span.start));
            (
                Vec::new(),
                vec![CatalogueMistake { line, code: None, problem: error.message().to_owned() }],
            )
        }
    }
}

type Read = (usize, Result<CatalogueEntry, (Option<String>, String)>);

fn validated(read: impl Iterator<Item = Read>) -> Found {
    let (mut entries, mut mistakes) = (Vec::new(), Vec::new());
    let mut lines: HashMap<ResourceCode, usize> = HashMap::new();
    for (line, entry) in read {
        let entry = match entry {
            Ok(entry) => entry,
            Err((code, problem)) => {
                mistakes.push(CatalogueMistake { line, code, problem });
                continue;
            }
        };
        let code = || Some(entry.code.to_string());
        for problem in entry.validate().err().unwrap_or_default() {
            mistakes.push(CatalogueMistake { line, code: code(), problem: problem.to_string() });
        }
        if let Some(first) = lines.insert(entry.code.clone(), line) {
            let problem = format!("code: the entry of line {first} has the same code");
            mistakes.push(CatalogueMistake { line, code: code(), problem });
        }
        entries.push(entry);
    }
    (entries, mistakes)
}

/// The code in a JSON line that is no entry, for the message.
fn code_in(text: &str) -> Option<String> {
    let value: serde_json::Value = serde_json::from_str(text).ok()?;
    Some(value.get("code")?.as_str()?.to_owned())
}

/// Applies entries at the hub, in pages. A page that was taken stays when a later one is refused;
/// applying again is harmless.
///
/// # Errors
/// When the hub refuses a page, or the connection breaks.
pub async fn apply(
    session: &Session,
    entries: &[CatalogueEntry],
) -> Result<CatalogueApplied, LinkError> {
    let mut applied = CatalogueApplied { changed: 0, unchanged: 0, warnings: Vec::new() };
    for page in pages(entries) {
        let entries = Json::of(&page).map_err(|error| LinkError::Protocol(error.to_string()))?;
        let answer: CatalogueApplied = session.ask(&CatalogueApply { entries }).await?;
        applied.changed += answer.changed;
        applied.unchanged += answer.unchanged;
        applied.warnings.extend(answer.warnings);
    }
    Ok(applied)
}

/// Cuts entries into pages that fit a command.
fn pages(entries: &[CatalogueEntry]) -> Vec<Vec<&CatalogueEntry>> {
    let mut pages: Vec<Vec<&CatalogueEntry>> = Vec::new();
    let mut bytes = usize::MAX;
    for entry in entries {
        let size = serde_json::to_vec(entry).map_or(PAGE_BYTES, |json| json.len() + 1);
        match pages.last_mut() {
            Some(page) if bytes + size <= PAGE_BYTES && page.len() < PAGE_ENTRIES => {
                page.push(entry);
                bytes += size;
            }
            Some(_) | None => {
                pages.push(vec![entry]);
                bytes = size;
            }
        }
    }
    pages
}

/// All entries that the hub has; only those of the node's own department with `own`.
///
/// # Errors
/// When the hub refuses, or the connection breaks.
pub async fn list_all(session: &Session, own: bool) -> Result<Vec<CatalogueEntry>, LinkError> {
    let (mut entries, mut after) = (Vec::new(), None);
    loop {
        let page: CataloguePage = session.ask(&CatalogueList { own, after: after.clone() }).await?;
        let found: Vec<CatalogueEntry> = page
            .entries
            .read()
            .map_err(|error| LinkError::Protocol(format!("a catalogue page: {error}")))?;
        entries.extend(found);
        if page.next.is_none() {
            return Ok(entries);
        }
        if page.next <= after {
            return Err(LinkError::Protocol("the catalogue's pages do not move on".to_owned()));
        }
        after = page.next;
    }
}

#[cfg(test)]
#[path = "catalogue_tests.rs"]
mod tests;
