//! Sinks: one file of checks for each kind.

mod files;
mod sql;
mod webhook;

use super::finding::Finding;
use crate::config::{SinkConfig, SubscribeConfig};

/// Looks at a sink. May block.
pub(super) fn look(subscribe: &SubscribeConfig) -> Vec<Finding> {
    match &subscribe.sink {
        SinkConfig::Files(sink) => files::look(sink),
        SinkConfig::Sql(sink) => sql::look(sink),
        SinkConfig::Webhook(sink) => webhook::look(sink),
        // There is always a standard output.
        SinkConfig::Stdout => Vec::new(),
    }
}
