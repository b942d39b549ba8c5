//! Keeps the rules of the layout: who may import whom, who may name which engine, what stays pure, how long a file may be.
//!
//! Each rule is a function over sources; a test below applies it to the repository, and another plants an offender and
//! sees it found.

#![allow(clippy::unwrap_used, reason = "a test may end where it is surprised")]

mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use hutong_schema::explain::{Language, StableCode, page};
use rules::*;
use source::Source;

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
                let skipped =
                    ["target", "node_modules", "corpus", "artifacts"].contains(&name.as_str());
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
        .filter(|(path, _)| !path.split('/').skip(2).any(holds_only_tests))
        .map(|(path, text)| Source::parse(&path, &text).unwrap())
        .collect()
}

/// By the name of the file or of a folder above it.
fn holds_only_tests(part: &str) -> bool {
    let module = part.trim_end_matches(".rs");
    module == "tests" || module.ends_with("_tests") || module == "testing"
}

fn assert_none(offences: &[String]) {
    assert!(offences.is_empty(), "\n{}\n", offences.join("\n"));
}

#[test]
fn packages_depend_only_to_the_right() {
    let offences: Vec<String> = PACKAGES
        .iter()
        .flat_map(|(folder, _)| {
            package_offences(
                folder,
                &fs::read_to_string(root().join(folder).join("Cargo.toml")).unwrap(),
            )
        })
        .collect();
    assert_none(&offences);
}

#[test]
fn modules_of_hub_and_agent_name_only_lower_layers() {
    let sources = sources();
    let offences: Vec<String> = [HUB, AGENT]
        .iter()
        .flat_map(|layers| sources.iter().flat_map(|source| layer_offences(layers, source)))
        .collect();
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
    assert_none(
        &files.iter().filter_map(|(path, text)| length_offence(path, text)).collect::<Vec<_>>(),
    );
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
        offences.extend(document_offences(&path, &text, &makefile, &|target| {
            folder.join(target).exists()
        }));
    }
    for name in ["README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md", "LICENSE"] {
        if !root().join(name).exists() {
            offences.push(format!("{name} is missing"));
        }
    }
    assert_none(&offences);
}

/// Left out are tests about codes as such: they name some that stand for nothing.
#[test]
fn every_code_that_is_named_is_explained() {
    let explained = |code: &str| {
        let code: Option<StableCode> = code.parse().ok();
        code.is_some_and(|code| Language::ALL.iter().all(|each| page(code, *each).is_some()))
    };
    let mut files = files(&[".rs", ".md"]);
    files.retain(|(path, _)| {
        path != "schema/src/explain/mod.rs" && !path.starts_with("tests/tests/architecture/")
    });
    let offences = files.iter().flat_map(|(path, text)| code_offences(path, text, &explained));
    assert_none(&offences.collect::<Vec<_>>());
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
    let plant =
        |folder: &str, lines: &str| package_offences(folder, &format!("{lines}\n{linted}")).len();
    assert_eq!(plant("hub", "[dependencies]\nhutong-schema.workspace = true"), 0);
    assert_eq!(plant("hub", "[dependencies]\nhutong-agent.workspace = true"), 1);
    assert_eq!(plant("schema", "[dev-dependencies]\nhutong-certs.workspace = true"), 1);
    assert_eq!(plant("certs", "[target.'cfg(unix)'.dependencies]\nhutong-hub.workspace = true"), 1);
    assert_eq!(
        package_offences("hub", "[package]\nname = \"hutong-hub\"").len(),
        1,
        "without lints"
    );
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
    assert!(
        offends("hub/src/intake/mod.rs", "fn f() { tracing::info!(n = crate::app::N); }"),
        "in a macro"
    );
    assert!(offends("hub/src/surprise/mod.rs", ""), "a module without a layer");

    assert!(!offends("hub/src/gate/mod.rs", "use crate::intake::Verdict; use crate::log;"));
    assert!(!offends("hub/src/views/rows.rs", "use super::keys; use crate::log::Offset;"));
    assert!(!offends(
        "hub/src/log/rocks.rs",
        "// crate::gate\n/// [`crate::gate`]\nfn f() { g(\"crate::gate\") }"
    ));
    assert!(!offends(
        "hub/src/log/rocks.rs",
        "#[cfg(test)] mod tests { use crate::views::Views; }"
    ));
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
    assert_eq!(
        found("#[cfg(test)] mod tests { use std::fs; #[test] fn t() { Instant::now(); } }"),
        0
    );
    assert!(purity_offences(&planted("hub/src/gate/mod.rs", "use std::time::Instant;")).is_empty());
}

#[test]
fn a_planted_long_file_is_found() {
    assert!(length_offence("hub/src/app.rs", &"\n".repeat(LONGEST + 1)).is_some());
    assert!(length_offence("hub/src/app.rs", &"\n".repeat(LONGEST)).is_none());
}

#[test]
fn a_planted_code_without_a_page_is_found() {
    let explained = |code: &str| code == "HT-1107";
    let offences = |text: &str| code_offences("hub/src/app.rs", text, &explained).len();
    assert_eq!(offences("HT-1107 and HT-<number> and 码HT-码"), 0);
    assert_eq!(offences("\"HT-1107\", \"HT-1198: no\""), 1);
}

#[test]
fn a_planted_dead_link_is_found() {
    let offences = |text: &str| {
        document_offences("A.md", text, "demo: setup\n", &|target| target == "B.md").len()
    };
    assert_eq!(
        offences(
            "[b](B.md), [part](B.md#part), [web](https://example.org/x), `make demo SCALE=small`"
        ),
        0
    );
    assert_eq!(offences("[c](C.md)"), 1);
    assert_eq!(offences("`make tea`"), 1);
}
