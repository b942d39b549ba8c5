//! A catalogue entry: the description of one resource by the national metadata (发改高技〔2017〕
//! 1272号 and State Council Decree 809, art. 13).
//!
//! In files, national codes stand as they are in the guide: `"data_type": "C"`,
//! `"update_cycle": 2`, `"sharing": { "kind": 1, … }`.

use jiff::civil::Date;
use serde::{Deserialize, Serialize};

use crate::ids::{CreditCode, ResourceCode};
use crate::library::LibraryId;
use crate::row::FieldId;

mod codes;
mod data_type;
mod validate;

pub use codes::{Format, SharingKind, UnknownCode, UpdateCycle};
pub use data_type::{DataType, Semantic};
pub use validate::EntryProblem;

/// The description of one resource; its items are the schema of the rows mounted on it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CatalogueEntry {
    /// 信息资源代码
    pub code: ResourceCode,
    /// 目录名称
    pub name: String,
    /// 数据分类分级, in the words of the installation.
    #[serde(default)]
    pub classification: String,
    /// 提供方代码: the provider's unified social credit code.
    pub provider: CreditCode,
    /// 提供单位
    pub provider_name: String,
    /// 摘要
    #[serde(default)]
    pub summary: String,
    /// 数据格式
    pub format: Format,
    /// 数据项
    pub items: Vec<Item>,
    /// 共享属性
    pub sharing: Sharing,
    /// 开放属性
    #[serde(default)]
    pub open: Open,
    /// 更新周期
    pub update_cycle: UpdateCycle,
    /// 发布日期; absent until the authority has published the entry.
    #[serde(default)]
    pub published: Option<Date>,
    /// 关联资源代码
    #[serde(default)]
    pub related: Vec<ResourceCode>,
    /// Which library the rows are read into, if any.
    #[serde(default)]
    pub binding: Option<Binding>,
    /// Version of the entry, from 1; raised with every change of it.
    pub version: u32,
    /// Version of the items, from 1; raised when rows of the old form no longer fit.
    pub schema_version: u32,
}

/// One item (信息项): a column of the resource.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Item {
    /// Number of the item, from 1; stable over the versions of the entry.
    pub id: FieldId,
    /// Machine name, such as `xm`: a letter or underscore, then letters, digits, underscores.
    pub name: String,
    /// Name for people, such as 姓名.
    pub label: String,
    /// 数据类型
    pub data_type: DataType,
    /// 数据长度: characters of a text, digits of a number (sign and point not counted).
    /// 0 = unlimited. Ignored for dates, logical values, floating-point numbers and geometry.
    #[serde(default)]
    pub length: u32,
    /// Whether a row without it is rejected.
    #[serde(default)]
    pub required: bool,
    /// Whether it is part of the key.
    #[serde(default)]
    pub key: bool,
    /// What the value means, where that implies more checks.
    #[serde(default)]
    pub semantic: Option<Semantic>,
    /// Sensitivity of the item (0 = not graded), in the grades of the installation.
    #[serde(default)]
    pub sensitivity: u8,
}

/// 共享属性: whether and how others may use the resource (Decree 809, art. 14–15).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sharing {
    /// 共享类型
    pub kind: SharingKind,
    /// 共享条件: scope and purposes, when conditional; the reason, when refused.
    #[serde(default)]
    pub condition: String,
    /// 共享方式
    #[serde(default)]
    pub mode: String,
    /// The law, regulation or State Council decision that a refusal rests on.
    #[serde(default)]
    pub basis: String,
}

/// 开放属性: whether the resource is open to society.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// 是否开放
    pub open: bool,
    /// 开放条件
    #[serde(default)]
    pub condition: String,
}

/// How a resource is read into a library.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Binding {
    /// The library.
    pub library: LibraryId,
    /// Pairs of (item of the entry, field of the library).
    pub fields: Vec<(FieldId, FieldId)>,
    /// Rank among the resources bound to the same fields: the lowest present value is the
    /// authoritative one (数源).
    pub authority: u16,
}

impl Binding {
    /// The library field that an item is read into.
    #[must_use]
    pub fn library_field(&self, item: FieldId) -> Option<FieldId> {
        self.fields.iter().find(|(from, _)| *from == item).map(|(_, to)| *to)
    }

    /// The item that a library field is read from.
    #[must_use]
    pub fn item_for(&self, library_field: FieldId) -> Option<FieldId> {
        self.fields.iter().find(|(_, to)| *to == library_field).map(|(from, _)| *from)
    }
}

impl CatalogueEntry {
    /// Finds everything that must be corrected before the entry can be registered.
    pub fn validate(&self) -> Result<(), Vec<EntryProblem>> {
        let problems = validate::problems(self);
        if problems.is_empty() { Ok(()) } else { Err(problems) }
    }

    /// What departs from the national guide and is kept all the same.
    #[must_use]
    pub fn warnings(&self) -> Vec<EntryProblem> {
        validate::warnings(self)
    }

    /// The key items, in ascending id: the order of the parts of a key.
    #[must_use]
    pub fn keys(&self) -> Vec<&Item> {
        ascending(&self.items, |item| item.key)
    }

    /// The other items, in ascending id: the column order of blocks.
    #[must_use]
    pub fn columns(&self) -> Vec<&Item> {
        ascending(&self.items, |item| !item.key)
    }

    /// The item with this number.
    #[must_use]
    pub fn item(&self, id: FieldId) -> Option<&Item> {
        self.items.iter().find(|item| item.id == id)
    }

    /// The item with this machine name or, failing that, this label.
    #[must_use]
    pub fn item_named(&self, name: &str) -> Option<&Item> {
        self.items
            .iter()
            .find(|item| item.name == name)
            .or_else(|| self.items.iter().find(|item| item.label == name))
    }
}

/// The chosen items in ascending id.
pub(crate) fn ascending(items: &[Item], choose: impl Fn(&Item) -> bool) -> Vec<&Item> {
    let mut chosen: Vec<&Item> = items.iter().filter(|item| choose(item)).collect();
    chosen.sort_by_key(|item| item.id);
    chosen
}

#[cfg(test)]
mod tests;
