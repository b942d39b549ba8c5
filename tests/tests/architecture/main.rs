//! Keeps the rules of the layout: who may import whom, who may name which engine, what stays pure, how long a file may be.
//!
//! Each rule is a function over sources; a test below applies it to the repository, and another plants an offender and
//! sees it found.

mod source;

use std::fs;
use std::path::{Path, PathBuf};

use source::{Mention, Source};

/// Lines a source file may have.
const LONGEST: usize = 500;

/// Files that may be longer: path and reason.
const LONG_FILES: &[(&str, &str)] = &[];

/// Which of our packages each one may depend on, development included.
const PACKAGES: &[(&str, &[&str])] = &[
    ("schema", &[]),
    ("certs", &["hutong-schema"]),
    ("hub", &["hutong-certs", "hutong-schema"]),
    ("agent", &["hutong-certs", "hutong-schema"]),
    ("tests", &["hutong-agent", "hutong-certs", "hutong-hub", "hutong-schema"]),
];

/// A package's top-level modules in layers; a module may name those of lower layers and those listed beside it.
struct Layers {
    package: &'static str,
    root_name: &'static str,
    layers: &'static [&'static [&'static str]],
    beside: &'static [(&'static str, &'static str)],
}

const HUB: Layers = Layers {
    package: "hub",
    root_name: "hutong_hub",
    layers: &[
        &["main", "lib"],
        &["app", "cli", "config"],
        &["gate", "api", "console"],
        &["intake", "ask", "govern", "routes", "audit"],
        &["log", "views"],
        // Words that all of them share; they name nothing above.
        &["clock", "nodes", "numbers"],
    ],
    beside: &[
        ("app", "config"),
        ("cli", "app"),
        ("cli", "config"),
        ("views", "log"),
        ("nodes", "numbers"),
    ],
};

const AGENT: Layers = Layers {
    package: "agent",
    root_name: "hutong_agent",
    layers: &[
        &["main", "lib"],
        &["app", "cli", "config"],
        &["link"],
        &["changes", "sinks", "sources"],
        &["spool"],
    ],
    beside: &[("app", "config"), ("cli", "app"), ("cli", "config"), ("changes", "sources")],
};

/// A crate and the only places that may name it, as prefixes of paths.
const ENGINES: &[(&str, &[&str])] = &[
    ("bincode", &["schema/src/wire/codec.rs"]),
    ("rocksdb", &["hub/src/log", "hub/src/views"]),
    ("quinn", &["hub/src/gate", "agent/src/link", "certs/src"]),
];

/// Where time and randomness are arguments and nothing is read or written.
const PURE: &[&str] = &["schema/src", "hub/src/govern"];
const IMPURE_CRATES: &[&str] = &["tokio", "rand", "getrandom", "quinn", "rocksdb"];
const IMPURE_TYPES: &[&str] = &["SystemTime", "Instant"];
const IMPURE_MODULES: &[&str] = &["fs", "net", "process", "thread", "env"];
const IMPURE_CALLS: &[&str] = &["now", "now_v7", "new_v4"];

// ---- the rules ----

fn package_offences(folder: &str, manifest: &str) -> Vec<String> {
    let allowed = PACKAGES.iter().find(|(name, _)| *name == folder).map_or(&[][..], |(_, allowed)| allowed);
    let table: toml::Table = manifest.parse().unwrap();
    let mut offences = Vec::new();
    let mut look = |section: &toml::Value| {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = section.get(kind).and_then(toml::Value::as_table) else { continue };
            for name in dependencies.keys().filter(|name| name.starts_with("hutong-")) {
                if !allowed.contains(&name.as_str()) {
                    offences.push(format!("{folder}/Cargo.toml: {folder} must not depend on {name}"));
                }
            }
        }
    };
    for target in table.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.values()) {
        look(target);
    }
    let linted = table.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
    look(&toml::Value::Table(table.clone()));
    if linted != Some(true) {
        offences.push(format!("{folder}/Cargo.toml: the workspace's lints are not inherited"));
    }
    offences
}

