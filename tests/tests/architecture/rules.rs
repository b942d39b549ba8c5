//! The rules, each a function from sources to offences in words.

use crate::source::{Mention, Source};

/// Lines a source file may have.
pub(crate) const LONGEST: usize = 500;

/// Files that may be longer: path and reason.
pub(crate) const LONG_FILES: &[(&str, &str)] = &[];

/// Which of our packages each one may depend on, development included.
pub(crate) const PACKAGES: &[(&str, &[&str])] = &[
    ("schema", &[]),
    ("certs", &["hutong-schema"]),
    ("hub", &["hutong-certs", "hutong-schema"]),
    ("agent", &["hutong-certs", "hutong-schema"]),
    ("tests", &["hutong-agent", "hutong-certs", "hutong-hub", "hutong-schema"]),
];

/// A package's top-level modules in layers; a module may name those of lower layers and those listed beside it.
pub(crate) struct Layers {
    package: &'static str,
    root_name: &'static str,
    layers: &'static [&'static [&'static str]],
    beside: &'static [(&'static str, &'static str)],
}

pub(crate) const HUB: Layers = Layers {
    package: "hub",
    root_name: "hutong_hub",
    layers: &[
        &["main", "lib"],
        &["app", "cli", "config"],
        &["gate", "api", "console"],
        &["intake", "ask", "govern", "governor", "routes", "audit", "reconcile"],
        &["log", "views"],
        // Words that all of them share; they name nothing above.
        &["clock", "nodes", "numbers", "pki", "tasks", "words"],
    ],
    beside: &[
        ("app", "config"),
        ("cli", "app"),
        ("cli", "config"),
        // An epoch is opened by a governance event, and the governor's task carries decisions out.
        ("governor", "govern"),
        ("intake", "govern"),
        ("intake", "governor"),
        // Who read what is in the audit log before the answer leaves.
        ("ask", "audit"),
        // What a subscriber should hold is what its delivery would tell it, and repairs go that way.
        ("reconcile", "routes"),
        ("views", "log"),
        ("nodes", "numbers"),
        ("pki", "words"),
    ],
};

pub(crate) const AGENT: Layers = Layers {
    package: "agent",
    root_name: "hutong_agent",
    layers: &[
        &["main", "lib"],
        &["app", "cli"],
        &["link"],
        &["changes", "sinks", "sources"],
        &["quarantine", "spool", "sql"],
        // Formats and encodings as they are written in the configuration.
        &["config"],
    ],
    beside: &[("cli", "app"), ("changes", "sources"), ("spool", "quarantine")],
};

/// A crate and the only places that may name it, as prefixes of paths.
const ENGINES: &[(&str, &[&str])] = &[
    ("bincode", &["schema/src/wire/codec.rs"]),
    ("rocksdb", &["hub/src/log", "hub/src/views"]),
    ("sqlx", &["agent/src/sql", "agent/src/sinks/sql"]),
    (
        "quinn",
        &["hub/src/gate", "agent/src/link", "certs/src", "tests/src/bench", "tests/src/hostile"],
    ),
];

/// Where time and randomness are arguments and nothing is read or written.
const PURE: &[&str] = &["schema/src/", "hub/src/govern/"];
const IMPURE_CRATES: &[&str] = &["tokio", "rand", "getrandom", "quinn", "rocksdb"];
const IMPURE_TYPES: &[&str] = &["SystemTime", "Instant"];
const IMPURE_MODULES: &[&str] = &["fs", "net", "process", "thread", "env"];
const IMPURE_CALLS: &[&str] = &["now", "now_v7", "new_v4"];

pub(crate) fn package_offences(folder: &str, manifest: &str) -> Vec<String> {
    let allowed =
        PACKAGES.iter().find(|(name, _)| *name == folder).map_or(&[][..], |(_, allowed)| allowed);
    let table: toml::Table = manifest.parse().unwrap();
    let mut offences = Vec::new();
    let mut look = |section: &toml::Value| {
        for kind in ["dependencies", "dev-dependencies", "build-dependencies"] {
            let Some(dependencies) = section.get(kind).and_then(toml::Value::as_table) else {
                continue;
            };
            for name in dependencies.keys().filter(|name| name.starts_with("hutong-")) {
                if !allowed.contains(&name.as_str()) {
                    offences
                        .push(format!("{folder}/Cargo.toml: {folder} must not depend on {name}"));
                }
            }
        }
    };
    for target in
        table.get("target").and_then(toml::Value::as_table).into_iter().flat_map(|t| t.values())
    {
        look(target);
    }
    let linted = table.get("lints").and_then(|l| l.get("workspace")).and_then(toml::Value::as_bool);
    look(&toml::Value::Table(table.clone()));
    if linted != Some(true) {
        offences.push(format!("{folder}/Cargo.toml: the workspace's lints are not inherited"));
    }
    offences
}

pub(crate) fn layer_offences(layers: &Layers, source: &Source) -> Vec<String> {
    let Some(inner) = source.path.strip_prefix(&format!("{}/src/", layers.package)) else {
        return Vec::new();
    };
    let modules = module_path(inner);
    let own = modules.first().map_or("lib", String::as_str);
    let rank = |module: &str| layers.layers.iter().position(|layer| layer.contains(&module));
    let Some(own_rank) = rank(own) else {
        return vec![format!(
            "{}: the module {own} has no layer in tests/tests/architecture",
            source.path
        )];
    };
    source
        .modules_named(layers.root_name, modules.len())
        .into_iter()
        .filter(|mention| mention.name != own)
        // Items of the crate's root and names that only look like modules are none.
        .filter_map(|mention| rank(&mention.name).map(|rank| (mention, rank)))
        .filter(|(mention, rank)| {
            *rank < own_rank
                || *rank == own_rank && !layers.beside.contains(&(own, mention.name.as_str()))
        })
        .map(|(Mention { name, line }, _)| {
            format!("{}:{line}: {own} must not name {name}", source.path)
        })
        .collect()
}

/// `gate/listen.rs` → `[gate, listen]`, `gate/mod.rs` → `[gate]`, `lib.rs` → `[]`.
fn module_path(inner: &str) -> Vec<String> {
    let mut modules: Vec<String> =
        inner.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
    if modules.last().is_some_and(|last| last == "mod") || modules == ["lib"] {
        modules.pop();
    }
    if modules.first().is_some_and(|first| first == "bin") {
        return vec!["main".to_owned()];
    }
    modules
}

pub(crate) fn engine_offences(source: &Source) -> Vec<String> {
    ENGINES
        .iter()
        .filter(|(_, places)| !places.iter().any(|place| source.path.starts_with(place)))
        .flat_map(|(engine, _)| source.crates_named(&[engine]))
        .map(|Mention { name, line }| {
            format!("{}:{line}: {name} is not to be named here", source.path)
        })
        .collect()
}

pub(crate) fn purity_offences(source: &Source) -> Vec<String> {
    if !PURE.iter().any(|place| source.path.starts_with(place)) {
        return Vec::new();
    }
    let mut found = source.crates_named(IMPURE_CRATES);
    found.extend(source.words(IMPURE_TYPES));
    found.extend(source.calls_of(IMPURE_CALLS));
    found.extend(
        source
            .modules_named("std", 0)
            .into_iter()
            .filter(|m| IMPURE_MODULES.contains(&m.name.as_str())),
    );
    found
        .into_iter()
        .map(|Mention { name, line }| {
            format!("{}:{line}: {name} in code that must stay pure", source.path)
        })
        .collect()
}

pub(crate) fn length_offence(path: &str, text: &str) -> Option<String> {
    let lines = text.lines().count();
    let excused = LONG_FILES.iter().any(|(excused, _)| *excused == path);
    (lines > LONGEST && !excused).then(|| {
        format!("{path}: {lines} lines, {LONGEST} allowed; split it, or list it with a reason")
    })
}

/// Relative links of a Markdown file, and `make` targets it names, that lead nowhere.
pub(crate) fn document_offences(
    path: &str,
    text: &str,
    makefile: &str,
    exists: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let mut offences = Vec::new();
    for part in text.split("](").skip(1) {
        let target = part.split([')', '#', ' ']).next().unwrap_or_default();
        if !target.is_empty()
            && !target.contains("://")
            && !target.starts_with("mailto:")
            && !exists(target)
        {
            offences.push(format!("{path}: the link to {target} leads nowhere"));
        }
    }
    for part in text.split("`make ").skip(1) {
        let target: String =
            part.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
        if !target.is_empty()
            && !makefile.lines().any(|line| line.starts_with(&format!("{target}:")))
        {
            offences.push(format!("{path}: the Makefile has no target {target}"));
        }
    }
    offences
}

/// Stable codes that a file names and that nobody explains.
pub(crate) fn code_offences(
    path: &str,
    text: &str,
    explained: &dyn Fn(&str) -> bool,
) -> Vec<String> {
    let codes = text.match_indices("HT-").filter_map(|(at, _)| text.get(at..at + 7));
    let codes = codes.filter(|code| code[3..].bytes().all(|byte| byte.is_ascii_digit()));
    let unknown = codes.filter(|code| !explained(code));
    unknown.map(|code| format!("{path}: {code} has no page in schema/src/explain")).collect()
}
