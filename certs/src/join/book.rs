//! The hub's store of tokens: decisions in memory, made durable before they are told.

use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hutong_schema::ids::{CreditCode, NodeName};
use jiff::{SignedDuration, Timestamp};

use super::journal::{self, Durable, Journal};
use super::ledger::{Event, Hash, Ledger, Presented, Redemption, TokenState};
use super::token::{JoinToken, Secret};
use crate::clock;
use crate::files::{self, Access, FileError};
use crate::request::ProvenKey;
use crate::roots::CaFingerprint;

const BOOK_FILE: &str = "book.jsonl";
const LOCK_FILE: &str = "book.lock";

/// Most tokens in one order: ten times the largest known city, and a bound on one write.
pub const ISSUE_MAX: usize = 10_000;

/// The tokens of an exchange, in a folder of the hub's own. Clones are handles to the same book;
/// one process at a time can have it open.
#[derive(Clone)]
pub struct TokenBook(Arc<Inner>);

struct Inner {
    state: Mutex<State>,
    /// Held as long as the book is open.
    _lock: File,
}

struct State {
    ledger: Ledger,
    journal: Journal,
    torn: bool,
}

/// Why the book cannot be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum BookError {
    /// A file cannot be read or written.
    #[error(transparent)]
    File(#[from] FileError),
    /// Another process has it open.
    #[error("the token book in {} is in use by another process", .0.display())]
    InUse(PathBuf),
    /// The file is damaged.
    #[error("HT-2202: line {line} of {} is damaged: restore the file, or remove it and issue new tokens", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
    },
    /// An event does not encode.
    #[error("a token event does not encode")]
    Encode(#[from] serde_json::Error),
    /// A write failed; nothing is taken until the book is opened again.
    #[error("HT-2201: the token book cannot be written; open it again when the disk is in order")]
    Stopped,
    /// More tokens were ordered than one order may have.
    #[error("{0} tokens in one order, at most {ISSUE_MAX}")]
    TooMany(usize),
    /// The system gives no randomness.
    #[error("the system gives no randomness")]
    Randomness,
}

impl TokenBook {
    /// Opens the book of a folder, which is made if it is not there. What expired long before `now`
    /// is forgotten. Blocks on the disk.
    ///
    /// # Errors
    /// When another process has it open, or the file is damaged or cannot be read.
    pub fn open(folder: &Path, now: Timestamp) -> Result<Self, BookError> {
        files::create_private_folder(folder)?;
        let lock = lock(folder)?;
        let path = folder.join(BOOK_FILE);
        let (mut ledger, torn) = read(&path)?;
        if torn {
            tracing::warn!(path = %path.display(), "the token book's last, unfinished write is dropped; if no power was lost, a token issued or used last may be open again: withdraw it, or issue it anew");
        }
        if ledger.forget(now) > 0 || torn || !path.exists() {
            let mut lines = Vec::new();
            for event in ledger.events() {
                journal::push_line(&event, &mut lines)?;
            }
            files::write_atomic(&path, &lines, Access::Private)?;
        }
        let journal = Journal::open(&path).map_err(|e| FileError::new("open", &path, e))?;
        Ok(Self(Arc::new(Inner {
            state: Mutex::new(State { ledger, journal, torn }),
            _lock: lock,
        })))
    }

    /// Issues one token for each node, all in one durable write. The tokens exist nowhere else: what
    /// is not handed out now cannot be shown again.
    ///
    /// # Errors
    /// When too many are ordered or the book cannot be written.
    pub async fn issue(
        &self,
        nodes: &[(CreditCode, NodeName)],
        authority: CaFingerprint,
        now: Timestamp,
        lifetime: SignedDuration,
    ) -> Result<Vec<JoinToken>, BookError> {
        if nodes.len() > ISSUE_MAX {
            return Err(BookError::TooMany(nodes.len()));
        }
        // Whole seconds, as in the token's text.
        let expires = clock::from_seconds(clock::after(now, lifetime).as_second());
        let mut tokens = Vec::with_capacity(nodes.len());
        let durable = {
            let mut state = self.state();
            let mut events = Vec::with_capacity(nodes.len());
            for (department, node) in nodes {
                let secret = fresh_secret(&state.ledger)?;
                events.push(Event::Issue {
                    hash: Hash(secret.hash()),
                    department: *department,
                    node: node.clone(),
                    expires,
                });
                tokens.push(JoinToken {
                    authority,
                    secret,
                    department: *department,
                    node: node.clone(),
                    expires,
                });
            }
            state.record(&events)?
        };
        durable.wait().await.map_err(|_| BookError::Stopped)?;
        Ok(tokens)
    }

