//! `[[node.publish]]` with a `folder`.

use std::time::Duration;

use super::super::folder::{FolderMode, FolderSource, NamePattern};
use super::super::section::Section;
use super::form;

/// Settings of a watched folder.
pub(super) const SETTINGS: &[&str] =
    &["folder", "pattern", "done", "failed", "mode", "op", "settle_seconds"];

/// `None` only if a mistake was reported.
pub(super) fn folder(table: &Section<'_>) -> Option<FolderSource> {
    let folder = table.required_path("folder", "the folder that files are dropped into");
    let text = table.required("pattern", PATTERN);
    let pattern = text.as_deref().and_then(NamePattern::new);
    if let (Some(text), None) = (&text, &pattern) {
        table.report("pattern", format!("is {text:?}"), PATTERN);
    }
    let form = form::form(table, text.as_deref());
    let words = [("changes", FolderMode::Changes), ("snapshot", FolderMode::Snapshot)];
    if !table.has("mode") {
        let hint = "changes: each file's rows are inserts and updates; snapshot: each file is the whole state";
        table.report("mode", "is missing", hint);
    }
    let mode = table.choice("mode", &words, FolderMode::Changes);
    if mode == FolderMode::Snapshot && table.has("op") {
        table.report("op", "stands beside mode = \"snapshot\"", "a whole state has no removals");
    }
    let beside = |name: &str| {
        let path = table.path(name);
        path.or_else(|| folder.as_ref().map(|folder| folder.join(name)))
    };
    let (done, failed) = (beside("done"), beside("failed"));
    for (name, path) in [("done", &done), ("failed", &failed)] {
        if path.is_some() && (*path == folder || (name == "failed" && *path == done)) {
            table.report(name, "is used twice", "folder, done and failed are three folders");
        }
    }
    Some(FolderSource {
        settle: Duration::from_secs(table.number("settle_seconds", 0..=3_600, 5)),
        encoding: form::encoding(table),
        mode,
        done: done?,
        failed: failed?,
        folder: folder?,
        pattern: pattern?,
        form: form?,
    })
}

const PATTERN: &str = "names of files, such as \"*.csv\" or \"people-????.xlsx\"";
