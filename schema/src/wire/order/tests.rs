//! The tables of states, message by message. What holds for any sequence of messages is tested by
//! `fuzz/targets/session.rs`, which `tests/tests/corpus.rs` plays as well.

use super::{
    control::QUESTIONS_MAX,
    node::{self, Acknowledged, Attending, Said},
    publish::{self, Stored, UNDER_WAY_MAX},
    *,
};
use crate::{
    batch::{BatchHeader, BatchKind, Codec},
    limits::{CONTROL_FRAME_BYTES_MAX, FRAME_BYTES_MAX, REJECTIONS_MAX},
    row::FieldId,
    wire::{
        frame::{self, Message},
        v1::{
            Refused,
            control::{DigestAnswer, DigestFound, Hello, RootsHeld},
            kind,
            publish::{Ack, Batch, PublishClose, RejectedRow},
            subscribe::{Credit, SubscribeOpen},
        },
    },
};

/// The content of a frame of each message that there is.
fn every_message() -> Vec<Vec<u8>> {
    let golden = include_str!("../../../tests/golden/v1.txt");
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    let frame = |line: &str| {
        let (_, hex) = line.split_once(' ').unwrap();
        let bytes: Vec<u8> = (0..hex.len()).step_by(2).map(|at| byte(hex, at)).collect();
        bytes[frame::PREFIX..].to_vec()
    };
    let messages: Vec<Vec<u8>> = golden.lines().map(frame).collect();
    assert!(messages.len() > 40, "the golden file holds every message");
    messages
}

fn content<M: Message + serde::Serialize>(message: &M) -> Vec<u8> {
    frame::encode(message).unwrap()[frame::PREFIX..].to_vec()
}

/// Exactly these kinds are taken by a machine in this state; every other is refused as HT-1005, and after
/// that all are.
fn takes<M>(
    state: &str,
    machine: impl Fn() -> M,
    on: impl Fn(&mut M, &[u8]) -> Result<(), Disorder>,
    taken: &[u8],
) {
    for content in every_message() {
        let mut machine = machine();
        let heard = on(&mut machine, &content);
        assert_eq!(heard.is_ok(), taken.contains(&content[0]), "{state}: {:#04x}", content[0]);
        let Err(disorder) = heard else { continue };
        assert_eq!(disorder.code(), RefusalCode::Protocol, "{state}: {disorder}");
        for content in every_message() {
            assert!(on(&mut machine, &content).is_err(), "{state}: refused, then {}", content[0]);
        }
    }
}

fn hello() -> Vec<u8> {
    every_message().into_iter().find(|content| content[0] == kind::HELLO).unwrap()
}

fn judging() -> Control<u32> {
    let mut control = Control::default();
    control.hello(&hello()).unwrap();
    control
}

fn open() -> Control<u32> {
    let mut control = judging();
    control.let_in();
    control
}

#[test]
fn the_control_stream_begins_with_the_greeting_and_only_once() {
    let hello = |control: &mut Control<u32>, content: &[u8]| control.hello(content).map(|_| ());
    let on = |control: &mut Control<u32>, content: &[u8]| control.on(content).map(|_| ());
    takes("greeting", Control::default, hello, &[kind::HELLO]);
    takes("greeting, as if it had come", Control::default, on, &[]);
    takes("judging", judging, on, &[]);
    takes("judging, greeted again", judging, hello, &[]);
    takes("open, greeted again", open, hello, &[]);
    let taken =
        [kind::HEARTBEAT, kind::DIGEST_ANSWER, kind::ROOTS_HELD, kind::HEALTH, kind::GOODBYE];
    takes("open", open, on, &taken);
    let over = || {
        let mut control = open();
        control.close();
        control
    };
    takes("over", over, on, &[]);
    takes("over, greeted again", over, hello, &[]);
}

#[test]
fn a_greeting_without_a_common_version_is_refused_as_that() {
    let hello: Hello = frame::expect(&hello()).unwrap();
    let newer = content(&Hello { min: 7, max: 9, ..hello });
    let mut control = Control::<u32>::default();
    assert_eq!(control.hello(&newer).unwrap_err().code(), RefusalCode::Version);
    control.let_in();
    assert_eq!(control.limit(), None, "who was refused is not let in");
}

#[test]
fn frames_of_a_stranger_are_small_and_nothing_is_read_while_it_is_judged() {
    assert_eq!(Control::<u32>::default().limit(), Some(crate::limits::GREETING_BYTES_MAX));
    assert_eq!(judging().limit(), None);
    assert_eq!(open().limit(), Some(CONTROL_FRAME_BYTES_MAX));
}

