//! How much a department may store, so that none takes the disk from the others.
//!
//! A batch counts from the moment it is let in: its place is [`Reserved`] until it is stored, or given
//! back when it is not. Bytes are counted exactly: what the views knew when the department's first
//! publication was opened, and every batch since. Whether a row is a new one is known only to the views:
//! until they have applied a batch, each of its rows counts as one. So the rows of a department never
//! pass its bound by more than the one batch that reaches it. What only deletes is always taken for
//! rows, and for bytes up to a tenth above the bound: a department must be able to make room.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
    time::{Duration, Instant},
};

use hutong_schema::{
    ids::CreditCode,
    wire::v1::{RefusalCode, Refused},
};
use parking_lot::Mutex;

use super::Standing;
use crate::{
    log::{Offset, PartitionId, Position},
    numbers::ResourceNo,
    views::registry::RegistryHandle,
};

/// What one department may store; 0 stands for no bound.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Quota {
    /// Rows.
    pub rows: u64,
    /// Bytes of batches in the log, opened.
    pub bytes: u64,
    /// Catalogue entries.
    pub entries: u32,
}

impl Quota {
    /// Whether neither rows nor bytes are bounded.
    fn is_open(&self) -> bool {
        (self.rows, self.bytes) == (0, 0)
    }
}

/// The bounds of all departments.
#[derive(Clone, Debug)]
pub struct Quotas {
    /// Of those that have none of their own.
    pub all: Quota,
    /// Of these departments.
    pub own: HashMap<CreditCode, Quota>,
}

/// Catalogue entries of a department unless the operator says otherwise: the reference city has 6,911
/// in all.
const ENTRIES: u32 = 2_000;

/// How long what was looked up in the views counts.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

/// Batches of a department that are kept in mind until they are applied; with more of them the views are
/// looked at without need.
const KEPT: usize = 1_024;

/// How long a department whose room is used up is told to wait: somebody has to do something first.
const RETRY_MS: u32 = 60_000;

impl Default for Quotas {
    fn default() -> Self {
        Self { all: Quota { rows: 0, bytes: 0, entries: ENTRIES }, own: HashMap::new() }
    }
}

impl Quotas {
    /// A department's bounds.
    #[must_use]
    pub fn of(&self, department: CreditCode) -> Quota {
        self.own.get(&department).copied().unwrap_or(self.all)
    }
}

/// Accounts of the departments that published since the hub started.
#[derive(Debug, Default)]
pub(super) struct Accounts(Mutex<HashMap<CreditCode, Arc<Account>>>);

/// What one department has stored.
#[derive(Debug)]
pub(super) struct Account {
    department: CreditCode,
    quota: Quota,
    book: Mutex<Book>,
    /// Looks come one after the other, so that an older one never replaces a newer.
    looking: Mutex<()>,
}

/// What counts against the bounds.
#[derive(Debug)]
struct Book {
    /// Bytes in the log, and of batches that are let in.
    bytes: u64,
    /// Rows that the views held when they were last looked at.
    rows: u64,
    looked: Instant,
    /// Rows of batches that are let in and not durable yet.
    under_way: u64,
    /// Batches that are durable, and were not applied at the last look: where they are, and their rows.
    durable: VecDeque<(Position, u64)>,
    durable_rows: u64,
}

/// What a batch brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rows: u32,
    pub(super) bytes: u64,
}

/// Whether a batch fits.
#[derive(Debug)]
pub(super) enum Fits {
    Yes(Reserved),
    /// Only if it does nothing but delete.
    IfItDeletes(Reserved, Refused),
    /// It may, when the views are looked at again; wait so long.
    Later(Duration),
    No(Refused),
}

/// The place of a batch that is let in; given back when it is dropped before the batch is stored.
#[derive(Debug)]
pub(super) struct Reserved {
    account: Arc<Account>,
    load: Load,
    stored: bool,
}

impl Accounts {
    /// A department's account; opened at its first publication.
    pub(super) fn of(
        &self,
        department: CreditCode,
        quotas: &Quotas,
        (registry, views): (&RegistryHandle, &dyn Standing),
    ) -> Result<Arc<Account>, String> {
        let mut accounts = self.0.lock();
        if let Some(account) = accounts.get(&department) {
            return Ok(Arc::clone(account));
        }
        let quota = quotas.of(department);
        let (rows, bytes) = match quota.is_open() {
            true => (0, 0),
            false => stored(department, registry, views)?,
        };
        let book = Book {
            bytes,
            rows,
            looked: Instant::now(),
            under_way: 0,
            durable: VecDeque::new(),
            durable_rows: 0,
        };
        let (book, looking) = (Mutex::new(book), Mutex::default());
        let account = Arc::new(Account { department, quota, book, looking });
        accounts.insert(department, Arc::clone(&account));
        Ok(account)
    }
}

impl Account {
    /// Whether nothing is bounded.
    pub(super) fn is_open(&self) -> bool {
        self.quota.is_open()
    }

