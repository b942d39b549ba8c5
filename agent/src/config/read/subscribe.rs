//! `[[node.subscribe]]`

use hutong_schema::grant::GrantId;

use super::super::section::Section;
use super::super::{
    AfterGrant, FileFormat, FilesSink, GrantChoice, SinkConfig, SqlSink, SubscribeConfig,
    WebhookSink,
};
use super::database::{DATABASE, database};

/// Settings of every kind of sink.
const COMMON: &[&str] = &["grant", "withdrawn"];
const FILES: &[&str] = &["path", "format"];
const SQL: &[&str] = &["sql"];
const WEBHOOK: &[&str] = &["webhook"];
const STDOUT: &[&str] = &["stdout"];

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
    if table.has("webhook") {
        table.only(&[COMMON, WEBHOOK].concat());
        return webhook(&table.section("webhook")).map(Box::new).map(SinkConfig::Webhook);
    }
    if table.has("stdout") {
        table.only(&[COMMON, STDOUT].concat());
        if !table.flag("stdout", true) {
            table.report("stdout", "is false", "leave it out, and say where rows go instead");
        }
        return Some(SinkConfig::Stdout);
    }
    table.only(&[COMMON, FILES, SQL, WEBHOOK, STDOUT].concat());
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

/// `webhook = { … }`
fn webhook(section: &Section<'_>) -> Option<WebhookSink> {
    section.only(&["url", "token_file", "ca_file"]);
    let url = section.required("url", URL);
    if let Some(url) = &url {
        let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"));
        let host = rest.and_then(|rest| rest.split('/').next());
        if host.is_none_or(|host| host.is_empty() || host.contains('@')) {
            // It may hold a password.
            section.report("url", "is no address of a web service", URL);
        }
    }
    let token = section.secret("token");
    let ca_file = section.path("ca_file");
    Some(WebhookSink { url: url?, token, ca_file })
}

const URL: &str = "such as \"https://service.example/rows\"; a token stands in token_file";
const TABLE: &str =
    "the table, with its schema before a point if it has one, each at most 48 bytes";
const GRANT: &str = "\"all\" or the number of a grant";
