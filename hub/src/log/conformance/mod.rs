//! What every engine of the log must do. An engine implements [`Subject`] and calls
//! `conformance!(make)` in its tests, which makes one test of each behaviour here.

pub(crate) mod appending;
pub(crate) mod keeping;

use std::time::Duration;

use bytes::Bytes;

use super::{Broken, EntryKind, Log, NewEntry, Offset, PartitionId, Position, verify};

/// Nothing here takes this long; a hung test is ended.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

/// A place that holds a log, and what the suite must be able to do to it.
pub(crate) trait Subject {
    type Log: Log;

    /// Opens the log; each time the same one. Its clock reads `clock_ms`.
    fn open(&self, clock_ms: i64) -> Self::Log;

    /// Closes it in order.
    fn close(&self, log: Self::Log);

    /// Changes one byte of the stored payload of an entry of a closed log.
    fn change_payload(&self, position: Position);

    /// Changes one byte of the stored envelope of an entry of a closed log.
    fn change_envelope(&self, position: Position);

    /// Removes an entry from a closed log.
    fn remove(&self, position: Position);

    /// Makes the writes of the open log fail from some later one on.
    fn break_writes(&self, log: &Self::Log);
}

macro_rules! conformance {
    ($make:expr) => {
        conformance!($make, appending:
            offsets_are_dense_in_each_partition
            one_append_may_span_partitions
            what_was_appended_is_read_back
            what_is_durable_is_there_after_reopening
            concurrent_appends_share_commits_and_lose_nothing
            submissions_stand_in_the_order_of_submitting
            a_dropped_wait_does_not_take_entries_back
            reading_stops_at_the_limits
            reading_behind_the_head_gives_nothing
            unknown_partitions_are_refused
            the_watch_follows_the_head
            log_time_never_goes_back
            a_failed_write_poisons_the_log
        );
        conformance!($make, keeping:
            trimmed_entries_are_gone_and_the_rest_verifies
            a_wholly_trimmed_partition_goes_on_counting
            the_chain_verifies_across_reopening
            a_changed_payload_is_found
            a_changed_envelope_is_found
            a_removed_entry_is_found
            a_redacted_payload_verifies
            a_closed_log_is_the_same_incarnation_when_opened_again
        );
    };
    ($make:expr, $theme:ident: $($behaviour:ident)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $behaviour() {
                let run = $crate::log::conformance::$theme::$behaviour($make());
                tokio::time::timeout($crate::log::conformance::DEADLINE, run)
                    .await
                    .expect("ends in time");
            }
        )*
    };
}
pub(crate) use conformance;

pub(crate) const META: PartitionId = PartitionId::META;
pub(crate) const DATA: PartitionId = PartitionId::data(0);

/// An entry of the given size whose bytes follow from `tag`.
pub(crate) fn entry(tag: u64, size: usize) -> NewEntry {
    let mut payload = vec![0; size];
    blake3::Hasher::new().update(&tag.to_le_bytes()).finalize_xof().fill(&mut payload);
    NewEntry::new(EntryKind::Event, Offset::NONE, payload)
}

fn at(partition: PartitionId, offset: u64) -> Position {
    Position { partition, offset: Offset(offset) }
}

pub(crate) async fn fill<L: Log>(log: &L, partition: PartitionId, tags: std::ops::Range<u64>) {
    for tag in tags {
        log.append(vec![(partition, entry(tag, 100))]).await.expect("appends");
    }
}

fn payloads<L: Log>(log: &L, partition: PartitionId) -> Vec<Bytes> {
    let first = log.floor(partition).first;
    let entries = log.read(partition, first, usize::MAX, usize::MAX).expect("reads");
    entries.into_iter().map(|entry| entry.payload).collect()
}

fn sound<L: Log>(log: &L) -> u64 {
    let report = verify(log, |_| {});
    assert_eq!(report.broken, []);
    report.entries
}

fn broken<L: Log>(log: &L) -> Vec<Broken> {
    verify(log, |_| {}).broken
}
