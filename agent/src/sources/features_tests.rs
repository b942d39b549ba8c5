use super::*;
use crate::config::{Rules, SourceForm};
use crate::sources::{Rows, Source, SourceOptions};

/// Key `id`, name, place.
fn entry() -> hutong_schema::catalogue::CatalogueEntry {
    let mut entry = serde_json::to_value(crate::testing::entry()).unwrap();
    entry["items"][3] = serde_json::json!({
        "id": 4, "name": "shape", "label": "位置", "data_type": "G", "length": 0
    });
    serde_json::from_value(entry).unwrap()
}

fn open(text: &[u8], from: Option<Position>) -> Result<Source, SourceError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("places.geojson");
    std::fs::write(&path, text).unwrap();
    let rules = Rules::default();
    let form = SourceForm::GeoJson;
    let encoding = TextEncoding::Utf8;
    let options = SourceOptions {
        path: &path,
        form: &form,
        encoding,
        rules: &rules,
        from,
        whole_lines: false,
    };
    Source::open(options, &entry())
}

const PLACES: &str = r#"{ "type": "FeatureCollection", "features": [
    { "type": "Feature", "id": "p1", "properties": { "名称": "示例一", "height": 3 },
      "geometry": { "type": "Point", "coordinates": [123.8, 42.2] } },
    { "type": "Feature", "id": 7, "properties": { "name": "示例二", "id": "p2" }, "geometry": null },
    { "type": "Feature", "id": "p3", "properties": { "name": "示例三" },
      "geometry": { "type": "Point", "coordinates": [423.8, 42.2] } },
    [1],
    { "type": "Feature", "id": "p5", "properties": null, "geometry": null }
] }"#;

#[test]
fn properties_geometry_and_id_become_items_and_a_bad_feature_costs_itself() {
    let mut source = open(PLACES.as_bytes(), None).unwrap();
    let (mut row, mut seen) = (Row::default(), Vec::new());
    loop {
        match source.next(&mut row).unwrap() {
            Next::End => break,
            Next::Row => {
                let present: Vec<_> = row.values().map(|value| value.is_some()).collect();
                seen.push((String::from_utf8(row.key().to_vec()).unwrap(), present));
            }
            Next::Refused(refusal) => {
                seen.push((format!("{}: {:?}", refusal.field.0, refusal.reason), Vec::new()));
            }
        }
    }
    let seen: Vec<_> = seen.iter().map(|(key, present)| (key.as_str(), &present[..])).collect();
    assert_eq!(
        seen,
        [
            ("p1", &[true, false, true][..]),
            ("p2", &[true, false, false]),
            ("4: Geometry", &[]),
            ("0: Type", &[]),
            ("2: Missing", &[]),
        ]
    );
    assert_eq!(source.unknown_columns(), ["height"]);
    let mut rest = open(PLACES.as_bytes(), Some(Position { offset: 4, rows: 4 })).unwrap();
    assert!(matches!(rest.next(&mut row).unwrap(), Next::Refused(_)));
    assert_eq!(row.number, 5);
    assert_eq!(rest.next(&mut row).unwrap(), Next::End);
}

#[test]
fn what_is_no_collection_is_said_so() {
    for (text, part) in [
        ("{}", "no GeoJSON FeatureCollection"),
        (&PLACES[..400], "no GeoJSON FeatureCollection"),
        ("{\"type\":\"Feature\",\"features\":[]}", "a GeoJSON Feature, not"),
        ("{\"type\":\"FeatureCollection\"}", "lacks its features"),
    ] {
        let said = open(text.as_bytes(), None).err().unwrap().to_string();
        assert!(said.contains(part), "{text}: {said}");
    }
}
