use jiff::civil::date;

use super::*;

fn item(id: u16, name: &str, data_type: DataType) -> Item {
    Item {
        id: FieldId(id),
        name: name.to_owned(),
        label: format!("{name} 标签"),
        data_type,
        length: 0,
        required: false,
        key: false,
        semantic: None,
        sensitivity: 0,
    }
}

/// An invented entry that is right, bound to the population library.
fn entry() -> CatalogueEntry {
    CatalogueEntry {
        code: "303084122704/000001".parse().expect("good"),
        name: "常住人口登记信息".to_owned(),
        classification: "一般数据".to_owned(),
        provider: "11100000000013338W".parse().expect("good"),
        provider_name: "示例部门".to_owned(),
        summary: String::new(),
        format: Format::Database,
        items: vec![
            item(7, "xm", DataType::Text),
            Item {
                required: true,
                key: true,
                length: 18,
                semantic: Some(Semantic::CitizenId),
                ..item(2, "sfzh", DataType::Text)
            },
            item(3, "csrq", DataType::Date),
        ],
        sharing: Sharing {
            kind: SharingKind::Conditional,
            condition: "用于社会保险经办".to_owned(),
            mode: "批量交换".to_owned(),
            basis: String::new(),
        },
        open: Open::default(),
        update_cycle: UpdateCycle::Daily,
        published: Some(date(2026, 3, 1)),
        related: vec!["3070010370/000066".parse().expect("good")],
        binding: Some(Binding {
            library: LibraryId::POPULATION,
            fields: vec![
                (FieldId(2), FieldId(1)),
                (FieldId(7), FieldId(2)),
                (FieldId(3), FieldId(5)),
            ],
            authority: 10,
        }),
        version: 1,
        schema_version: 1,
    }
}

/// The fields that `validate` names after a change of the right entry.
fn wrong(change: impl FnOnce(&mut CatalogueEntry)) -> Vec<String> {
    let mut entry = entry();
    change(&mut entry);
    match entry.validate() {
        Ok(()) => Vec::new(),
        Err(problems) => problems.into_iter().map(|problem| problem.field).collect(),
    }
}

fn binding(entry: &mut CatalogueEntry) -> &mut Binding {
    entry.binding.as_mut().expect("the right entry is bound")
}

#[test]
fn a_right_entry_passes_and_its_items_are_in_order() {
    let entry = entry();
    assert_eq!(entry.validate(), Ok(()));
    assert_eq!(entry.warnings(), Vec::new());
    let ids = |items: Vec<&Item>| -> Vec<u16> { items.iter().map(|item| item.id.0).collect() };
    assert_eq!(ids(entry.keys()), [2]);
    assert_eq!(ids(entry.columns()), [3, 7]);
    assert_eq!(entry.item(FieldId(3)).map(|item| item.name.as_str()), Some("csrq"));
    assert_eq!(entry.item_named("xm").map(|item| item.id), Some(FieldId(7)));
    assert_eq!(entry.item_named("xm 标签").map(|item| item.id), Some(FieldId(7)));
    assert_eq!(entry.item_named("none"), None);
    let binding = entry.binding.as_ref().expect("bound");
    assert_eq!(binding.library_field(FieldId(7)), Some(FieldId(2)));
    assert_eq!(binding.item_for(FieldId(2)), Some(FieldId(7)));
}

