use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::Instant,
};

use super::*;
use crate::spool::{ImageDelta, open};

const IMAGE: ImageId = ImageId(1);

/// A committer whose clock stands still, or goes on by this many seconds.
fn committer(dir: &std::path::Path, seconds: &Arc<AtomicU64>) -> Committer {
    let database = Database::create(dir.join("store")).unwrap();
    let loaded = open::load(&database).unwrap();
    let (began, seconds) = (Instant::now(), Arc::clone(seconds));
    let now = move || began + Duration::from_secs(seconds.load(Ordering::Relaxed));
    Committer {
        database: Arc::new(database),
        requests: mpsc::channel(1).1,
        published: Arc::default(),
        space: Arc::new(Space::new(1 << 20, std::iter::empty())),
        merges: Merges::new(Duration::from_secs(1_000_000), Box::new(now)),
        next_id: loaded.next_id,
    }
}

impl Committer {
    /// One change of the same key: a run of one entry. Somebody waits for it.
    fn change(&mut self) {
        let mut delta = ImageDelta::new();
        delta.upsert(b"key", [7; 32]);
        let mut writes = WriteBatch::new();
        writes.image(IMAGE, delta);
        let mut answers = Vec::new();
        self.write(vec![writes], &mut answers).unwrap();
        assert!(matches!(answers[..], [Ok(_)]), "{answers:?}");
    }

    fn entries(&self) -> u64 {
        use redb::ReadableDatabase;
        image::size_at_most(&self.database.begin_read().unwrap(), IMAGE).unwrap()
    }
}

#[test]
fn images_are_merged_while_nobody_waits_for_a_commit() {
    let dir = tempfile::tempdir().unwrap();
    let seconds = Arc::default();
    let mut committer = committer(dir.path(), &seconds);
    // The first commit may bear a step, and there is nothing to do yet; no time passes after it.
    for changes in 1..=300 {
        committer.change();
        assert_eq!(committer.entries(), changes, "a commit that somebody waited for merged runs");
    }
    // When nobody waits, the thread has time for it.
    committer.write(Vec::new(), &mut Vec::new()).unwrap();
    assert_eq!(committer.entries(), 1);
    // When somebody always waits, it gets its share of the time, once.
    for _ in 0..100 {
        committer.change();
    }
    assert_eq!(committer.entries(), 101);
    seconds.store(1_000, Ordering::Relaxed);
    committer.change();
    assert!(committer.entries() <= 2, "{} entries", committer.entries());
    for changes in 1..=100 {
        committer.change();
        assert!(committer.entries() > changes, "a share is one step");
    }
}

#[test]
fn an_image_of_very_many_runs_is_merged_whoever_waits() {
    let dir = tempfile::tempdir().unwrap();
    let mut committer = committer(dir.path(), &Arc::default());
    for changes in 1..=1_023 {
        committer.change();
        assert_eq!(committer.entries(), changes);
    }
    for _ in 0..3 {
        committer.change();
    }
    assert!(committer.entries() < 10, "{} entries", committer.entries());
}