fn layer_offences(layers: &Layers, source: &Source) -> Vec<String> {
    let Some(inner) = source.path.strip_prefix(&format!("{}/src/", layers.package)) else { return Vec::new() };
    let modules = module_path(inner);
    let own = modules.first().map_or("lib", String::as_str);
    let rank = |module: &str| layers.layers.iter().position(|layer| layer.contains(&module));
    let Some(own_rank) = rank(own) else {
        return vec![format!("{}: the module {own} has no layer in tests/tests/architecture", source.path)];
    };
    source
        .modules_named(layers.root_name, modules.len())
        .into_iter()
        .filter(|mention| mention.name != own)
        // Items of the crate's root and names that only look like modules are none.
        .filter_map(|mention| rank(&mention.name).map(|rank| (mention, rank)))
        .filter(|(mention, rank)| {
            *rank < own_rank || *rank == own_rank && !layers.beside.contains(&(own, mention.name.as_str()))
        })
        .map(|(Mention { name, line }, _)| format!("{}:{line}: {own} must not name {name}", source.path))
        .collect()
}

/// `gate/listen.rs` → `[gate, listen]`, `gate/mod.rs` → `[gate]`, `lib.rs` → `[]`.
fn module_path(inner: &str) -> Vec<String> {
    let mut modules: Vec<String> = inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if modules.last().is_some_and(|last| last == "mod") || modules == ["lib"] {
        modules.pop();
    }
    if modules.first().is_some_and(|first| first == "bin") {
        return vec!["main".to_owned()];
    }
    modules
}

fn engine_offences(source: &Source) -> Vec<String> {
    ENGINES
        .iter()
        .filter(|(_, places)| !places.iter().any(|place| source.path.starts_with(place)))
        .flat_map(|(engine, _)| source.crates_named(&[engine]))
        .map(|Mention { name, line }| format!("{}:{line}: {name} is not to be named here", source.path))
        .collect()
}

fn purity_offences(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let mut found = source.crates_named(IMPURE_CRATES);
    found.extend(source.words(IMPURE_TYPES));
    found.extend(source.calls_of(IMPURE_CALLS));
    found.extend(source.modules_named("std", 0).into_iter().filter(|m| IMPURE_MODULES.contains(&m.name.as_str())));
    found
        .into_iter()
        .map(|Mention { name, line }| format!("{}:{line}: {name} in code that must stay pure", source.path))
        .collect()
}

fn length_offence(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let excused = LONG_FILES.iter().any(|(excused, _)| *excused == path);
    (lines > LONGEST && !excused).then(|| format!("{path}: {lines} lines, {LONGEST} allowed; split it, or list it with a reason"))
}

/// Relative links of a Markdown file, and `make` targets it names, that lead nowhere.
fn document_offences(path: &str, text: &str, makefile: &str, exists: &dyn Fn(&str) -> bool) -> Vec<String> {
    let mut offences = Vec::new();
    for part in text.split("](").skip(1) {
        let target = part.split([')', '#', ' ']).next().unwrap_or_default();
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") && !exists(target) {
            offences.push(format!("{path}: the link to {target} leads nowhere"));
        }
    }
    for part in text.split("`make ").skip(1) {
        let target: String = part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        if !target.is_empty() && !makefile.lines().any(|line| line.starts_with(&format!("{target}:"))) {
            offences.push(format!("{path}: the Makefile has no target {target}"));
        }
    }
    offences
}

// ---- the repository keeps them ----

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// All files with one of the suffixes, as (path from the root, text).
fn files(suffixes: &[&str]) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut open = vec![root()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap().to_owned();
            if path.is_dir() {
                let skipped = ["target", "node_modules", "corpus", "artifacts"].contains(&name.as_str());
                if !skipped && (!name.starts_with('.') || name == ".ci") {
                    open.push(path);
                }
            } else if suffixes.iter().any(|suffix| name.ends_with(suffix)) {
                let text = fs::read_to_string(&path).unwrap();
                found.push((path.strip_prefix(root()).unwrap().to_str().unwrap().to_owned(), text));
            }
        }
    }
    found.sort();
    found
}

