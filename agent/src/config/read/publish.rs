//! `[[node.publish]]`

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::super::section::Section;
use super::super::{FileSource, PublishConfig, SourceConfig, SourceMode};
use super::{cleaning, folder, form, sql};

/// Settings of every kind of source.
const COMMON: &[&str] = &["resource", "rescan_seconds", "max_delete_percent"];
const FILE: &[&str] = &["path", "mode"];
const SQL: &[&str] = &["sql"];
/// There is nothing to look at, and no snapshot that could delete.
const PUSH: &[&str] = &["resource", "source"];

/// `None` only if a mistake was reported.
pub(super) fn publish(table: &Section<'_>) -> Option<PublishConfig> {
    let resource = table.parsed("resource", "class, slash, sequence: 303084122704/000001");
    let source = source(table);
    let mut rules = cleaning::rules(table);
    rules.op = table.text("op");
    let publish = PublishConfig {
        rules: Arc::new(rules),
        rescan: Duration::from_secs(table.number("rescan_seconds", 1..=7 * 86_400, 300)),
        max_delete_percent: table.number("max_delete_percent", 0..=100, 10) as u8,
        resource: resource?,
        source: source?,
    };
    Some(publish)
}

fn source(table: &Section<'_>) -> Option<SourceConfig> {
    if table.text("source").as_deref() == Some("push") {
        table.only(PUSH);
        return Some(SourceConfig::Push);
    }
    if table.has("sql") {
        table.only(&[COMMON, cleaning::SETTINGS, SQL].concat());
        return sql::source(&table.section("sql")).map(Box::new).map(SourceConfig::Sql);
    }
    if table.has("folder") {
        table.only(&[COMMON, cleaning::SETTINGS, form::SETTINGS, folder::SETTINGS].concat());
        return folder::folder(table).map(SourceConfig::Folder);
    }
    table.only(&[COMMON, cleaning::SETTINGS, form::SETTINGS, FILE, SQL].concat());
    file(table).map(SourceConfig::File)
}

fn file(table: &Section<'_>) -> Option<FileSource> {
    let path = table.required_path("path", "the file with the rows");
    let name = path.as_deref().and_then(Path::file_name).and_then(|name| name.to_str());
    let form = form::form(table, name);
    let words = [("snapshot", SourceMode::Snapshot), ("append", SourceMode::Append)];
    let mode = table.choice("mode", &words, SourceMode::Snapshot);
    if mode == SourceMode::Append && form.as_ref().is_some_and(|form| !form.grows()) {
        table.report("mode", "is \"append\"", "rows are appended to csv, tsv and jsonl only");
    }
    Some(FileSource { encoding: form::encoding(table), mode, path: path?, form: form? })
}
