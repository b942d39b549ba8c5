//! The token book's file: lines appended and synced in groups, rewritten whole when it is opened.
//!
//! A line is 16 hex digits of the SHA-256 of the rest, a space, and an event in JSON. A crash can
//! only tear the last append, of which nobody was told: the file then ends within a line, or in a
//! hole of zero bytes. Anything else that does not check is damage and is reported, not skipped.

use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};
use tokio::sync::oneshot;

const CHECK: usize = 16;

/// The journal's writer: one thread that writes and syncs whatever is waiting, so that any number
/// of redemptions at the same moment share one sync.
pub(super) struct Journal {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// Resolves when everything appended up to its making is on disk; an error means that it may not
/// be, and that the journal takes nothing any more.
pub(super) struct Durable(oneshot::Receiver<()>);

/// The journal stopped because writing or syncing failed; what was appended last may be lost.
#[derive(Debug)]
pub(super) struct Stopped;

#[derive(Default)]
struct Shared {
    queue: Mutex<Queue>,
    wake: Condvar,
}

/// What waits for the next sync. Bounded by its callers: one entry per question being answered.
#[derive(Default)]
struct Queue {
    bytes: Vec<u8>,
    waiting: Vec<oneshot::Sender<()>>,
    stopped: bool,
}

/// What a journal file holds.
pub(super) struct Content<T> {
    pub(super) events: Vec<T>,
    /// Whether its end was torn by a crash.
    pub(super) torn: bool,
}

/// Line `0` (counted from 1) is damaged.
#[derive(Debug)]
pub(super) struct DamagedLine(pub(super) usize);

impl Journal {
    /// Opens the file for appending. Its content must be whole (see [`read`]).
    pub(super) fn open(path: &Path) -> io::Result<Self> {
        let file = OpenOptions::new().append(true).open(path)?;
        let shared = Arc::<Shared>::default();
        let thread = std::thread::Builder::new().name("token-journal".to_owned()).spawn({
            let (shared, path) = (Arc::clone(&shared), path.to_owned());
            move || write_groups(&shared, file, &path)
        })?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// Queues lines, possibly none. Order of calls is order in the file, so the caller holds the
    /// lock of the state that the lines are about.
    pub(super) fn append(&self, lines: &[u8]) -> Durable {
        let (done, durable) = oneshot::channel();
        let mut queue = self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.stopped {
            queue.bytes.extend_from_slice(lines);
            queue.waiting.push(done);
            self.shared.wake.notify_one();
        }
        Durable(durable)
    }
}

impl Durable {
    pub(super) async fn wait(self) -> Result<(), Stopped> {
        self.0.await.map_err(|_| Stopped)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner).stopped = true;
        self.shared.wake.notify_one();
        if let Some(thread) = self.thread.take() {
            // It writes what is queued, then ends; a panic in it was printed already.
            let _ = thread.join();
        }
    }
}

fn write_groups(shared: &Shared, mut file: File, path: &Path) {
    loop {
        let (bytes, waiting) = {
            let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            while queue.waiting.is_empty() && !queue.stopped {
                queue = shared.wake.wait(queue).unwrap_or_else(PoisonError::into_inner);
            }
            if queue.waiting.is_empty() {
                return;
            }
            (std::mem::take(&mut queue.bytes), std::mem::take(&mut queue.waiting))
        };
        // A group without bytes still waited for the groups before it, which are synced by now.
        if !bytes.is_empty()
            && let Err(error) = file.write_all(&bytes).and_then(|()| file.sync_data())
        {
            // After a failed sync the kernel may report success next time although the data are
            // gone, so there is no next time: the book has to be opened again.
            tracing::error!(path = %path.display(), %error, "HT-2201: the token book cannot be written; enrolment stops until the hub is restarted");
            let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
            queue.stopped = true;
            queue.bytes.clear();
            queue.waiting.clear();
            return;
        }
        for done in waiting {
            // Whoever gave up waiting does not mind.
            let _ = done.send(());
        }
    }
}

/// Adds an event to lines.
pub(super) fn push_line<T: Serialize>(
    event: &T,
    lines: &mut Vec<u8>,
) -> Result<(), serde_json::Error> {
    let json = serde_json::to_vec(event)?;
    lines.extend_from_slice(check(&json).as_bytes());
    lines.push(b' ');
    lines.extend_from_slice(&json);
    lines.push(b'\n');
    Ok(())
}

/// Reads what a file holds.
pub(super) fn read<T: DeserializeOwned>(bytes: &[u8]) -> Result<Content<T>, DamagedLine> {
    let mut events = Vec::new();
    let mut rest = bytes;
    while let Some(end) = rest.iter().position(is_end) {
        let (line, after) = (&rest[..end], &rest[end + 1..]);
        match parse_line(line) {
            Some(event) => events.push(event),
            // Some file systems show a torn append as a hole with whatever follows it.
            None if line.contains(&0) && !after.split(is_end).any(is_whole::<T>) => {
                return Ok(Content { events, torn: true });
            }
            None => return Err(DamagedLine(events.len() + 1)),
        }
        rest = after;
    }
    Ok(Content { events, torn: !rest.is_empty() })
}

fn parse_line<T: DeserializeOwned>(line: &[u8]) -> Option<T> {
    let (sum, json) = line.split_at_checked(CHECK)?;
    let json = json.strip_prefix(b" ")?;
    (check(json).as_bytes() == sum).then(|| serde_json::from_slice(json).ok()).flatten()
}

fn is_whole<T: DeserializeOwned>(line: &[u8]) -> bool {
    parse_line::<T>(line).is_some()
}

fn is_end(byte: &u8) -> bool {
    *byte == b'\n'
}

fn check(json: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(json)[..CHECK / 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(numbers: &[u32]) -> Vec<u8> {
        let mut lines = Vec::new();
        numbers.iter().for_each(|number| push_line(number, &mut lines).unwrap());
        lines
    }

    #[test]
    fn a_torn_end_is_told_and_costs_only_itself() {
        let whole = lines(&[1, 2, 3]);
        let last = lines(&[1, 2]).len();
        for cut in last + 1..whole.len() {
            let content = read::<u32>(&whole[..cut]).unwrap();
            assert_eq!((content.events, content.torn), (vec![1, 2], true), "cut at {cut}");
        }
        assert!(!read::<u32>(&whole).unwrap().torn);
        let mut hole = whole.clone();
        hole[last..last + 5].fill(0);
        assert!(read::<u32>(&hole).unwrap().torn);
    }

    #[test]
    fn damage_is_not_passed_over() {
        let whole = lines(&[1, 2, 3]);
        let last = lines(&[1, 2]).len();
        for at in 0..whole.len() - 1 {
            let mut damaged = whole.clone();
            damaged[at] ^= 1;
            assert!(read::<u32>(&damaged).is_err(), "byte {at}");
            // A zero in place of the last line end but one looks like a torn append.
            if at < last - 1 {
                damaged[at] = 0;
                assert!(read::<u32>(&damaged).is_err(), "zero at {at}");
            }
        }
    }

    #[tokio::test]
    async fn what_is_said_to_be_durable_is_in_the_file_in_order() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("journal");
        File::create(&path).unwrap();
        let journal = Journal::open(&path).unwrap();
        let mut waits = Vec::new();
        for number in 0..1000_u32 {
            waits.push(journal.append(&lines(&[number])));
        }
        for wait in waits {
            wait.wait().await.unwrap();
        }
        journal.append(b"").wait().await.unwrap();
        let content = read::<u32>(&std::fs::read(&path).unwrap()).unwrap();
        assert_eq!(content.events, (0..1000).collect::<Vec<_>>());
    }

    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn after_a_failed_write_nothing_is_taken_any_more() {
        let journal = Journal::open(Path::new("/dev/full")).unwrap();
        assert!(journal.append(b"x").wait().await.is_err());
        assert!(journal.append(b"").wait().await.is_err());
    }
}
