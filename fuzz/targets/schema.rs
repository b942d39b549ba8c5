//! The wire protocol and the shared vocabulary.

use hutong_schema::batch::{Codec, decompress_into};
use hutong_schema::block::Block;
use hutong_schema::catalogue::{CatalogueEntry, Item};
use hutong_schema::grant::RowFilter;
use hutong_schema::limits::BATCH_BYTES_MAX;
use hutong_schema::row::{RowBuf, RowRef};
use hutong_schema::wire::v1::{
    ask::*, command::*, control::*, health, kind, publish::*, subscribe::*, *,
};
use hutong_schema::wire::{codec, frame};
use hutong_schema::{digest, geometry, library, rules};
use serde::{Deserialize, Serialize};

use super::twice;

/// A frame's content (kind and body). What decodes encodes again, and that decodes once more.
pub(crate) fn wire(bytes: &[u8]) {
    fn one<'a, T: Deserialize<'a> + Serialize>(body: &'a [u8]) -> bool {
        codec::decode::<T>(body).is_ok_and(|message| codec::encode(&message).is_ok())
    }
    let Ok((found, body)) = frame::split(bytes) else { return };
    match found {
        kind::HELLO => twice::<Hello>(body),
        kind::WELCOME => twice::<Welcome>(body),
        kind::REFUSED => twice::<Refused>(body),
        kind::HEARTBEAT => twice::<Heartbeat>(body),
        kind::HEARTBEAT_REPLY => twice::<HeartbeatReply>(body),
        kind::GOODBYE => twice::<Goodbye>(body),
        kind::GRANTS_CHANGED => twice::<GrantsChanged>(body),
        kind::DIGEST_ASK => twice::<DigestAsk>(body),
        kind::DIGEST_ANSWER => twice::<DigestAnswer>(body),
        kind::HEALTH => twice::<health::Health>(body),
        kind::ROOTS_HELD => twice::<RootsHeld>(body),
        kind::TRUSTED_ROOTS => twice::<TrustedRoots>(body),
        kind::REPUBLISH => twice::<Republish>(body),
        kind::PUBLISH_OPEN => twice::<PublishOpen>(body),
        kind::PUBLISH_READY => twice::<PublishReady>(body),
        kind::BATCH => _ = one::<Batch<'_>>(body),
        kind::ACK => twice::<Ack>(body),
        kind::PUBLISH_CLOSE => twice::<PublishClose>(body),
        kind::SUBSCRIBE_OPEN => twice::<SubscribeOpen>(body),
        kind::SUBSCRIBE_READY => twice::<SubscribeReady>(body),
        kind::SNAPSHOT_CHUNK => _ = one::<SnapshotChunk<'_>>(body),
        kind::SNAPSHOT_END => twice::<SnapshotEnd>(body),
        kind::TAIL_BATCH => _ = one::<TailBatch<'_>>(body),
        kind::CHECKPOINT_MARK => twice::<CheckpointMark>(body),
        kind::WITHDRAWN => twice::<Withdrawn>(body),
        kind::REPAIR => _ = one::<Repair<'_>>(body),
        kind::CREDIT => twice::<Credit>(body),
        kind::CHECKPOINT_REPORT => twice::<CheckpointReport>(body),
        kind::LOOKUP => twice::<Lookup>(body),
        kind::LOOKUP_ANSWER => twice::<LookupAnswer>(body),
        kind::VERIFY => twice::<Verify>(body),
        kind::VERIFY_ANSWER => twice::<VerifyAnswer>(body),
        kind::CATALOGUE_APPLY => twice::<CatalogueApply>(body),
        kind::CATALOGUE_APPLIED => twice::<CatalogueApplied>(body),
        kind::CATALOGUE_LIST => twice::<CatalogueList>(body),
        kind::CATALOGUE_PAGE => twice::<CataloguePage>(body),
        kind::GRANT_LIST => twice::<GrantList>(body),
        kind::GRANT_PAGE => twice::<GrantPage>(body),
        _ => {}
    }
}

