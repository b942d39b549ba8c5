//! The configuration of a unit's agent: what it mounts, from where, for which node.
//!
//! The types mirror the agent's configuration file. They are written here a second time, without
//! its types, so that a change of the file's format is noticed as one.

use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::ser::SerializeMap;

use super::plan::{FileStyle, Node, Resource, Unit};

/// `[[node]]`
#[derive(Clone, Debug, Serialize)]
pub struct NodeTable {
    /// The node's name.
    pub name: String,
    /// File with its catalogue entries.
    pub catalogue: PathBuf,
    /// What it publishes.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub publish: Vec<PublishTable>,
    /// What it is to receive; empty in the generated pieces.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub subscribe: Vec<SubscribeTable>,
}

/// `[[node.publish]]`
#[derive(Clone, Debug)]
pub struct PublishTable {
    /// Code of the catalogue entry.
    pub resource: String,
    /// The data file.
    pub path: PathBuf,
    /// `csv` or `jsonl`.
    pub format: &'static str,
    /// `utf-8` or `gb18030`.
    pub encoding: &'static str,
    /// `snapshot`: the file holds all rows. `append`: rows are added at its end.
    pub mode: &'static str,
    /// Time between two looks at the file; the agent's default where it is not set.
    pub rescan_seconds: Option<u32>,
    /// Share of rows whose removal waits for confirmation; the agent's default where it is not set.
    pub max_delete_percent: Option<u8>,
    /// Settings in the place of `path` to `mode`, for a source that is no file. The file is then only
    /// what the source's rows are compared with.
    pub instead: Option<toml::Table>,
}

impl Serialize for PublishTable {
    /// The order is that of the generated cities' files.
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut table = serializer.serialize_map(None)?;
        table.serialize_entry("resource", &self.resource)?;
        if self.instead.is_none() {
            table.serialize_entry("path", &self.path)?;
            table.serialize_entry("format", self.format)?;
            table.serialize_entry("encoding", self.encoding)?;
            table.serialize_entry("mode", self.mode)?;
        }
        if let Some(seconds) = self.rescan_seconds {
            table.serialize_entry("rescan_seconds", &seconds)?;
        }
        if let Some(percent) = self.max_delete_percent {
            table.serialize_entry("max_delete_percent", &percent)?;
        }
        for (name, value) in self.instead.iter().flatten() {
            table.serialize_entry(name, value)?;
        }
        table.end()
    }
}

/// `[[node.subscribe]]`
#[derive(Clone, Debug, Serialize)]
pub struct SubscribeTable {
    /// A grant's number or `all`.
    pub grant: String,
    /// The folder that the granted rows are written to; empty for a sink of another kind.
    #[serde(skip_serializing_if = "is_empty")]
    pub path: PathBuf,
    /// Further settings.
    #[serde(flatten)]
    pub settings: toml::Table,
}

fn is_empty(path: &Path) -> bool {
    path.as_os_str().is_empty()
}

#[derive(Serialize)]
struct Piece<'a> {
    node: &'a [NodeTable],
}

/// The nodes of a unit whose files lie in `folder`; an empty folder gives relative paths.
pub fn node_tables(unit: &Unit, folder: &Path) -> Vec<NodeTable> {
    let table = |node: &Node| NodeTable {
        name: node.name.clone(),
        catalogue: folder.join(catalogue_file(node)),
        publish: node.resources.iter().map(|each| publish(each, folder)).collect(),
        subscribe: Vec::new(),
    };
    unit.nodes.iter().map(table).collect()
}

/// The `[[node]]` tables as TOML; the part of an agent's configuration that depends on the city.
///
/// # Errors
/// When a path is not UTF-8.
pub fn to_toml(nodes: &[NodeTable]) -> Result<String, toml::ser::Error> {
    toml::to_string(&Piece { node: nodes })
}

/// Name of the file with a node's catalogue entries, in the unit's folder.
pub fn catalogue_file(node: &Node) -> String {
    format!("catalogue-{}.jsonl", node.name)
}

fn publish(resource: &Resource, folder: &Path) -> PublishTable {
    let (format, encoding) = match resource.style {
        FileStyle::Csv | FileStyle::CsvWithMark => ("csv", "utf-8"),
        FileStyle::CsvGb18030 => ("csv", "gb18030"),
        FileStyle::JsonLines => ("jsonl", "utf-8"),
    };
    PublishTable {
        resource: resource.code.to_string(),
        path: folder.join(&resource.file),
        format,
        encoding,
        mode: "snapshot",
        rescan_seconds: None,
        max_delete_percent: None,
        instead: None,
    }
}
