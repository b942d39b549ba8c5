//! An entry for tests.

use hutong_schema::{
    catalogue::{
        CatalogueEntry, DataType, Format, Item, Open, Semantic, Sharing, SharingKind, UpdateCycle,
    },
    row::FieldId,
};

fn item(id: u16, data_type: DataType) -> Item {
    Item {
        id: FieldId(id),
        name: format!("f{id}"),
        label: format!("字段{id}"),
        data_type,
        length: 0,
        required: false,
        key: false,
        semantic: None,
        sensitivity: 0,
    }
}

/// Key 1 (a citizen identifier), then a required name, a date and an amount.
pub(in crate::intake) fn entry() -> CatalogueEntry {
    let key = Item {
        key: true,
        required: true,
        length: 18,
        semantic: Some(Semantic::CitizenId),
        ..item(1, DataType::Text)
    };
    let name = Item { required: true, length: 10, ..item(2, DataType::Text) };
    CatalogueEntry {
        code: "303084122704/000001".parse().expect("a code"),
        name: "示例目录".into(),
        classification: String::new(),
        provider: "11100000000013338W".parse().expect("a published example"),
        provider_name: "示例局".into(),
        summary: String::new(),
        format: Format::Database,
        items: vec![key, name, item(3, DataType::Date), item(5, DataType::Money)],
        sharing: Sharing {
            kind: SharingKind::Unconditional,
            condition: String::new(),
            mode: String::new(),
            basis: String::new(),
        },
        open: Open::default(),
        update_cycle: UpdateCycle::Daily,
        published: None,
        related: vec![],
        binding: None,
        version: 1,
        schema_version: 1,
    }
}
