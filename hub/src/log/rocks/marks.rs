//! High-water marks: how far the log was durable, kept in a file outside the database, so that a
//! database that lost its end cannot pass for whole.
//!
//! They are taken from what was synced already: a mark is never ahead of the durable log. The file is
//! text, one line per partition, and ends with a checksum.

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::thread::JoinHandle;
use std::time::Duration;

use data_encoding::HEXLOWER;

use super::Shared;
use super::paths::Paths;
use crate::log::{Hash, HighWater, Incarnation, LogError, Offset, PartitionId};

const TITLE: &str = "hutong log marks 1";

/// High-water marks of one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Marks {
    pub(super) incarnation: Incarnation,
    pub(super) heads: Vec<HighWater>,
}

/// What stands beside the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Found {
    Marks(Marks),
    Nothing,
    /// There is a file that is not (all of) what was written; the reason in words.
    Unreadable(String),
}

impl Marks {
    fn render(&self) -> String {
        let mut text = format!("{TITLE}\nincarnation {}\n", self.incarnation);
        for head in &self.heads {
            let chain = HEXLOWER.encode(&head.chain);
            // Writing to a String cannot fail.
            let _ = writeln!(text, "{} {} {chain}", head.partition.0, head.offset);
        }
        let checksum = blake3::hash(text.as_bytes()).to_hex();
        let _ = writeln!(text, "checksum {checksum}");
        text
    }

    fn parse(text: &str) -> Result<Self, &'static str> {
        let (body, checksum) = text
            .strip_suffix('\n')
            .and_then(|text| text.rsplit_once("\nchecksum "))
            .ok_or("it does not end with a checksum")?;
        // The body's own last line break is part of what the checksum covers.
        let body = text.get(..=body.len()).ok_or("it does not end with a checksum")?;
        if blake3::hash(body.as_bytes()).to_hex().as_str() != checksum {
            return Err("its checksum does not fit");
        }
        let mut lines = body.lines();
        if lines.next() != Some(TITLE) {
            return Err("it has another format");
        }
        let incarnation = lines
            .next()
            .and_then(|line| line.strip_prefix("incarnation "))
            .and_then(|number| number.parse().ok())
            .map(Incarnation)
            .ok_or("it names no incarnation")?;
        let heads = lines.map(parse_head).collect::<Option<_>>().ok_or("a line is unreadable")?;
        Ok(Self { incarnation, heads })
    }

    /// Whether they name any entry at all.
    pub(super) fn name_entries(&self) -> bool {
        self.heads.iter().any(|head| head.offset > Offset::NONE)
    }
}

fn parse_head(line: &str) -> Option<HighWater> {
    let mut words = line.split(' ');
    let partition = PartitionId(words.next()?.parse().ok()?);
    let offset = Offset(words.next()?.parse().ok()?);
    let chain: Hash = HEXLOWER.decode(words.next()?.as_bytes()).ok()?.try_into().ok()?;
    words.next().is_none().then_some(HighWater { partition, offset, chain })
}

/// Reads the marks. Only a failing disk is an error; a missing or damaged file is a finding.
pub(super) fn read(path: &Path) -> Result<Found, LogError> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(source) => return Err(LogError::io("read", path)(source)),
    };
    let parsed = std::str::from_utf8(&bytes).map_err(|_| "it is not text").and_then(Marks::parse);
    Ok(match parsed {
        Ok(marks) => Found::Marks(marks),
        Err(reason) => Found::Unreadable(reason.to_owned()),
    })
}

/// Replaces the marks durably: a crash leaves the old or the new ones.
pub(super) fn write(paths: &Paths, marks: &Marks) -> Result<(), LogError> {
    let path = &paths.marks;
    let fresh = path.with_extension("marks-new");
    let mut file = File::create(&fresh).map_err(LogError::io("create", &fresh))?;
    file.write_all(marks.render().as_bytes()).map_err(LogError::io("write", &fresh))?;
    file.sync_all().map_err(LogError::io("sync", &fresh))?;
    paths.rename(&fresh, path)
}

/// The thread that writes the marks when they changed, and once more at the end.
pub(super) struct Keeper {
    stop: mpsc::SyncSender<()>,
    thread: JoinHandle<()>,
}

impl Keeper {
    pub(super) fn start(
        shared: Arc<Shared>,
        paths: Paths,
        interval: Duration,
        written: Marks,
    ) -> Result<Self, LogError> {
        let (stop, stopped) = mpsc::sync_channel(1);
        let marks = paths.marks.clone();
        let thread = std::thread::Builder::new()
            .name("hutong-marks".to_owned())
            .spawn(move || keep(&shared, &paths, interval, written, &stopped))
            .map_err(LogError::io("start the thread that writes", &marks))?;
        Ok(Self { stop, thread })
    }

    /// Writes the last marks and ends the thread.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the keeper of the log's marks panicked");
        }
    }
}

fn keep(
    shared: &Shared,
    paths: &Paths,
    interval: Duration,
    mut written: Marks,
    stopped: &mpsc::Receiver<()>,
) {
    loop {
        let last = stopped.recv_timeout(interval) != Err(mpsc::RecvTimeoutError::Timeout);
        let heads = shared.heads.lock().clone();
        if heads != written.heads {
            let marks = Marks { incarnation: shared.incarnation, heads };
            match write(paths, &marks) {
                Ok(()) => written = marks,
                // Old marks are still true marks; they only recognise less.
                Err(error) => tracing::warn!(%error, "the log's marks were not written"),
            }
        }
        if last {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marks() -> Marks {
        let head = |partition, offset| HighWater {
            partition: PartitionId(partition),
            offset: Offset(offset),
            chain: [7; 32],
        };
        Marks { incarnation: Incarnation(3), heads: vec![head(0, 12), head(1, 0), head(2, 90)] }
    }

    #[test]
    fn what_is_rendered_is_parsed() {
        assert_eq!(Marks::parse(&marks().render()), Ok(marks()));
    }

    #[test]
    fn no_cut_and_no_flip_passes() {
        let whole = marks().render();
        for cut in 0..whole.len() {
            assert!(Marks::parse(&whole[..cut]).is_err(), "cut at {cut}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone().into_bytes();
            bytes[at] ^= 1;
            let text = String::from_utf8(bytes).expect("still ASCII");
            assert!(Marks::parse(&text).is_err(), "flip at {at}");
        }
    }

    #[test]
    fn a_missing_file_and_a_broken_one_are_told_apart() {
        let dir = tempfile::tempdir().expect("temporary directory");
        let paths = Paths::new(&dir.path().join("log"));
        assert_eq!(read(&paths.marks).expect("reads"), Found::Nothing);
        write(&paths, &marks()).expect("writes");
        assert_eq!(read(&paths.marks).expect("reads"), Found::Marks(marks()));
        fs::write(&paths.marks, b"\xff").expect("writes");
        assert!(matches!(read(&paths.marks).expect("reads"), Found::Unreadable(_)));
    }
}
