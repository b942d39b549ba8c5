//! Sources: one file of checks for each kind.

mod file;
mod folder;
mod sql;

use hutong_schema::catalogue::CatalogueEntry;

use super::finding::Finding;
use crate::config::{PublishConfig, SourceConfig};
pub(crate) use folder::problems as folder_problems;

/// Looks at a source. `entry` is its catalogue entry, if it is known here. May block.
pub(super) fn look(publish: &PublishConfig, entry: Option<&CatalogueEntry>) -> Vec<Finding> {
    let findings = match &publish.source {
        SourceConfig::File(source) => file::look(source, entry, &publish.rules),
        SourceConfig::Folder(source) => folder::look(source),
        SourceConfig::Sql(source) => sql::look(source, entry, &publish.rules),
        // Programs hand rows over; the agent says itself when its door is shut.
        SourceConfig::Push => Vec::new(),
    };
    let subject = format!("{} {}", publish.resource, publish.source.place());
    findings.into_iter().map(|finding| finding.of(&subject)).collect()
}
