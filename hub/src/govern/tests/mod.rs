//! Decisions, case by case and by property.

use hutong_schema::{
    catalogue::{CatalogueEntry, DataType, SharingKind},
    grant::{AsOf, GrantId, Modes, RowFilter, Scalar, Target},
    library::LibraryId,
    row::FieldId,
};
use jiff::{Timestamp, civil::date};

use super::{
    samples::{
        TODAY, code, enrol, entry, item, name, open, other, population, provider, publish, request,
    },
    *,
};
use crate::log::Offset;

mod certificates;
mod properties;

/// A registry that follows its own decisions.
#[derive(Default)]
struct World {
    registry: Registry,
}

impl World {
    fn with(commands: &[Command]) -> Self {
        let mut world = Self::default();
        for command in commands {
            world.run(command).expect("carried out");
        }
        world
    }

    fn city() -> Self {
        Self::with(&[
            enrol("n1"),
            enrol("n2"),
            Command::RegisterDepartment { department: other(), name: "另一局".into() },
            publish(vec![entry(1), entry(2)]),
        ])
    }

    fn run(&mut self, command: &Command) -> Result<Decision, Denied> {
        let decision = decide(&self.registry, command, TODAY)?;
        for event in &decision.events {
            let next = Offset(self.registry.applied().0 + 1);
            self.registry.apply(next, event);
        }
        Ok(decision)
    }

    /// The places at fault: `subject field`.
    fn mistakes(&mut self, command: &Command) -> Vec<String> {
        match self.run(command) {
            Err(Denied::Problems(problems)) => {
                problems.iter().map(|p| format!("{} {}", p.subject, p.field)).collect()
            }
            other => panic!("expected problems, got {other:?}"),
        }
    }

    fn refusal(&mut self, command: &Command) -> RefusalCode {
        match self.run(command) {
            Err(Denied::Refused(refused)) => refused.reason().expect("a known code"),
            other => panic!("expected a refusal, got {other:?}"),
        }
    }

    fn open(&mut self, node: u32, resource: u32) -> Result<Decision, Denied> {
        self.run(&open(node, resource))
    }

    fn in_catalogue(&self, sequence: u32) -> CatalogueEntry {
        self.registry.entry_coded(&code(sequence)).expect("registered").entry.as_ref().clone()
    }
}

/// How many entries changed and how many did not.
fn counts(decision: &Decision) -> (u32, u32) {
    let Outcome::EntriesPublished { changed, unchanged, .. } = decision.outcome else {
        panic!("expected entries, got {:?}", decision.outcome)
    };
    (changed, unchanged)
}

#[test]
fn a_node_of_a_new_department_brings_the_department() {
    let mut world = World::default();
    let first = world.run(&enrol("n1")).expect("enrolled");
    assert_eq!(first.outcome, Outcome::Node(NodeNo(1)));
    assert_eq!(first.events.len(), 2);
    let second = world.run(&enrol("n2")).expect("enrolled");
    assert_eq!((second.outcome, second.events.len()), (Outcome::Node(NodeNo(2)), 1));
}

#[test]
fn a_node_that_enrols_again_keeps_its_number_and_returns_to_service() {
    let mut world = World::city();
    let retire =
        Command::RetireNode { department: provider(), name: name("n1"), reason: "broken".into() };
    assert_eq!(world.run(&retire).expect("retired").events.len(), 1);
    let again = world.run(&enrol("n1")).expect("enrolled");
    assert_eq!((again.outcome, again.events.len()), (Outcome::Node(NodeNo(1)), 1));
    let unknown =
        Command::RetireNode { department: provider(), name: name("n9"), reason: String::new() };
    assert_eq!(world.mistakes(&unknown), ["n9 reason"]);
}

