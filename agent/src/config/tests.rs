use std::time::Duration;

use super::*;

const SAMPLE: &str = include_str!("../../../deploy/agent.sample.toml");

fn mistakes(text: &str) -> Vec<String> {
    match Config::parse(text, Path::new("/etc/hutong")) {
        Err(ConfigError::Mistakes(mistakes)) => {
            mistakes.into_iter().map(|each| format!("{} {}", each.key, each.problem)).collect()
        }
        other => panic!("mistakes were expected, not {other:?}"),
    }
}

#[test]
fn the_sample_is_valid_and_shows_the_defaults() {
    let config = Config::parse(SAMPLE, Path::new("/etc/hutong")).unwrap();
    assert_eq!(config.state_dir, Path::new("/etc/hutong/state"));
    assert_eq!(config.status_socket, Path::new("/etc/hutong/state/agent.sock"));
    assert_eq!(config.outbox_cap_bytes, DEFAULT_OUTBOX_CAP);
    assert_eq!(config.store_cache_bytes, DEFAULT_STORE_CACHE);
    let publish = &config.nodes[0].publish;
    let file = |each: &PublishConfig| {
        if let SourceConfig::File(file) = &each.source { Some(file.clone()) } else { None }
    };
    assert_eq!(file(&publish[0]).unwrap().mode, SourceMode::Snapshot);
    assert_eq!(publish[0].rescan, Duration::from_secs(300));
    assert_eq!(publish[0].max_delete_percent, 10);
    let files = || publish.iter().filter_map(file);
    assert!(files().any(|file| file.mode == SourceMode::Append));
    assert!(files().any(|file| file.encoding == TextEncoding::Gb18030));
    assert!(publish.iter().any(|each| matches!(each.source, SourceConfig::Folder(_))));
    assert!(publish.iter().any(|each| each.rules.items.len() == 6), "with rules of every kind");
    assert_eq!(config.nodes[0].subscribe[0].grant, GrantChoice::All);
}

#[test]
fn every_setting_of_the_sample_is_explained() {
    let undocumented = SAMPLE.lines().filter(|line| line.contains(" = ") && !line.contains('#'));
    assert_eq!(undocumented.collect::<Vec<_>>(), Vec::<&str>::new());
}

#[test]
fn a_short_file_is_enough() {
    let text = "[hub]\naddress = \"hub.example:7443\"\n[[node]]\nname = \"n1\"\n";
    let config = Config::parse(text, Path::new("/etc/hutong")).unwrap();
    assert_eq!(config.hub_address, "hub.example:7443");
    assert_eq!(config.node_dir(&config.nodes[0].name), Path::new("/etc/hutong/state/nodes/n1"));
}

#[test]
fn all_mistakes_are_named_at_once() {
    let text = r#"
        [hub]
        address = "hub.example"
        adress = 1
        [outbox]
        cap_bytes = 5
        [[node]]
        name = "No Spaces"
        [[node.publish]]
        resource = "not a code"
        mode = "sometimes"
        path = "data.dat"
        max_delete_percent = 101
        [[node.subscribe]]
        grant = "some"
    "#;
    let found = mistakes(text).join("\n");
    for key in [
        "hub.address is",
        "hub.adress is not a setting",
        "outbox.cap_bytes is",
        "node[0].name is",
        "node[0].publish[0].resource is",
        "node[0].publish[0].mode is \"sometimes\"",
        "node[0].publish[0].format is missing",
        "node[0].publish[0].max_delete_percent is",
        "node[0].subscribe[0].grant is \"some\"",
        "node[0].subscribe[0].path is missing",
    ] {
        assert!(found.contains(key), "{key} in:\n{found}");
    }
}

#[test]
fn names_and_resources_are_used_once() {
    let text = r#"
        hub = { address = "a:1" }
        [[node]]
        name = "n1"
        publish = [{ resource = "300001/1", path = "a.csv" }]
        [[node]]
        name = "n1"
        publish = [{ resource = "300001/1", path = "b.csv" }]
    "#;
    assert_eq!(
        mistakes(text),
        ["node[1].publish[0].resource is published twice", "node[1].name is used twice"]
    );
}

#[test]
fn what_is_no_toml_is_said_so() {
    let result = Config::parse("[hub", Path::new("/"));
    assert!(matches!(result, Err(ConfigError::Syntax(_))));
}

fn with_publication(text: &str) -> String {
    format!(
        "hub.address = \"a:1\"\n[[node]]\nname = \"n1\"\n[[node.publish]]\nresource = \"300001/1\"\n{text}"
    )
}

#[test]
fn mistakes_in_rules_are_named_at_once_with_their_place() {
    let text = with_publication(
        r#"
        path = "a.csv"
        [node.publish.clean]
        trim = "sometimes"
        squeeze = true
        [[node.publish.map]]
        from = "X"
        [[node.publish.map]]
        item = "name"
        from = "X"
        compute = "a + b"
        [[node.publish.map]]
        item = "code"
        compute = "family +"
        [[node.publish.map]]
        item = "born"
        dates = ["%Y-%m", "%d.%m.%Y"]
        [[node.publish.map]]
        item = "kind"
        codes_file = "nowhere.csv"
        pad = 100
        [[node.publish.map]]
        item = "kind"
        unknown_codes = "keep"
    "#,
    );
    let found = mistakes(&text).join("\n");
    for part in [
        "publish[0].clean.trim is not a logical value",
        "publish[0].clean.squeeze is not a setting",
        "publish[0].map[0].item is missing",
        "publish[0].map[1].compute stands beside from",
        "publish[0].map[2].compute is \"family +\": line 1, column",
        "publish[0].map[3].dates holds \"%Y-%m\": does not name year, month and day",
        "publish[0].map[4].codes_file /etc/hutong/nowhere.csv",
        "publish[0].map[4].pad is not a number that fits",
        "publish[0].map[5].unknown_codes stands without a code list",
        "publish[0].map names the item \"kind\" twice",
    ] {
        assert!(found.contains(part), "{part} in:\n{found}");
    }
}

