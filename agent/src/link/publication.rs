//! One publication of a node: its stream in the store, its catalogue entry, and what hinders it.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use hutong_schema::{catalogue::CatalogueEntry, ids::ResourceCode};
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Progress, publish_end::Recovery};
use crate::spool::{Store, StoreError, StreamId, StreamState};

/// What can hinder a publication. Whoever found the hindrance takes it away again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Hindrance {
    /// A person has to say whether what the source shows is meant.
    Confirmation,
    /// The source or its description.
    Source,
    /// The hub refused.
    Hub,
    /// The hub takes nothing for the moment; it is asked again and again.
    Busy,
}

/// Whether the source is read.
#[derive(Debug, Default)]
struct Scan {
    /// A scan waits for its turn or is under way.
    under_way: bool,
    /// Another one has to follow.
    again: bool,
    /// Another one has to follow as soon as everything appended is acknowledged.
    when_drained: bool,
}

/// One publication of a node.
#[derive(Debug)]
pub struct Publication {
    /// Its stream in the store.
    pub stream: StreamId,
    /// The resource.
    pub resource: ResourceCode,
    /// When something last happened to it.
    pub progress: Progress,
    entry: Mutex<Option<Arc<CatalogueEntry>>>,
    troubles: Mutex<Vec<(Hindrance, String)>>,
    /// It is in the queue of work, or served.
    queued: AtomicBool,
    scan: Mutex<Scan>,
    /// The hub's state has to be compared even if there is nothing to send.
    unverified: AtomicBool,
    /// A new epoch was opened by itself since the start or the last confirmation.
    recovered: AtomicBool,
    /// A person said that this machine is the right one, while the publication stood still.
    confirmed: AtomicBool,
    /// Its rows cannot be read again: what the outbox holds must not be dropped.
    keeps_outbox: AtomicBool,
    /// Scans that ended well.
    scans: AtomicU64,
    /// Wakes the stream that is open.
    news: Notify,
    /// It is published no more.
    retired: CancellationToken,
}

impl Publication {
    /// Nothing is known of it but its names.
    pub fn new(stream: StreamId, resource: ResourceCode) -> Self {
        Self {
            stream,
            resource,
            progress: Progress::default(),
            entry: Mutex::new(None),
            troubles: Mutex::new(Vec::new()),
            queued: AtomicBool::new(false),
            scan: Mutex::new(Scan::default()),
            unverified: AtomicBool::new(false),
            recovered: AtomicBool::new(false),
            confirmed: AtomicBool::new(false),
            keeps_outbox: AtomicBool::new(false),
            scans: AtomicU64::new(0),
            news: Notify::new(),
            retired: CancellationToken::new(),
        }
    }

    /// The catalogue entry in force, as far as it is known here.
    pub fn entry(&self) -> Option<Arc<CatalogueEntry>> {
        self.entry.lock().clone()
    }

    /// Takes an entry; whether it differs from the one before.
    pub fn set_entry(&self, entry: CatalogueEntry) -> bool {
        let mut held = self.entry.lock();
        let changed = held.as_deref() != Some(&entry);
        if changed {
            *held = Some(Arc::new(entry));
        }
        changed
    }

    /// Its rows were handed over and cannot be read again: what the outbox holds is numbered anew where
    /// that of a file would be dropped.
    pub fn keep_outbox(&self) {
        self.keeps_outbox.store(true, Ordering::Release);
    }

    pub(super) fn keeps_outbox(&self) -> bool {
        self.keeps_outbox.load(Ordering::Acquire)
    }

    /// Where its stream stands.
    ///
    /// # Errors
    /// When the store does not know it.
    pub fn state(&self, store: &Store) -> Result<StreamState, StoreError> {
        Ok(store.stream(self.stream)?.state)
    }

    /// Whether there is something to tell the hub.
    pub fn has_work(&self, state: &StreamState) -> bool {
        if self.retired.is_cancelled() {
            return false;
        }
        state.epoch == 0
            || !state.is_drained()
            || (state.checkpoint_due() && !self.is_scanning())
            || self.unverified.load(Ordering::Acquire)
    }

    /// Something stands in the way.
    pub fn hinder(&self, by: Hindrance, why: impl Into<String>) {
        let why = why.into();
        let mut troubles = self.troubles.lock();
        troubles.retain(|(hindrance, _)| *hindrance != by);
        troubles.push((by, why));
        troubles.sort();
    }

    /// It does not any more.
    pub fn free(&self, by: Hindrance) {
        self.troubles.lock().retain(|(hindrance, _)| *hindrance != by);
    }

    /// What stands in the way.
    pub fn troubles(&self) -> Vec<(Hindrance, String)> {
        self.troubles.lock().clone()
    }

    /// Marks it as queued or served; whether it was neither.
    pub(super) fn enqueue(&self) -> bool {
        !self.queued.swap(true, Ordering::AcqRel)
    }

    /// It is neither queued nor served.
    pub(super) fn release(&self) {
        self.queued.store(false, Ordering::Release);
    }

