//! Base libraries (基础库): keyed, merged readings of all resources bound to them. A further library
//! is a further definition here, not further code. Field ids of a library never change.

use std::fmt;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use crate::catalogue::{DataType, Item, Semantic, ascending};
use crate::row::FieldId;

/// Number of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LibraryId(pub u16);

impl LibraryId {
    /// 人口基础库
    pub const POPULATION: Self = Self(1);
    /// 法人单位基础库
    pub const LEGAL_PERSON: Self = Self(2);
    /// 自然资源和空间地理基础库
    pub const GEOSPATIAL: Self = Self(3);

    /// From the machine name, such as `population`.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        all().iter().find(|library| library.code == code).map(|library| library.id)
    }
}

impl fmt::Display for LibraryId {
    /// The machine name, or the number of a library that is not defined here.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match definition(*self) {
            Some(library) => f.pad(library.code),
            None => write!(f, "library {}", self.0),
        }
    }
}

/// The definition of a library.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Library {
    /// Its number.
    pub id: LibraryId,
    /// Its machine name, such as `population`.
    pub code: &'static str,
    /// Its name in Chinese.
    pub zh: &'static str,
    /// Its fields in ascending id; exactly one of them is the key.
    pub items: Vec<Item>,
    /// What can be searched beside the key.
    pub indexes: &'static [IndexDef],
}

/// One index of a library.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexDef {
    /// Its machine name, such as `name`.
    pub name: &'static str,
    /// The indexed field.
    pub field: FieldId,
    /// How it can be asked.
    pub kind: IndexKind,
}

/// How an index can be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum IndexKind {
    /// By the whole value.
    Exact,
    /// By the beginning of the value.
    Prefix,
    /// By box, and by nearness to a point.
    Spatial,
}

impl Library {
    /// The key field.
    #[must_use]
    pub fn key(&self) -> &Item {
        self.items.iter().find(|item| item.key).expect("every definition in this file has a key")
    }

    /// The other fields in ascending id.
    #[must_use]
    pub fn columns(&self) -> Vec<&Item> {
        ascending(&self.items, |item| !item.key)
    }

    /// The field with this number.
    #[must_use]
    pub fn item(&self, id: FieldId) -> Option<&Item> {
        self.items.iter().find(|item| item.id == id)
    }

    /// The field with this machine name or, failing that, this label.
    #[must_use]
    pub fn item_named(&self, name: &str) -> Option<&Item> {
        let by_name = self.items.iter().find(|item| item.name == name);
        by_name.or_else(|| self.items.iter().find(|item| item.label == name))
    }

    /// The index with this machine name.
    #[must_use]
    pub fn index(&self, name: &str) -> Option<&'static IndexDef> {
        self.indexes.iter().find(|index| index.name == name)
    }
}

/// The definition of a library; `None` for a number that is not defined (it may come from a peer).
#[must_use]
pub fn definition(id: LibraryId) -> Option<&'static Library> {
    all().iter().find(|library| library.id == id)
}

/// All libraries in ascending number.
#[must_use]
pub fn all() -> &'static [Library] {
    static LIBRARIES: LazyLock<[Library; 3]> =
        LazyLock::new(|| [population(), legal_person(), geospatial()]);
    &*LIBRARIES
}

fn population() -> Library {
    use DataType::{Date, Text};
    Library {
        id: LibraryId::POPULATION,
        code: "population",
        zh: "人口基础库",
        items: vec![
            key(1, "sfzh", "公民身份号码", 18, Some(Semantic::CitizenId)),
            field(2, "xm", "姓名", Text, Some(Semantic::Name)),
            field(3, "xb", "性别", Text, Some(Semantic::Sex)),
            field(4, "mz", "民族", Text, Some(Semantic::Ethnicity)),
            field(5, "csrq", "出生日期", Date, Some(Semantic::BirthDate)),
            field(6, "hjqh", "户籍区划", Text, Some(Semantic::Division)),
            field(7, "hjdz", "户籍地址", Text, Some(Semantic::Address)),
            field(8, "xzdz", "现住地址", Text, Some(Semantic::Address)),
            field(9, "lxdh", "联系电话", Text, Some(Semantic::Phone)),
            field(10, "hyzk", "婚姻状况", Text, None),
        ],
        indexes: &[
            IndexDef { name: "name", field: FieldId(2), kind: IndexKind::Exact },
            IndexDef { name: "division", field: FieldId(6), kind: IndexKind::Prefix },
        ],
    }
}