#[test]
fn versions_are_counted_by_the_registry() {
    let mut world = World::default();
    let wild = CatalogueEntry { version: 77, schema_version: 0, ..entry(1) };
    assert_eq!(counts(&world.run(&publish(vec![wild])).expect("ok")), (1, 0));
    let versions = |world: &World| {
        let entry = world.in_catalogue(1);
        (entry.version, entry.schema_version)
    };
    assert_eq!(versions(&world), (1, 1));

    let renamed = CatalogueEntry { name: "新名".into(), ..entry(1) };
    world.run(&publish(vec![renamed.clone()])).expect("ok");
    assert_eq!(versions(&world), (2, 1));

    let mut widened = renamed;
    widened.items.push(item(4));
    world.run(&publish(vec![widened.clone()])).expect("ok");
    assert_eq!(versions(&world), (3, 2));
    let again = world.run(&publish(vec![widened, entry(2)])).expect("ok");
    assert_eq!((again.events.len(), counts(&again)), (1, (1, 1)));
}

#[test]
fn new_entries_of_one_command_get_numbers_of_their_own() {
    let mut world = World::default();
    world.run(&publish(vec![entry(1), entry(2), entry(3)])).expect("ok");
    let numbers: Vec<_> =
        world.registry.entries().map(|e| (e.number.0, e.entry.code.clone())).collect();
    assert_eq!(numbers, [(1, code(1)), (2, code(2)), (3, code(3))]);
}

#[test]
fn every_mistake_is_named_and_nothing_is_registered() {
    let mut world = World::city();
    let foreign = CatalogueEntry { provider: other(), ..entry(7) };
    let nameless = CatalogueEntry { name: String::new(), items: vec![], ..entry(8) };
    let command = publish(vec![entry(5), foreign, nameless, entry(5)]);
    let expected = [(7, "provider"), (8, "name"), (8, "items"), (5, "code")];
    assert_eq!(world.mistakes(&command), expected.map(|(n, field)| format!("{} {field}", code(n))));
    assert!(world.registry.entry_coded(&code(5)).is_none());
}

#[test]
fn another_department_cannot_take_over_a_code() {
    let mut world = World::city();
    let taken = CatalogueEntry { provider: other(), ..entry(1) };
    let command = Command::PublishEntries { department: other(), entries: vec![taken] };
    assert_eq!(world.mistakes(&command), [format!("{} code", code(1))]);
}

#[test]
fn the_key_of_a_resource_stays_as_it_was() {
    let mut world = World::city();
    let mut longer = entry(1);
    longer.items[1].key = true;
    longer.items[1].required = true;
    assert_eq!(world.mistakes(&publish(vec![longer])), [format!("{} items", code(1))]);
    let mut plain = entry(1);
    plain.items[0].semantic = None;
    assert_eq!(world.mistakes(&publish(vec![plain])), [format!("{} items[0].semantic", code(1))]);
    let mut wider = entry(1);
    wider.items[0].length = 64;
    world.run(&publish(vec![wider])).expect("a length may change");
}

#[test]
fn an_item_number_keeps_its_type_even_after_the_item_is_gone() {
    let mut world = World::city();
    let mut typed = entry(1);
    typed.items[2].data_type = DataType::Date;
    assert_eq!(
        world.mistakes(&publish(vec![typed.clone()])),
        [format!("{} items[2].data_type", code(1))]
    );
    let mut shorter = entry(1);
    shorter.items.pop();
    world.run(&publish(vec![shorter])).expect("an item may go");
    assert_eq!(world.mistakes(&publish(vec![typed])), [format!("{} items[2].data_type", code(1))]);
}

#[test]
fn the_library_of_a_resource_is_settled_when_it_is_registered() {
    let mut world = World::city();
    let bound = CatalogueEntry { binding: population(1), ..entry(1) };
    assert_eq!(world.mistakes(&publish(vec![bound])), [format!("{} binding.library", code(1))]);
    let bound = CatalogueEntry { binding: population(1), ..entry(3) };
    world.run(&publish(vec![bound])).expect("registered");
    assert_eq!(world.mistakes(&publish(vec![entry(3)])), [format!("{} binding.library", code(3))]);
}

