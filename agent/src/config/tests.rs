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
    let files: Vec<&FileSource> = publish.iter().filter_map(file).collect();
    assert_eq!(files[0].mode, SourceMode::Snapshot);
    assert_eq!(publish[0].rescan, Duration::from_secs(300));
    assert_eq!(publish[0].max_delete_percent, 10);
    assert!(files.iter().any(|each| each.mode == SourceMode::Append));
    assert!(files.iter().any(|each| each.encoding == TextEncoding::Gb18030));
    assert!(publish.iter().any(|each| matches!(each.source, SourceConfig::Folder(_))));
    assert!(publish.iter().any(|each| each.rules.items.len() == 6), "with rules of every kind");
    assert!(publish.iter().any(|each| each.source == SourceConfig::Push));
    let push = config.push.unwrap();
    assert!(push.listen.ip().is_loopback());
    assert_eq!(push.token, SecretSource::File("/etc/hutong/push.token".into()));
    assert_eq!(push.body_bytes_max as u64, DEFAULT_PUSH_BODY);
    assert_eq!(config.nodes[0].subscribe[0].grant, GrantChoice::All);
}

fn file(publish: &PublishConfig) -> Option<&FileSource> {
    match &publish.source {
        SourceConfig::File(file) => Some(file),
        SourceConfig::Folder(_) | SourceConfig::Sql(_) | SourceConfig::Push => None,
    }
}

fn sql(settings: &str) -> String {
    format!(
        "[hub]\naddress = \"hub.example:7443\"\n[[node]]\nname = \"n1\"\n[[node.publish]]\n\
         resource = \"301001/000001\"\n[node.publish.sql]\n{settings}\n"
    )
}

#[test]
fn a_database_is_read_by_table_or_query_in_three_modes() {
    let read = |settings: &str| {
        let config = Config::parse(&sql(settings), Path::new("/etc/hutong")).unwrap();
        match config.nodes[0].publish[0].source.clone() {
            SourceConfig::Sql(sql) => *sql,
            other @ (SourceConfig::File(_) | SourceConfig::Folder(_) | SourceConfig::Push) => {
                panic!("{other:?}")
            }
        }
    };
    let whole = read("url = \"sqlite:rows.db\"\nquery = \"SELECT 1;\"");
    assert_eq!(whole.mode, SqlMode::Snapshot);
    assert_eq!(whole.from, SqlFrom::Query("SELECT 1".to_owned()));
    assert_eq!(whole.database.url.as_str(), "/etc/hutong/rows.db");
    let mode =
        read("url = \"mysql://a@b/c\"\ntable = \"t\"\nmode = \"watermark\"\nwatermark = \"n\"")
            .mode;
    let compare = Some(Duration::from_secs(86_400));
    assert_eq!(
        mode,
        SqlMode::Watermark(Watermark { column: "n".to_owned(), overlap: 60, compare })
    );
}

