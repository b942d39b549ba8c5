//! The fold of governance events.

use hutong_schema::{
    catalogue::{
        Binding, CatalogueEntry, DataType, Format, Item, Open, Semantic, Sharing, SharingKind,
        UpdateCycle,
    },
    grant::{Grant, Modes},
    library::LibraryId,
    row::FieldId,
};
use proptest::prelude::*;

use super::*;

fn department() -> CreditCode {
    "11100000000013338W".parse().expect("a published example")
}

fn item(id: u16, key: bool) -> Item {
    Item {
        id: FieldId(id),
        name: format!("f{id}"),
        label: format!("字段{id}"),
        data_type: DataType::Text,
        length: 18,
        required: key,
        key,
        semantic: (id == 1).then_some(Semantic::CitizenId),
        sensitivity: 0,
    }
}

fn entry(code: &str, items: u16) -> CatalogueEntry {
    CatalogueEntry {
        code: code.parse().expect("a code"),
        name: "示例目录".into(),
        classification: String::new(),
        provider: department(),
        provider_name: "示例局".into(),
        summary: String::new(),
        format: Format::Database,
        items: (1..=items).map(|id| item(id, id == 1)).collect(),
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

fn bound(code: &str) -> CatalogueEntry {
    let library = LibraryId::POPULATION;
    let fields = vec![(FieldId(1), FieldId(1))];
    CatalogueEntry { binding: Some(Binding { library, fields, authority: 1 }), ..entry(code, 2) }
}

fn grant(id: u64, target: Target) -> Grant {
    Grant {
        id: GrantId(id),
        target,
        grantee: department(),
        fields: vec![FieldId(2)],
        filter: None,
        purpose: "示例用途".into(),
        modes: Modes { deliver: true, lookup: false, verify: false },
        from: jiff::civil::date(2026, 1, 1),
        until: None,
        generation: 1,
    }
}

fn events() -> Vec<Event> {
    let enrolled = |node: u32, serial: &str| Event::NodeEnrolled {
        node: NodeNo(node),
        department: department(),
        name: format!("n{node}").parse().expect("a name"),
        certificate_serial: serial.into(),
        expires: None,
    };
    let resource = Target::Resource("303084122704/000001".parse().expect("a code"));
    vec![
        Event::ExchangeFounded { exchange: "tieling".parse().expect("a name"), data_partitions: 4 },
        Event::DepartmentRegistered { department: department(), name: "示例局".into() },
        enrolled(1, "01"),
        enrolled(2, "02"),
        Event::EntryPublished { resource: ResourceNo(1), entry: entry("303084122704/000001", 3) },
        Event::EntryPublished { resource: ResourceNo(2), entry: bound("101000000000/000001") },
        Event::EpochOpened { resource: ResourceNo(1), shard: 0, epoch: 1, node: NodeNo(1) },
        Event::GrantMade { grant: grant(1, resource) },
        Event::GrantMade { grant: grant(2, Target::Library(LibraryId::POPULATION)) },
        Event::ClockDate { as_of: AsOf::from_number(20_261_121).expect("a date") },
        Event::GrantWithdrawn { grant: GrantId(1), reason: "ended".into() },
        Event::NodeRetired { node: NodeNo(2), reason: "replaced".into() },
        Event::EntryPublished { resource: ResourceNo(1), entry: entry("303084122704/000001", 2) },
        Event::EpochOpened { resource: ResourceNo(1), shard: 0, epoch: 2, node: NodeNo(1) },
        enrolled(2, "03"),
        Event::ClockDate { as_of: AsOf::from_number(20_261_120).expect("a date") },
    ]
}

fn folded() -> Registry {
    let mut registry = Registry::default();
    for (index, event) in events().iter().enumerate() {
        registry.apply(Offset(index as u64 + 1), event);
    }
    registry
}

#[test]
fn everything_decided_can_be_asked() {
    let registry = folded();
    let code: ResourceCode = "303084122704/000001".parse().expect("a code");
    assert_eq!(registry.applied(), Offset(16));
    assert_eq!(registry.exchange().map(ExchangeName::as_str), Some("tieling"));
    assert_eq!(registry.data_partitions(), 4);
    assert_eq!(registry.department(department()).map(|d| d.name.as_str()), Some("示例局"));
    let node = registry.node_named(department(), &"n2".parse().expect("a name")).expect("known");
    assert_eq!((node.number, node.retired.clone()), (NodeNo(2), None));
    assert!(node.shows("03") && !node.shows("02"), "an enrolment replaces all before");
    let entry = registry.entry_coded(&code).expect("known");
    assert_eq!((entry.number, entry.entry.items.len()), (ResourceNo(1), 2));
    assert_eq!(entry.type_of(FieldId(3)), Some(DataType::Text), "a former item keeps its type");
    assert_eq!(entry.type_of(FieldId(4)), None);
    assert_eq!(registry.lease(ResourceNo(1), 0), Some(Lease { node: NodeNo(1), epoch: 2 }));
    assert!(!registry.was_opened(ResourceNo(2)));
    assert_eq!(registry.grants_of(department()).count(), 2);
    assert_eq!(registry.grants_on(&Target::Library(LibraryId::POPULATION)).count(), 1);
    let today = jiff::civil::date(2026, 11, 21);
    assert!(!registry.grant(GrantId(1)).expect("known").in_force(today));
    assert!(registry.grant(GrantId(2)).expect("known").in_force(today));
    assert_eq!(registry.as_of().map(AsOf::number), Some(20_261_121), "the date never goes back");
    assert_eq!((registry.next_node(), registry.next_resource()), (NodeNo(3), ResourceNo(3)));
    assert_eq!(registry.next_grant(), GrantId(3));
}

#[test]
fn entries_are_paged_in_the_order_of_their_codes() {
    let registry = folded();
    let codes: Vec<_> = registry.entries_after(None).map(|e| e.entry.code.to_string()).collect();
    assert_eq!(codes, ["101000000000/000001", "303084122704/000001"]);
    let first = codes[0].parse().expect("a code");
    let rest: Vec<_> = registry.entries_after(Some(&first)).map(|e| e.number).collect();
    assert_eq!(rest, [ResourceNo(1)]);
}

#[test]
fn barriers_go_where_the_rows_are() {
    let registry = folded();
    let scopes: Vec<_> = events().iter().map(|event| registry.scope_of(event)).collect();
    let own = BarrierScope::Space(ResourceNo(1).space(None));
    let population = BarrierScope::Space(SpaceNo::library(LibraryId::POPULATION));
    assert_eq!(scopes[..4], [BarrierScope::Nowhere; 4]);
    assert_eq!(scopes[4..9], [own, population, own, own, population]);
    assert_eq!(scopes[9..12], [BarrierScope::Everywhere, own, BarrierScope::Nowhere]);
}

proptest! {
    /// A fold that is interrupted anywhere and begun again with some events repeated ends the same.
    #[test]
    fn repeated_offsets_change_nothing(stop in 0usize..16, back in 0usize..16) {
        let events = events();
        let mut registry = Registry::default();
        let resumed = stop.saturating_sub(back);
        let order = (0..stop).chain(resumed..events.len());
        for index in order {
            registry.apply(Offset(index as u64 + 1), &events[index]);
        }
        prop_assert_eq!(registry, folded());
    }

    /// No order of events makes the fold panic.
    #[test]
    fn any_order_is_survived(order in Just((0usize..16).collect::<Vec<_>>()).prop_shuffle()) {
        let events = events();
        let mut registry = Registry::default();
        for (offset, index) in order.into_iter().enumerate() {
            registry.apply(Offset(offset as u64 + 1), &events[index]);
            for event in &events {
                let _ = registry.scope_of(event);
            }
        }
        prop_assert_eq!(registry.applied(), Offset(16));
    }
}
