//! Reading quarantine back: which rows are still to be corrected, and which are settled.
//!
//! What is settled stands in the file `.settled` beside the day files, one line for each record:
//! file, number of the record in it, and the record's own hash, so that a day file that somebody
//! edited never has another row taken for settled. Lines are only added; a row is settled after its
//! correction is durable in the outbox. A crash in between leaves it listed, never the other way.

use std::collections::HashSet;
use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::Path;

use csv::{ByteRecord, ReaderBuilder};
use hutong_schema::ids::ResourceCode;
use hutong_schema::rules::RejectReason;
use serde::{Deserialize, Serialize};

use super::{Quarantine, QuarantineError, end_line, private, sync_folder};

const SETTLED: &str = ".settled";
/// Columns that every version wrote; the one behind them came later.
const LEAST_COLUMNS: usize = 7;

/// What was wrong with which row: equal for a row that was refused again and again.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct FaultId(String);

impl FaultId {
    /// As it stands in a sheet; spreadsheets leave it alone because it begins with a letter.
    pub fn from_text(text: &str) -> Option<Self> {
        let digits = text.trim().strip_prefix('q')?;
        let is_one = digits.len() == 16 && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        is_one.then(|| Self(format!("q{}", digits.to_ascii_lowercase())))
    }

    /// `row` is what tells the row best: its values, which are the same in a file and in a corrected
    /// sheet, or its raw text.
    fn of(item: &str, code: &str, row: &[u8]) -> Self {
        let mut hasher = blake3::Hasher::new();
        for part in [item.as_bytes(), code.as_bytes(), row] {
            hasher.update(&(part.len() as u64).to_le_bytes()).update(part);
        }
        Self(format!("q{}", &hasher.finalize().to_hex()[..16]))
    }
}

impl fmt::Display for FaultId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Where a record stands: name of its day file, and its number there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place {
    /// Such as `2026-01-31.csv`.
    pub file: String,
    /// From 0, the header not counted.
    pub index: u64,
}

/// A row in quarantine that is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it stands.
    pub place: Place,
    /// Which fault it is.
    pub id: FaultId,
    /// Number of the row in its source, as text; empty if unknown.
    pub row: String,
    /// Name and label of the item at fault; empty for the row as a whole.
    pub item: String,
    /// Why; `None` for a reason that this version does not know.
    pub reason: Option<RejectReason>,
    /// More about it.
    pub note: String,
    /// The row as it stood in the source.
    pub raw: String,
    /// The values by the machine names of their items, a JSON object; empty if nobody knew.
    pub values: String,
}

impl Quarantine {
    /// Resources that have a folder in quarantine.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub fn resources(&self) -> Result<Vec<ResourceCode>, QuarantineError> {
        let mut found = Vec::new();
        for name in names(&self.dir).map_err(|source| failed(&self.dir, source))? {
            // A code holds one slash, and no underscore.
            if let Ok(code) = name.replacen('_', "/", 1).parse() {
                found.push(code);
            }
        }
        found.sort();
        Ok(found)
    }

    /// Calls `visit` for every row that is not settled, oldest first.
    ///
    /// # Errors
    /// When a file cannot be read.
    pub fn open_records(
        &self,
        resource: &ResourceCode,
        mut visit: impl FnMut(Record),
    ) -> Result<(), QuarantineError> {
        let folder = self.folder(resource);
        let settled = self.settled(&folder)?;
        let mut files = names(&folder).map_err(|source| failed(&folder, source))?;
        files.retain(|name| name.ends_with(".csv") && !name.starts_with('.'));
        files.sort();
        for file in files {
            let path = folder.join(&file);
            each(&path, |index, record| {
                let place = Place { file: file.clone(), index };
                let record = read(place, record);
                if !settled.contains(&(record.place.clone(), record.id.clone())) {
                    visit(record);
                }
            })
            .map_err(|source| failed(&path, source))?;
        }
        Ok(())
    }

    /// Marks records as settled; durable when it returns.
    ///
    /// # Errors
    /// When the mark cannot be written; then the records stay listed.
    pub fn settle<'r>(
        &self,
        resource: &ResourceCode,
        records: impl IntoIterator<Item = (&'r Place, &'r FaultId)>,
    ) -> Result<(), QuarantineError> {
        let mut lines = Vec::new();
        for (place, id) in records {
            lines.extend_from_slice(format!("{} {} {id}\n", place.file, place.index).as_bytes());
        }
        if lines.is_empty() {
            return Ok(());
        }
        let folder = self.folder(resource);
        let path = folder.join(SETTLED);
        let _one_at_a_time = self.writing.lock();
        let write = || -> io::Result<()> {
            let mut file = private().read(true).append(true).create(true).open(&path)?;
            end_line(&mut file)?;
            file.write_all(&lines)?;
            file.sync_all()?;
            sync_folder(&folder)
        };
        write().map_err(|source| failed(&path, source))
    }

    fn settled(&self, folder: &Path) -> Result<HashSet<(Place, FaultId)>, QuarantineError> {
        let path = folder.join(SETTLED);
        let text = match std::fs::read_to_string(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(HashSet::new()),
            other => other.map_err(|source| failed(&path, source))?,
        };
        // A line that a crash tore settles nothing.
        let line = |line: &str| {
            let mut parts = line.split(' ');
            let (file, index, id) = (parts.next()?, parts.next()?, parts.next()?);
            let place = Place { file: file.to_owned(), index: index.parse().ok()? };
            Some((place, FaultId::from_text(id)?))
        };
        Ok(text.lines().filter_map(line).collect())
    }
}

/// Calls `visit` for every whole record of a day file.
fn each(path: &Path, mut visit: impl FnMut(u64, &ByteRecord)) -> io::Result<()> {
    let mut reader = ReaderBuilder::new().flexible(true).from_reader(File::open(path)?);
    let mut record = ByteRecord::new();
    let mut index = 0;
    while reader.read_byte_record(&mut record).map_err(io::Error::other)? {
        if record.len() >= LEAST_COLUMNS {
            visit(index, &record);
        }
        index += 1;
    }
    Ok(())
}

fn read(place: Place, record: &ByteRecord) -> Record {
    let text = |at: usize| String::from_utf8_lossy(record.get(at).unwrap_or_default()).into_owned();
    let (item, code) = (text(1), text(2));
    let row = [7, 6].into_iter().filter_map(|at| record.get(at)).find(|text| !text.is_empty());
    Record {
        id: FaultId::of(&item, &code, row.unwrap_or_default()),
        place,
        row: text(0),
        reason: code.parse().ok().and_then(RejectReason::from_code),
        item,
        note: text(5),
        raw: text(6),
        values: text(7),
    }
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let listing = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let name = |entry: io::Result<std::fs::DirEntry>| {
        entry.map(|entry| entry.file_name().to_string_lossy().into_owned())
    };
    listing.map(name).collect()
}

fn failed(path: &Path, source: io::Error) -> QuarantineError {
    QuarantineError { path: path.to_owned(), source }
}

#[cfg(test)]
#[path = "records_tests.rs"]
mod tests;
