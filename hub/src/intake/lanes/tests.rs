//! Verdicts over sequences, epochs and chains.

use hutong_schema::batch::Codec;
use proptest::prelude::*;

use super::*;

const KEY: LaneKey = (ResourceNo(1), 0);

fn code() -> ResourceCode {
    "303084122704/000001".parse().expect("a code")
}

/// A sender with its own chain.
#[derive(Clone)]
struct Sender {
    epoch: u32,
    seq: u64,
    chain: ChainHash,
}

#[derive(Clone)]
struct Sent {
    epoch: u32,
    header: BatchHeader,
    payload_hash: [u8; 32],
    chain: ChainHash,
}

impl Sender {
    fn new(epoch: u32) -> Self {
        Self { epoch, seq: 0, chain: batch::genesis(&code(), 0, epoch) }
    }

    fn send_kind(&mut self, kind: BatchKind, content: u8) -> Sent {
        self.seq += 1;
        let header = BatchHeader {
            seq: self.seq,
            kind,
            schema_version: 1,
            rows: 1,
            raw_len: 1,
            codec: Codec::Plain,
        };
        let payload_hash = [content; 32];
        self.chain = batch::extend(&self.chain, &header, &payload_hash);
        Sent { epoch: self.epoch, header, payload_hash, chain: self.chain }
    }

    fn send(&mut self, content: u8) -> Sent {
        self.send_kind(BatchKind::Rows, content)
    }
}

fn opened(epoch: u32) -> Lanes {
    let mut lanes = Lanes::default();
    lanes.open(KEY, None, LaneStart::fresh(&code(), 0, epoch));
    lanes
}

fn judge(lanes: &mut Lanes, sent: &Sent) -> Verdict {
    lanes.judge(Numbered {
        key: KEY,
        epoch: sent.epoch,
        header: &sent.header,
        payload_hash: &sent.payload_hash,
        chain: &sent.chain,
    })
}

fn refused(verdict: Verdict) -> (RefusalCode, Option<u64>) {
    let Verdict::Refuse(refused) = verdict else { panic!("expected a refusal, got {verdict:?}") };
    (refused.reason().expect("a known code"), refused.expected)
}

#[test]
fn the_next_batch_is_admitted_and_a_repeat_is_not_admitted_twice() {
    let (mut lanes, mut sender) = (opened(1), Sender::new(1));
    let (first, second) = (sender.send(1), sender.send(2));
    assert_eq!(judge(&mut lanes, &first), Verdict::Admit);
    assert_eq!(judge(&mut lanes, &first), Verdict::Repeat);
    assert_eq!(judge(&mut lanes, &second), Verdict::Admit);
    assert_eq!(judge(&mut lanes, &first), Verdict::Repeat);
}

#[test]
fn a_gap_is_answered_with_the_number_that_is_due() {
    let (mut lanes, mut sender) = (opened(1), Sender::new(1));
    assert_eq!(judge(&mut lanes, &sender.send(1)), Verdict::Admit);
    let _lost = sender.send(2);
    assert_eq!(refused(judge(&mut lanes, &sender.send(3))), (RefusalCode::Gap, Some(2)));
}

#[test]
fn the_same_number_with_other_content_is_a_fork() {
    let (mut lanes, mut sender) = (opened(1), Sender::new(1));
    let mut clone = sender.clone();
    assert_eq!(judge(&mut lanes, &sender.send(1)), Verdict::Admit);
    let other = clone.send(9);
    assert_eq!(refused(judge(&mut lanes, &other)).0, RefusalCode::Forked);
    assert_eq!(judge(&mut lanes, &sender.send(2)), Verdict::Admit);
    assert_eq!(refused(judge(&mut lanes, &other)).0, RefusalCode::Forked, "also behind the head");
    clone.seq = 2;
    assert_eq!(refused(judge(&mut lanes, &clone.send(9))).0, RefusalCode::Chain, "and before it");
}

#[test]
fn a_newer_epoch_closes_the_older_one() {
    let (mut lanes, mut old) = (opened(1), Sender::new(1));
    assert_eq!(judge(&mut lanes, &old.send(1)), Verdict::Admit);
    let at = lanes.open(KEY, None, LaneStart::fresh(&code(), 0, 2));
    assert_eq!((at.epoch, at.last_seq), (2, 0));
    assert_eq!(refused(judge(&mut lanes, &old.send(2))).0, RefusalCode::Fenced);
    assert_eq!(judge(&mut lanes, &Sender::new(2).send(1)), Verdict::Admit);
    let stale = lanes.open(KEY, None, LaneStart::fresh(&code(), 0, 1));
    assert_eq!(stale.epoch, 2, "an older epoch does not come back");
}

