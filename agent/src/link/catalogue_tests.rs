use super::*;

fn entry(code: &str) -> String {
    serde_json::json!({
        "code": code,
        "name": "测试目录",
        "provider": "11100000000013338W",
        "provider_name": "测试单位",
        "format": sample_format(),
        "items": [{ "id": 1, "name": "bh", "label": "编号", "data_type": "C", "length": 10,
                    "required": true, "key": true }],
        "sharing": { "kind": 1, "mode": "前置节点", "condition": "", "basis": "" },
        "update_cycle": 2,
        "version": 1,
        "schema_version": 1
    })
    .to_string()
}

fn sample_format() -> serde_json::Value {
    serde_json::to_value(hutong_schema::catalogue::Format::Database)
        .unwrap_or_else(|_| "csv".into())
}

fn problems(name: &str, text: &str) -> Vec<(usize, Option<String>)> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    match read(&path) {
        Ok(_) => Vec::new(),
        Err(CatalogueFileError::Mistakes { mistakes, .. }) => {
            mistakes.into_iter().map(|each| (each.line, each.code)).collect()
        }
        Err(error) => panic!("{error}"),
    }
}

#[test]
fn all_mistakes_are_named_with_line_and_code() {
    let good = entry("300001/000001");
    let broken = good.replace("\"update_cycle\":2", "\"update_cycle\":99");
    let broken = broken.replace("300001/000001", "300001/000002");
    let nameless = entry("300001/000003").replace("测试目录", "");
    let text = format!("{good}\n\n{{not json\n{broken}\n{nameless}\n{good}\n");
    let found = problems("catalogue.jsonl", &text);
    let code = |code: &str| Some(code.to_owned());
    assert_eq!(
        found,
        [
            (3, None),
            (4, code("300001/000002")),
            (5, code("300001/000003")),
            (6, code("300001/000001"))
        ]
    );
}

#[test]
fn toml_entries_are_found_by_line() {
    let value: toml::Value = serde_json::from_str(&entry("300001/000001")).unwrap();
    let table = toml::to_string(&value).unwrap();
    // Sub-tables of an entry are written below its own keys.
    let as_entry =
        table.replace("[[items]]", "[[entry.items]]").replace("[sharing]", "[entry.sharing]");
    let good = format!("[[entry]]\n{as_entry}");
    assert_eq!(problems("c.toml", &good), []);
    let found =
        problems("c.toml", &format!("# two\n{good}\n[[entry]]\ncode = \"300001/000009\"\n"));
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].1.as_deref(), Some("300001/000009"));
    assert_eq!(problems("c.toml", "[[entry").len(), 1);
}

#[test]
fn pages_fit_a_command() {
    let one: CatalogueEntry = serde_json::from_str(&entry("300001/000001")).unwrap();
    let long = CatalogueEntry { summary: "x".repeat(4_000), ..one.clone() };
    let counts =
        |entries: &[CatalogueEntry]| pages(entries).iter().map(Vec::len).collect::<Vec<_>>();
    assert_eq!(counts(&[]), Vec::<usize>::new());
    assert_eq!(counts(&vec![one; 401]), [200, 200, 1]);
    let found = counts(&vec![long; 400]);
    assert_eq!(found.iter().sum::<usize>(), 400);
    assert!(found.len() >= 3, "{found:?}");
}
