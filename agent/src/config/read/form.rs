//! The form of source files: `format`, `encoding`, `delimiter`, `sheet`, `header_row`.

use super::super::TextEncoding;
use super::super::form::{Sheet, SourceForm};
use super::super::section::Section;

/// Settings that are read here.
pub(super) const SETTINGS: &[&str] = &["format", "encoding", "delimiter", "sheet", "header_row"];

#[derive(Clone, Copy, PartialEq, Eq)]
enum Word {
    Csv,
    Tsv,
    Jsonl,
    Excel,
    GeoJson,
}

const WORDS: [(&str, Word); 5] = [
    ("csv", Word::Csv),
    ("tsv", Word::Tsv),
    ("jsonl", Word::Jsonl),
    ("excel", Word::Excel),
    ("geojson", Word::GeoJson),
];
const SUFFIXES: [(&str, Word); 7] = [
    ("csv", Word::Csv),
    ("tsv", Word::Tsv),
    ("tab", Word::Tsv),
    ("jsonl", Word::Jsonl),
    ("xlsx", Word::Excel),
    ("xls", Word::Excel),
    ("geojson", Word::GeoJson),
];

/// The form as configured, or as the suffix of `name` tells; `None` if a mistake was reported, or there is
/// no name to tell it.
pub(super) fn form(table: &Section<'_>, name: Option<&str>) -> Option<SourceForm> {
    let suffix = name.and_then(|name| name.rsplit_once('.')).map(|(_, suffix)| suffix);
    let by_suffix = suffix.and_then(|suffix| {
        SUFFIXES.iter().find(|(known, _)| known.eq_ignore_ascii_case(suffix)).map(|(_, word)| *word)
    });
    if !table.has("format") && by_suffix.is_none() {
        if name.is_some() {
            let words: Vec<_> = WORDS.iter().map(|(word, _)| *word).collect();
            let hint = format!("one of {}: the suffix does not tell", words.join(", "));
            table.report("format", "is missing", hint);
        }
        return None;
    }
    let word = table.choice("format", &WORDS, by_suffix.unwrap_or(Word::Csv));
    let separated = matches!(word, Word::Csv | Word::Tsv);
    if !separated {
        misplaced(table, &["delimiter"], "only csv and tsv have it");
    }
    if word != Word::Excel {
        misplaced(table, &["sheet", "header_row"], "only excel has it");
    } else {
        misplaced(table, &["encoding"], "a workbook says itself how it is written");
    }
    Some(match word {
        Word::Csv => SourceForm::Separated(delimiter(table).unwrap_or(b',')),
        Word::Tsv => SourceForm::Separated(delimiter(table).unwrap_or(b'\t')),
        Word::Jsonl => SourceForm::Jsonl,
        Word::GeoJson => SourceForm::GeoJson,
        Word::Excel => SourceForm::Workbook(Sheet {
            name: table.text("sheet"),
            header_row: table.number("header_row", 1..=1_000, 1) as u32,
        }),
    })
}

pub(super) fn encoding(table: &Section<'_>) -> TextEncoding {
    let words = [("utf-8", TextEncoding::Utf8), ("gb18030", TextEncoding::Gb18030)];
    table.choice("encoding", &words, TextEncoding::Utf8)
}

fn delimiter(table: &Section<'_>) -> Option<u8> {
    let text = table.text("delimiter")?;
    match text.as_bytes() {
        // Not a byte that a longer character of an encoding may hold, nor one that has a meaning already.
        [byte @ (b'\t' | b' '..=b'/' | b':' | b';')] if *byte != b'"' => Some(*byte),
        // Within a character of GB 18030 a bar may be the second byte.
        [b'|'] if encoding(table) == TextEncoding::Utf8 => Some(b'|'),
        _ => {
            let hint = "one sign: \",\", \";\", \"\\t\", or \"|\" in UTF-8";
            table.report("delimiter", format!("is {text:?}"), hint);
            None
        }
    }
}

fn misplaced(table: &Section<'_>, names: &[&str], hint: &str) {
    for name in names.iter().filter(|name| table.has(name)) {
        table.report(name, "does not belong to this format", hint);
    }
}
