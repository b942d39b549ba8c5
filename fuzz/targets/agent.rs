//! What an agent reads: the department's files, its configuration, its own records, requests of its operator, and the
//! files that it delivered, after another program had them.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fs;
use std::path::Path;

use hutong_agent::app::socket::Request;
use hutong_agent::config::{Config, Rules, Sheet, SourceForm, TextEncoding};
use hutong_agent::link::catalogue;
use hutong_agent::sinks::{self, LineFormat, Lines, Record};
use hutong_agent::sources::{Next, Row, Rows, Source, SourceOptions};
use hutong_agent::spool::StreamRecord;
use hutong_schema::catalogue::{CatalogueEntry, Item};
use hutong_schema::grant::{Grant, GrantId, GrantView, Modes, Target};
use hutong_schema::limits::KEY_BYTES_MAX;
use hutong_schema::rules;
use hutong_schema::wire::codec;

thread_local! {
    /// Sources are read from files only.
    static FOLDER: RefCell<tempfile::TempDir> = RefCell::new(tempfile::tempdir().unwrap());
}

fn with_file(name: &str, bytes: &[u8], read: impl FnOnce(&Path)) {
    FOLDER.with_borrow(|folder| {
        let path = folder.path().join(name);
        fs::write(&path, bytes).unwrap();
        read(&path);
    });
}

fn entry() -> CatalogueEntry {
    serde_json::from_str(include_str!("../seed_entry.json")).unwrap()
}

/// A source file; the first byte picks its form, its encoding and whether it may end within a row. Rows that are taken
/// are canonical, and reading comes to an end.
pub(crate) fn source(bytes: &[u8]) {
    let Some((pick, bytes)) = bytes.split_first() else { return };
    let form = &match pick >> 3 & 3 {
        0 if pick & 1 == 0 => SourceForm::CSV,
        0 => SourceForm::Jsonl,
        1 => SourceForm::TSV,
        2 => SourceForm::GeoJson,
        _ => SourceForm::Workbook(Sheet::default()),
    };
    let rules = &Rules::default();
    let encoding = if pick & 2 == 0 { TextEncoding::Utf8 } else { TextEncoding::Gb18030 };
    let entry = entry();
    with_file("source", bytes, |path| {
        let options =
            SourceOptions { path, form, encoding, rules, from: None, whole_lines: pick & 4 != 0 };
        let Ok(mut source) = Source::open(options, &entry) else { return };
        let (mut row, mut rows) = (Row::default(), 0);
        let columns = entry.columns();
        loop {
            match source.next(&mut row) {
                Ok(Next::Row) => {
                    assert!(row.key_known() && row.key().len() <= KEY_BYTES_MAX);
                    for (item, value) in columns.iter().zip(row.values()) {
                        value.iter().for_each(|value| rules::check(item, value).unwrap());
                    }
                }
                Ok(Next::Refused(_)) => _ = source.raw(),
                Ok(Next::End) | Err(_) => break,
            }
            rows += 1;
            // A workbook is packed.
            assert!(rows <= bytes.len() + 1 || pick >> 3 & 3 == 3, "more rows than bytes");
        }
        assert!(source.position().offset <= bytes.len() as u64 || pick >> 3 & 3 == 3);
    });
}

/// A file of catalogue entries; the first byte picks TOML or JSON lines. What is taken is valid.
pub(crate) fn catalogue_file(bytes: &[u8]) {
    let Some((pick, bytes)) = bytes.split_first() else { return };
    let name = if pick & 1 == 0 { "entries.jsonl" } else { "entries.toml" };
    with_file(name, bytes, |path| {
        if let Ok(file) = catalogue::read(path) {
            file.entries.iter().for_each(|entry| entry.validate().unwrap());
        }
    });
}

/// The agent's configuration. Mistakes are named, never taken.
pub(crate) fn agent_config(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Err(mistakes) = Config::parse(text, Path::new("/etc/hutong")) {
        assert!(!mistakes.to_string().is_empty());
    }
}

/// Records of the agent's store. What is read is written as the same bytes.
pub(crate) fn agent_records(bytes: &[u8]) {
    if let Ok(record) = Record::decode(bytes) {
        let again = record.encode().unwrap();
        assert_eq!(Record::decode(&again).unwrap(), record);
        let _ = (record.resumption(), record.consistent(), record.grant_view());
    }
    if let Ok(record) = codec::decode::<StreamRecord>(bytes) {
        let _ = (record.state.is_drained(), record.state.checkpoint_due());
        assert_eq!(
            codec::decode::<StreamRecord>(&codec::encode(&record).unwrap()).unwrap(),
            record
        );
    }
}

/// A request on a running agent's socket. What is read prints to what is read again.
pub(crate) fn agent_request(bytes: &[u8]) {
    let Ok(request) = serde_json::from_slice::<Request>(bytes) else { return };
    let text = serde_json::to_vec(&request).unwrap();
    let again: Request = serde_json::from_slice(&text).unwrap();
    assert_eq!(serde_json::to_vec(&again).unwrap(), text);
}

/// A delivered file that another program changed; the first byte picks its form. What is read of it does not depend on
/// what stands behind.
pub(crate) fn delivered_file(bytes: &[u8]) {
    let Some((pick, content)) = bytes.split_first() else { return };
    let format = if pick & 1 == 0 { LineFormat::Jsonl } else { LineFormat::Csv };
    let lines = Lines::new(&grant_view(), format);
    let Ok(whole) = sinks::read_back(&lines, content) else { return };
    assert!(whole.len() <= content.iter().filter(|byte| **byte == b'\n').count());
    assert!(whole.keys().all(|key| key.len() <= KEY_BYTES_MAX));
    // Of each key the last record counts.
    let mut more = content.to_vec();
    if let Some(key) = whole.keys().next()
        && format == LineFormat::Jsonl
    {
        let key = serde_json::to_string(std::str::from_utf8(key).unwrap()).unwrap();
        more.extend(format!("{{\"op\":\"delete\",\"key\":{key}}}\n").bytes());
        let after = sinks::read_back(&lines, &more).unwrap();
        assert_eq!(after.len(), whole.len());
        let rows = |said: &HashMap<_, Option<_>>| said.values().flatten().count();
        let gone = whole.values().next().is_some_and(Option::is_some);
        assert_eq!(rows(&after) + usize::from(gone), rows(&whole));
    }
}

/// A grant on the entry's items, and on a geometry.
fn grant_view() -> GrantView {
    let entry = entry();
    let (keys, mut items): (Vec<Item>, Vec<Item>) =
        entry.items.into_iter().partition(|item| item.key);
    items.push(
        serde_json::from_str(r#"{"id":9,"name":"geom","label":"位置","data_type":"G"}"#).unwrap(),
    );
    let grant = Grant {
        id: GrantId(1),
        target: Target::Resource(entry.code),
        grantee: entry.provider,
        fields: items.iter().map(|item| item.id).collect(),
        filter: None,
        modes: Modes { deliver: true, lookup: false, verify: false },
        purpose: String::new(),
        from: "2026-01-01".parse().unwrap(),
        until: None,
        generation: 1,
    };
    GrantView { grant, name: entry.name, keys, items }
}
