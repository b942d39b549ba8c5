//! The catalogue entry of a planned resource.

use anyhow::{Context, Result};
use hutong_schema::catalogue::{Binding, CatalogueEntry, Format, Item, Open, Sharing, SharingKind};
use hutong_schema::row::FieldId;
use jiff::civil::Date;

use super::departmental::{ItemSpec, Template};
use super::names::DIVISIONS;
use super::plan::{Resource, Unit};
use super::rng::Rng;

const SEED: u64 = 0x5A7E_0200;

/// Describes a resource by the national metadata.
///
/// # Errors
/// When the date of publication does not exist, which would be a mistake here.
pub fn describe(unit: &Unit, resource: &Resource) -> Result<CatalogueEntry> {
    let rng = &mut Rng::of(SEED, resource.number.into());
    let subject = resource.template.subject();
    let items: Vec<Item> = (1..).zip(subject.items).map(|(id, spec)| item(id, spec)).collect();
    let personal = items.iter().any(|item| item.sensitivity >= 2);
    Ok(CatalogueEntry {
        code: resource.code.clone(),
        name: name(unit, resource, subject.name),
        classification: if personal {
            "三级（含个人信息）"
        } else {
            "二级（一般数据）"
        }
        .to_owned(),
        provider: unit.code,
        provider_name: unit.name.clone(),
        summary: subject.summary.to_owned(),
        format: Format::Database,
        sharing: sharing(resource.template, personal, rng),
        open: open(personal, rng),
        update_cycle: subject.cycle,
        published: Some(published(rng)?),
        related: Vec::new(),
        binding: binding(resource.template, &items),
        items,
        version: 1,
        schema_version: 1,
    })
}

/// The library names stand alone; of the others a department has many, told apart by year, place
/// and number.
fn name(unit: &Unit, resource: &Resource, subject: &str) -> String {
    if resource.template.is_library() {
        return format!("{}{subject}", unit.name);
    }
    let number = resource.number as usize;
    let (year, place) = (2018 + number % 8, DIVISIONS[number % DIVISIONS.len()].name);
    format!("{}{subject}（{year}年，{place}，第{}册）", unit.name, number + 1)
}

fn item(id: u16, spec: &ItemSpec) -> Item {
    Item {
        id: FieldId(id),
        name: spec.name.to_owned(),
        label: spec.label.to_owned(),
        data_type: spec.data_type,
        length: spec.length,
        required: spec.required,
        key: spec.key,
        semantic: spec.semantic,
        sensitivity: spec.sensitivity,
    }
}

/// Libraries have the fields of the items bound to them under the same ids.
fn binding(template: Template, items: &[Item]) -> Option<Binding> {
    let library = template.library()?;
    let fields = items.iter().map(|item| (item.id, item.id)).collect();
    Some(Binding { library, fields, authority: 10 })
}

/// Personal data are shared under conditions or not at all, others mostly without.
fn sharing(template: Template, personal: bool, rng: &mut Rng) -> Sharing {
    let kind = match (personal, rng.below(100)) {
        _ if template.is_library() => SharingKind::Conditional,
        (true, 90..) => SharingKind::Refused,
        (true, _) | (false, 70..) => SharingKind::Conditional,
        (false, _) => SharingKind::Unconditional,
    };
    let (condition, basis) = match kind {
        SharingKind::Unconditional => ("", ""),
        SharingKind::Conditional => ("用于履行法定职责，范围为申请所列数据项和用途", ""),
        SharingKind::Refused => ("含敏感个人信息（示例理由）", "《中华人民共和国个人信息保护法》"),
    };
    Sharing {
        kind,
        condition: condition.to_owned(),
        mode: rng.pick(&["批量交换", "服务接口", "文件下载"]).to_owned(),
        basis: basis.to_owned(),
    }
}

fn open(personal: bool, rng: &mut Rng) -> Open {
    let open = !personal && rng.chance(40);
    Open { open, condition: if open { "注册后使用" } else { "" }.to_owned() }
}

fn published(rng: &mut Rng) -> Result<Date> {
    let (month, day) = (rng.between(1, 12), rng.between(1, 28));
    Date::new(2025, month as i8, day as i8).context("a day that every month has")
}
