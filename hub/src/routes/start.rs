//! Where a delivery starts: a pure decision over the receiver's cursor and the feed.

use hutong_schema::wire::v1::subscribe::{Cursor, SnapshotResume, SubscribeOpen};

/// The feed as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedHere {
    /// Incarnation of the log, for messages.
    pub(super) incarnation: u64,
    /// Generation of the grant.
    pub(super) generation: u32,
    /// Last entry.
    pub(super) head: u64,
}

/// How to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Start {
    /// After the cursor.
    Tail(Cursor),
    /// The unfinished snapshot goes on.
    Resume(SnapshotResume),
    /// From nothing, and why an older position was not taken.
    Snapshot(Option<String>),
}

/// Decides. `hash_at` gives the feed's hash at a sequence number still held, `0` included.
pub(super) fn decide(
    open: &SubscribeOpen,
    here: FeedHere,
    hash_at: impl Fn(u64) -> Option<[u8; 16]>,
) -> Start {
    let position = open.cursor.or(open.resume.as_ref().map(|resume| resume.start));
    // Rows may have been read behind the position, from what the log has lost since: nothing that comes after
    // it would take them back.
    let misfit = [position, open.consistent_at]
        .into_iter()
        .flatten()
        .find_map(|cursor| misfit(cursor, here, &hash_at));
    match (open.cursor, &open.resume, misfit) {
        (None, None, _) => Start::Snapshot(None),
        (_, _, Some(reason)) => Start::Snapshot(Some(reason)),
        (Some(cursor), _, None) => Start::Tail(cursor),
        (None, Some(resume), None) => Start::Resume(resume.clone()),
    }
}

fn misfit(
    cursor: Cursor,
    here: FeedHere,
    hash_at: &impl Fn(u64) -> Option<[u8; 16]>,
) -> Option<String> {
    if cursor.generation != here.generation {
        return Some(format!(
            "the grant's fields, rows or schema changed (generation {} became {})",
            cursor.generation, here.generation
        ));
    }
    if cursor.seq > here.head {
        return Some(format!(
            "the receiver holds entry {} but the feed ends at {}: the hub was restored to an earlier state",
            cursor.seq, here.head
        ));
    }
    match hash_at(cursor.seq) {
        None => Some(format!("feed entry {} is no longer kept", cursor.seq)),
        Some(hash) if hash != cursor.feed_hash => Some(format!(
            "feed entry {} differs from what the receiver holds (log incarnation {} became {})",
            cursor.seq, cursor.incarnation, here.incarnation
        )),
        // The same content up to here: a newer incarnation that kept it does no harm.
        Some(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HERE: FeedHere = FeedHere { incarnation: 2, generation: 3, head: 10 };

    fn cursor(generation: u32, seq: u64, hash: u8) -> Cursor {
        Cursor { incarnation: 1, generation, seq, feed_hash: [hash; 16] }
    }

    fn open(cursor: Option<Cursor>, consistent_at: Option<Cursor>) -> SubscribeOpen {
        let grant = hutong_schema::grant::GrantId(1);
        SubscribeOpen { grant, cursor, consistent_at, resume: None, credit_bytes: 0 }
    }

    fn begin(open: &SubscribeOpen) -> Start {
        decide(open, HERE, |seq| (seq >= 4).then_some([seq as u8; 16]))
    }

    fn start(cursor: Cursor) -> Start {
        begin(&open(Some(cursor), None))
    }

    #[test]
    fn a_fitting_cursor_goes_on() {
        assert_eq!(start(cursor(3, 7, 7)), Start::Tail(cursor(3, 7, 7)));
        assert_eq!(start(cursor(3, 10, 10)), Start::Tail(cursor(3, 10, 10)));
    }

    #[test]
    fn every_misfit_is_explained_and_starts_afresh() {
        for (misfit, word) in [
            (cursor(2, 7, 7), "generation"),
            (cursor(3, 11, 11), "restored"),
            (cursor(3, 3, 3), "no longer kept"),
            (cursor(3, 7, 8), "differs"),
        ] {
            let Start::Snapshot(Some(reason)) = start(misfit) else { panic!("{misfit:?}") };
            assert!(reason.contains(word), "{reason}");
        }
        assert_eq!(begin(&open(None, None)), Start::Snapshot(None));
    }

    #[test]
    fn what_was_read_ahead_must_still_be_there() {
        let resume = SnapshotResume {
            start: cursor(3, 5, 5),
            last_key: hutong_schema::wire::v1::control::Key(b"k".to_vec()),
        };
        let resumed = |consistent_at| SubscribeOpen {
            resume: Some(resume.clone()),
            ..open(None, Some(consistent_at))
        };
        let still = cursor(3, 7, 7);
        assert_eq!(begin(&open(Some(cursor(3, 5, 5)), Some(still))), Start::Tail(cursor(3, 5, 5)));
        assert_eq!(begin(&resumed(still)), Start::Resume(resume.clone()));
        for (ahead, word) in [(cursor(3, 7, 8), "differs"), (cursor(3, 11, 11), "restored")] {
            for open in [open(Some(cursor(3, 5, 5)), Some(ahead)), resumed(ahead)] {
                let Start::Snapshot(Some(reason)) = begin(&open) else {
                    panic!("{open:?} goes on")
                };
                assert!(reason.contains(word), "{reason}");
            }
        }
    }
}