#[test]
fn an_answer_reaches_who_asked_and_nobody_twice() {
    let mut control = open();
    let first = control.ask(10, |_| true).unwrap();
    let second = control.ask(20, |_| true).unwrap();
    let answer = |ask| content(&DigestAnswer { ask, found: DigestFound::Unknown });
    let heard = |asker| control::Heard::Answer(asker, DigestFound::Unknown);
    assert_eq!(control.on(&answer(second)).unwrap(), heard(20));
    assert_eq!(control.on(&answer(second)).unwrap(), control::Heard::Unasked);
    assert_eq!(control.on(&answer(first)).unwrap(), heard(10));
    assert_eq!(control.on(&answer(77)).unwrap(), control::Heard::Unasked);
    assert_eq!(judging().ask(1, |_| true), None, "a node that is not let in is asked nothing");
}

#[test]
fn no_more_questions_are_kept_than_their_limit() {
    let mut control = open();
    let asked = (0..2 * QUESTIONS_MAX as u32).filter_map(|who| control.ask(who, |_| true));
    assert_eq!(asked.count(), QUESTIONS_MAX);
    assert!(control.ask(9, |who| *who > 0).is_some(), "one asker has given up");
    assert_eq!(control.questions(), QUESTIONS_MAX);
}

#[test]
fn more_roots_than_an_exchange_has_are_refused() {
    let held = |roots| content(&RootsHeld { fingerprints: vec![[1; 32]; roots] });
    assert!(open().on(&held(16)).is_ok());
    assert!(matches!(open().on(&held(17)), Err(Disorder::TooMany { found: 17, limit: 16, .. })));
}

#[test]
fn a_stream_begins_with_an_opening_a_question_or_a_command() {
    let taken = [
        kind::PUBLISH_OPEN,
        kind::SUBSCRIBE_OPEN,
        kind::LOOKUP,
        kind::VERIFY,
        kind::CATALOGUE_APPLY,
        kind::CATALOGUE_LIST,
        kind::GRANT_LIST,
    ];
    for content in every_message() {
        let read = Opening::read(&content);
        assert_eq!(read.is_ok(), taken.contains(&content[0]), "{:#04x}", content[0]);
    }
    assert!(Opening::read(&[kind::GRANT_LIST, 0]).is_err(), "a byte behind the message");
    assert!(Opening::read(&[]).is_err());
}

fn batch(seq: u64, payload: &[u8]) -> Vec<u8> {
    let (kind, codec) = (BatchKind::Rows, Codec::Plain);
    let header = BatchHeader { seq, kind, schema_version: 1, rows: 1, raw_len: 1, codec };
    content(&Batch { header, chain: [seq as u8; 32], payload })
}

fn stored(seq: u64, rejected: usize) -> Result<Stored, Refused> {
    let row = RejectedRow { seq, index: 0, field: FieldId(1), reason: 1 };
    Ok(Stored { seq, chain: [seq as u8; 32], rejected: vec![row; rejected] })
}

fn busy() -> Refused {
    Refused::new(RefusalCode::Busy, "full")
}

/// A stream with these batches under way.
fn publishing(credit: u64, batches: std::ops::RangeInclusive<u64>) -> Publish {
    let mut publish = Publish::new(credit);
    for seq in batches {
        assert!(matches!(publish.on(&batch(seq, b"12345")), Ok(publish::Heard::Batch(_))));
        publish.taken();
    }
    publish
}

fn through(publish: &mut Publish) -> Option<u64> {
    publish.ack().map(|ack| ack.stored_through)
}

#[test]
fn a_publish_stream_takes_batches_until_it_is_closed() {
    let on = |publish: &mut Publish, content: &[u8]| publish.on(content).map(|_| ());
    takes("taking", || Publish::new(9), on, &[kind::BATCH, kind::PUBLISH_CLOSE]);
    let judging = || {
        let mut publish = Publish::new(9);
        publish.on(&batch(1, b"x")).unwrap();
        publish
    };
    takes("judging", judging, on, &[]);
    let draining = || {
        let mut publish = publishing(9, 1..=1);
        publish.end();
        publish
    };
    takes("draining", draining, on, &[]);
    let over = || {
        let mut publish = Publish::new(9);
        publish.end();
        publish
    };
    takes("over", over, on, &[]);
    assert!(Publish::new(9).on(&[kind::PUBLISH_CLOSE, 0]).is_err(), "a byte behind the message");
}