/// Production sources of the packages; files that hold only tests are left out.
fn sources() -> Vec<Source> {
    files(&[".rs"])
        .into_iter()
        .filter(|(path, _)| path.split('/').nth(1) == Some("src"))
        .filter(|(path, _)| !path.ends_with("/tests.rs") && !path.contains("/src/tests/"))
        .map(|(path, text)| Source::parse(&path, &text).unwrap())
        .collect()
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn packages_depend_only_to_the_right() {
    let offences: Vec<String> = PACKAGES
        .iter()
        .flat_map(|(folder, _)| {
            package_offences(folder, &fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap())
        })
        .collect();
    assert_none(&offences);
}

#[test]
fn modules_of_hub_and_agent_name_only_lower_layers() {
    let sources = sources();
    let offences: Vec<String> =
        [HUB, AGENT].iter().flat_map(|layers| sources.iter().flat_map(|source| layer_offences(layers, source))).collect();
    assert_none(&offences);
}

#[test]
fn engines_are_named_only_in_their_places() {
    assert_none(&sources().iter().flat_map(engine_offences).collect::<Vec<_>>());
}

#[test]
fn schema_and_govern_are_pure() {
    let sources = sources();
    assert!(sources.iter().any(|source| source.path.starts_with("schema/src")));
    assert_none(&sources.iter().flat_map(purity_offences).collect::<Vec<_>>());
}

#[test]
fn no_source_file_is_too_long() {
    let files = files(&[".rs", ".sh", ".py", ".js", ".c", ".h", ".ci/run"]);
    assert!(files.len() > 20, "the walk over the repository finds its files");
    assert_none(&files.iter().filter_map(|(path, text)| length_offence(path, text)).collect::<Vec<_>>());
    for (path, reason) in LONG_FILES {
        let still_long = files.iter().any(|(p, text)| p == path && text.lines().count() > LONGEST);
        assert!(still_long && !reason.is_empty(), "{path} need not be listed any more");
    }
}

#[test]
fn documents_lead_somewhere() {
    let makefile = fs::read_to_string(root().join("Makefile")).unwrap();
    let mut offences = Vec::new();
    for (path, text) in files(&[".md"]) {
        let folder = root().join(&path).parent().unwrap().to_owned();
        offences.extend(document_offences(&path, &text, &makefile, &|target| folder.join(target).exists()));
    }
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"] {
        if !root().join(name).exists() {
            offences.push(format!("{name} is missing"));
        }
    }
    assert_none(&offences);
}

#[test]
fn sample_configurations_are_toml() {
    for (path, text) in files(&[".toml"]) {
        let parsed: Result<toml::Table, _> = text.parse();
        assert!(parsed.is_ok(), "{path}: {parsed:?}");
    }
}

// ---- and each rule finds its offender ----

fn planted(path: &str, text: &str) -> Source {
    Source::parse(path, text).unwrap()
}

#[test]
fn a_planted_dependency_is_found() {
    let linted = "[lints]\nworkspace = true\n";
    let plant = |folder: &str, lines: &str| package_offences(folder, &format!("{lines}\n{linted}")).len();
    assert_eq!(plant("hub", "[dependencies]\nhutong-schema.workspace = true"), 0);
    assert_eq!(plant("hub", "[dependencies]\nhutong-agent.workspace = true"), 1);
    assert_eq!(plant("schema", "[dev-dependencies]\nhutong-certs.workspace = true"), 1);
    assert_eq!(plant("certs", "[target.'cfg(unix)'.dependencies]\nhutong-hub.workspace = true"), 1);
    assert_eq!(package_offences("hub", "[package]\nname = \"hutong-hub\"").len(), 1, "without lints");
}

