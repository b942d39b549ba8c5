//! No bytes that a peer can send make the decoders panic or take more memory than a frame's limit.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use hutong_schema::wire::{
    codec,
    v1::{ask::*, command::*, control::*, publish::*, subscribe::*, *},
};
use proptest::prelude::*;
use serde::Deserialize;

fn golden() -> Vec<Vec<u8>> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/golden/v1.txt"))
        .expect("golden file");
    let byte = |hex: &str, at: usize| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
    text.lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(_, hex)| (10..hex.len()).step_by(2).map(|at| byte(hex, at)).collect())
        .collect()
}

/// Decodes as every message there is; the result does not matter, returning does.
fn decode_as_all(body: &[u8]) {
    fn one<'a, T: Deserialize<'a>>(body: &'a [u8]) {
        let _ = codec::decode::<T>(body);
    }
    one::<Hello>(body);
    one::<Welcome>(body);
    one::<Refused>(body);
    one::<Heartbeat>(body);
    one::<DigestAsk>(body);
    one::<DigestAnswer>(body);
    one::<Republish>(body);
    one::<RootsHeld>(body);
    one::<hutong_schema::wire::v1::health::Health>(body);
    one::<TrustedRoots>(body);
    one::<PublishOpen>(body);
    one::<PublishReady>(body);
    one::<Batch<'_>>(body);
    one::<Ack>(body);
    one::<SubscribeOpen>(body);
    one::<SubscribeReady>(body);
    one::<SnapshotChunk<'_>>(body);
    one::<SnapshotEnd>(body);
    one::<TailBatch<'_>>(body);
    one::<Credit>(body);
    one::<CheckpointReport>(body);
    one::<Lookup>(body);
    one::<LookupAnswer>(body);
    one::<Verify>(body);
    one::<VerifyAnswer>(body);
    one::<CatalogueApply>(body);
    one::<CatalogueApplied>(body);
    one::<CatalogueList>(body);
    one::<CataloguePage>(body);
    one::<GrantPage>(body);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn mutated_messages_never_panic(
        which in any::<prop::sample::Index>(),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        extra in prop::collection::vec(any::<u8>(), 0..4),
    ) {
        let golden = golden();
        let mut body = golden[which.index(golden.len())].clone();
        for (at, byte) in changes {
            if !body.is_empty() {
                let at = at.index(body.len());
                body[at] = byte;
            }
        }
        body.truncate(cut.index(body.len() + 1));
        body.extend(extra);
        decode_as_all(&body);
    }

    #[test]
    fn arbitrary_bytes_never_panic(body in prop::collection::vec(any::<u8>(), 0..200)) {
        decode_as_all(&body);
    }
}

#[test]
fn a_length_bomb_is_refused() {
    // A byte string, list or text that claims 2^63 elements.
    let bomb = [0xFD, 0, 0, 0, 0, 0, 0, 0, 0x80];
    for prefix in 0..24 {
        let mut body = vec![1u8; prefix];
        body.extend(bomb);
        decode_as_all(&body);
    }
    assert!(codec::decode::<Json>(&bomb).is_err());
    assert!(codec::decode::<GrantPage>(&bomb).is_err());
}
