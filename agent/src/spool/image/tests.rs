use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::time::Duration;

use hutong_schema::digest::{DigestBuilder, key_hash};
use proptest::prelude::*;

use super::ImageDelta;
use crate::spool::{ImageId, Store, StoreOptions, WriteBatch};
use crate::testing::{OPTIONS, copy_folder, runtime};

type Model = BTreeMap<Vec<u8>, [u8; 32]>;

fn content(store: &Store, image: ImageId) -> Model {
    let mut found = Model::new();
    let mut last = None;
    store
        .view()
        .unwrap()
        .each_of_image(image, |entry| {
            assert!(last < Some(entry.hash), "entries come in the order of their key hash");
            last = Some(entry.hash);
            assert_eq!(entry.hash, key_hash(entry.key));
            found.insert(entry.key.to_vec(), entry.leaf);
            ControlFlow::Continue(())
        })
        .unwrap();
    found
}

fn delta(changes: &[(u16, Option<u8>)], model: &mut Model) -> ImageDelta {
    let mut delta = ImageDelta::new();
    for (key, leaf) in changes {
        let key = format!("key {key}").into_bytes();
        match leaf {
            Some(leaf) => {
                delta.upsert(&key, [*leaf; 32]);
                model.insert(key, [*leaf; 32]);
            }
            None => {
                delta.delete(&key);
                model.remove(&key);
            }
        }
    }
    delta
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn an_image_is_what_its_changes_add_up_to(
        steps in prop::collection::vec(
            prop::collection::vec((0u16..400, prop::option::weighted(0.7, any::<u8>())), 0..120), 1..40),
        clear in prop::option::of(0usize..40),
    ) {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), OPTIONS).unwrap();
        let image = runtime().block_on(store.open_image(b"some")).unwrap();
        let other = runtime().block_on(store.open_image(b"other")).unwrap();
        let (mut model, mut untouched) = (Model::new(), Model::new());
        let mut writes = WriteBatch::new();
        writes.image(other, delta(&[(1, Some(1))], &mut untouched));
        store.commit_blocking(writes).unwrap();
        for (index, step) in steps.iter().enumerate() {
            let mut writes = WriteBatch::new();
            if clear == Some(index) {
                writes.clear_image(image);
                model.clear();
            }
            writes.image(image, delta(step, &mut model));
            store.commit_blocking(writes).unwrap();
        }
        prop_assert_eq!(content(&store, image), model.clone());
        prop_assert_eq!(content(&store, other), untouched);
        let mut digest = DigestBuilder::new();
        for (key, leaf) in &model {
            digest.push(&key_hash(key), *leaf);
        }
        let view = store.view().unwrap();
        let found = (view.digest(image).unwrap(), view.buckets(image).unwrap());
        prop_assert_eq!(found, digest.finish());
        let copy = tempfile::tempdir().unwrap();
        copy_folder(dir.path(), copy.path());
        let copied = Store::open(copy.path(), OPTIONS).unwrap();
        prop_assert_eq!(content(&copied, image), model);
    }
}

#[test]
fn many_runs_become_few_and_large_images_span_chunks() {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), OPTIONS).unwrap();
    let image = runtime().block_on(store.open_image(b"large")).unwrap();
    let mut model = Model::new();
    for step in 0..40u16 {
        let changes: Vec<_> = (0..3_000).map(|key| (key + step * 500, Some(step as u8))).collect();
        let mut writes = WriteBatch::new();
        writes.image(image, delta(&changes, &mut model));
        store.commit_blocking(writes).unwrap();
    }
    assert_eq!(content(&store, image), model);
    let view = store.view().unwrap();
    let buckets = view.buckets(image).unwrap();
    for bucket in [0u16, 1, 2_047, 4_095] {
        let whole = view.leaves(image, bucket, None, usize::MAX).unwrap();
        assert!(whole.complete);
        assert_eq!(whole.leaves.len(), buckets[usize::from(bucket)].count as usize);
        let mut pieces = Vec::new();
        loop {
            let after = pieces.last().map(|(key, _): &(Vec<u8>, _)| key.clone());
            let piece = view.leaves(image, bucket, after.as_deref(), 2).unwrap();
            pieces.extend(piece.leaves);
            if piece.complete {
                break;
            }
        }
        assert_eq!(pieces, whole.leaves);
    }
    drop(view);
    // Merging goes on behind the commits; in the end the image takes little more than its keys.
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(20);
    let bound = 2 * model.len() as u64;
    while store.view().unwrap().image_size_at_most(image).unwrap() > bound {
        assert!(std::time::Instant::now() < deadline, "runs are not merged");
        std::thread::yield_now();
    }
    assert_eq!(content(&store, image), model);
}

#[test]
fn an_image_being_changed_is_merged_seldom_but_never_has_many_runs() {
    let dir = tempfile::tempdir().unwrap();
    let never = StoreOptions { image_rest: Duration::from_secs(3_600), ..OPTIONS };
    let store = Store::open(dir.path(), never).unwrap();
    let image = runtime().block_on(store.open_image(b"busy")).unwrap();
    let mut model = Model::new();
    let entries = |store: &Store| store.view().unwrap().image_size_at_most(image).unwrap();
    let change = |step: u16, model: &mut Model| {
        let mut writes = WriteBatch::new();
        writes.image(image, delta(&[(step % 7, Some(step as u8))], model));
        store.commit_blocking(writes).unwrap();
    };
    (0..40).for_each(|step| change(step, &mut model));
    assert_eq!(entries(&store), 40, "nothing is merged while it pays to wait");
    // A merge ends with the commits that follow it.
    for step in 40..4_000 {
        change(step, &mut model);
        assert!(entries(&store) <= 7 + 1_024 + 64, "runs pile up");
    }
    assert_eq!(content(&store, image), model);
}