#[test]
fn no_frame_is_read_without_room_for_it() {
    let mut publish = publishing(10, 1..=1);
    assert_eq!(publish.limit(), Some(FRAME_BYTES_MAX));
    publish.on(&batch(2, b"12345")).unwrap();
    assert_eq!(publish.limit(), None, "while a batch is judged");
    publish.taken();
    assert_eq!(publish.limit(), None, "the credit is used up");
    publish.outcome(stored(1, 0));
    assert_eq!(publish.limit(), Some(FRAME_BYTES_MAX));
    let mut small = Publish::new(u64::MAX);
    for seq in 1..=UNDER_WAY_MAX as u64 {
        small.on(&batch(seq, b"")).unwrap();
        small.taken();
    }
    assert_eq!(small.limit(), None, "batches without a payload cost credit nowhere, but room");
    assert!(small.takes());
}

#[test]
fn acknowledgements_are_joined_and_follow_what_is_stored() {
    let mut publish = publishing(100, 1..=3);
    assert_eq!(through(&mut publish), None, "nothing is stored yet");
    publish.outcome(stored(1, 2));
    publish.outcome(stored(2, 1));
    let ack = publish.ack().unwrap();
    assert_eq!((ack.stored_through, ack.settled_through, ack.chain), (2, 2, [2; 32]));
    assert_eq!(ack.rejected.iter().map(|row| row.seq).collect::<Vec<_>>(), [1, 1, 2]);
    assert_eq!(through(&mut publish), None);
    publish.outcome(stored(3, 0));
    assert_eq!(through(&mut publish), Some(3));
    assert_eq!(publish.under_way(), (0, 0));
    publish.outcome(stored(4, 0));
    assert_eq!(through(&mut publish), None, "an outcome of nothing is none");
}

#[test]
fn rejected_rows_that_do_not_fit_follow_in_the_next_acknowledgement() {
    let mut publish = publishing(100, 1..=3);
    publish.outcome(stored(1, REJECTIONS_MAX - 1));
    publish.outcome(stored(2, 2));
    assert!(!publish.has_room());
    let first = publish.ack().unwrap();
    assert_eq!((first.stored_through, first.rejected.len()), (1, REJECTIONS_MAX - 1));
    publish.outcome(stored(3, 0));
    let second = publish.ack().unwrap();
    assert_eq!((second.stored_through, second.rejected.len()), (3, 2));
}

#[test]
fn a_repeat_of_an_older_batch_takes_no_acknowledgement_back() {
    let mut publish = publishing(100, 1..=3);
    publish.outcome(stored(11, 0));
    publish.outcome(stored(5, 1));
    let ack = publish.ack().unwrap();
    assert_eq!((ack.stored_through, ack.chain, ack.rejected.len()), (11, [11; 32], 1));
    publish.outcome(stored(4, 0));
    assert_eq!(through(&mut publish), Some(11));
}

#[test]
fn what_is_refused_is_told_behind_what_was_stored_before_it() {
    let mut publish = publishing(100, 1..=2);
    publish.on(&batch(3, b"")).unwrap();
    publish.not_taken(busy());
    assert_eq!(publish.ended(), None);
    publish.outcome(stored(1, 0));
    assert_eq!((through(&mut publish), publish.ended()), (Some(1), None));
    publish.outcome(stored(2, 0));
    assert_eq!((publish.ended(), through(&mut publish)), (None, Some(2)));
    assert_eq!(publish.ended(), Some(Err(busy())));
}

#[test]
fn what_has_no_place_is_refused_behind_what_was_stored_before_it() {
    for broken in [&[kind::BATCH, 1][..], &[kind::PUBLISH_CLOSE, 0], &[kind::ACK], &[0xFF], &[]] {
        let mut publish = publishing(100, 1..=2);
        let disorder = publish.on(broken).unwrap_err();
        assert_eq!((publish.limit(), publish.takes(), publish.ended()), (None, false, None));
        assert!(publish.on(&batch(3, b"")).is_err(), "nothing is taken behind it");
        publish.outcome(stored(1, 0));
        assert_eq!((through(&mut publish), publish.ended()), (Some(1), None));
        publish.outcome(stored(2, 0));
        assert_eq!((publish.ended(), through(&mut publish)), (None, Some(2)));
        let refused = publish.ended().unwrap().unwrap_err();
        assert_eq!(refused, Refused::from(&disorder), "the first is told");
        assert_eq!(refused.reason(), Some(RefusalCode::Protocol));
    }
}

#[test]
fn a_stream_that_cannot_be_read_on_is_refused_behind_what_was_stored_before() {
    let slow = Refused::new(RefusalCode::Slow, "half a frame");
    let mut publish = publishing(100, 1..=1);
    publish.stop(slow.clone());
    publish.outcome(stored(1, 0));
    assert_eq!((through(&mut publish), publish.ended()), (Some(1), Some(Err(slow.clone()))));
    publish.stop(busy());
    assert_eq!(publish.ended(), Some(Err(slow)), "it is over");
}

