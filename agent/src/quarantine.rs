//! Quarantine: rejected rows in files that a person opens, corrects and sends again.
//!
//! `quarantine/<resource, "/" replaced by "_">/<date>.csv`, UTF-8 with byte order mark so that
//! spreadsheets read it, columns: number of the row in its source, item, code of the reason, reason
//! in Chinese and in English, a note, the row as it stood there, and where its text alone does not say
//! it, its values by item. A row is written and synced before the position behind it is; after a crash
//! in between it can stand there twice, never not at all.

use std::fs::{self, File, OpenOptions};
use std::io::{self, BufRead, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use csv_core::ReadRecordResult;
use hutong_schema::catalogue::Item;
use hutong_schema::ids::ResourceCode;
use hutong_schema::rules::RejectReason;
use parking_lot::Mutex;

mod records;
mod sheet;

pub use records::{FaultId, Place, Record};
pub use sheet::{Sheet, SheetError, SheetRow, SheetWriter};

/// The folder of quarantine files. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Quarantine {
    dir: PathBuf,
    /// Rows come from scans, from the hub and from programs at once; files are written by one.
    writing: Arc<Mutex<Option<Written>>>,
}

/// A row that is not published, and why.
#[derive(Clone, Copy, Debug)]
pub struct Rejection<'a> {
    /// Its number in the source, from 1 (the header line of a CSV not counted); 0 if unknown.
    pub row: u64,
    /// The item at fault; `None` for the row as a whole.
    pub item: Option<&'a Item>,
    /// Why.
    pub reason: RejectReason,
    /// More about it, such as the first row with the same key.
    pub note: &'a str,
    /// The row as it stood in the source.
    pub raw: &'a [u8],
    /// Its values by the machine names of their items, a JSON object; empty where `raw` says it.
    pub values: &'a str,
}

/// A quarantine file cannot be written or read.
#[derive(Debug, thiserror::Error)]
#[error("the quarantine file {path} cannot be used")]
pub struct QuarantineError {
    /// The file.
    pub path: PathBuf,
    /// The system's error.
    #[source]
    pub source: io::Error,
}

/// The file that was written last, as it was left.
#[derive(Debug)]
struct Written {
    path: PathBuf,
    length: u64,
}

const MARK: &[u8] = b"\xEF\xBB\xBF";
const HEADER: [&str; 8] = [
    "行号 row",
    "数据项 item",
    "代码 code",
    "原因",
    "reason",
    "说明 note",
    "原始数据 raw",
    "各数据项 values",
];

impl Quarantine {
    /// Quarantine in this folder, which is created with the first rejected row.
    pub fn new(dir: PathBuf) -> Self {
        Self { dir, writing: Arc::default() }
    }

    /// The folder of a resource's files.
    pub fn folder(&self, resource: &ResourceCode) -> PathBuf {
        self.dir.join(resource.as_str().replace('/', "_"))
    }

    /// Appends rows to today's file; they are on disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn append(
        &self,
        resource: &ResourceCode,
        rejections: &[Rejection<'_>],
    ) -> Result<(), QuarantineError> {
        if rejections.is_empty() {
            return Ok(());
        }
        let mut writer = csv::Writer::from_writer(Vec::new());
        let rows = rejections.iter().try_for_each(|rejection| write(&mut writer, rejection));
        let rows = rows.and_then(|()| {
            writer.into_inner().map_err(|error| io::Error::other(error.to_string()))
        });
        let folder = self.folder(resource);
        let rows = rows.map_err(|source| QuarantineError { path: folder.clone(), source })?;
        self.add_to_today(&folder, &rows[..])
    }

    /// Collects the rejected rows of one scan aside, so that a scan that is given up and repeated
    /// does not leave them twice.
    pub fn stage(&self, resource: &ResourceCode) -> Staged {
        let folder = self.folder(resource);
        let path = folder.join(".scan.csv");
        Staged { quarantine: self.clone(), path, folder, writer: None, rows: 0 }
    }

    fn add_to_today(&self, folder: &Path, rows: impl Read) -> Result<(), QuarantineError> {
        let path = folder.join(format!("{}.csv", jiff::Zoned::now().date()));
        let mut written = self.writing.lock();
        let known = written.take().filter(|written| written.path == path);
        let result = fs::create_dir_all(folder)
            .and_then(|()| append(rows, &path, known.map(|known| known.length)))
            .and_then(|length| sync_folder(folder).map(|()| length));
        match result {
            Ok(length) => {
                *written = Some(Written { path, length });
                Ok(())
            }
            Err(source) => Err(QuarantineError { path, source }),
        }
    }
}

/// Rejected rows of a scan under way.
#[derive(Debug)]
pub struct Staged {
    quarantine: Quarantine,
    folder: PathBuf,
    path: PathBuf,
    writer: Option<csv::Writer<BufWriter<File>>>,
    rows: u64,
}

impl Staged {
    /// Adds a row.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn push(&mut self, rejection: &Rejection<'_>) -> Result<(), QuarantineError> {
        self.rows += 1;
        let result = self.write(rejection);
        result.map_err(|source| QuarantineError { path: self.path.clone(), source })
    }

    /// Rows so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Appends everything to today's file; it is on disk when this returns.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn publish(mut self) -> Result<(), QuarantineError> {
        let Some(writer) = self.writer.take() else { return Ok(()) };
        let staged = || -> io::Result<File> {
            let buffered =
                writer.into_inner().map_err(|error| io::Error::other(error.to_string()))?;
            let mut staged = buffered.into_inner().map_err(io::IntoInnerError::into_error)?;
            staged.rewind()?;
            Ok(staged)
        };
        let staged =
            staged().map_err(|source| QuarantineError { path: self.path.clone(), source })?;
        self.quarantine.add_to_today(&self.folder, staged)
    }

    fn write(&mut self, rejection: &Rejection<'_>) -> io::Result<()> {
        let writer = match &mut self.writer {
            Some(writer) => writer,
            None => {
                fs::create_dir_all(&self.folder)?;
                let file = private()
                    .read(true)
                    .write(true)
                    .create(true)
                    .truncate(true)
                    .open(&self.path)?;
                self.writer.insert(csv::Writer::from_writer(BufWriter::new(file)))
            }
        };
        write(writer, rejection)
    }
}