fn legal_person() -> Library {
    use DataType::{Date, Money, Text};
    Library {
        id: LibraryId::LEGAL_PERSON,
        code: "legal_person",
        zh: "法人单位基础库",
        items: vec![
            key(1, "tyshxydm", "统一社会信用代码", 18, Some(Semantic::CreditCode)),
            field(2, "mc", "名称", Text, Some(Semantic::Name)),
            field(3, "fddbr", "法定代表人", Text, Some(Semantic::Name)),
            field(4, "zczb", "注册资本", Money, None),
            field(5, "clrq", "成立日期", Date, None),
            field(6, "qh", "区划", Text, Some(Semantic::Division)),
            field(7, "dz", "住所", Text, Some(Semantic::Address)),
            field(8, "zt", "状态", Text, None),
        ],
        indexes: &[IndexDef { name: "name", field: FieldId(2), kind: IndexKind::Prefix }],
    }
}

fn geospatial() -> Library {
    use DataType::{Geometry, Number, Text};
    Library {
        id: LibraryId::GEOSPATIAL,
        code: "geospatial",
        zh: "自然资源和空间地理基础库",
        items: vec![
            key(1, "bh", "编号", 64, None),
            field(2, "mc", "名称", Text, Some(Semantic::Name)),
            field(3, "lx", "类型", Text, None),
            field(4, "qh", "区划", Text, Some(Semantic::Division)),
            field(5, "geom", "几何", Geometry, None),
            field(6, "mj", "面积", Number, None),
        ],
        indexes: &[IndexDef { name: "geometry", field: FieldId(5), kind: IndexKind::Spatial }],
    }
}

fn key(id: u16, name: &str, label: &str, length: u32, semantic: Option<Semantic>) -> Item {
    Item { length, required: true, key: true, ..field(id, name, label, DataType::Text, semantic) }
}

/// Not required and of unlimited length: a library takes what its sources hold.
fn field(
    id: u16,
    name: &str,
    label: &str,
    data_type: DataType,
    semantic: Option<Semantic>,
) -> Item {
    Item {
        id: FieldId(id),
        name: name.to_owned(),
        label: label.to_owned(),
        data_type,
        length: 0,
        required: false,
        key: false,
        semantic,
        sensitivity: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_definition_is_consistent() {
        for library in all() {
            assert_eq!(definition(library.id), Some(library));
            assert_eq!(LibraryId::from_code(library.code), Some(library.id));
            assert_eq!(library.id.to_string(), library.code);
            assert_eq!(library.items.iter().filter(|item| item.key).count(), 1);
            assert_eq!(library.columns().len() + 1, library.items.len());
            let mut sorted = library.items.clone();
            sorted.sort_by_key(|item| item.id);
            sorted.dedup_by_key(|item| item.id);
            assert_eq!(sorted, library.items);
            for item in &library.items {
                assert!(item.semantic.is_none_or(|s| s.allows(item.data_type)), "{}", item.name);
                assert_eq!(library.item_named(&item.name), Some(item));
            }
            for index in library.indexes {
                let field = library.item(index.field).expect("an indexed field exists");
                let spatial = index.kind == IndexKind::Spatial;
                assert_eq!(spatial, field.data_type == DataType::Geometry);
                assert_eq!(library.index(index.name), Some(index));
            }
        }
    }

    #[test]
    fn field_numbers_never_change() {
        let numbers = |id| -> Vec<String> {
            let library = definition(id).expect("defined");
            library.items.iter().map(|item| format!("{} {}", item.id, item.name)).collect()
        };
        assert_eq!(
            numbers(LibraryId::POPULATION).join(", "),
            "1 sfzh, 2 xm, 3 xb, 4 mz, 5 csrq, 6 hjqh, 7 hjdz, 8 xzdz, 9 lxdh, 10 hyzk"
        );
        assert_eq!(
            numbers(LibraryId::LEGAL_PERSON).join(", "),
            "1 tyshxydm, 2 mc, 3 fddbr, 4 zczb, 5 clrq, 6 qh, 7 dz, 8 zt"
        );
        assert_eq!(
            numbers(LibraryId::GEOSPATIAL).join(", "),
            "1 bh, 2 mc, 3 lx, 4 qh, 5 geom, 6 mj"
        );
    }

    #[test]
    fn an_unknown_number_has_no_definition() {
        assert_eq!(definition(LibraryId(900)), None);
        assert_eq!(LibraryId(900).to_string(), "library 900");
    }
}
