//! What the whole generator promises: exact figures, valid content, the same bytes every time.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::fs;
use std::path::Path;

use hutong_schema::catalogue::{CatalogueEntry, DataType, Item};
use hutong_schema::ids::CitizenId;
use hutong_schema::rules;
use indicatif::ProgressBar;

use super::agent_config::catalogue_file;
use super::entry::describe;
use super::plan::GENERATOR_VERSION;
use super::write::{Check, unit_folder, verify, write};
use super::{City, FileStyle, Registers, Resource, Role, Row, Scale, cache};

const SCALES: [Scale; 3] = [Scale::Full, Scale::Small, Scale::Ci];

#[test]
fn the_full_plan_has_the_reference_citys_figures() {
    let totals = City::plan(Scale::Full).unwrap().totals();
    assert_eq!((totals.units, totals.nodes, totals.entries), (108, 878, 6_911));
    assert_eq!(totals.rows, 3_000_818);
    assert_eq!((totals.people, totals.companies, totals.features), (2_235_402, 3_707, 94));
}

#[test]
fn every_plan_adds_up_to_its_scale() {
    for scale in SCALES {
        assert_eq!(City::plan(scale).unwrap().totals(), scale.totals());
    }
}

#[test]
fn every_node_has_an_entry_and_every_entry_a_row() {
    for scale in SCALES {
        let city = City::plan(scale).unwrap();
        assert!(city.units.iter().all(|unit| !unit.nodes.is_empty()));
        assert!(city.nodes().all(|(_, node)| !node.resources.is_empty()));
        assert!(city.resources().all(|(_, _, resource)| resource.rows > 0));
    }
}

#[test]
fn names_and_codes_are_used_once() {
    for scale in SCALES {
        let city = City::plan(scale).unwrap();
        let totals = scale.totals();
        let count = |texts: BTreeSet<String>| texts.len() as u64;
        assert_eq!(
            count(city.units.iter().map(|unit| unit.code.to_string()).collect()),
            totals.units
        );
        assert_eq!(count(city.nodes().map(|(_, node)| node.name.clone()).collect()), totals.nodes);
        let codes = city.resources().map(|(_, _, each)| each.code.to_string());
        assert_eq!(count(codes.collect()), totals.entries);
        let names = city.resources().map(|(unit, _, each)| describe(unit, each).unwrap().name);
        assert_eq!(count(names.collect()), totals.entries);
    }
}

#[test]
fn large_departments_have_twenty_to_thirty_nodes() {
    let city = City::plan(Scale::Full).unwrap();
    let most = city.units.iter().map(|unit| unit.nodes.len()).max().unwrap();
    let least = city.units.iter().map(|unit| unit.nodes.len()).min().unwrap();
    assert!((20..=30).contains(&most), "{most}");
    assert!(least <= 4, "{least}");
}

#[test]
fn every_part_of_the_demonstration_is_played_at_every_scale() {
    for scale in SCALES {
        let city = City::plan(scale).unwrap();
        let players = |role| city.units_with(role).count();
        let single = [
            Role::PublicSecurity,
            Role::MarketRegulation,
            Role::NaturalResources,
            Role::DataAuthority,
            Role::SocialSecurity,
            Role::Tax,
            Role::Planning,
        ];
        assert!(single.into_iter().all(|role| players(role) == 1), "{scale:?}");
        assert!(players(Role::County) >= 2, "{scale:?}");
    }
}

#[test]
fn sizes_are_skewed() {
    let city = City::plan(Scale::Full).unwrap();
    let sizes: Vec<u64> = city
        .resources()
        .filter(|(_, _, resource)| !resource.template.is_library())
        .map(|(_, _, resource)| resource.rows)
        .collect();
    let within = |low, high| sizes.iter().filter(|rows| (low..=high).contains(*rows)).count();
    assert!(within(10, 100) > sizes.len() / 2, "{}", within(10, 100));
    assert!(within(1_000, u64::MAX) > 50, "{}", within(1_000, u64::MAX));
}

#[test]
fn every_catalogue_entry_is_valid() {
    let city = City::plan(Scale::Full).unwrap();
    for (unit, _, resource) in city.resources() {
        let entry = describe(unit, resource).unwrap();
        assert_eq!(entry.validate(), Ok(()), "{}", entry.code);
        assert_eq!(entry.warnings(), []);
        assert!((5..=10).contains(&entry.items.len()));
    }
}