#[test]
fn how_a_resource_is_bound_is_settled_with_the_first_epoch() {
    let mut world = World::city();
    let bound = |authority| CatalogueEntry { binding: population(authority), ..entry(3) };
    world.run(&publish(vec![bound(1)])).expect("registered");
    world.run(&publish(vec![bound(2)])).expect("nothing was published yet");
    world.open(1, 3).expect("opened");
    assert_eq!(world.mistakes(&publish(vec![bound(1)])), [format!("{} binding", code(3))]);
    world.run(&publish(vec![bound(2)])).expect("unchanged");
}

#[test]
fn epochs_count_and_a_lease_is_held_by_one_node() {
    let mut world = World::city();
    assert_eq!(world.open(1, 1).expect("opened").outcome, Outcome::Epoch(1));
    assert_eq!(world.open(1, 1).expect("opened").outcome, Outcome::Epoch(2));
    assert_eq!(world.refusal(&open(2, 1)), RefusalCode::Leased);
    let retire =
        Command::RetireNode { department: provider(), name: name("n1"), reason: "moved".into() };
    world.run(&retire).expect("retired");
    assert_eq!(world.open(2, 1).expect("opened").outcome, Outcome::Epoch(3));
    assert_eq!(world.refusal(&open(1, 2)), RefusalCode::UnknownNode);
    assert_eq!(world.refusal(&open(9, 2)), RefusalCode::UnknownNode);
    assert_eq!(world.refusal(&open(2, 9)), RefusalCode::NotRegistered);
    let split = Command::OpenEpoch { node: NodeNo(2), resource: ResourceNo(2), shard: 1 };
    assert_eq!(world.refusal(&split), RefusalCode::Protocol);
}

#[test]
fn a_resource_is_published_by_its_own_department() {
    let mut world = World::city();
    let foreign = Command::EnrolNode {
        department: other(),
        department_name: None,
        name: name("n1"),
        certificate_serial: "0b".into(),
        expires: Timestamp::UNIX_EPOCH,
    };
    assert_eq!(world.run(&foreign).expect("enrolled").outcome, Outcome::Node(NodeNo(3)));
    assert_eq!(world.refusal(&open(3, 1)), RefusalCode::NotYours);
}

#[test]
fn a_grant_covers_all_fields_unless_it_says_otherwise() {
    let mut world = World::city();
    world.run(&Command::MakeGrant(request(Target::Resource(code(1))))).expect("granted");
    let library = GrantRequest {
        fields: Some(vec![FieldId(5), FieldId(1), FieldId(2), FieldId(5)]),
        filter: Some(RowFilter::AgeAtLeast(FieldId(5), 18)),
        ..request(Target::Library(LibraryId::POPULATION))
    };
    let made = world.run(&Command::MakeGrant(library)).expect("granted");
    assert_eq!(made.outcome, Outcome::Grant(GrantId(2)));
    let fields = |id| world.registry.grant(GrantId(id)).expect("made").grant.fields.clone();
    assert_eq!(fields(1), [FieldId(2), FieldId(3)]);
    assert_eq!(fields(2), [FieldId(2), FieldId(5)], "ascending, once, without the key");
    assert_eq!(world.registry.grant(GrantId(1)).expect("made").grant.from, TODAY);
}

#[test]
fn every_mistake_of_a_grant_is_named() {
    let mut world = World::city();
    let wrong = GrantRequest {
        grantee: "113700000045030270".parse().expect("a published example"),
        fields: Some(vec![FieldId(99)]),
        filter: Some(RowFilter::In(FieldId(98), vec![Scalar::Text("x".into())])),
        purpose: "  ".into(),
        modes: Modes { deliver: false, lookup: false, verify: false },
        until: Some(date(2026, 1, 1)),
        ..request(Target::Library(LibraryId::POPULATION))
    };
    assert_eq!(
        world.mistakes(&Command::MakeGrant(wrong)),
        [
            "grant purpose",
            "grant grantee",
            "grant modes",
            "grant until",
            "grant fields",
            "grant filter"
        ]
    );
    let nothing = Command::MakeGrant(request(Target::Resource(code(9))));
    assert_eq!(world.mistakes(&nothing), ["grant target"]);
    let nowhere = Command::MakeGrant(request(Target::Library(LibraryId(900))));
    assert_eq!(world.mistakes(&nowhere), ["grant target"]);
}