#[test]
fn a_code_list_is_read_from_a_file_of_two_columns() {
    let dir = tempfile::tempdir().unwrap();
    let text = with_publication(
        "path = \"a.csv\"\n[[node.publish.map]]\nitem = \"sex\"\ncodes_file = \"sex.csv\"\n",
    );
    std::fs::write(dir.path().join("sex.csv"), "\u{feff}value,code\n男,1\n\"女\",2\n").unwrap();
    let config = Config::parse(&text, dir.path()).unwrap();
    let rules = config.nodes[0].publish[0].rules.clone();
    let codes = rules.items[0].codes.as_ref().unwrap();
    assert_eq!((codes.len(), codes.get("女"), codes.get("value")), (2, Some("2"), None));
    let before = rules.fingerprint();
    std::fs::write(dir.path().join("sex.csv"), "男,1\n女,3\n").unwrap();
    let changed = Config::parse(&text, dir.path()).unwrap();
    assert_ne!(
        changed.nodes[0].publish[0].rules.fingerprint(),
        before,
        "another list, other rules"
    );
    assert_eq!(Rules::default().fingerprint(), 0);
    for (content, part) in [("男\n", "line 1 has 1 column"), ("男,1\n男,2\n", "two codes")] {
        std::fs::write(dir.path().join("sex.csv"), content).unwrap();
        let said = Config::parse(&text, dir.path()).unwrap_err().to_string();
        assert!(said.contains(part), "{said}");
    }
}

#[test]
fn the_form_follows_the_suffix_and_settings_of_other_forms_are_misplaced() {
    let form = |text: &str| {
        let config = Config::parse(&with_publication(text), Path::new("/")).unwrap();
        let SourceConfig::File(file) = &config.nodes[0].publish[0].source else { panic!("a file") };
        file.form.clone()
    };
    assert_eq!(form("path = \"a.TSV\""), SourceForm::TSV);
    assert_eq!(form("path = \"a.csv\"\ndelimiter = \";\""), SourceForm::Separated(b';'));
    assert_eq!(form("path = \"a.txt\"\nformat = \"tsv\""), SourceForm::TSV);
    let sheet = Sheet { name: Some("人员".to_owned()), header_row: 3 };
    assert_eq!(
        form("path = \"a.xlsx\"\nsheet = \"人员\"\nheader_row = 3"),
        SourceForm::Workbook(sheet)
    );
    assert_eq!(form("path = \"a.geojson\""), SourceForm::GeoJson);
    for (text, part) in [
        ("path = \"a.csv\"\nsheet = \"x\"", "sheet does not belong"),
        ("path = \"a.xlsx\"\nencoding = \"gb18030\"", "encoding does not belong"),
        ("path = \"a.xlsx\"\nmode = \"append\"", "mode is \"append\""),
        ("path = \"a.csv\"\ndelimiter = \"字\"", "delimiter is"),
        ("path = \"a.dat\"", "format is missing"),
    ] {
        let found = mistakes(&with_publication(text)).join("\n");
        assert!(found.contains(part), "{part} in:\n{found}");
    }
}

#[test]
fn a_watched_folder_has_three_folders_and_a_pattern() {
    let source = |text: &str| {
        let config = Config::parse(&with_publication(text), Path::new("/etc/hutong")).unwrap();
        let publish = config.nodes[0].publish[0].clone();
        let SourceConfig::Folder(folder) = publish.source else { panic!("a folder") };
        (folder, publish.rules.op.clone())
    };
    let (folder, op) = source(
        "folder = \"in\"\npattern = \"*.tsv\"\nmode = \"changes\"\nop = \"操作\"\ndone = \"/d\"",
    );
    assert_eq!((folder.form, op.as_deref()), (SourceForm::TSV, Some("操作")));
    assert_eq!(folder.folder, Path::new("/etc/hutong/in"));
    assert_eq!(folder.done, Path::new("/d"));
    assert_eq!(folder.failed, Path::new("/etc/hutong/in/failed"));
    assert_eq!(folder.settle, Duration::from_secs(5));
    for (text, part) in [
        ("folder = \"in\"\npattern = \"*.csv\"", "mode is missing"),
        ("folder = \"in\"\nmode = \"changes\"", "pattern is missing"),
        ("folder = \"in\"\npattern = \"a/*.csv\"\nmode = \"changes\"", "pattern is \"a/*.csv\""),
        ("folder = \"in\"\npattern = \"*.dat\"\nmode = \"changes\"", "format is missing"),
        ("folder = \"in\"\npattern = \"*.csv\"\nmode = \"append\"", "mode is \"append\""),
        (
            "folder = \"in\"\npattern = \"*.csv\"\nmode = \"snapshot\"\nop = \"x\"",
            "op stands beside",
        ),
        (
            "folder = \"in\"\npattern = \"*.csv\"\nmode = \"changes\"\ndone = \"in\"",
            "done is used twice",
        ),
        (
            "folder = \"in\"\npattern = \"*.csv\"\nmode = \"changes\"\npath = \"x\"",
            "path is not a setting",
        ),
        ("path = \"a.csv\"\nop = \"x\"", "op is not a setting"),
    ] {
        let found = mistakes(&with_publication(text)).join("\n");
        assert!(found.contains(part), "{part} in:\n{found}");
    }
}
