//! Where a delivery starts: a pure decision over the receiver's cursor and the feed.

use hutong_schema::wire::v1::subscribe::{Cursor, SnapshotResume};

/// The feed as it stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct FeedHere {
    /// Incarnation of the log.
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
    cursor: Option<Cursor>,
    resume: Option<&SnapshotResume>,
    here: FeedHere,
    hash_at: impl Fn(u64) -> Option<[u8; 16]>,
) -> Start {
    if let Some(cursor) = cursor {
        return match misfit(cursor, here, &hash_at) {
            None => Start::Tail(cursor),
            Some(reason) => Start::Snapshot(Some(reason)),
        };
    }
    match resume {
        None => Start::Snapshot(None),
        // Its chunks may have been read behind its first position, from what the log has lost since.
        Some(resume) if resume.start.incarnation != here.incarnation => {
            Start::Snapshot(Some(format!(
                "the log began anew while the snapshot was under way (incarnation {} became {})",
                resume.start.incarnation, here.incarnation
            )))
        }
        Some(resume) => match misfit(resume.start, here, &hash_at) {
            None => Start::Resume(resume.clone()),
            Some(reason) => Start::Snapshot(Some(reason)),
        },
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

    fn start(cursor: Cursor) -> Start {
        decide(Some(cursor), None, HERE, |seq| (seq >= 4).then_some([seq as u8; 16]))
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
        assert_eq!(decide(None, None, HERE, |_| None), Start::Snapshot(None));
    }

    #[test]
    fn an_unfinished_snapshot_goes_on_in_the_same_log_only() {
        let resume = |incarnation| SnapshotResume {
            start: Cursor { incarnation, ..cursor(3, 7, 7) },
            last_key: hutong_schema::wire::v1::control::Key(b"k".to_vec()),
        };
        let begin = |resume| decide(None, Some(&resume), HERE, |seq| Some([seq as u8; 16]));
        assert_eq!(begin(resume(2)), Start::Resume(resume(2)));
        let Start::Snapshot(Some(reason)) = begin(resume(1)) else { panic!("it is resumed") };
        assert!(reason.contains("began anew"), "{reason}");
    }
}
