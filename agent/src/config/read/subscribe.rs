//! `[[node.subscribe]]`

use hutong_schema::grant::GrantId;

use super::super::section::Section;
use super::super::{
    AfterGrant, FileFormat, FilesSink, GrantChoice, SinkConfig, SqlSink, SubscribeConfig,
};
use super::database::{DATABASE, database};

/// Settings of every kind of sink.
const COMMON: &[&str] = &["grant", "withdrawn"];
const FILES: &[&str] = &["path", "format"];
const SQL: &[&str] = &["sql"];

/// `None` only if a mistake was reported.
pub(super) fn subscribe(table: &Section<'_>) -> Option<SubscribeConfig> {
    let grant = grant(table);
    let sink = sink(table, grant);
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

fn sink(table: &Section<'_>, grant: Option<GrantChoice>) -> Option<SinkConfig> {
    if table.has("sql") {
        table.only(&[COMMON, SQL].concat());
        return sql(&table.section("sql"), grant).map(Box::new).map(SinkConfig::Sql);
    }
    table.only(&[COMMON, FILES, SQL].concat());
    let folder = table.required_path("path", "the folder that receives one file per grant");
    let words = [("csv", FileFormat::Csv), ("jsonl", FileFormat::Jsonl)];
    let format = table.choice("format", &words, FileFormat::Jsonl);
    Some(SinkConfig::Files(FilesSink { folder: folder?, format }))
}

/// `sql = { … }`
fn sql(section: &Section<'_>, grant: Option<GrantChoice>) -> Option<SqlSink> {
    section.only(&[DATABASE, &["table", "create"]].concat());
    let table = section.required("table", TABLE);
    if let Some(table) = &table {
        let parts: Vec<&str> = table.split('.').collect();
        // Room for `__staged`, and for the digits of a grant.
        let fits = |part: &&str| (1..=48).contains(&part.len()) && !part.contains('\0');
        if parts.len() > 2 || !parts.iter().all(fits) {
            section.report("table", format!("is {table:?}"), TABLE);
        } else if grant == Some(GrantChoice::All) && !table.contains("{grant}") {
            let hint = "several grants need several tables: \"received_{grant}\"";
            section.report("table", "is one for all grants", hint);
        }
    }
    let create = section.flag("create", false);
    let database = database(section);
    Some(SqlSink { database: database?, table: table?, create })
}

const TABLE: &str =
    "the table, with its schema before a point if it has one, each at most 48 bytes";
const GRANT: &str = "\"all\" or the number of a grant";