#[test]
fn mistakes_of_a_database_are_named_and_its_password_is_not_repeated() {
    let named = |settings: &str| mistakes(&sql(settings)).join("\n");
    let secret = named("url = \"postgres://a:secret@b/c\"\ntable = \"t\"");
    assert!(
        secret.contains("sql.url it holds a password") && !secret.contains("secret@"),
        "{secret}"
    );
    assert!(
        named("url = \"postgres://a@b/c\"\ntable = \"t\"\npassword = \"x\"")
            .contains("secret in the open")
    );
    let found = named(
        "url = \"mysql://a@b/c\"\nquery = \"q\"\nmode = \"replication\"\nslot = \"No!\"\noverlap = 1",
    );
    for expected in [
        "sql.slot",
        "sql.publication is missing",
        "sql.query cannot",
        "sql.mode",
        "sql.overlap has no meaning",
    ] {
        assert!(found.contains(expected), "{expected} in {found}");
    }
    assert!(named("url = \"sqlite:x\"").contains("sql.table is missing"));
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
        path = "data.pdf"
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
fn a_table_takes_one_grant_or_is_called_after_each() {
    let subscribe = |grant: &str, sql: &str| {
        format!(
            "[hub]\naddress = \"a:1\"\n[[node]]\nname = \"n1\"\n\
             subscribe = [{{ grant = \"{grant}\", sql = {{ {sql} }} }}]\n"
        )
    };
    let url = "url = \"postgres://hutong@db/city\", password_file = \"db.secret\"";
    let text = subscribe("all", &format!("{url}, table = \"share.g{{grant}}\", create = true"));
    let config = Config::parse(&text, Path::new("/etc/hutong")).unwrap();
    let SinkConfig::Sql(sql) = &config.nodes[0].subscribe[0].sink else { panic!("{config:?}") };
    assert_eq!((sql.table.as_str(), sql.create), ("share.g{grant}", true));
    for (text, expected) in [
        (
            subscribe("all", &format!("{url}, table = \"people\"")),
            "sql.table is one for all grants",
        ),
        (subscribe("7", url), "sql.table is missing"),
        (subscribe("7", &format!("{url}, table = \"a.b.c\"")), "sql.table is \"a.b.c\""),
        (
            subscribe("7", &format!("{url}, table = \"t\", create = 1")),
            "sql.create is not a logical value",
        ),
    ] {
        let found = mistakes(&text).join("\n");
        assert!(found.contains(expected), "{expected} in:\n{found}");
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
        ["node[1].name is used twice", "node[1].publish[0].resource is published twice"]
    );
}

#[test]
fn what_is_no_toml_is_said_so() {
    let result = Config::parse("[hub", Path::new("/"));
    assert!(matches!(result, Err(ConfigError::Syntax(_))));
}

/// Mistakes as a person sees them.
fn told(text: &str) -> String {
    Config::parse(text, Path::new("/etc/hutong")).unwrap_err().to_string()
}

#[test]
fn a_mistake_has_its_line_and_a_typing_error_what_was_meant() {
    let told = told(
        "[hub]\naddress = \"a:1\"\nexchagne = \"x\"\n\n[[node]]\nname = \"n1\"\n[[node.publish]]\nresource = \"300001/1\"\npath = \"a.csv\"\nmode = \"apend\"\n[[node.subscribe]]\ngrant = \"all\"\n",
    );
    let lines: Vec<_> = told.lines().skip(1).map(str::trim).collect();
    assert_eq!(
        lines,
        [
            "line 3: hub.exchagne is not a setting (did you mean \"exchange\"? known here: address, exchange)",
            "line 10: node[0].publish[0].mode is \"apend\" (did you mean \"append\"? one of: snapshot, append)",
            "line 11: node[0].subscribe[0].path is missing (the folder that receives one file per grant)",
        ],
        "{told}"
    );
}

#[test]
fn a_mistake_in_a_file_names_the_file_and_one_of_the_environment_its_variable() {
    let variables = [("HUTONG_AGENT_HUB__ADDRESS", "nowhere"), ("HUTONG_AGENT_STATE__DRI", "x")];
    let variables = variables.map(|(name, value)| (name.to_owned(), value.to_owned()));
    let environment = read::environment().source(Some(variables.into_iter().collect()));
    let path = Path::new("agent.toml");
    let text = "[hub]\naddress = \"a:1\"\nexchange = \"NO\"\n";
    let told = read::check(text, Some(environment), Path::new("/etc"), Some(path)).unwrap_err();
    let told = told.to_string();
    for mistake in [
        "agent.toml: node is missing",
        "agent.toml:3: hub.exchange is \"NO\"",
        "HUTONG_AGENT_HUB__ADDRESS: hub.address is \"nowhere\"",
        "HUTONG_AGENT_STATE__DRI: state.dri is not a setting (did you mean \"dir\"?",
    ] {
        assert!(told.contains(mistake), "{mistake} in {told}");
    }
}

#[test]
fn a_secret_in_the_open_is_a_mistake_that_does_not_repeat_it() {
    let (lines, folder) = (Default::default(), Path::new("/etc/hutong"));
    let collector = section::Collector::new(folder, lines);
    let text = |text: &str| config::Value::new(None, config::ValueKind::String(text.to_owned()));
    let table = [("password", "geheim"), ("token_file", "tok"), ("key_file", "credential:a/b")]
        .map(|(key, value)| (key.to_owned(), text(value)));
    let table: config::Map<_, _> = table.into_iter().collect();
    let root = section::Section::root(&table, &collector);
    root.only(&["password_file", "token_file", "key_file"]);
    assert_eq!(root.secret("password"), None);
    assert_eq!(root.secret("token"), Some(SecretSource::File("/etc/hutong/tok".into())));
    assert_eq!(root.secret("key"), None);
    let told: Vec<_> = collector.into_mistakes().iter().map(ToString::to_string).collect();
    assert!(told[0].contains("password is a secret in the open"), "{told:?}");
    assert!(told[0].contains("password_file = "), "{told:?}");
    assert!(told[1].contains("key_file does not name a credential"), "{told:?}");
    assert!(!told.concat().contains("geheim"), "{told:?}");
}
#[test]
fn the_push_door_is_for_this_machine_and_its_token_stays_out_of_the_configuration() {
    let text = |push: &str| {
        format!(
            r#"
            hub = {{ address = "a:1" }}
            {push}
            [[node]]
            name = "n1"
            publish = [{{ resource = "300001/1", source = "push" }}]
            "#
        )
    };
    let good = text("push = { listen = \"[::1]:0\", token_file = \"credential:push\" }");
    let config = Config::parse(&good, Path::new("/etc/hutong")).unwrap();
    assert_eq!(config.push.unwrap().token, SecretSource::Credential("push".to_owned()));
    for (push, mistake) in [
        ("", "push is missing"),
        ("push = { listen = \"0.0.0.0:7480\", token_file = \"t\" }", "push.listen is 0.0.0.0:7480"),
        ("push = { listen = \"127.0.0.1:1\" }", "push.token_file is missing"),
        (
            "push = { listen = \"127.0.0.1:1\", token = \"geheim\" }",
            "push.token is a secret in the open",
        ),
    ] {
        let found = mistakes(&text(push)).join("\n");
        assert!(found.contains(mistake), "{mistake} in:\n{found}");
        assert!(!found.contains("geheim"), "a token is not repeated: {found}");
    }
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