#[test]
fn a_planted_import_is_found() {
    let offends = |path: &str, text: &str| !layer_offences(&HUB, &planted(path, text)).is_empty();
    assert!(offends("hub/src/log/rocks.rs", "use crate::gate::Session;"));
    assert!(offends("hub/src/log/rocks.rs", "use crate::{log::Offset, views::Rows};"));
    assert!(offends("hub/src/views/rows.rs", "fn f() { crate::routes::wake(); }"));
    assert!(offends("hub/src/views/rows.rs", "use super::super::intake;"));
    assert!(offends("hub/src/views.rs", "use super::intake::Verdict;"));
    assert!(offends("hub/src/gate/mod.rs", "use crate::api;"), "doors do not know each other");
    assert!(offends("hub/src/intake/mod.rs", "fn f() { tracing::info!(n = crate::app::N); }"), "in a macro");
    assert!(offends("hub/src/surprise/mod.rs", ""), "a module without a layer");

    assert!(!offends("hub/src/gate/mod.rs", "use crate::intake::Verdict; use crate::log;"));
    assert!(!offends("hub/src/views/rows.rs", "use super::keys; use crate::log::Offset;"));
    assert!(!offends("hub/src/log/rocks.rs", "// crate::gate\n/// [`crate::gate`]\nfn f() { g(\"crate::gate\") }"));
    assert!(!offends("hub/src/log/rocks.rs", "#[cfg(test)] mod tests { use crate::views::Views; }"));
    assert!(!offends("hub/src/main.rs", "use hutong_hub::app;"));

    let agent = |path: &str, text: &str| !layer_offences(&AGENT, &planted(path, text)).is_empty();
    assert!(agent("agent/src/spool/mod.rs", "use crate::link;"));
    assert!(!agent("agent/src/link/mod.rs", "use crate::spool::Spool;"));
}

#[test]
fn a_planted_engine_is_found() {
    let found = |path: &str, text: &str| engine_offences(&planted(path, text)).len();
    assert_eq!(found("hub/src/gate/mod.rs", "use rocksdb::DB;"), 1);
    assert_eq!(found("hub/src/routes/tail.rs", "fn f(c: &quinn::Connection) {}"), 1);
    assert_eq!(found("schema/src/wire/frame.rs", "use bincode as b;"), 1);
    assert_eq!(found("agent/src/app/mod.rs", "use {std::fs, quinn::Endpoint};"), 1);
    assert_eq!(found("hub/src/log/rocks.rs", "use rocksdb::{DB, Options};"), 0);
    assert_eq!(found("schema/src/wire/codec.rs", "use bincode::config;"), 0);
    assert_eq!(found("hub/src/gate/mod.rs", "// rocksdb::DB\nfn f() { g(\"rocksdb::DB\") }"), 0);
}

#[test]
fn a_planted_impurity_is_found() {
    let found = |text: &str| purity_offences(&planted("hub/src/govern/grants.rs", text)).len();
    assert!(found("fn f() { let t = std::time::SystemTime::now(); }") > 0);
    assert!(found("use std::time::Instant;") > 0);
    assert!(found("fn f() { jiff::Timestamp::now() }") > 0);
    assert!(found("fn f() { Uuid::now_v7() }") > 0);
    assert!(found("use rand::Rng;") > 0);
    assert!(found("async fn f() { tokio::task::yield_now().await }") > 0);
    assert!(found("use std::{collections::BTreeMap, fs};") > 0);
    assert_eq!(found("use std::time::Duration; fn f(now: u64, fs: u8) -> u64 { now }"), 0);
    assert_eq!(found("#[cfg(test)] mod tests { use std::fs; #[test] fn t() { Instant::now(); } }"), 0);
    assert!(purity_offences(&planted("hub/src/gate/mod.rs", "use std::time::Instant;")).is_empty());
}

#[test]
fn a_planted_long_file_is_found() {
    assert!(length_offence("hub/src/app.rs", &"\n".repeat(LONGEST + 1)).is_some());
    assert!(length_offence("hub/src/app.rs", &"\n".repeat(LONGEST)).is_none());
}

#[test]
fn a_planted_dead_link_is_found() {
    let offences = |text: &str| document_offences("A.md", text, "demo: setup\n", &|target| target == "B.md").len();
    assert_eq!(offences("[b](B.md), [part](B.md#part), [web](https://example.org/x), `make demo SCALE=small`"), 0);
    assert_eq!(offences("[c](C.md)"), 1);
    assert_eq!(offences("`make tea`"), 1);
}
