//! `check`

use std::{collections::HashMap, path::Path, process::ExitCode};

use hutong_certs::{enrol::NodeFolder, join::JoinToken, lifetime::RENEWABLE_FOR};
use hutong_schema::{catalogue::CatalogueEntry, ids::NodeName, words::in_full};

use crate::{
    app::{doctor::folder_problems, enrol},
    config::{Config, NodeConfig, Places, PublishConfig, Secret, SourceConfig},
    link::catalogue,
    sources::fault_of_rules,
};

/// Looks at everything that can be looked at without the hub; names all problems, each with the line
/// of the configuration that it belongs to.
pub(super) fn check(config: &Config, path: &Path) -> ExitCode {
    let mut problems = Problems { places: Places::of_file(path), found: 0 };
    let tokens = match config.enrol_sheet.as_deref().map(enrol::tokens).transpose() {
        Ok(tokens) => tokens.unwrap_or_default(),
        Err(error) => {
            problems.tell("enrol.sheet", &in_full(&error));
            HashMap::new()
        }
    };
    for (number, node) in config.nodes.iter().enumerate() {
        let key = format!("node[{number}]");
        certificate(config, node, &tokens, &key, &mut problems);
        let mut registered = None;
        if let Some(path) = &node.catalogue {
            match catalogue::read(path) {
                Ok(file) => registered = Some(file.entries),
                Err(error) => problems.tell(&format!("{key}.catalogue"), &in_full(&error)),
            }
        }
        for (number, publish) in node.publish.iter().enumerate() {
            let key = format!("{key}.publish[{number}]");
            source(publish, registered.as_deref(), &key, &mut problems);
        }
    }
    let publications: usize = config.nodes.iter().map(|node| node.publish.len()).sum();
    println!(
        "{} node(s), {publications} publication(s), {} problem(s)",
        config.nodes.len(),
        problems.found
    );
    if problems.found == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

struct Problems {
    places: Places,
    found: usize,
}

impl Problems {
    fn tell(&mut self, key: &str, problem: &str) {
        self.found += 1;
        println!("{}: {key}: {problem}", self.places.of(key));
    }
}

fn certificate(
    config: &Config,
    node: &NodeConfig,
    tokens: &HashMap<NodeName, JoinToken>,
    key: &str,
    problems: &mut Problems,
) {
    let name = &node.name;
    let mut tell = |problem: String| {
        problems.tell(&format!("{key}.name"), &format!("node {name}: {problem}"));
    };
    let folder = NodeFolder::new(config.node_dir(name));
    if !folder.is_enrolled() {
        if !tokens.contains_key(name) {
            tell("no certificate and no join token for it".to_owned());
        }
        return;
    }
    match folder.load() {
        Ok(material) => {
            let ended = material.credentials.facts().not_after;
            if ended <= hutong_certs::clock::now() {
                tell(format!(
                    "its certificate ended at {ended}; the running agent renews it for {} days after that, then it needs a new join token",
                    RENEWABLE_FOR.as_hours() / 24
                ));
            }
        }
        Err(error) => tell(in_full(&error)),
    }
}

fn source(
    publish: &PublishConfig,
    registered: Option<&[CatalogueEntry]>,
    key: &str,
    problems: &mut Problems,
) {
    match &publish.source {
        SourceConfig::File(file) => {
            if let Err(error) = std::fs::File::open(&file.path) {
                let problem = format!("{}: {}: {error}", publish.resource, file.path.display());
                problems.tell(&format!("{key}.path"), &problem);
            }
        }
        SourceConfig::Folder(folder) => {
            for problem in folder_problems(folder) {
                let problem = format!("{}: {problem}", publish.resource);
                problems.tell(&format!("{key}.folder"), &problem);
            }
        }
        SourceConfig::Push => {}
        SourceConfig::Sql(sql) => {
            if let Some(Err(error)) = sql.database.password.as_ref().map(Secret::read) {
                let problem = format!("{}: {}", publish.resource, in_full(&error));
                problems.tell(&format!("{key}.sql.password_file"), &problem);
            }
        }
    }
    let entry = registered.into_iter().flatten().find(|each| each.code == publish.resource);
    if let Some(fault) = entry.and_then(|entry| fault_of_rules(entry, &publish.rules)) {
        problems.tell(&format!("{key}.map"), &format!("{}: {fault}", publish.resource));
    }
    if registered.is_some_and(|entries| entries.iter().all(|each| each.code != publish.resource)) {
        let problem = format!("{}: not in the node's catalogue file", publish.resource);
        problems.tell(&format!("{key}.resource"), &problem);
    }
}
