//! Catalogue entries and identifiers for small departments made by hand.

use anyhow::{Context, Result};
use hutong_schema::catalogue::{
    Binding, CatalogueEntry, DataType, Format, Item, Open, Semantic, Sharing, SharingKind,
    UpdateCycle,
};
use hutong_schema::ids::{CreditCode, ResourceCode};
use hutong_schema::library::{LibraryId, definition};
use hutong_schema::row::FieldId;

use crate::city::people::People;
use crate::city::{City, Scale};

/// The credit code of a made-up department; numbers up to 8 are distinct.
///
/// # Errors
/// When there are not so many.
pub fn department_code(number: usize) -> Result<CreditCode> {
    let city = City::plan(Scale::Ci)?;
    Ok(city.units.get(number).with_context(|| format!("a department number {number}"))?.code)
}

/// The valid identifier of a made-up person; numbers up to 10,000 are distinct.
///
/// # Errors
/// When the parts do not make one.
pub fn citizen(number: usize) -> Result<String> {
    Ok(People::new(10_000).person(number as u64).id()?.to_string())
}

/// A text of at most 50 characters.
pub fn item(id: u16, name: &str, label: &str, data_type: DataType) -> Item {
    Item {
        id: FieldId(id),
        name: name.to_owned(),
        label: label.to_owned(),
        data_type,
        length: 50,
        required: false,
        key: false,
        semantic: None,
        sensitivity: 0,
    }
}

/// A part of the key.
pub fn key_item(id: u16, name: &str, label: &str) -> Item {
    Item { key: true, required: true, ..item(id, name, label, DataType::Text) }
}

/// An entry with these items, shared without conditions and bound to no library.
///
/// # Errors
/// When the code is none.
pub fn entry(code: &str, provider: CreditCode, items: Vec<Item>) -> Result<CatalogueEntry> {
    let code: ResourceCode = code.parse().with_context(|| format!("resource code {code}"))?;
    Ok(CatalogueEntry {
        name: format!("示例资源 {code}"),
        code,
        classification: "二级（一般数据）".to_owned(),
        provider,
        provider_name: "示例局".to_owned(),
        summary: "测试用。".to_owned(),
        format: Format::Database,
        items,
        sharing: Sharing {
            kind: SharingKind::Unconditional,
            condition: String::new(),
            mode: "批量交换".to_owned(),
            basis: String::new(),
        },
        open: Open::default(),
        update_cycle: UpdateCycle::Daily,
        published: None,
        related: Vec::new(),
        binding: None,
        version: 1,
        schema_version: 1,
    })
}

/// An entry for people: key `sfzh`, then name, birth date, division and a remark, bound to nothing.
///
/// # Errors
/// When the code is none.
pub fn people(code: &str, provider: CreditCode) -> Result<CatalogueEntry> {
    let items = vec![
        Item {
            semantic: Some(Semantic::CitizenId),
            length: 18,
            ..key_item(1, "sfzh", "公民身份号码")
        },
        Item { required: true, ..item(2, "xm", "姓名", DataType::Text) },
        item(5, "csrq", "出生日期", DataType::Date),
        Item { length: 6, ..item(6, "hjqh", "户籍区划", DataType::Text) },
        item(7, "je", "金额", DataType::Money),
    ];
    entry(code, provider, items)
}

/// An entry with all items of a library, bound to it field by field.
///
/// # Errors
/// When the code is none or the library unknown.
pub fn bound(
    code: &str,
    provider: CreditCode,
    library: LibraryId,
    authority: u16,
) -> Result<CatalogueEntry> {
    let items = definition(library).context("a known library")?.items.clone();
    let fields = items.iter().map(|item| (item.id, item.id)).collect();
    let mut entry = entry(code, provider, items)?;
    entry.binding = Some(Binding { library, fields, authority });
    Ok(entry)
}