    /// Whether a batch fits. Its place is kept as long as it is held.
    pub(super) fn fits(
        self: &Arc<Self>,
        load: Load,
        known: (&RegistryHandle, &dyn Standing),
        now: Instant,
    ) -> Result<Fits, String> {
        let Quota { rows: most_rows, bytes: most_bytes, .. } = self.quota;
        let mut book = self.book.lock();
        let bytes = book.bytes.saturating_add(load.bytes);
        if most_bytes > 0 && bytes > most_bytes {
            let detail = format!(
                "{} has stored {} MiB, {} are allowed",
                self.department,
                bytes >> 20,
                most_bytes >> 20
            );
            let refused = self.refuse(detail);
            let with_deletes = most_bytes.saturating_add(most_bytes / 10);
            return Ok(match bytes > with_deletes {
                true => Fits::No(refused),
                false => Fits::IfItDeletes(self.reserve_deletes(&mut book, load), refused),
            });
        }
        if most_rows == 0 {
            return Ok(Fits::Yes(self.reserve(&mut book, load)));
        }
        let full = |book: &Book| book.could_be() >= most_rows;
        if full(&book) || book.durable.len() >= KEPT {
            let age = now.saturating_duration_since(book.looked);
            if age >= LOOK_AGAIN {
                drop(book);
                self.look(known, now)?;
                book = self.book.lock();
            } else if full(&book) {
                return Ok(Fits::Later(LOOK_AGAIN - age));
            }
        }
        if book.rows >= most_rows {
            let detail =
                format!("{} has {} rows, {most_rows} are allowed", self.department, book.rows);
            let refused = self.refuse(detail);
            return Ok(Fits::IfItDeletes(self.reserve_deletes(&mut book, load), refused));
        }
        if full(&book) {
            // What is under way may be no new rows.
            return Ok(Fits::Later(LOOK_AGAIN));
        }
        Ok(Fits::Yes(self.reserve(&mut book, load)))
    }

    /// Looks at the views again. Blocks on the disk; no lock is held that the intake's owners need.
    fn look(
        &self,
        (registry, views): (&RegistryHandle, &dyn Standing),
        now: Instant,
    ) -> Result<(), String> {
        let _alone = self.looking.lock();
        let mut applied: BTreeMap<PartitionId, Offset> = {
            let book = self.book.lock();
            if now.saturating_duration_since(book.looked) < LOOK_AGAIN {
                return Ok(());
            }
            book.durable.iter().map(|(at, _)| (at.partition, Offset::NONE)).collect()
        };
        // Before the rows: what is applied by now is among them.
        applied.iter_mut().for_each(|(each, offset)| *offset = *views.applied(*each).borrow());
        let (rows, _) = stored(self.department, registry, views)?;
        let mut book = self.book.lock();
        (book.rows, book.looked) = (rows, now);
        book.durable
            .retain(|(at, _)| applied.get(&at.partition).is_none_or(|offset| at.offset > *offset));
        book.durable_rows = book.durable.iter().map(|(_, rows)| rows).sum();
        Ok(())
    }

    fn reserve(self: &Arc<Self>, book: &mut Book, load: Load) -> Reserved {
        book.bytes = book.bytes.saturating_add(load.bytes);
        book.under_way = book.under_way.saturating_add(load.rows.into());
        Reserved { account: Arc::clone(self), load, stored: false }
    }

    /// Deletes bring no rows.
    fn reserve_deletes(self: &Arc<Self>, book: &mut Book, load: Load) -> Reserved {
        self.reserve(book, Load { rows: 0, ..load })
    }

    fn refuse(&self, detail: String) -> Refused {
        Refused::new(RefusalCode::Quota, detail).retry_after(RETRY_MS)
    }
}

impl Book {
    /// Most rows that there can be once everything that is let in is applied.
    fn could_be(&self) -> u64 {
        self.rows.saturating_add(self.under_way).saturating_add(self.durable_rows)
    }
}

impl Reserved {
    /// The batch is durable, here.
    pub(super) fn settle(mut self, at: Position) {
        let mut book = self.account.book.lock();
        let rows = u64::from(self.load.rows);
        book.under_way = book.under_way.saturating_sub(rows);
        if self.account.quota.rows > 0 && rows > 0 {
            book.durable.push_back((at, rows));
            book.durable_rows = book.durable_rows.saturating_add(rows);
        }
        drop(book);
        self.stored = true;
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.stored {
            let mut book = self.account.book.lock();
            book.bytes = book.bytes.saturating_sub(self.load.bytes);
            book.under_way = book.under_way.saturating_sub(self.load.rows.into());
        }
    }
}

/// Rows and bytes of a department, as the views know them.
fn stored(
    department: CreditCode,
    registry: &RegistryHandle,
    views: &dyn Standing,
) -> Result<(u64, u64), String> {
    let resources: Vec<ResourceNo> = {
        let registry = registry.read();
        let own = registry.entries().filter(|entry| entry.entry.provider == department);
        own.map(|entry| entry.number).collect()
    };
    let (mut rows, mut bytes) = (0u64, 0u64);
    for resource in resources {
        rows = rows.saturating_add(views.rows(resource)?);
        bytes = bytes.saturating_add(views.volume(resource)?);
    }
    Ok((rows, bytes))
}
