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
    let file = |each: &PublishConfig| match &each.source {
        SourceConfig::File(file) => Some(file.clone()),
        SourceConfig::Push => None,
    };
    assert_eq!(file(&publish[0]).unwrap().mode, SourceMode::Snapshot);
    assert_eq!(publish[0].rescan, Duration::from_secs(300));
    assert_eq!(publish[0].max_delete_percent, 10);
    let any = |is: fn(FileSource) -> bool| publish.iter().filter_map(file).any(is);
    assert!(any(|file| file.mode == SourceMode::Append));
    assert!(any(|file| file.encoding == TextEncoding::Gb18030));
    assert!(publish.iter().any(|each| each.source == SourceConfig::Push));
    let push = config.push.unwrap();
    assert!(push.listen.ip().is_loopback());
    assert_eq!(push.token, TokenPlace::File("/etc/hutong/push.token".into()));
    assert_eq!(push.body_bytes_max as u64, DEFAULT_PUSH_BODY);
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
        path = "data.xlsx"
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
    let good = text("push = { listen = \"[::1]:0\", token_credential = \"push\" }");
    let config = Config::parse(&good, Path::new("/etc/hutong")).unwrap();
    assert_eq!(config.push.unwrap().token, TokenPlace::Credential("push".to_owned()));
    for (push, mistake) in [
        ("", "push is missing"),
        ("push = { listen = \"0.0.0.0:7480\", token_file = \"t\" }", "push.listen is 0.0.0.0:7480"),
        ("push = { listen = \"127.0.0.1:1\" }", "push.token_file is missing"),
        ("push = { listen = \"127.0.0.1:1\", token = \"secret\" }", "push.token must not stand"),
        (
            "push = { listen = \"127.0.0.1:1\", token_file = \"t\", token_credential = \"c\" }",
            "push.token_file stands beside",
        ),
    ] {
        let found = mistakes(&text(push)).join("\n");
        assert!(found.contains(mistake), "{mistake} in:\n{found}");
        assert!(!found.contains("secret"), "a token is not repeated: {found}");
    }
}