fn write(writer: &mut csv::Writer<impl Write>, rejection: &Rejection<'_>) -> io::Result<()> {
    let item = rejection.item.map_or(String::new(), |item| format!("{} {}", item.name, item.label));
    let number = |number: u64| if number == 0 { String::new() } else { number.to_string() };
    writer.write_field(number(rejection.row))?;
    writer.write_field(item)?;
    writer.write_field(rejection.reason.code().to_string())?;
    writer.write_field(rejection.reason.zh())?;
    writer.write_field(rejection.reason.to_string())?;
    writer.write_field(rejection.note)?;
    writer.write_field(String::from_utf8_lossy(rejection.raw).as_bytes())?;
    writer.write_field(rejection.values)?;
    writer.write_record(None::<&[u8]>)?;
    Ok(())
}

impl Drop for Staged {
    fn drop(&mut self) {
        // Without a row there is no file; one that stays behind is overwritten by the next scan.
        if self.rows > 0 {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Adds rows behind the whole ones; the length of the file afterwards. `known` is its length as this
/// process left it.
fn append(mut rows: impl Read, path: &Path, known: Option<u64>) -> io::Result<u64> {
    let mut file = private().read(true).append(true).create(true).open(path)?;
    let mut length = file.metadata()?.len();
    if known != Some(length) {
        let whole = whole_records(&file)?;
        if whole < length {
            file.set_len(whole)?;
        }
        length = whole;
    }
    if length == 0 {
        file.write_all(MARK)?;
        let mut header = csv::Writer::from_writer(Vec::new());
        header.write_record(HEADER)?;
        file.write_all(&header.into_inner().map_err(|error| io::Error::other(error.to_string()))?)?;
    }
    io::copy(&mut rows, &mut file)?;
    file.sync_all()?;
    Ok(file.metadata()?.len())
}

/// Where the last whole record ends. A crash can leave half a row behind it, which nobody was told to be
/// there; behind a quotation that it opened, all later rows would be lost. That quotation can hold line
/// ends, so only reading tells.
fn whole_records(mut file: &File) -> io::Result<u64> {
    file.rewind()?;
    let mut input = BufReader::with_capacity(64 * 1024, file);
    let mut reader = csv_core::Reader::new();
    let (mut output, mut ends) = ([0; 4 * 1024], [0; 32]);
    let (mut read, mut whole) = (0, 0);
    loop {
        let piece = input.fill_buf()?;
        if piece.is_empty() {
            return Ok(whole);
        }
        let (result, taken, _, _) = reader.read_record(piece, &mut output, &mut ends);
        input.consume(taken);
        read += taken as u64;
        match result {
            ReadRecordResult::Record => whole = read,
            ReadRecordResult::End => return Ok(whole),
            ReadRecordResult::InputEmpty
            | ReadRecordResult::OutputFull
            | ReadRecordResult::OutputEndsFull => {}
        }
    }
}

/// Ends a last line that a crash tore.
fn end_line(file: &mut File) -> io::Result<()> {
    if ends_with_line(file)? { Ok(()) } else { file.write_all(b"\n") }
}

fn ends_with_line(file: &mut File) -> io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(true);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last == *b"\n")
}

/// Rejected rows hold personal data: only the agent's own user reads them.
fn private() -> OpenOptions {
    let mut options = OpenOptions::new();
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}

/// Makes what was done to the names in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    #[cfg(unix)]
    File::open(folder)?.sync_all()?;
    #[cfg(not(unix))]
    let _ = folder;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rejection(raw: &str) -> Rejection<'_> {
        Rejection {
            row: 7,
            item: None,
            reason: RejectReason::CheckDigit,
            note: "",
            raw: raw.as_bytes(),
            values: "",
        }
    }

    fn content(quarantine: &Quarantine, resource: &ResourceCode) -> Vec<String> {
        let mut files: Vec<_> = fs::read_dir(quarantine.folder(resource)).unwrap().collect();
        assert_eq!(files.len(), 1);
        let bytes = fs::read(files.remove(0).unwrap().path()).unwrap();
        assert!(bytes.starts_with(MARK));
        String::from_utf8(bytes).unwrap().lines().map(str::to_owned).collect()
    }

    #[test]
    fn a_person_can_read_what_was_wrong() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(dir.path().to_owned());
        let resource: ResourceCode = "300001/000001".parse().unwrap();
        quarantine.append(&resource, &[rejection("11010119900101001X,示例")]).unwrap();
        quarantine.append(&resource, &[rejection("a \"b\"")]).unwrap();
        let lines = content(&quarantine, &resource);
        assert_eq!(lines.len(), 3);
        assert!(
            lines[1].starts_with("7,,4,校验码错误,wrong check digit,,\"11010119900101001X,示例\",")
        );
        assert!(lines[2].ends_with("\"a \"\"b\"\"\","));
    }

    #[test]
    fn a_scan_that_is_given_up_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let quarantine = Quarantine::new(dir.path().to_owned());
        let resource: ResourceCode = "300001/000001".parse().unwrap();
        let mut staged = quarantine.stage(&resource);
        staged.push(&rejection("x")).unwrap();
        drop(staged);
        assert_eq!(fs::read_dir(quarantine.folder(&resource)).unwrap().count(), 0);
    }
}