/// A column block. Every value lies inside of it, and each row's stored form gives the row's leaf.
pub(crate) fn block(bytes: &[u8]) {
    let Ok(block) = Block::parse(bytes) else { return };
    let mut row = RowBuf::new();
    for index in 0..block.rows() {
        let held = block.key(index).len()
            + (0..block.columns())
                .filter_map(|c| block.value(c, index))
                .map(<[u8]>::len)
                .sum::<usize>();
        assert!(held <= bytes.len());
        row.clear();
        row.fill_from_block(&block, index);
        let stored = row.as_ref();
        assert_eq!(RowRef::parse(stored.as_bytes()).unwrap().iter().count(), stored.iter().count());
        digest::leaf(block.key(index), stored);
    }
}

/// Codec, announced size and compressed bytes. What opens has exactly the announced size.
pub(crate) fn payload(bytes: &[u8]) {
    let Some((head, payload)) = bytes.split_at_checked(5) else { return };
    let Some(codec) = Codec::from_code(head[0]) else { return };
    let raw_len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
    let mut out = Vec::new();
    if decompress_into(payload, codec, raw_len, &mut out).is_ok() {
        assert_eq!(out.len(), raw_len);
    }
    assert!(out.capacity() <= BATCH_BYTES_MAX);
}

/// A stored row. Its fields ascend, and each is found by its number.
pub(crate) fn row(bytes: &[u8]) {
    let Ok(row) = RowRef::parse(bytes) else { return };
    let mut last = None;
    for (field, value) in row.iter() {
        assert!(last < Some(field.0));
        assert_eq!(row.get(field), Some(value));
        last = Some(field.0);
    }
}

/// The text of a row filter over the population library.
pub(crate) fn filter(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let items = population();
    if let Ok(filter) = RowFilter::parse(text, &items) {
        assert!(filter.fields().iter().all(|field| items.iter().any(|item| item.id == *field)));
        filter.depends_on_date();
    }
}

/// GeoJSON text, and well-known binary. What is taken from text is canonical, and prints to text that is taken again.
pub(crate) fn geometry(bytes: &[u8]) {
    let canonical = match std::str::from_utf8(bytes).map(geometry::from_geojson) {
        Ok(Ok(taken)) => taken,
        Ok(Err(_)) | Err(_) if geometry::validate(bytes).is_ok() => bytes.to_vec(),
        Ok(Err(_)) | Err(_) => return,
    };
    geometry::validate(&canonical).unwrap();
    geometry::bbox(&canonical).unwrap();
    geometry::distance_to_point(&canonical, 123.85, 42.29).unwrap();
    let text = geometry::to_geojson(&canonical).unwrap();
    assert_eq!(geometry::from_geojson(&text).unwrap(), canonical);
}

/// The first byte picks an item of the libraries, the rest is a value as a department writes it. What is taken is
/// canonical: it passes the check, and is taken again unchanged.
pub(crate) fn value(bytes: &[u8]) {
    let Some((pick, raw)) = bytes.split_first() else { return };
    let items: Vec<&Item> = library::all().iter().flat_map(|library| &library.items).collect();
    let item = items[usize::from(*pick) % items.len()];
    let _ = rules::check(item, raw);
    let Ok(text) = std::str::from_utf8(raw) else { return };
    let Ok(Some(canonical)) = rules::canonicalise(item, text) else { return };
    rules::check(item, &canonical).unwrap();
    if let Ok(canonical_text) = std::str::from_utf8(&canonical)
        && item.data_type.code() != 'G'
    {
        assert_eq!(
            rules::canonicalise(item, canonical_text).unwrap().as_deref(),
            Some(&*canonical)
        );
    }
}

/// A catalogue entry as a line of JSON.
pub(crate) fn catalogue(bytes: &[u8]) {
    let Ok(entry) = serde_json::from_slice::<CatalogueEntry>(bytes) else { return };
    let _ = entry.validate();
    let _ = entry.warnings();
    assert_eq!(entry.keys().len() + entry.columns().len(), entry.items.len());
    let text = serde_json::to_vec(&entry).unwrap();
    assert_eq!(serde_json::from_slice::<CatalogueEntry>(&text).unwrap(), entry);
}

fn population() -> Vec<Item> {
    library::all().iter().flat_map(|library| library.items.clone()).take(10).collect()
}