#[test]
fn what_is_not_shared_cannot_be_granted() {
    let mut world = World::city();
    let mut refused = entry(3);
    refused.sharing.kind = SharingKind::Refused;
    refused.sharing.condition = "示例理由".into();
    refused.sharing.basis = "示例法".into();
    world.run(&publish(vec![refused])).expect("registered");
    let command = Command::MakeGrant(request(Target::Resource(code(3))));
    assert_eq!(world.mistakes(&command), ["grant target"]);
}

#[test]
fn a_grant_is_withdrawn_once() {
    let mut world = World::city();
    world.run(&Command::MakeGrant(request(Target::Resource(code(1))))).expect("granted");
    let withdraw = Command::WithdrawGrant { grant: GrantId(1), reason: "ended".into() };
    assert_eq!(world.run(&withdraw).expect("withdrawn").events.len(), 1);
    assert_eq!(world.run(&withdraw).expect("so already").events.len(), 0);
    let made = world.run(&Command::MakeGrant(request(Target::Resource(code(1))))).expect("granted");
    assert_eq!(made.outcome, Outcome::Grant(GrantId(2)), "a number is never used twice");
    let unknown = Command::WithdrawGrant { grant: GrantId(9), reason: "x".into() };
    assert_eq!(world.mistakes(&unknown), ["grant id"]);
}

#[test]
fn a_changed_item_starts_a_new_generation_of_its_grants() {
    let mut world = World::city();
    let two = GrantRequest { fields: Some(vec![FieldId(2)]), ..request(Target::Resource(code(1))) };
    world.run(&Command::MakeGrant(two)).expect("granted");
    world.run(&Command::MakeGrant(request(Target::Resource(code(1))))).expect("granted");
    let mut shorter = entry(1);
    shorter.items.pop();
    let decision = world.run(&publish(vec![shorter])).expect("ok");
    assert_eq!(decision.events.len(), 2, "only the second grant had item 3");
    let grant = |id| world.registry.grant(GrantId(id)).expect("made").grant.clone();
    assert_eq!((grant(1).generation, grant(2).generation), (1, 2));
    assert_eq!(grant(2).fields, [FieldId(2)]);
}

#[test]
fn an_item_that_a_filter_reads_cannot_go() {
    let mut world = World::city();
    let filter = Some(RowFilter::Present(FieldId(3)));
    let grant = GrantRequest { filter, ..request(Target::Resource(code(1))) };
    world.run(&Command::MakeGrant(grant)).expect("granted");
    let mut shorter = entry(1);
    shorter.items.pop();
    assert_eq!(world.mistakes(&publish(vec![shorter])), [format!("{} items", code(1))]);
}

#[test]
fn the_date_moves_forward_only() {
    let mut world = World::default();
    let set = |day| Command::SetClockDate { as_of: AsOf::from_number(day).expect("a date") };
    assert_eq!(world.run(&set(20_261_121)).expect("ok").events.len(), 1);
    assert_eq!(world.run(&set(20_261_120)).expect("ok").events.len(), 0);
    assert_eq!(world.run(&set(20_261_122)).expect("ok").events.len(), 1);
}

#[test]
fn a_long_list_of_mistakes_fits_into_one_refusal() {
    let mut world = World::default();
    let entries: Vec<_> =
        (0..400).map(|n| CatalogueEntry { name: String::new(), ..entry(n) }).collect();
    let refused = world.run(&publish(entries)).expect_err("mistakes").into_refused();
    assert!(refused.detail.len() < hutong_schema::limits::TEXT_BYTES_MAX);
    assert!(refused.detail.contains("further mistakes"), "{}", refused.detail);
}