#[test]
fn of_two_refusals_the_one_of_the_older_batch_is_told() {
    let forked = Refused::new(RefusalCode::Forked, "other content");
    let mut publish = publishing(100, 1..=3);
    publish.on(&batch(4, b"")).unwrap();
    publish.not_taken(busy());
    publish.outcome(stored(1, 0));
    publish.outcome(Err(forked.clone()));
    assert_eq!((publish.ended(), through(&mut publish)), (None, Some(1)));
    assert_eq!(publish.ended(), Some(Err(forked.clone())));
    publish.outcome(stored(3, 0));
    assert_eq!((through(&mut publish), publish.ended()), (None, Some(Err(forked))));
}

#[test]
fn what_is_under_way_when_a_stream_is_closed_is_acknowledged() {
    let mut publish = publishing(100, 1..=1);
    assert_eq!(publish.on(&content(&PublishClose {})).unwrap(), publish::Heard::Close);
    assert_eq!(publish.ended(), None);
    publish.outcome(stored(1, 0));
    assert_eq!((through(&mut publish), publish.ended()), (Some(1), Some(Ok(()))));
}

fn subscription(credit_bytes: u64) -> SubscribeOpen {
    SubscribeOpen {
        grant: crate::grant::GrantId(1),
        cursor: None,
        consistent_at: None,
        resume: None,
        credit_bytes,
    }
}

#[test]
fn a_subscriber_says_credit_and_reports() {
    let machine = || Subscribe::new(&subscription(1)).unwrap();
    let on = |subscribe: &mut Subscribe, content: &[u8]| subscribe.on(content).map(|_| ());
    takes("delivering", machine, on, &[kind::CREDIT, kind::CHECKPOINT_REPORT]);
    let over = || {
        let mut subscribe = machine();
        subscribe.end();
        subscribe
    };
    takes("over", over, on, &[]);
}

#[test]
fn what_goes_beyond_the_credit_counts_against_the_next() {
    let mut subscribe = Subscribe::new(&subscription(100)).unwrap();
    subscribe.sent(70);
    assert!(subscribe.may_send());
    subscribe.sent(70);
    assert!(!subscribe.may_send());
    let credit = |bytes| content(&Credit { bytes, cursor: None });
    subscribe.on(&credit(40)).unwrap();
    assert!(!subscribe.may_send(), "40 were sent too many, 40 were given");
    subscribe.on(&credit(1)).unwrap();
    assert!(subscribe.may_send());
    subscribe.on(&credit(u64::MAX)).unwrap();
    subscribe.sent(u64::MAX - 1);
    assert!(!subscribe.may_send(), "a credit has an end, however large");
    assert!(!Subscribe::new(&subscription(0)).unwrap().may_send());
}

#[test]
fn a_hub_says_what_has_a_place_on_the_control_stream() {
    let on = |attending: &mut Attending, content: &[u8]| attending.on(content).map(|_| ());
    let taken = [
        kind::HEARTBEAT_REPLY,
        kind::GRANTS_CHANGED,
        kind::DIGEST_ASK,
        kind::TRUSTED_ROOTS,
        kind::REPUBLISH,
        kind::GOODBYE,
        kind::REFUSED,
    ];
    takes("attending", Attending::default, on, &taken);
}

#[test]
fn a_hub_that_asks_without_end_is_not_read_until_something_is_answered() {
    let ask = every_message().into_iter().find(|content| content[0] == kind::DIGEST_ASK).unwrap();
    let mut attending = Attending::default();
    for _ in 0..node::QUESTIONS_MAX {
        assert!(attending.limit().is_some());
        assert!(matches!(attending.on(&ask), Ok(Said::Ask(_))));
    }
    assert_eq!(attending.limit(), None);
    attending.answered();
    assert_eq!(attending.limit(), Some(CONTROL_FRAME_BYTES_MAX));
}

#[test]
fn a_hub_acknowledges_what_was_sent_and_never_goes_back() {
    let ack = |seq| Ack {
        stored_through: seq,
        chain: [0; 32],
        settled_through: seq,
        rejected: Vec::new(),
    };
    let mut order = Acknowledged::new(4);
    assert!(matches!(order.on(&ack(5)), Err(Disorder::Unsent { found: 5, sent: 4 })));
    order.sent(5);
    order.sent(6);
    order.on(&ack(6)).unwrap();
    order.on(&ack(6)).unwrap();
    assert!(matches!(order.on(&ack(5)), Err(Disorder::Backwards { found: 5, before: 6 })));
}