#[test]
fn what_the_views_know_counts_only_at_the_first_opening() {
    let mut sender = Sender::new(3);
    let (first, second) = (sender.send(1), sender.send(2));
    let loaded = LaneStart { epoch: 3, last_seq: 1, chain: first.chain, replacing: false };
    let fresh = LaneStart::fresh(&code(), 0, 3);
    let mut lanes = Lanes::default();
    assert_eq!(lanes.open(KEY, Some(loaded), fresh), loaded);
    assert_eq!(judge(&mut lanes, &first), Verdict::Repeat);
    assert_eq!(judge(&mut lanes, &second), Verdict::Admit);
    assert_eq!(lanes.open(KEY, Some(loaded), fresh).last_seq, 2, "the lane has moved on");
    assert_eq!(judge(&mut lanes, &second), Verdict::Repeat);
    let mut fork = Sender { epoch: 3, seq: 0, chain: fresh.chain };
    assert_eq!(refused(judge(&mut lanes, &fork.send(7))).0, RefusalCode::Forked);
}

#[test]
fn a_loaded_lane_of_an_older_epoch_is_not_continued() {
    let loaded = LaneStart { epoch: 1, last_seq: 9, chain: [1; 32], replacing: true };
    let fresh = LaneStart::fresh(&code(), 0, 2);
    assert_eq!(Lanes::default().open(KEY, Some(loaded), fresh), fresh);
}

#[test]
fn a_replacement_ends_only_after_it_began() {
    let (mut lanes, mut sender) = (opened(1), Sender::new(1));
    let early = sender.clone().send_kind(BatchKind::ReplaceEnd, 0);
    assert_eq!(refused(judge(&mut lanes, &early)).0, RefusalCode::Protocol);
    for kind in
        [BatchKind::ReplaceBegin, BatchKind::Rows, BatchKind::ReplaceEnd, BatchKind::Checkpoint]
    {
        assert_eq!(judge(&mut lanes, &sender.send_kind(kind, 0)), Verdict::Admit, "{kind:?}");
    }
    let again = sender.send_kind(BatchKind::ReplaceEnd, 0);
    assert_eq!(refused(judge(&mut lanes, &again)).0, RefusalCode::Protocol);
}

#[test]
fn nothing_is_taken_before_the_lane_is_open() {
    let mut lanes = Lanes::default();
    assert_eq!(refused(judge(&mut lanes, &Sender::new(1).send(1))).0, RefusalCode::Protocol);
    let mut zero = Sender::new(1).send(1);
    zero.header.seq = 0;
    assert_eq!(refused(judge(&mut opened(1), &zero)).0, RefusalCode::Protocol);
}

proptest! {
    /// However a network repeats, drops and reorders a sender's batches: each is admitted exactly
    /// once, in order, and nothing else is.
    #[test]
    fn every_batch_is_admitted_once_and_in_order(picks in prop::collection::vec(0usize..40, 0..400)) {
        let mut sender = Sender::new(1);
        let batches: Vec<_> = (0..40).map(|content| sender.send(content)).collect();
        let mut lanes = opened(1);
        let mut admitted = 0;
        for pick in picks {
            match judge(&mut lanes, &batches[pick]) {
                Verdict::Admit => {
                    prop_assert_eq!(pick, admitted);
                    admitted += 1;
                }
                Verdict::Repeat => prop_assert!(pick < admitted),
                Verdict::Refuse(refused) => {
                    prop_assert!(pick > admitted);
                    prop_assert_eq!(refused.expected, Some(admitted as u64 + 1));
                }
            }
        }
    }

    /// Two machines with one state: once they differ, only one of them gets on.
    #[test]
    fn of_two_forks_only_one_gets_on(common in 0u8..100, picks in prop::collection::vec(any::<bool>(), 1..60)) {
        let mut first = Sender::new(1);
        let mut lanes = opened(1);
        for content in 0..common {
            prop_assert_eq!(judge(&mut lanes, &first.send(content)), Verdict::Admit);
        }
        let mut second = first.clone();
        let mut admitted = [0, 0];
        for pick in picks {
            let (sender, content) = if pick { (&mut first, 200) } else { (&mut second, 201) };
            let verdict = judge(&mut lanes, &sender.clone().send(content));
            if verdict == Verdict::Admit {
                sender.send(content);
                admitted[usize::from(pick)] += 1;
            }
        }
        prop_assert!(admitted[0] == 0 || admitted[1] == 0, "{admitted:?}");
    }
}
