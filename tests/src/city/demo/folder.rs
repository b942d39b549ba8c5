//! The run's folder: emptied, then filled with sheets and the inventory.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::super::agent_config::{catalogue_file, node_tables};
use super::super::write::unit_folder;
use super::super::{City, Template};
use super::{refuse, write};
use crate::harness::Machine;
use crate::proof::{Inventory, ResourceRecord};

/// Marks a folder as a run's, so that the next run may empty it.
const MARK: &str = "demonstration";

/// Makes an empty folder of it, if it is missing, empty, or a former run's.
pub(super) fn prepare(dir: &Path) -> Result<()> {
    if dir.exists() {
        let empty =
            fs::read_dir(dir).with_context(|| format!("read {}", dir.display()))?.next().is_none();
        if !empty && !dir.join(MARK).exists() {
            return refuse(dir);
        }
        fs::remove_dir_all(dir).with_context(|| format!("empty {}", dir.display()))?;
    }
    fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    write(&dir.join(MARK), "made by hutong-city demo, removed by its next run\n")
}

/// The nodes for which tokens are asked.
pub(super) fn write_nodes(city: &City, dir: &Path) -> Result<PathBuf> {
    let mut csv = csv::Writer::from_writer(Vec::new());
    csv.write_record(["department", "department_name", "node"])?;
    for (unit, node) in city.nodes() {
        csv.write_record([unit.code.as_str(), &unit.name, &node.name])?;
    }
    let path = dir.join("nodes.csv");
    write(&path, csv.into_inner()?)?;
    Ok(path)
}

/// Gives each machine the lines of its own department.
pub(super) fn split_sheet(sheet: &Path, machines: &[Machine]) -> Result<()> {
    let mut csv = csv::Reader::from_path(sheet).context("read the sheet of tokens")?;
    let header = csv.headers()?.clone();
    let at = header.iter().position(|name| name == "department").context("a column department")?;
    let mut parts: HashMap<String, csv::Writer<Vec<u8>>> = HashMap::new();
    for record in csv.records() {
        let record = record?;
        let part = parts.entry(record.get(at).unwrap_or_default().to_owned());
        let part = part.or_insert_with(|| csv::Writer::from_writer(Vec::new()));
        part.write_record(&record)?;
    }
    for machine in machines {
        let part = parts.remove(machine.code.as_str());
        let part = part.with_context(|| format!("no tokens for {}", machine.title))?;
        let mut whole = csv::Writer::from_writer(Vec::new());
        whole.write_record(&header)?;
        let mut text = whole.into_inner()?;
        text.extend(part.into_inner()?);
        write(&machine.sheet(), text)?;
    }
    Ok(())
}

/// Everything that is to be compared, but for the grants.
pub(super) fn inventory(city: &City, files: &Path, hub_data: PathBuf) -> Inventory {
    let mut all = Inventory { hub_data, ..Inventory::default() };
    for unit in &city.units {
        let folder = unit_folder(files, unit);
        let tables = node_tables(unit, &folder);
        for (node, table) in unit.nodes.iter().zip(tables) {
            all.catalogues.push(folder.join(catalogue_file(node)));
            for (resource, publish) in node.resources.iter().zip(table.publish) {
                all.resources.push(ResourceRecord {
                    code: resource.code.clone(),
                    class: class(resource.template),
                    path: publish.path,
                    format: publish.format.to_owned(),
                    encoding: publish.encoding.to_owned(),
                    rows: resource.rows,
                });
            }
        }
    }
    all
}

/// The libraries first, by their names; the others by what they are about.
fn class(template: Template) -> String {
    let name = template.subject().name;
    match template.library() {
        Some(library) => format!("{library} {name}"),
        None => format!("departmental {name}"),
    }
}
