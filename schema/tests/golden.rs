//! Golden bytes: the frame of a sample of every message must stay as it is for ever.
//!
//! After adding a message, run with `HUTONG_BLESS=1` and commit the new lines. A changed line is a
//! broken protocol, not a new golden file.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::BTreeMap;

use hutong_schema::{
    batch::{BatchHeader, BatchKind, Codec},
    digest::{BucketSummary, Digest},
    grant::{GrantId, Target},
    library::LibraryId,
    row::FieldId,
    wire::{
        frame::{self, Message},
        v1::{ask::*, command::*, control::*, health::*, publish::*, subscribe::*, *},
    },
};
use serde::{Deserialize, Serialize};

const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.txt");

/// Frames by name; decoding each must give the sample back.
#[derive(Default)]
struct Frames(BTreeMap<&'static str, Vec<u8>>);

impl Frames {
    fn add<M>(&mut self, name: &'static str, message: M)
    where
        M: Message + Serialize + for<'a> Deserialize<'a> + PartialEq + std::fmt::Debug,
    {
        let bytes = frame::encode(&message).unwrap();
        let back: M = frame::expect(&bytes[frame::PREFIX..]).unwrap();
        assert_eq!(back, message, "{name}");
        assert!(self.0.insert(name, bytes).is_none(), "{name} stands twice");
    }

    fn add_borrowed<M: Message + Serialize>(&mut self, name: &'static str, message: &M) {
        assert!(self.0.insert(name, frame::encode(message).unwrap()).is_none());
    }
}

fn cursor() -> Cursor {
    Cursor { incarnation: 3, generation: 2, seq: 70_000, feed_hash: [7; 16] }
}

fn packed() -> Packed<'static> {
    Packed { rows: 2, raw_len: 300, codec: Codec::Lz4, payload: b"payload" }
}

fn key() -> Key {
    Key(b"k1".to_vec())
}

fn control(frames: &mut Frames) {
    let resource = || "303084122704/000001".parse().unwrap();
    frames.add(
        "hello",
        Hello {
            min: 1,
            max: 1,
            software: "hutong-agent/0.1.0".into(),
            instance: [9; 16],
            clock_ms: 1_795_000_000_000,
        },
    );
    frames.add(
        "welcome",
        Welcome {
            version: 1,
            software: "hutong-hub/0.1.0".into(),
            hub_time_ms: 1_795_000_000_001,
            exchange: "sample".into(),
            incarnation: 1,
            heartbeat_ms: 15_000,
        },
    );
    frames.add(
        "refused",
        Refused::new(RefusalCode::Gap, "batch 7 came where 5 was due")
            .expecting(5)
            .retry_after(250),
    );
    frames.add(
        "heartbeat",
        Heartbeat {
            clock_ms: -1,
            queued_batches: 300,
            queued_bytes: 70_000,
            oldest_unacked_ms: 0,
            resources: vec![ResourceReport {
                resource: resource(),
                read: 10,
                accepted: 9,
                rejected: 1,
                trouble: Some("waits".into()),
            }],
        },
    );
    frames.add("heartbeat_reply", HeartbeatReply { hub_time_ms: 5 });
    frames.add("goodbye", Goodbye { reason: "done".into() });
    frames.add("grants_changed", GrantsChanged {});
    frames.add(
        "digest_ask_root",
        DigestAsk { ask: 1, subject: Subject::Published(resource()), depth: Depth::Root },
    );
    frames.add(
        "digest_ask_leaves",
        DigestAsk {
            ask: 2,
            subject: Subject::Subscription(GrantId(4)),
            depth: Depth::Leaves { bucket: 4095, after: Some(key()) },
        },
    );
    frames.add(
        "digest_ask_buckets",
        DigestAsk { ask: 3, subject: Subject::Subscription(GrantId(4)), depth: Depth::Buckets },
    );
    frames.add("digest_answer_unknown", DigestAnswer { ask: 1, found: DigestFound::Unknown });
    frames.add(
        "digest_answer_root",
        DigestAnswer {
            ask: 1,
            found: DigestFound::Root {
                digest: Digest { count: 3, root: [1; 32] },
                at: Standing::Published { epoch: 1, seq: 2 },
            },
        },
    );
    frames.add(
        "digest_answer_buckets",
        DigestAnswer {
            ask: 1,
            found: DigestFound::Buckets {
                at: Standing::Subscribed(None),
                buckets: vec![(5, BucketSummary { count: 1, hash: [2; 32] })],
            },
        },
    );
    frames.add(
        "digest_answer_leaves",
        DigestAnswer {
            ask: 1,
            found: DigestFound::Leaves {
                at: Standing::Subscribed(Some(cursor())),
                leaves: vec![(key(), [3; 32])],
                complete: true,
            },
        },
    );
    frames.add(
        "health",
        Health {
            software: "hutong-agent/0.1.0".into(),
            host: Host {
                system: "Sample OS 10".into(),
                kernel: "4.19.90".into(),
                processors: 2,
                memory_bytes: 4 << 30,
                disk_bytes: 500 << 30,
                disk_free_bytes: 100 << 30,
            },
            queues: Queues { batches: 300, bytes: 70_000, cap_bytes: 256 << 20, oldest_ms: 5_000 },
            troubles_in_all: 2,
            need_person: 1,
            troubles: vec![
                Trouble {
                    of: "303084122704/000001".into(),
                    code: Some(1_105),
                    text: "cloned".into(),
                    needs_person: true,
                },
                Trouble {
                    of: "grant 7".into(),
                    code: None,
                    text: "waits".into(),
                    needs_person: false,
                },
            ],
        },
    );
    frames.add("roots_held", RootsHeld { fingerprints: vec![[5; 32], [6; 32]] });
    frames.add("trusted_roots", TrustedRoots { roots: vec![Root(vec![0x30, 1, 2])] });
    frames.add("republish", Republish { resource: resource(), keys: vec![key()] });
}

fn publishing(frames: &mut Frames) {
    let header = BatchHeader {
        seq: 1,
        kind: BatchKind::Rows,
        schema_version: 1,
        rows: 4096,
        raw_len: 1 << 20,
        codec: Codec::Zstd,
    };
    frames.add(
        "publish_open",
        PublishOpen {
            resource: "303084122704/000001".parse().unwrap(),
            shard: 0,
            epoch: 0,
            schema_version: 1,
        },
    );
    frames.add(
        "publish_ready",
        PublishReady {
            epoch: 1,
            last_seq: 2,
            chain: [4; 32],
            settled_through: 2,
            has_rows: true,
            credit_bytes: 1 << 23,
        },
    );
    frames.add_borrowed("batch", &Batch { header, chain: [5; 32], payload: b"payload" });
    frames.add(
        "ack",
        Ack {
            stored_through: 9,
            chain: [6; 32],
            settled_through: 8,
            rejected: vec![RejectedRow { seq: 9, index: 4, field: FieldId(2), reason: 3 }],
        },
    );
    frames.add("publish_close", PublishClose {});
}

fn subscribing(frames: &mut Frames) {
    frames.add(
        "subscribe_open",
        SubscribeOpen {
            grant: GrantId(1),
            cursor: Some(cursor()),
            consistent_at: Some(cursor()),
            resume: Some(SnapshotResume { start: cursor(), last_key: key() }),
            credit_bytes: 1,
        },
    );
    frames.add(
        "subscribe_ready_snapshot",
        SubscribeReady {
            view: Json::of(&"view").unwrap(),
            mode: DeliveryMode::Snapshot { start: cursor(), because: Some("x".into()) },
        },
    );
    frames.add(
        "subscribe_ready_resume",
        SubscribeReady {
            view: Json::of(&"view").unwrap(),
            mode: DeliveryMode::Resume { start: cursor() },
        },
    );
    frames.add(
        "subscribe_ready_tail",
        SubscribeReady { view: Json::of(&"view").unwrap(), mode: DeliveryMode::Tail },
    );
    frames.add_borrowed(
        "snapshot_chunk",
        &SnapshotChunk { at: cursor(), last_key: b"k9", block: packed() },
    );
    frames.add("snapshot_end", SnapshotEnd { start: cursor(), consistent_at: cursor() });
    frames.add_borrowed(
        "tail_batch",
        &TailBatch { cursor: cursor(), from_seq: 69_999, block: packed() },
    );
    frames.add("checkpoint_mark", CheckpointMark { cursor: cursor() });
    frames.add("withdrawn", Withdrawn { reason: "ended".into() });
    frames.add_borrowed("repair", &Repair { at: cursor(), block: packed() });
    frames.add("credit", Credit { bytes: 1 << 20, cursor: Some(cursor()) });
    frames.add(
        "checkpoint_report",
        CheckpointReport { cursor: cursor(), digest: Digest { count: 2, root: [8; 32] } },
    );
}

fn asking(frames: &mut Frames) {
    let lookup = |by| Lookup {
        target: Target::Library(LibraryId::POPULATION),
        by,
        reason: "case 1".into(),
        limit: 10,
    };
    frames.add("lookup_key", lookup(LookupBy::Key(key())));
    frames.add("lookup_index", lookup(LookupBy::Index { field: FieldId(2), value: b"v".to_vec() }));
    frames.add("lookup_box", lookup(LookupBy::Box { bounds: [123.5, 41.9, 125.25, 43.5] }));
    frames.add("lookup_nearest", lookup(LookupBy::Nearest { point: [123.75, 42.25] }));
    frames.add(
        "lookup_answer",
        LookupAnswer {
            grant: GrantId(1),
            rows: vec![FoundRow { key: key(), row: vec![2, 0, 1, b'v'] }],
            more: false,
        },
    );
    frames.add(
        "verify",
        Verify {
            target: Target::Resource("303084122704/000001".parse().unwrap()),
            key: key(),
            claims: vec![Claim { field: FieldId(2), value: b"v".to_vec() }],
            reason: "case 1".into(),
        },
    );
    frames.add(
        "verify_answer",
        VerifyAnswer {
            grant: GrantId(1),
            verdicts: vec![Verdict::Match, Verdict::Mismatch, Verdict::Absent],
        },
    );
    frames.add("catalogue_apply", CatalogueApply { entries: Json::of(&[1]).unwrap() });
    frames.add(
        "catalogue_applied",
        CatalogueApplied {
            changed: 1,
            unchanged: 2,
            warnings: vec![("303084122704/000001".parse().unwrap(), "w".into())],
        },
    );
    frames.add(
        "catalogue_list",
        CatalogueList { own: true, after: Some("303084122704/000001".parse().unwrap()) },
    );
    frames.add("catalogue_page", CataloguePage { entries: Json::of(&[1]).unwrap(), next: None });
    frames.add("grant_list", GrantList {});
    frames.add("grant_page", GrantPage { grants: Json::of(&[1]).unwrap() });
}

#[test]
fn frames_are_as_they_were() {
    let mut frames = Frames::default();
    control(&mut frames);
    publishing(&mut frames);
    subscribing(&mut frames);
    asking(&mut frames);
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text: String =
        frames.0.iter().map(|(name, bytes)| format!("{name} {}\n", hex(bytes))).collect();
    if std::env::var_os("HUTONG_BLESS").is_some() {
        std::fs::create_dir_all(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden")).unwrap();
        std::fs::write(FILE, &text).unwrap();
    }
    let golden = std::fs::read_to_string(FILE).expect("golden file");
    for (found, expected) in text.lines().zip(golden.lines()) {
        assert_eq!(found, expected);
    }
    assert_eq!(text.lines().count(), golden.lines().count(), "a message was added or lost");
}

#[test]
fn every_kind_has_a_golden_frame() {
    let golden = std::fs::read_to_string(FILE).expect("golden file");
    let kinds: std::collections::BTreeSet<&str> = golden
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, hex)| &hex[8..10])
        .collect();
    // Enrolment's five messages have their golden frames beside the code that speaks it.
    let register = include_str!("../src/wire/v1/mod.rs");
    let registered = register.matches(": u8 = 0x").count() - 5;
    assert_eq!(kinds.len(), registered, "{kinds:?}");
}
