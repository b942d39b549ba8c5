//! The exchange of the model: three departments, three resources, four grants. Small, so that
//! everything meets everything.
//!
//! | | publishes | receives |
//! | --- | --- | --- |
//! | agent 0 | `plain`, bound to nothing; `police`, read into the population library | – |
//! | agent 1 | `health`, read into the population library as well | all of `plain`; people of one division |
//! | agent 2 | – | one field of the rows of one group of `plain`; adults |

use std::collections::BTreeMap;
use std::fmt::Write as _;

use anyhow::{Context as _, Result};
use hutong_hub::govern::{Command, GrantRequest};
use hutong_hub::numbers::{NodeNo, ResourceNo};
use hutong_hub::views::Place;
use hutong_schema::catalogue::{Binding, CatalogueEntry, DataType, Item, Semantic};
use hutong_schema::grant::{Modes, RowFilter, Scalar, Target};
use hutong_schema::ids::CreditCode;
use hutong_schema::library::LibraryId;
use hutong_schema::row::FieldId;
use hutong_tests::harness::entries;
use jiff::Timestamp;
use jiff::civil::{Date, date};

pub(crate) const DATA_PARTITIONS: u16 = 2;
pub(crate) const FIRST_DAY: Date = date(2026, 11, 21);
/// Keys that rows may have.
pub(crate) const KEYS: usize = 6;
pub(crate) const PEOPLE: Place = Place::Library(LibraryId::POPULATION);

pub(crate) const AGENTS: usize = 3;

const DEPARTMENTS: [&str; AGENTS] =
    ["11100000000013338W", "91350100M000100Y43", "113700000045030270"];

/// Key → the values of the other items, by number, as texts.
pub(crate) type Rows = BTreeMap<String, Fields>;
pub(crate) type Fields = BTreeMap<u16, String>;

pub(crate) fn department(agent: usize) -> CreditCode {
    DEPARTMENTS[agent].parse().expect("a published example")
}

pub(crate) fn node(agent: usize) -> NodeNo {
    NodeNo(agent as u32 + 1)
}

/// Who publishes what, in the order of the resources' numbers.
pub(crate) const PUBLISHERS: [usize; 3] = [0, 0, 1];

pub(crate) fn resource(publication: usize) -> ResourceNo {
    ResourceNo(publication as u32 + 1)
}

/// A resource's entry. `variant` changes the label of one item, and with it the schema.
pub(crate) fn entry(publication: usize, variant: u32) -> Result<CatalogueEntry> {
    let text = |id, name: &str, label: &str| Item {
        length: 6,
        ..entries::item(id, name, label, DataType::Text)
    };
    let name = Item { required: true, ..text(2, "xm", &format!("姓名{variant}")) };
    let citizen = Item {
        semantic: Some(Semantic::CitizenId),
        length: 18,
        ..entries::key_item(1, "sfzh", "公民身份号码")
    };
    let provider = department(PUBLISHERS[publication]);
    let bound = |fields: &[u16], authority| {
        let fields = fields.iter().map(|id| (FieldId(*id), FieldId(*id))).collect();
        Some(Binding { library: LibraryId::POPULATION, fields, authority })
    };
    let (code, items, binding) = match publication {
        0 => {
            let key = Item { length: 8, ..entries::key_item(1, "id", "编号") };
            ("303084122704/000001", vec![key, name, text(3, "grp", "分组")], None)
        }
        1 => {
            let born = entries::item(5, "csrq", "出生日期", DataType::Date);
            let items = vec![citizen, name, born, text(6, "hjqh", "户籍区划")];
            ("303084122704/000002", items, bound(&[1, 2, 5, 6], 10))
        }
        _ => {
            let items = vec![citizen, name, text(10, "hyzk", "婚姻状况")];
            ("303084122704/000003", items, bound(&[1, 2, 10], 20))
        }
    };
    let mut entry = entries::entry(code, provider, items)?;
    entry.binding = binding;
    Ok(entry)
}

/// The key of a row; those of people are valid identifiers.
pub(crate) fn key(publication: usize, number: usize) -> Result<String> {
    match publication {
        0 => Ok(format!("k{number}")),
        _ => entries::citizen(number),
    }
}

/// A row that depends on its seed alone; few values, so that rows are often equal.
pub(crate) fn row(publication: usize, seed: u8) -> Fields {
    let pick = |values: &[&str], by: u8| values[usize::from(by) % values.len()].to_owned();
    let mut fields = BTreeMap::from([(2, pick(&["a", "b", "c"], seed))]);
    let mut put = |id, value: String| {
        if !value.is_empty() {
            fields.insert(id, value);
        }
    };
    match publication {
        0 => put(3, pick(&["x", "y", ""], seed / 3)),
        1 => {
            put(5, pick(&["20000101", "20081122", "20081203", ""], seed / 3));
            put(6, pick(&["211221", "211202"], seed / 12));
        }
        _ => put(10, pick(&["1", "2", ""], seed / 3)),
    }
    fields
}

/// The source file of a publication.
pub(crate) fn csv(entry: &CatalogueEntry, rows: &Rows) -> String {
    let names: Vec<&str> = entry.items.iter().map(|item| item.name.as_str()).collect();
    let mut text = names.join(",") + "\n";
    for (key, fields) in rows {
        text.push_str(key);
        for item in entry.items.iter().filter(|item| !item.key) {
            let value = fields.get(&item.id.0).map_or("", String::as_str);
            let _ = write!(text, ",{value}");
        }
        text.push('\n');
    }
    text
}

/// Grants that can be made, with the agent that receives them.
pub(crate) const GRANTS: [usize; 4] = [1, 1, 2, 2];

pub(crate) fn grant(number: usize) -> Result<GrantRequest> {
    let plain = Target::Resource(entry(0, 0)?.code);
    let people = Target::Library(LibraryId::POPULATION);
    let one_of =
        |field, value: &str| RowFilter::In(FieldId(field), vec![Scalar::Text(value.into())]);
    let fields = |ids: &[u16]| Some(ids.iter().map(|id| FieldId(*id)).collect());
    let (target, fields, filter) = match number {
        0 => (plain, None, None),
        1 => (people, fields(&[2, 6]), Some(one_of(6, "211221"))),
        2 => (plain, fields(&[2]), Some(one_of(3, "x"))),
        _ => (people, fields(&[2, 10]), Some(RowFilter::AgeAtLeast(FieldId(5), 18))),
    };
    Ok(GrantRequest {
        target,
        grantee: department(GRANTS[number]),
        fields,
        filter,
        purpose: format!("示例用途 {number}"),
        modes: Modes { deliver: true, lookup: false, verify: false },
        from: None,
        until: None,
    })
}

/// What the exchange begins with, in this order.
pub(crate) fn beginning() -> Result<Vec<Command>> {
    let mut commands = Vec::new();
    for agent in 0..DEPARTMENTS.len() {
        commands.push(Command::EnrolNode {
            department: department(agent),
            department_name: Some(format!("示例局{agent}")),
            name: format!("n{agent}").parse().context("a name")?,
            certificate_serial: format!("0{agent}"),
            expires: Timestamp::UNIX_EPOCH,
        });
    }
    for publication in 0..PUBLISHERS.len() {
        commands.push(publish(publication, 0)?);
    }
    for number in 0..GRANTS.len() {
        commands.push(Command::MakeGrant(grant(number)?));
    }
    Ok(commands)
}

pub(crate) fn publish(publication: usize, variant: u32) -> Result<Command> {
    let entries = vec![entry(publication, variant)?];
    Ok(Command::PublishEntries { department: department(PUBLISHERS[publication]), entries })
}