    /// Somebody wants the source to be read. Whether it has to be put into the queue: while a scan
    /// waits or is under way, it is only noted that another one has to follow.
    pub(super) fn want_scan(&self) -> bool {
        let mut scan = self.scan.lock();
        scan.again = scan.under_way;
        !std::mem::replace(&mut scan.under_way, true)
    }

    /// A scan leaves the queue: wishes from now on are for the next one.
    pub fn scan_begins(&self) {
        self.scan.lock().again = false;
    }

    /// The scan is over; whether another one was wanted meanwhile and has to be queued.
    pub(super) fn scan_ends(&self, well: bool) -> bool {
        if well {
            self.scans.fetch_add(1, Ordering::AcqRel);
            self.progress.read(hutong_certs::clock::now());
        }
        let mut scan = self.scan.lock();
        scan.under_way = std::mem::take(&mut scan.again);
        scan.under_way
    }

    /// A snapshot can be compared only when everything appended is acknowledged.
    pub fn scan_when_drained(&self) {
        self.scan.lock().when_drained = true;
    }

    /// Everything is acknowledged; whether that was waited for.
    pub(super) fn take_scan_when_drained(&self) -> bool {
        std::mem::take(&mut self.scan.lock().when_drained)
    }

    /// Whether a scan is under way or waits for its turn.
    pub fn is_scanning(&self) -> bool {
        self.scan.lock().under_way
    }

    /// Scans that ended well since the start.
    pub fn scans(&self) -> u64 {
        self.scans.load(Ordering::Acquire)
    }

    /// It is published no more; a stream that is open takes its leave.
    pub(super) fn retire(&self) {
        self.retired.cancel();
    }

    /// Whether it is published no more.
    pub(super) fn is_retired(&self) -> bool {
        self.retired.is_cancelled()
    }

    /// Waits until it is published no more.
    pub(super) async fn retired(&self) {
        self.retired.cancelled().await;
    }

    pub(super) fn set_unverified(&self, unverified: bool) {
        self.unverified.store(unverified, Ordering::Release);
    }

    pub(super) fn is_unverified(&self) -> bool {
        self.unverified.load(Ordering::Acquire)
    }

    /// Takes the right to open a new epoch. By itself once only, so that two machines with one state
    /// do not fence each other for ever.
    pub fn may_recover(&self, by: Recovery) -> bool {
        match by {
            Recovery::ByItself => !self.recovered.swap(true, Ordering::AcqRel),
            Recovery::Confirmed => self.confirmed.swap(false, Ordering::AcqRel),
        }
    }

    /// A person said that this machine is the right one. It counts for what the person was shown, not
    /// for a fork that comes later.
    pub fn allow_recovery(&self) {
        self.recovered.store(false, Ordering::Release);
        let shown = self.troubles().iter().any(|(by, _)| *by == Hindrance::Hub);
        self.confirmed.store(shown, Ordering::Release);
    }

    pub(super) fn wake(&self) {
        self.news.notify_one();
    }

    pub(super) async fn news(&self) {
        self.news.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hindrances_are_taken_away_by_whoever_found_them() {
        let publication = Publication::new(StreamId(1), "300001/1".parse().unwrap());
        publication.hinder(Hindrance::Hub, "HT-1101");
        publication.hinder(Hindrance::Confirmation, "empty");
        publication.hinder(Hindrance::Hub, "HT-1103");
        let troubles = publication.troubles();
        assert_eq!(troubles[0], (Hindrance::Confirmation, "empty".to_owned()));
        assert_eq!(troubles[1], (Hindrance::Hub, "HT-1103".to_owned()));
        publication.free(Hindrance::Hub);
        assert_eq!(publication.troubles().len(), 1);
    }

    #[test]
    fn a_wish_during_a_scan_leads_to_another_one() {
        let publication = Publication::new(StreamId(1), "300001/1".parse().unwrap());
        assert!(publication.want_scan());
        assert!(!publication.want_scan(), "it waits already");
        publication.scan_begins();
        assert!(!publication.want_scan(), "noted");
        assert!(publication.scan_ends(true), "queued again");
        publication.scan_begins();
        assert!(!publication.scan_ends(false));
        assert!(!publication.is_scanning());
        assert_eq!(publication.scans(), 1);
    }

    #[test]
    fn a_new_epoch_is_opened_by_itself_only_once() {
        let publication = Publication::new(StreamId(1), "300001/1".parse().unwrap());
        assert!(publication.may_recover(Recovery::ByItself));
        assert!(!publication.may_recover(Recovery::ByItself));
        publication.allow_recovery();
        assert!(publication.may_recover(Recovery::ByItself));
    }

    #[test]
    fn a_confirmation_counts_for_the_fork_that_was_shown() {
        let publication = Publication::new(StreamId(1), "300001/1".parse().unwrap());
        assert!(!publication.may_recover(Recovery::Confirmed));
        publication.allow_recovery();
        assert!(!publication.may_recover(Recovery::Confirmed), "nothing was shown");
        publication.hinder(Hindrance::Hub, "HT-1105");
        publication.allow_recovery();
        assert!(publication.may_recover(Recovery::Confirmed));
        assert!(!publication.may_recover(Recovery::Confirmed), "once");
    }
}
