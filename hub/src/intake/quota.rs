//! How much a department may store, so that none takes the disk from the others.
//!
//! Bytes are counted exactly: what the views knew when the department's first publication was opened,
//! and every batch admitted since. Rows are what the views hold; they are looked up again when what
//! was admitted since could have reached the bound. What only deletes is always taken for rows, and for
//! bytes up to a tenth above the bound: a department must be able to make room.

use std::{
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hutong_schema::{
    ids::CreditCode,
    wire::v1::{RefusalCode, Refused},
};
use parking_lot::Mutex;

use super::Standing;
use crate::{numbers::ResourceNo, views::registry::RegistryHandle};

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
    bytes: AtomicU64,
    /// Rows admitted since the last look, each counted as a new one.
    rows: AtomicU64,
    look: Mutex<Look>,
}

#[derive(Debug)]
struct Look {
    rows: u64,
    at: Instant,
}

/// What a batch brings.
#[derive(Clone, Copy, Debug)]
pub(super) struct Load {
    pub(super) rows: u32,
    pub(super) bytes: u64,
}

/// Whether a batch fits.
#[derive(Debug, PartialEq)]
pub(super) enum Fits {
    Yes,
    /// Only if it does nothing but delete.
    IfItDeletes(Refused),
    /// It may, when the views are looked at again; wait so long.
    Later(Duration),
    No(Refused),
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
        let (rows, bytes) = match (quota.rows, quota.bytes) {
            (0, 0) => (0, 0),
            _ => stored(department, registry, views)?,
        };
        let account = Arc::new(Account {
            department,
            quota,
            bytes: AtomicU64::new(bytes),
            rows: AtomicU64::new(0),
            look: Mutex::new(Look { rows, at: Instant::now() }),
        });
        accounts.insert(department, Arc::clone(&account));
        Ok(account)
    }
}

impl Account {
    /// A batch was admitted.
    pub(super) fn add(&self, load: Load) {
        self.bytes.fetch_add(load.bytes, Ordering::Relaxed);
        self.rows.fetch_add(load.rows.into(), Ordering::Relaxed);
    }

    /// Whether a batch fits.
    pub(super) fn fits(
        &self,
        load: Load,
        (registry, views): (&RegistryHandle, &dyn Standing),
        now: Instant,
    ) -> Result<Fits, String> {
        let Quota { rows: most_rows, bytes: most_bytes, .. } = self.quota;
        let bytes = self.bytes.load(Ordering::Relaxed).saturating_add(load.bytes);
        if most_bytes > 0 && bytes > most_bytes {
            let detail = format!(
                "{} has stored {} MiB, {} are allowed",
                self.department,
                bytes >> 20,
                most_bytes >> 20
            );
            let refused = self.refuse(detail);
            let with_deletes = most_bytes.saturating_add(most_bytes / 10);
            return Ok(if bytes > with_deletes {
                Fits::No(refused)
            } else {
                Fits::IfItDeletes(refused)
            });
        }
        if most_rows == 0 {
            return Ok(Fits::Yes);
        }
        let mut look = self.look.lock();
        let since = self.rows.load(Ordering::Relaxed);
        let could_be = look.rows.saturating_add(since).saturating_add(load.rows.into());
        if could_be <= most_rows {
            return Ok(Fits::Yes);
        }
        let age = now.saturating_duration_since(look.at);
        if age < LOOK_AGAIN {
            return Ok(Fits::Later(LOOK_AGAIN - age));
        }
        let (rows, _) = stored(self.department, registry, views)?;
        *look = Look { rows, at: now };
        self.rows.store(0, Ordering::Relaxed);
        if look.rows < most_rows {
            return Ok(Fits::Yes);
        }
        let detail = format!("{} has {} rows, {most_rows} are allowed", self.department, look.rows);
        Ok(Fits::IfItDeletes(self.refuse(detail)))
    }

    fn refuse(&self, detail: String) -> Refused {
        Refused::new(RefusalCode::Quota, detail).retry_after(RETRY_MS)
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
