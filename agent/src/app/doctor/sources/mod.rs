//! Sources: one file of checks for each kind.

mod file;
mod sql;

use hutong_schema::catalogue::CatalogueEntry;

use super::finding::Finding;
use crate::config::{PublishConfig, SourceConfig};

/// Looks at a source. `entry` is its catalogue entry, if it is known here. May block.
pub(super) fn look(publish: &PublishConfig, entry: Option<&CatalogueEntry>) -> Vec<Finding> {
    let findings = match &publish.source {
        SourceConfig::File(source) => file::look(source, entry),
        SourceConfig::Sql(source) => sql::look(source, entry),
    };
    let subject = format!("{} {}", publish.resource, publish.source.place());
    findings.into_iter().map(|finding| finding.of(&subject)).collect()
}
