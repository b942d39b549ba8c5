//! `[[node.subscribe]]`

use hutong_schema::grant::GrantId;

use super::super::section::Section;
use super::super::{AfterGrant, FileFormat, FilesSink, GrantChoice, SinkConfig, SubscribeConfig};

/// Settings of every kind of sink.
const COMMON: &[&str] = &["grant", "withdrawn"];
const FILES: &[&str] = &["path", "format"];

/// `None` only if a mistake was reported.
pub(super) fn subscribe(table: &Section<'_>) -> Option<SubscribeConfig> {
    let grant = grant(table);
    let sink = sink(table);
    let words = [("keep", AfterGrant::Keep), ("delete", AfterGrant::Delete)];
    let withdrawn = table.choice("withdrawn", &words, AfterGrant::Keep);
    Some(SubscribeConfig { grant: grant?, sink: sink?, withdrawn })
}

fn grant(table: &Section<'_>) -> Option<GrantChoice> {
    match table.required("grant", GRANT)?.as_str() {
        "all" => Some(GrantChoice::All),
        number => match number.parse() {
            Ok(number) => Some(GrantChoice::One(GrantId(number))),
            Err(_) => {
                table.report("grant", format!("is {number:?}"), GRANT);
                None
            }
        },
    }
}

fn sink(table: &Section<'_>) -> Option<SinkConfig> {
    table.only(&[COMMON, FILES].concat());
    let folder = table.required_path("path", "the folder that receives one file per grant");
    let words = [("csv", FileFormat::Csv), ("jsonl", FileFormat::Jsonl)];
    let format = table.choice("format", &words, FileFormat::Jsonl);
    Some(SinkConfig::Files(FilesSink { folder: folder?, format }))
}

const GRANT: &str = "\"all\" or the number of a grant";