    /// Decides on a token that somebody shows together with a proven key. A positive answer is
    /// durable when this returns: the token cannot be used with another key after any crash.
    ///
    /// # Errors
    /// When the book cannot be written. Whether the token counts as used is then unknown; the same
    /// key may ask again.
    pub async fn redeem(
        &self,
        secret: &Secret,
        department: &CreditCode,
        node: &NodeName,
        key: &ProvenKey,
        now: Timestamp,
    ) -> Result<Redemption, BookError> {
        let (redemption, durable) = {
            let mut state = self.state();
            let presented = Presented { secret, department, node, key: key.fingerprint() };
            let (redemption, event) = state.ledger.decide(presented, now);
            // A repeated question waits too: the first one's line may still be on its way.
            (redemption, state.record(event.as_slice())?)
        };
        durable.wait().await.map_err(|_| BookError::Stopped)?;
        Ok(redemption)
    }

    /// Takes back all tokens of a node, or of all nodes of a department, used ones as well: the key
    /// that used one cannot ask again. Returns how many.
    ///
    /// # Errors
    /// When the book cannot be written.
    pub async fn withdraw(
        &self,
        department: &CreditCode,
        node: Option<&NodeName>,
    ) -> Result<usize, BookError> {
        let (count, durable) = {
            let mut state = self.state();
            let events = state.ledger.withdraw(department, node);
            (events.len(), state.record(&events)?)
        };
        durable.wait().await.map_err(|_| BookError::Stopped)?;
        Ok(count)
    }

    /// Whether the end of the file was torn when it was opened, and dropped: normal after a power cut.
    #[must_use]
    pub fn was_torn(&self) -> bool {
        self.state().torn
    }

    /// All tokens that are remembered, ordered by department and node.
    #[must_use]
    pub fn list(&self, now: Timestamp) -> Vec<TokenState> {
        self.state().ledger.list(now)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Applies events and queues them for the disk, as one step under the caller's lock.
    fn record(&mut self, events: &[Event]) -> Result<Durable, BookError> {
        let mut lines = Vec::new();
        for event in events {
            journal::push_line(event, &mut lines)?;
        }
        events.iter().for_each(|event| self.ledger.apply(event));
        Ok(self.journal.append(&lines))
    }
}

impl std::fmt::Debug for TokenBook {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("TokenBook")
    }
}

fn lock(folder: &Path) -> Result<File, BookError> {
    let path = folder.join(LOCK_FILE);
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| FileError::new("open", &path, e))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BookError::InUse(folder.to_owned())),
        Err(TryLockError::Error(e)) => Err(FileError::new("lock", &path, e).into()),
    }
}

fn read(path: &Path) -> Result<(Ledger, bool), BookError> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(FileError::new("read", path, error).into()),
    };
    let content = journal::read::<Event>(&bytes)
        .map_err(|line| BookError::Damaged { path: path.to_owned(), line: line.0 })?;
    let mut ledger = Ledger::default();
    content.events.iter().for_each(|event| ledger.apply(event));
    Ok((ledger, content.torn))
}

fn fresh_secret(ledger: &Ledger) -> Result<Secret, BookError> {
    loop {
        let mut random = [0; 32];
        aws_lc_rs::rand::fill(&mut random).map_err(|_| BookError::Randomness)?;
        let secret = Secret::new(random);
        if !ledger.clashes(Hash(secret.hash())) {
            return Ok(secret);
        }
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
