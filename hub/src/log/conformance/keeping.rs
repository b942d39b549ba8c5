//! Reopening, trimming and verifying.

use bytes::Bytes;

use super::{DATA, META, Subject, at, broken, entry, fill, payloads, sound};
use crate::log::{
    Broken, BrokenReason, EntryKind, Log, LogError, NewEntry, Offset, Redaction, payload_hash,
    verify,
};

pub(crate) async fn trimmed_entries_are_gone_and_the_rest_verifies<S: Subject>(subject: S) {
    let log = subject.open(1);
    fill(&log, DATA, 0..10).await;
    let kept = payloads(&log, DATA)[6..].to_vec();
    assert_eq!(log.trim(DATA, Offset(7)).expect("trims").first, Offset(7));
    assert_eq!(log.trim(DATA, Offset(3)).expect("trims").first, Offset(7), "never back");
    let log = {
        subject.close(log);
        subject.open(1)
    };
    assert_eq!(log.floor(DATA).first, Offset(7));
    assert!(matches!(
        log.read(DATA, Offset(6), 10, 10),
        Err(LogError::Trimmed { first: Offset(7), .. })
    ));
    assert_eq!(payloads(&log, DATA), kept);
    assert_eq!(sound(&log), 4);
}

pub(crate) async fn a_wholly_trimmed_partition_goes_on_counting<S: Subject>(subject: S) {
    let log = subject.open(1);
    fill(&log, DATA, 0..5).await;
    let marks = log.high_water();
    let floor = log.trim(DATA, Offset(100)).expect("trims");
    assert_eq!(floor.first, Offset(6), "not beyond the head");
    subject.close(log);
    let log = subject.open(1);
    assert_eq!(log.high_water(), marks);
    assert_eq!(log.append(vec![(DATA, entry(6, 10))]).await.expect("appends"), [at(DATA, 6)]);
    assert_eq!(sound(&log), 1);
}

pub(crate) async fn the_chain_verifies_across_reopening<S: Subject>(subject: S) {
    for round in 0..3 {
        let log = subject.open(1);
        fill(&log, DATA, 0..3).await;
        fill(&log, META, 0..2).await;
        assert_eq!(sound(&log), (round + 1) * 5);
        subject.close(log);
    }
}

pub(crate) async fn a_changed_payload_is_found<S: Subject>(subject: S) {
    let log = prepared(&subject, |subject| subject.change_payload(at(DATA, 2))).await;
    assert_eq!(broken(&log), [Broken { position: at(DATA, 2), reason: BrokenReason::Payload }]);
}

pub(crate) async fn a_changed_envelope_is_found<S: Subject>(subject: S) {
    let log = prepared(&subject, |subject| subject.change_envelope(at(DATA, 2))).await;
    let broken = broken(&log);
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].position, at(DATA, 2));
}

pub(crate) async fn a_removed_entry_is_found<S: Subject>(subject: S) {
    let log = prepared(&subject, |subject| subject.remove(at(DATA, 2))).await;
    let broken = broken(&log);
    assert_eq!(broken.len(), 1);
    assert_eq!(broken[0].position, at(DATA, 2));
    assert!(matches!(broken[0].reason, BrokenReason::Unreadable(_)));
}

/// Three entries in each of two partitions, then something done to the closed log.
async fn prepared<S: Subject>(subject: &S, act: impl FnOnce(&S)) -> S::Log {
    let log = subject.open(1);
    fill(&log, DATA, 0..3).await;
    fill(&log, META, 0..3).await;
    assert_eq!(sound(&log), 6);
    subject.close(log);
    act(subject);
    subject.open(1)
}

pub(crate) async fn a_redacted_payload_verifies<S: Subject>(subject: S) {
    let log = prepared(&subject, |subject| subject.change_payload(at(DATA, 2))).await;
    let target = log.read_one(at(DATA, 2)).expect("reads").expect("is there");
    let redaction = Redaction {
        position: target.position,
        old_hash: target.envelope.payload_hash,
        new_hash: payload_hash(&target.payload),
        basis: "a legal basis".to_owned(),
    };
    let event = NewEntry::new(EntryKind::Redact(redaction), Offset::NONE, Bytes::new());
    log.append(vec![(META, event)]).await.expect("appends");
    let report = verify(&log, |_| {});
    assert_eq!((report.broken, report.redacted), (Vec::new(), 1));
}

pub(crate) async fn a_closed_log_is_the_same_incarnation_when_opened_again<S: Subject>(subject: S) {
    let log = subject.open(1_000);
    let (incarnation, history) = (log.incarnation(), log.incarnations());
    fill(&log, DATA, 0..1).await;
    subject.close(log);
    let log = subject.open(2_000);
    assert_eq!(log.incarnation(), incarnation);
    assert_eq!(log.incarnations(), history);
}
