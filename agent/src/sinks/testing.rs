//! What the tests of this module share.

use hutong_schema::{
    block::BlockBuilder,
    catalogue::{DataType, Item},
    grant::{Grant, GrantId, GrantView, Modes, Target},
    library::LibraryId,
    row::FieldId,
    wire::v1::{Json, subscribe::Cursor},
};

pub(crate) fn item(id: u16, name: &str, data_type: DataType, key: bool) -> Item {
    Item {
        id: FieldId(id),
        name: name.to_owned(),
        label: name.to_owned(),
        data_type,
        length: 0,
        required: key,
        key,
        semantic: None,
        sensitivity: 0,
    }
}

/// Two key parts (`qh`, `bh`), a text `mc` (3) and a geometry `geom` (5).
pub(crate) fn view(generation: u32) -> GrantView {
    let grant = Grant {
        id: GrantId(7),
        target: Target::Library(LibraryId::GEOSPATIAL),
        grantee: "11100000000013338W".parse().unwrap(),
        fields: vec![FieldId(3), FieldId(5)],
        filter: None,
        purpose: "test".to_owned(),
        modes: Modes { deliver: true, lookup: false, verify: false },
        from: jiff::civil::date(2026, 1, 1),
        until: None,
        generation,
    };
    let (text, geometry) = (DataType::Text, DataType::Geometry);
    GrantView {
        grant,
        name: "test".to_owned(),
        keys: vec![item(1, "qh", text, true), item(2, "bh", text, true)],
        items: vec![item(3, "mc", text, false), item(5, "geom", geometry, false)],
    }
}

pub(crate) fn view_json(generation: u32) -> Json {
    Json::of(&view(generation)).unwrap()
}

pub(crate) fn cursor(seq: u64) -> Cursor {
    Cursor { incarnation: 1, generation: 1, seq, feed_hash: [seq as u8; 16] }
}

/// A block of (key, `mc`); no value means removal.
pub(crate) fn block(rows: &[(&str, Option<&str>)]) -> Vec<u8> {
    let mut builder = BlockBuilder::new(&[FieldId(3)]);
    for (key, value) in rows {
        match value {
            Some(value) => builder.upsert(key.as_bytes(), [Some(value.as_bytes())]),
            None => builder.delete(key.as_bytes()),
        }
    }
    builder.finish()
}