#[test]
fn all_data_types_and_composite_keys_occur() {
    let city = City::plan(Scale::Ci).unwrap();
    let entries: Vec<_> =
        city.resources().map(|(unit, _, each)| describe(unit, each).unwrap()).collect();
    for data_type in DataType::ALL {
        let has =
            |entry: &CatalogueEntry| entry.items.iter().any(|item| item.data_type == data_type);
        assert!(entries.iter().any(has), "{data_type:?}");
    }
    assert!(entries.iter().any(|entry| entry.keys().len() > 1));
    let styles: HashSet<_> =
        city.resources().map(|(_, _, each)| std::mem::discriminant(&each.style)).collect();
    assert_eq!(styles.len(), 4);
}

#[test]
fn two_million_people_have_valid_ids_of_their_own() {
    let registers = Registers::new(Scale::Full);
    let mut seen = HashSet::with_capacity(registers.people.count() as usize);
    let mut divisions: BTreeMap<u32, u64> = BTreeMap::new();
    for index in 0..registers.people.count() {
        let person = registers.people.person(index);
        let id: CitizenId = person.id().unwrap();
        assert_eq!(id.sex().code(), person.sex());
        *divisions.entry(person.division.code).or_default() += 1;
        assert!(seen.insert(id), "person {index} has the ID of another");
    }
    assert_eq!(divisions.len(), 7);
    assert!(divisions.values().all(|people| *people > 50_000), "{divisions:?}");
}

#[test]
fn every_row_fits_its_entry() {
    let city = City::plan(Scale::Full).unwrap();
    let registers = Registers::new(city.scale);
    for (unit, _, resource) in city.resources() {
        // Two million people alike are left out: their IDs have a test of their own.
        let resource = &Resource { rows: resource.rows.min(20_000), ..resource.clone() };
        let entry = describe(unit, resource).unwrap();
        let mut keys = HashSet::new();
        for row in resource.expected_rows(&registers) {
            let row = row.unwrap();
            assert_eq!(row.len(), entry.items.len());
            for (item, value) in entry.items.iter().zip(row.iter()) {
                check(item, value);
            }
            let key = entry.items.iter().zip(row.iter()).filter(|(item, _)| item.key);
            let key: Vec<String> = key.map(|(_, value)| value.to_owned()).collect();
            assert!(keys.insert(key), "a key of {} twice: {row:?}", entry.code);
        }
    }
}

/// The exchange's own rules: a generated value is canonical as it is, and accepted.
fn check(item: &Item, value: &str) {
    let what = format!("{} = {value:?}", item.name);
    let canonical = rules::canonicalise(item, value).expect(&what);
    assert_eq!(rules::check_optional(item, canonical.as_deref()), Ok(()), "{what}");
    if item.data_type != DataType::Geometry {
        assert_eq!(canonical.as_deref().unwrap_or_default(), value.as_bytes(), "{what}");
    }
}

#[test]
fn people_rows_are_about_as_wide_as_real_ones() {
    let registers = Registers::new(Scale::Small);
    let mut row = Row::default();
    let mut bytes = 0;
    for index in 0..1_000 {
        row.clear();
        registers.people.fill(index, &mut row).unwrap();
        bytes += row.iter().map(|value| value.len() + 1).sum::<usize>();
    }
    let mean = bytes / 1_000;
    assert!((200..=300).contains(&mean), "{mean} bytes");
}

#[test]
fn two_runs_write_the_same_bytes() {
    let city = City::plan(Scale::Ci).unwrap();
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let manifests = folders
        .each_ref()
        .map(|folder| write(&city, folder.path(), &ProgressBar::hidden()).unwrap());
    assert_eq!(manifests[0], manifests[1]);
}

/// When this fails, files of the cache would no longer be the ones that are generated: raise
/// `GENERATOR_VERSION`, then put the new fingerprint here.
#[test]
fn other_bytes_are_another_generator_version() {
    let folder = tempfile::tempdir().unwrap();
    let city = City::plan(Scale::Ci).unwrap();
    let manifest = write(&city, folder.path(), &ProgressBar::hidden()).unwrap();
    let all: Vec<&str> = manifest.files.values().map(|file| file.blake3.as_str()).collect();
    let fingerprint = blake3::hash(all.concat().as_bytes()).to_hex();
    assert_eq!((GENERATOR_VERSION, &fingerprint[..16]), (1, "61c63953f74c7118"));
}

