//! Commands for tests.

use hutong_schema::{
    catalogue::{
        Binding, CatalogueEntry, DataType, Format, Item, Open, Semantic, Sharing, SharingKind,
        UpdateCycle,
    },
    grant::{Modes, Target},
    ids::{CreditCode, NodeName, ResourceCode},
    library::LibraryId,
    row::FieldId,
};
use jiff::{
    Timestamp,
    civil::{Date, date},
};

use super::{Command, GrantRequest};
use crate::numbers::{NodeNo, ResourceNo};

pub(crate) const TODAY: Date = date(2026, 11, 21);

pub(crate) fn provider() -> CreditCode {
    "11100000000013338W".parse().expect("a published example")
}

pub(crate) fn other() -> CreditCode {
    "91350100M000100Y43".parse().expect("a published example")
}

pub(crate) fn name(text: &str) -> NodeName {
    text.parse().expect("a name")
}

pub(crate) fn code(sequence: u32) -> ResourceCode {
    ResourceCode::from_parts("303084122704", sequence).expect("a code")
}

pub(crate) fn item(id: u16) -> Item {
    Item {
        id: FieldId(id),
        name: format!("f{id}"),
        label: format!("字段{id}"),
        data_type: DataType::Text,
        length: 18,
        required: id == 1,
        key: id == 1,
        semantic: (id == 1).then_some(Semantic::CitizenId),
        sensitivity: 0,
    }
}

pub(crate) fn entry(sequence: u32) -> CatalogueEntry {
    CatalogueEntry {
        code: code(sequence),
        name: "示例目录".into(),
        classification: String::new(),
        provider: provider(),
        provider_name: "示例局".into(),
        summary: String::new(),
        format: Format::Database,
        items: (1..=3).map(item).collect(),
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

pub(crate) fn population(authority: u16) -> Option<Binding> {
    let fields = vec![(FieldId(1), FieldId(1))];
    Some(Binding { library: LibraryId::POPULATION, fields, authority })
}

pub(crate) fn publish(entries: Vec<CatalogueEntry>) -> Command {
    Command::PublishEntries { department: provider(), entries }
}

pub(crate) fn request(target: Target) -> GrantRequest {
    GrantRequest {
        target,
        grantee: other(),
        fields: None,
        filter: None,
        purpose: "示例用途".into(),
        modes: Modes { deliver: true, lookup: true, verify: true },
        from: None,
        until: None,
    }
}

pub(crate) fn enrol(node: &str) -> Command {
    Command::EnrolNode {
        department: provider(),
        department_name: Some("示例局".into()),
        name: name(node),
        certificate_serial: "0a".into(),
        expires: Timestamp::UNIX_EPOCH,
    }
}

pub(crate) fn open(node: u32, resource: u32) -> Command {
    Command::OpenEpoch { node: NodeNo(node), resource: ResourceNo(resource), shard: 0 }
}
