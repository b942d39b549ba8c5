//! `[[node.publish]]`

use std::path::Path;
use std::time::Duration;

use super::super::section::Section;
use super::super::{FileFormat, FileSource, PublishConfig, SourceConfig, SourceMode, TextEncoding};
use super::sql;

/// Settings of every kind of source.
const COMMON: &[&str] = &["resource", "rescan_seconds", "max_delete_percent"];
const FILE: &[&str] = &["path", "format", "encoding", "mode"];
const SQL: &[&str] = &["sql"];

/// `None` only if a mistake was reported.
pub(super) fn publish(table: &Section<'_>) -> Option<PublishConfig> {
    let resource = table.parsed("resource", "class, slash, sequence: 303084122704/000001");
    let source = source(table);
    let publish = PublishConfig {
        rescan: Duration::from_secs(table.number("rescan_seconds", 1..=7 * 86_400, 300)),
        max_delete_percent: table.number("max_delete_percent", 0..=100, 10) as u8,
        resource: resource?,
        source: source?,
    };
    Some(publish)
}

fn source(table: &Section<'_>) -> Option<SourceConfig> {
    if table.has("sql") {
        table.only(&[COMMON, SQL].concat());
        return sql::source(&table.section("sql")).map(Box::new).map(SourceConfig::Sql);
    }
    table.only(&[COMMON, FILE, SQL].concat());
    file(table).map(SourceConfig::File)
}

fn file(table: &Section<'_>) -> Option<FileSource> {
    let path = table.required_path("path", "the file with the rows");
    let format = format(table, path.as_deref());
    let mode = [("snapshot", SourceMode::Snapshot), ("append", SourceMode::Append)];
    Some(FileSource {
        encoding: encoding(table),
        mode: table.choice("mode", &mode, SourceMode::Snapshot),
        path: path?,
        format: format?,
    })
}

fn encoding(table: &Section<'_>) -> TextEncoding {
    let words = [("utf-8", TextEncoding::Utf8), ("gb18030", TextEncoding::Gb18030)];
    table.choice("encoding", &words, TextEncoding::Utf8)
}

fn format(table: &Section<'_>, path: Option<&Path>) -> Option<FileFormat> {
    let suffix = path.and_then(Path::extension).and_then(|suffix| suffix.to_str());
    let by_suffix = FORMATS.iter().find(|(word, _)| Some(*word) == suffix);
    if table.text("format").is_none() && by_suffix.is_none() && path.is_some() {
        table.report("format", "is missing", "csv or jsonl: the file's suffix does not tell");
        return None;
    }
    Some(table.choice("format", &FORMATS, by_suffix.map_or(FileFormat::Csv, |(_, each)| *each)))
}

const FORMATS: [(&str, FileFormat); 2] = [("csv", FileFormat::Csv), ("jsonl", FileFormat::Jsonl)];