#[test]
fn files_say_what_the_plan_says() {
    let folder = tempfile::tempdir().unwrap();
    let city = City::plan(Scale::Ci).unwrap();
    write(&city, folder.path(), &ProgressBar::hidden()).unwrap();
    let registers = Registers::new(city.scale);
    let text = fs::read(folder.path().join("plan.json")).unwrap();
    assert_eq!(serde_json::from_slice::<City>(&text).unwrap(), city);
    for (unit, node, resource) in city.resources() {
        let unit_folder = unit_folder(folder.path(), unit);
        let entry = describe(unit, resource).unwrap();
        let catalogue = fs::read_to_string(unit_folder.join(catalogue_file(node))).unwrap();
        let listed =
            catalogue.lines().map(|line| serde_json::from_str::<CatalogueEntry>(line).unwrap());
        assert!(listed.into_iter().any(|each| each == entry), "{}", entry.code);
        let expected: Vec<Row> = resource.expected_rows(&registers).map(Result::unwrap).collect();
        assert_eq!(read(&unit_folder.join(&resource.file), resource, &entry), expected);
    }
}

/// Reads a data file back into rows of text.
fn read(path: &Path, resource: &Resource, entry: &CatalogueEntry) -> Vec<Row> {
    let bytes = fs::read(path).unwrap();
    let text = match resource.style {
        FileStyle::CsvGb18030 => {
            let (text, failed) = encoding_rs::GB18030.decode_without_bom_handling(&bytes);
            assert!(!failed);
            text.into_owned()
        }
        FileStyle::CsvWithMark => {
            String::from_utf8(bytes).unwrap().strip_prefix('\u{FEFF}').unwrap().to_owned()
        }
        FileStyle::Csv | FileStyle::JsonLines => String::from_utf8(bytes).unwrap(),
    };
    if resource.style == FileStyle::JsonLines {
        return text.lines().map(|line| read_json(line, entry)).collect();
    }
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let header = reader.headers().unwrap().clone();
    assert!(
        header.iter().zip(&entry.items).all(|(name, item)| {
            entry.item_named(name).is_some_and(|named| named.id == item.id)
        })
    );
    let record = |record: csv::StringRecord| {
        let mut row = Row::default();
        for value in &record {
            row.put_str(value);
        }
        row
    };
    reader.records().map(|each| record(each.unwrap())).collect()
}

fn read_json(line: &str, entry: &CatalogueEntry) -> Row {
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(line).unwrap();
    let mut row = Row::default();
    for item in &entry.items {
        match object.get(&item.name) {
            None => row.absent(),
            Some(serde_json::Value::String(text)) => row.put_str(text),
            Some(serde_json::Value::Bool(value)) => row.put_bool(*value),
            // Members in another order, numbers printed anew: compare geometry by its own text.
            Some(serde_json::Value::Object(_)) => row.put_str(raw_member(line, &item.name)),
            Some(number) => row.put(number),
        };
    }
    row
}

/// The text of a geometry in a line, from its name to its closing brace.
fn raw_member<'a>(line: &'a str, name: &str) -> &'a str {
    let start = line.find(&format!("\"{name}\":{{")).unwrap() + name.len() + 3;
    let end = line[start..].find('}').unwrap();
    &line[start..=start + end]
}

#[test]
fn a_changed_byte_is_noticed_and_a_lost_file_made_again() {
    let root = tempfile::tempdir().unwrap();
    let folder = cache::ensure(root.path(), Scale::Ci, &ProgressBar::hidden()).unwrap();
    let manifest = verify(&folder, Check::Content).unwrap();
    let name = manifest.files.keys().find(|name| name.ends_with(".csv")).unwrap();
    let mut bytes = fs::read(folder.join(name)).unwrap();
    let last = bytes.len() - 2;
    bytes[last] ^= 1;
    fs::write(folder.join(name), bytes).unwrap();
    assert!(verify(&folder, Check::Sizes).is_ok());
    let complaint = verify(&folder, Check::Content).unwrap_err().to_string();
    assert!(complaint.contains(name.as_str()), "{complaint}");

    fs::remove_file(folder.join(name)).unwrap();
    cache::ensure(root.path(), Scale::Ci, &ProgressBar::hidden()).unwrap();
    assert_eq!(verify(&folder, Check::Content).unwrap(), manifest);
    assert_eq!(fs::read_dir(root.path()).unwrap().count(), 1, "no draft is left");
}
