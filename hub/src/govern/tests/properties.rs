//! What holds for every sequence of commands.

use proptest::prelude::*;

use super::*;

fn any_command() -> impl Strategy<Value = Command> {
    let nodes = prop_oneof![Just("n1"), Just("n2"), Just("n3")];
    let entries = prop::collection::vec((1u32..4, 2usize..6, 0u16..3), 1..4);
    let target = prop_oneof![
        (1u32..4).prop_map(|n| Target::Resource(code(n))),
        Just(Target::Library(LibraryId::POPULATION)),
    ];
    prop_oneof![
        nodes.clone().prop_map(enrol),
        nodes.clone().prop_map(|n| Command::RevokeNode {
            department: provider(),
            name: name(n),
            reason: "x".into()
        }),
        Just(Command::RevokeDepartment { department: provider(), reason: "x".into() }),
        nodes.prop_map(|n| Command::RetireNode {
            department: provider(),
            name: name(n),
            reason: "x".into()
        }),
        Just(Command::RegisterDepartment { department: other(), name: "另一局".into() }),
        entries.prop_map(|list| publish(
            list.into_iter()
                .map(|(sequence, items, bind)| CatalogueEntry {
                    items: (1..=items as u16).map(item).collect(),
                    binding: if bind > 0 { population(bind) } else { None },
                    ..entry(sequence)
                })
                .collect()
        )),
        (target, prop::option::of(2u16..5)).prop_map(|(target, field)| {
            Command::MakeGrant(GrantRequest {
                fields: field.map(|field| vec![FieldId(field)]),
                ..request(target)
            })
        }),
        (1u64..4).prop_map(|id| Command::WithdrawGrant { grant: GrantId(id), reason: "x".into() }),
        (20_260_101u32..20_260_120).prop_map(|day| Command::SetClockDate {
            as_of: AsOf::from_number(day).expect("a date")
        }),
        (1u32..4, 1u32..4).prop_map(|(node, resource)| open(node, resource)),
    ]
}

proptest! {
    /// A command that was carried out is carried out: the same one again changes nothing. (Opening
    /// an epoch is the exception: every call opens one.)
    #[test]
    fn a_second_identical_command_has_no_events(commands in prop::collection::vec(any_command(), 1..30)) {
        let mut world = World::default();
        for command in commands {
            let Ok(first) = world.run(&command) else { continue };
            if matches!(command, Command::OpenEpoch { .. }) {
                prop_assert_eq!(first.events.len(), 1);
                continue;
            }
            let second = world.run(&command).expect("what was carried out can be asked for again");
            prop_assert_eq!(second.events, vec![], "{:?}", command);
        }
    }

    /// What the registry holds is always what the entries' own rules allow, numbers are dense, and
    /// deciding changes nothing by itself.
    #[test]
    fn the_registry_stays_sound(commands in prop::collection::vec(any_command(), 1..40)) {
        let mut world = World::default();
        let mut schema_versions = std::collections::HashMap::new();
        for command in commands {
            let _ = world.run(&command);
            let registry = &world.registry;
            for (index, entry) in registry.entries().enumerate() {
                prop_assert_eq!(entry.number.0 as usize, index + 1);
                prop_assert!(entry.entry.validate().is_ok());
                let version = entry.entry.schema_version;
                let items = schema_versions.entry((entry.number, version)).or_insert_with(|| entry.entry.items.clone());
                prop_assert_eq!(&*items, &entry.entry.items, "one schema version, one set of items");
            }
            for (index, record) in registry.grants().enumerate() {
                prop_assert_eq!(record.grant.id.0 as usize, index + 1);
            }
            for (index, node) in registry.nodes().enumerate() {
                prop_assert_eq!(node.number.0 as usize, index + 1);
            }
        }
    }
}