#[test]
fn an_entry_comes_back_from_json() {
    let json = serde_json::to_string(&entry()).expect("serialisable");
    assert!(json.contains(r#""data_type":"C""#) && json.contains(r#""update_cycle":2"#), "{json}");
    assert_eq!(serde_json::from_str::<CatalogueEntry>(&json).expect("readable"), entry());
}

#[test]
fn a_short_entry_in_a_file_is_enough() {
    let json = r#"{
        "code": "BA6006/000218", "name": "n", "provider": "11100000000013338W", "provider_name": "p", "format": 3,
        "items": [{ "id": 1, "name": "bh", "label": "编号", "data_type": "C", "required": true, "key": true }],
        "sharing": { "kind": 1 }, "update_cycle": 6, "version": 1, "schema_version": 1
    }"#;
    let entry: CatalogueEntry = serde_json::from_str(json).expect("readable");
    assert_eq!(entry.validate(), Ok(()));
    assert_eq!(entry.warnings().len(), 1, "the older code is noticed");
    let misspelt = json.replace("\"update_cycle\"", "\"sumary\": \"\", \"update_cycle\"");
    assert!(serde_json::from_str::<CatalogueEntry>(&misspelt).is_err());
}

#[test]
fn all_problems_are_listed_at_once_with_what_is_expected() {
    let mut entry = entry();
    entry.name.clear();
    entry.version = 0;
    entry.items[0].name = "9x".to_owned();
    let problems = entry.validate().expect_err("three problems");
    let text: Vec<String> = problems.iter().map(ToString::to_string).collect();
    assert_eq!(
        text,
        [
            "name: expected a name, found nothing",
            "version: expected 1 or more, found 0",
            "items[0].name: expected a letter or underscore, then letters, digits, underscores (at most 64), found 9x",
        ]
    );
}

#[test]
fn a_refusal_to_share_cites_its_basis() {
    let refuse = |entry: &mut CatalogueEntry| entry.sharing.kind = SharingKind::Refused;
    assert_eq!(wrong(refuse), ["sharing.basis"]);
    let cited = |entry: &mut CatalogueEntry| {
        refuse(entry);
        entry.sharing.basis = "某法第一条".to_owned();
    };
    assert_eq!(wrong(cited), Vec::<String>::new());
    assert_eq!(wrong(|e| e.sharing.condition = " ".to_owned()), ["sharing.condition"]);
    let reason = |entry: &mut CatalogueEntry| {
        cited(entry);
        entry.sharing.condition.clear();
    };
    assert_eq!(wrong(reason), ["sharing.condition"], "a refusal gives its reason too");
}

#[test]
fn key_items_exist_are_required_and_no_geometry() {
    assert_eq!(wrong(|e| e.items[1].required = false), ["items[1].required"]);
    assert_eq!(
        wrong(|e| {
            e.items[1].key = false;
            e.binding = None;
        }),
        ["items"]
    );
    let geometry = |e: &mut CatalogueEntry| {
        e.binding = None;
        e.items[1].semantic = None;
        e.items[1].data_type = DataType::Geometry;
    };
    assert_eq!(wrong(geometry), ["items[1].key"]);
    assert_eq!(
        wrong(|e| {
            e.items.clear();
            e.binding = None;
        }),
        ["items"]
    );
}

#[test]
fn numbers_and_names_of_items_are_used_once() {
    assert_eq!(
        wrong(|e| {
            e.items[2].id = FieldId(7);
            e.binding = None;
        }),
        ["items[2].id"]
    );
    assert_eq!(
        wrong(|e| {
            e.items[2].id = FieldId(0);
            e.binding = None;
        }),
        ["items[2].id"]
    );
    assert_eq!(wrong(|e| e.items[2].name = "xm".to_owned()), ["items[2].name"]);
    assert_eq!(wrong(|e| e.items[2].label = "a\u{7}".to_owned()), ["items[2].label"]);
    let many = |e: &mut CatalogueEntry| {
        e.items.extend((100..1000).map(|id| item(id, &format!("x{id}"), DataType::Text)))
    };
    assert_eq!(wrong(many), ["items"]);
    let mut same_label = entry();
    same_label.items[2].label = same_label.items[0].label.clone();
    assert_eq!((same_label.validate(), same_label.warnings().len()), (Ok(()), 1));
}

#[test]
fn a_meaning_fits_its_type() {
    assert_eq!(wrong(|e| e.items[2].semantic = Some(Semantic::CitizenId)), ["items[2].data_type"]);
    assert_eq!(wrong(|e| e.items[2].semantic = Some(Semantic::BirthDate)), Vec::<String>::new());
}

#[test]
fn a_binding_fits_its_library() {
    assert_eq!(wrong(|e| binding(e).library = LibraryId(99)), ["binding.library"]);
    assert_eq!(wrong(|e| binding(e).fields[1].0 = FieldId(99)), ["binding.fields[1]"]);
    assert_eq!(wrong(|e| binding(e).fields[1].1 = FieldId(99)), ["binding.fields[1]"]);
    assert_eq!(wrong(|e| binding(e).fields[2].1 = FieldId(2)), ["binding.fields[2]"], "twice");
    assert_eq!(
        wrong(|e| binding(e).fields[1].1 = FieldId(5)),
        ["binding.fields[1]", "binding.fields[2]"],
        "text as date"
    );
    assert_eq!(
        wrong(|e| {
            binding(e).fields.remove(0);
        }),
        ["binding.fields"],
        "no key"
    );
    assert_eq!(wrong(|e| e.items[1].semantic = None), ["binding.fields[0]"], "unchecked key");
    assert_eq!(
        wrong(|e| {
            e.items[0].key = true;
            e.items[0].required = true;
        }),
        ["binding.fields"],
        "two keys"
    );
}

#[test]
fn other_metadata_is_bounded() {
    assert_eq!(wrong(|e| e.summary = "x".repeat(5000)), ["summary"]);
    assert_eq!(wrong(|e| e.related = vec![e.code.clone()]), ["related"]);
    assert_eq!(wrong(|e| e.schema_version = 0), ["schema_version"]);
    assert_eq!(wrong(|e| e.provider_name = "字".repeat(300)), ["provider_name"]);
}
